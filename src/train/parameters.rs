//! The numbers that learn: one flat tensor, of which every weight is a view.
//!
//! Enters: the shapes that a model asks for, by name. Leaves: weights with gradients for the pipeline's own modules. An
//! optimiser that sees one tensor is short, and so is a checkpoint.

use crate::error::{Error, Result};
use crate::model::weights::{WeightFile, Weights};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// The place of one weight in the flat tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Component and key: `unet.conv_in.weight`.
    pub name: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// Where it begins.
    pub offset: i64,
}

impl Slot {
    /// How many numbers it has.
    pub fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The component and the key within it.
    pub fn split(&self) -> (&str, &str) {
        self.name.split_once('.').unwrap_or(("", &self.name))
    }
}

/// Which weights there are, in the order in which the model asks for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
    total: i64,
}

impl Layout {
    /// The weights that `build` asks for when it is handed a place for each component.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn of(build: impl FnOnce(&dyn Fn(&'static str) -> Weights) -> Result<()>) -> Result<Layout> {
        let layout = Rc::new(RefCell::new(Layout::default()));
        let noted = layout.clone();
        build(&move |component| {
            let layout = noted.clone();
            let note = move |key: &str, shape: &[i64]| {
                layout.borrow_mut().push(format!("{component}.{key}"), shape);
                Ok(Tensor::zeros(shape, (Kind::Float, Device::Cpu)))
            };
            Weights::made(component, (Device::Cpu, Kind::Float), Rc::new(note))
        })?;
        Ok(layout.take())
    }

    /// Adds a weight at the end.
    pub fn push(&mut self, name: String, shape: &[i64]) {
        let slot = Slot { name, shape: shape.to_vec(), offset: self.total };
        self.total += slot.len();
        self.slots.push(slot);
    }

    /// The weights whose names begin with one of these.
    pub fn only(&self, beginnings: &[&str]) -> Layout {
        let mut some = Layout::default();
        let wanted = |slot: &&Slot| beginnings.iter().any(|beginning| slot.name.starts_with(beginning));
        self.slots.iter().filter(wanted).for_each(|slot| some.push(slot.name.clone(), &slot.shape));
        some
    }

    /// The weights.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many numbers there are in all.
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Fresh numbers on the CPU in f32, `[total]`, drawn from libtorch's generator: uniform within ±1/√(fan-in) for
    /// kernels and matrices (torch's own choice), normal with deviation 0.02 for embeddings, 1 for the scales of norms, 0
    /// for biases and for the last layer of each of the UNet's residual branches (as the CompVis code has it), so that
    /// the network begins as a simple one.
    pub fn fresh(&self) -> Tensor {
        let flat = Tensor::zeros([self.total], (Kind::Float, Device::Cpu));
        for slot in &self.slots {
            let mut view = flat.narrow(0, slot.offset, slot.len());
            let (component, key) = slot.split();
            let closing = [".conv2.weight", ".proj_out.weight"].iter().any(|end| key.ends_with(end));
            if key.ends_with("bias") || component == "unet" && (closing || key == "conv_out.weight") {
                continue;
            } else if key.ends_with("embedding.weight") {
                let _ = view.normal_(0.0, 0.02);
            } else if let [_] = slot.shape[..] {
                let _ = view.fill_(1.0);
            } else {
                let fan_in: i64 = slot.shape[1..].iter().product();
                let bound = 1.0 / (fan_in as f64).sqrt();
                let _ = view.uniform_(-bound, bound);
            }
        }
        flat
    }

    /// The numbers of existing weights, on the CPU in f32, `[total]`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn read(&self, file: impl Fn(&str) -> Result<Arc<WeightFile>>) -> Result<Tensor> {
        let mut files: BTreeMap<String, Arc<WeightFile>> = BTreeMap::new();
        let mut parts = vec![];
        for slot in &self.slots {
            let (component, key) = slot.split();
            if !files.contains_key(component) {
                files.insert(component.to_string(), file(component)?);
            }
            let file = &files[component];
            let Some(entry) = file.entries().get(key) else {
                let (path, name) = (file.path().to_path_buf(), key.to_string());
                return Err(Error::MissingTensor { path, name, expected: slot.shape.clone() });
            };
            if entry.shape.iter().product::<i64>() != slot.len() {
                let (path, name) = (file.path().to_path_buf(), key.to_string());
                let found = entry.shape.clone();
                return Err(Error::WrongShape { path, name, expected: slot.shape.clone(), found });
            }
            parts.push(file.tensor(key, entry)?.to_kind(Kind::Float).reshape([-1]).copy());
        }
        Ok(Tensor::cat(&parts, 0))
    }
}

/// Weights as views of a flat tensor.
#[derive(Debug)]
pub struct Parameters {
    layout: Rc<Layout>,
    flat: Tensor,
    views: Rc<BTreeMap<String, Tensor>>,
}

impl Parameters {
    /// Views of `flat`, `[total]`; with `learning` they gather gradients.
    pub fn new(layout: Rc<Layout>, flat: Tensor, learning: bool) -> Parameters {
        let view = |slot: &Slot| {
            let view = flat.narrow(0, slot.offset, slot.len()).view(slot.shape.as_slice()).detach();
            (slot.name.clone(), view.set_requires_grad(learning))
        };
        let views = Rc::new(layout.slots.iter().map(view).collect());
        Parameters { layout, flat, views }
    }

    /// Which weights these are.
    pub fn layout(&self) -> &Rc<Layout> {
        &self.layout
    }

    /// All numbers, `[total]`.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The weights in the layout's order.
    pub fn views(&self) -> Vec<&Tensor> {
        self.layout.slots.iter().filter_map(|slot| self.views.get(&slot.name)).collect()
    }

    /// The same weights once more, not a copy.
    pub fn shared(&self) -> Parameters {
        Parameters { layout: self.layout.clone(), flat: self.flat.shallow_clone(), views: self.views.clone() }
    }

    /// These weights, or a copy in another precision; with `learning` it gathers gradients of its own.
    pub fn in_kind(&self, kind: Kind, learning: bool) -> Parameters {
        if self.flat.kind() == kind {
            return self.shared();
        }
        let _no_gradients = tch::no_grad_guard();
        Parameters::new(self.layout.clone(), self.flat.to_kind(kind), learning)
    }

    /// Takes over the numbers of weights of the same layout.
    pub fn follow(&self, other: &Parameters) {
        let _no_gradients = tch::no_grad_guard();
        self.flat.shallow_clone().copy_(&other.flat);
    }

    /// These weights, but another's where it has one of the name.
    pub fn with(&self, other: &Parameters) -> Parameters {
        let others = other.views.iter().map(|(name, view)| (name.clone(), view.shallow_clone()));
        let own = self.views.iter().map(|(name, view)| (name.clone(), view.shallow_clone()));
        Parameters { views: Rc::new(own.chain(others).collect()), ..self.shared() }
    }

    /// The weight of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        self.views.get(name).map(Tensor::shallow_clone)
    }

    /// The weight that a module asks for.
    ///
    /// # Errors
    /// When there is none of this shape.
    pub fn get(&self, component: &str, key: &str, shape: &[i64]) -> Result<Tensor> {
        let found = self.find(&format!("{component}.{key}")).filter(|tensor| tensor.size() == shape);
        found.ok_or_else(|| {
            let message = format!("no parameter `{component}.{key}` {shape:?}");
            Error::Invalid { message, hint: None }
        })
    }

    /// A component's weights, for the modules of the pipeline.
    pub fn component(&self, component: &'static str) -> Weights {
        let own = self.shared();
        let make = move |key: &str, shape: &[i64]| own.get(component, key, shape);
        Weights::made(component, (self.flat.device(), self.flat.kind()), Rc::new(make))
    }

    /// A component's weights by key, on the CPU in `kind`.
    pub fn tensors(&self, component: &str, kind: Kind) -> Vec<(String, Tensor)> {
        let own = self.layout.slots.iter().filter(|slot| slot.split().0 == component);
        own.filter_map(|slot| {
            let tensor = self.views.get(&slot.name)?.detach().to_device(Device::Cpu).to_kind(kind);
            Some((slot.split().1.to_string(), tensor.contiguous()))
        })
        .collect()
    }
}
