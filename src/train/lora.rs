//! Training a LoRA: the model's weights stay, and beside chosen layers two small matrices learn (Hu et al. 2021).
//!
//! Enters: a model, what the loss is computed from. Leaves: a LoRA file in diffusers' naming. The modules are built anew
//! at each step from W + alpha / rank · up · down, so that gradients reach `up` and `down` through the very layers that
//! draw.

use super::config::{LoraTraining, Samples};
use super::diffusion::draw_samples;
use super::noise::NoiseLoss;
use super::parameters::{Layout, Parameters};
use super::trainer::{Lesson, Task, samples_file};
use crate::error::{Error, Result};
use crate::model::components;
use crate::model::config::{TextConfig, UNetConfig};
use crate::model::lora::LoraChoice;
use crate::model::lora::write::{self, Trained};
use crate::model::resolve::ModelChoice;
use crate::model::text_encoder::TextEncoder;
use crate::model::unet::UNet;
use crate::model::weights::Weights;
use crate::pipeline::LoadOptions;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// The two matrices of each chosen layer of `base`, the model's own weights. A layer is chosen when its path ends in one
/// of `targets`, as in peft.
///
/// # Errors
/// When none is.
pub fn layout(base: &Layout, rank: i64, targets: &[String]) -> Result<Layout> {
    let mut layout = Layout::default();
    for slot in base.slots() {
        let Some(layer) = slot.name.strip_suffix(".weight").filter(|_| [2, 4].contains(&slot.shape.len())) else {
            continue;
        };
        if targets.iter().any(|target| layer.ends_with(&format!(".{target}"))) {
            let (mut down, mut up) = (slot.shape.clone(), vec![slot.shape[0], rank]);
            down[0] = rank;
            up.resize(slot.shape.len(), 1);
            layout.push(format!("{layer}.down"), &down);
            layout.push(format!("{layer}.up"), &up);
        }
    }
    if layout.slots().is_empty() {
        return Err(Error::invalid(
            format!("`lora.targets` chooses no layer: {}", targets.join(", ")),
            "name the ends of layers' paths, for example \"to_q\", \"to_v\"",
        ));
    }
    Ok(layout)
}

/// The first numbers: `down` normal with deviation 1 / rank, `up` 0, so that at first nothing is added.
pub fn fresh(layout: &Layout, rank: i64) -> Tensor {
    let flat = Tensor::zeros([layout.total()], (Kind::Float, Device::Cpu));
    for slot in layout.slots().iter().filter(|slot| slot.name.ends_with(".down")) {
        let _ = flat.narrow(0, slot.offset, slot.len()).normal_(0.0, 1.0 / rank as f64);
    }
    flat
}

/// What is known when the learning begins.
pub struct Setting<'a> {
    /// What the loss is computed from.
    pub noise: NoiseLoss<'a>,
    /// How it is trained.
    pub training: &'a LoraTraining,
    /// What is drawn on the way.
    pub samples: &'a Samples,
    /// The model, for the samples.
    pub choice: &'a ModelChoice,
    /// Its weights.
    pub base: Parameters,
    /// The configurations.
    pub text_encoder: TextConfig,
    /// The UNet's.
    pub unet: UNetConfig,
    /// Where the LoRA goes.
    pub file: PathBuf,
}

/// Learning what to add.
pub struct LoraTask<'a> {
    setting: Setting<'a>,
    learned: Parameters,
}

impl<'a> LoraTask<'a> {
    /// From the matrices that learn.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> LoraTask<'a> {
        LoraTask { setting, learned: parameters.shared() }
    }

    /// A component's weights with what was learned in them.
    fn component(&self, component: &'static str) -> Weights {
        let scale = self.setting.training.alpha / self.setting.training.rank as f64;
        let (base, learned) = (self.setting.base.shared(), self.learned.shared());
        let make = move |key: &str, shape: &[i64]| {
            let weight = base.get(component, key, shape)?;
            let Some(layer) = key.strip_suffix(".weight") else { return Ok(weight) };
            let part = |part: &str| learned.find(&format!("{component}.{layer}.{part}"));
            let (Some(down), Some(up)) = (part("down"), part("up")) else { return Ok(weight) };
            let delta = up.reshape([up.size()[0], -1]).f_matmul(&down.reshape([down.size()[0], -1]))?;
            Ok(weight + delta.reshape(shape) * scale)
        };
        Weights::made(component, (self.learned.flat().device(), Kind::Float), Rc::new(make))
    }
}

impl Task for LoraTask<'_> {
    fn learn(&mut self, weights: &[&Tensor]) -> Result<Lesson> {
        let text_encoder = TextEncoder::new(&self.component("text_encoder"), self.setting.text_encoder.clone())?;
        let unet = UNet::new(&self.component("unet"), self.setting.unet.clone())?;
        Lesson::of(self.setting.noise.of(&text_encoder, &unet)?, weights)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let setting = &self.setting;
        let mut layers = vec![];
        for slot in averaged.layout().slots() {
            let Some(name) = slot.name.strip_suffix(".down") else { continue };
            let (component, layer) = name.split_once('.').unwrap_or_default();
            let (component, layer) = (components::named(component)?.name, layer.to_string());
            if let (Some(down), Some(up)) = (averaged.find(&slot.name), averaged.find(&format!("{name}.up"))) {
                layers.push(Trained { component, layer, down, up });
            }
        }
        write::write(&setting.file, &layers, setting.training.alpha)?;
        let loras = vec![LoraChoice { path: setting.file.clone(), weight: 1.0 }];
        let options = LoadOptions { device: averaged.flat().device(), loras, ..LoadOptions::default() };
        draw_samples(setting.choice, options, setting.samples, &folder.join(samples_file(step)))?;
        Ok(vec![])
    }
}
