//! The reservoir: a run's steps kept in memory, for programs and notebooks that look at them at once. It keeps every step
//! it was asked for; nothing is sampled or dropped.
//!
//! Enters: events. Leaves: the tensors and pictures, as they came or as a [`Run`], which everything that is drawn takes.

use crate::error::{Error, Result};
use crate::record::plan::{Decode, Plan, Quantity};
use crate::record::schema::{RunRecord, START_SITES};
use crate::trace::attention_log::AttentionLog;
use crate::trace::memory::Memory;
use crate::trace::reader::Run;
use crate::trace::shapes::ShapeLog;
use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
use crate::watch::site::{Branch, Grid};
use image::RgbImage;
use ndarray::Array4;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Keeps what it is shown.
#[derive(Debug)]
pub struct Reservoir {
    /// What is kept of each step.
    pub record: Vec<Quantity>,
    /// Which steps are decoded.
    pub decode: Decode,
    /// What is decoded of them.
    pub decode_what: Vec<Quantity>,
    /// The latents of each step, `[batch, 4, height/8, width/8]`, f32 on the CPU; the first are the starting latents.
    pub latents_reservoir: Vec<Tensor>,
    /// The decoded pictures of each step that was decoded: the step's number, and a picture per batch item.
    pub image_reservoir: Vec<(usize, Vec<RgbImage>)>,
    /// The same of the predicted originals, where those are decoded.
    pub predicted_reservoir: Vec<(usize, Vec<RgbImage>)>,
    /// Everything else that was asked for, by quantity: the step's number and the tensor.
    pub quantities: BTreeMap<Quantity, Vec<(usize, Tensor)>>,
    /// The finished pictures.
    pub images: Vec<RgbImage>,
    /// The run's record, once it has begun.
    pub run: Option<RunRecord>,
    /// The shape log, if one is kept.
    shapes: Option<ShapeLog>,
    /// Attention, if the run keeps it, and its files by their paths in a run directory.
    attention: AttentionLog,
    files: BTreeMap<String, Vec<u8>>,
    /// The steps that came.
    steps: Vec<usize>,
    /// What the run begins with beside the latents, and the step in whose file it stands.
    begun_with: Vec<(usize, &'static str, Tensor)>,
}

impl Reservoir {
    /// Keeps these quantities of each step, and decodes these steps.
    pub fn new(record: &[Quantity], decode: Decode) -> Reservoir {
        Reservoir {
            record: record.to_vec(),
            decode,
            decode_what: vec![Quantity::Latents],
            latents_reservoir: vec![],
            image_reservoir: vec![],
            predicted_reservoir: vec![],
            quantities: BTreeMap::new(),
            images: vec![],
            run: None,
            shapes: None,
            attention: AttentionLog::default(),
            files: BTreeMap::new(),
            steps: vec![],
            begun_with: vec![],
        }
    }

    /// Keeps what a plan says, and the shape log if `shapes` is given.
    pub fn of(plan: &Plan, shapes: bool) -> Reservoir {
        let decode_what = plan.decode_what.clone();
        let shapes = shapes.then(ShapeLog::default);
        Reservoir { decode_what, shapes, ..Reservoir::new(&plan.record, plan.decode) }
    }

    /// What was kept, as a run that can be read; `None` if it never began.
    ///
    /// # Errors
    /// When a tensor does not have four dimensions.
    pub fn into_run(self) -> Result<Option<Run>> {
        let Some(record) = self.run else { return Ok(None) };
        let mut steps: BTreeMap<usize, BTreeMap<&'static str, Array4<f32>>> =
            self.steps.iter().map(|step| (*step, BTreeMap::new())).collect();
        let latents = self.steps.into_iter().zip(self.latents_reservoir);
        let latents = latents.map(|(step, tensor)| (step, Quantity::Latents.key(), tensor));
        let others = self.quantities.into_iter().flat_map(|(what, all)| {
            all.into_iter().map(move |(step, tensor)| (step, what.key(), tensor)).collect::<Vec<_>>()
        });
        for (step, key, tensor) in latents.chain(others).chain(self.begun_with) {
            steps.entry(step).or_default().insert(key, array(&tensor)?);
        }
        let mut pictures = BTreeMap::new();
        let decoded =
            [(Quantity::Latents, self.image_reservoir), (Quantity::PredictedOriginal, self.predicted_reservoir)];
        for (what, of_steps) in decoded {
            for (step, batch) in of_steps {
                pictures.extend(batch.into_iter().enumerate().map(|(item, picture)| ((step, what, item), picture)));
            }
        }
        let shapes = self.shapes.map_or(vec![], |log| log.rows);
        Run::in_memory(Memory { record, steps, pictures, finished: self.images, files: self.files, shapes }).map(Some)
    }

    /// Keeps what is known of attention only at the end.
    ///
    /// # Errors
    /// When a tensor is refused.
    pub fn end_attention(&mut self) -> Result<()> {
        if let Some(file) = self.attention.mean_file() {
            self.files.insert(file.name.clone(), file.bytes()?);
        }
        Ok(())
    }

    fn keep(&mut self, step: &Step) -> Result<()> {
        for file in self.attention.files(step.index, step.timestep) {
            self.files.insert(file.name.clone(), file.bytes()?);
        }
        self.steps.push(step.index);
        for (what, tensor) in step.tensors.iter().filter(|(what, _)| self.record.contains(what)) {
            let copy = on_cpu(tensor);
            match what {
                Quantity::Latents => self.latents_reservoir.push(copy),
                _ => self.quantities.entry(*what).or_default().push((step.index, copy)),
            }
        }
        for (what, pictures) in step.pictures.iter().filter(|(what, _)| self.decode_what.contains(what)) {
            let reservoir = match what {
                Quantity::PredictedOriginal => &mut self.predicted_reservoir,
                _ => &mut self.image_reservoir,
            };
            reservoir.push((step.index, pictures.clone()));
        }
        Ok(())
    }
}

impl Default for Reservoir {
    /// The latents of each step, every one decoded.
    fn default() -> Self {
        Reservoir::new(&[Quantity::Latents], Decode::Every(1))
    }
}

impl Observer for Reservoir {
    fn wants(&self, ask: Ask) -> bool {
        match ask {
            Ask::Quantity(what, _) => self.record.contains(&what),
            Ask::Picture { what, step, last } => self.decode_what.contains(&what) && self.decode.includes(step, last),
            Ask::Site(name, _) => {
                let begins = self.record.contains(&Quantity::Latents) && START_SITES.contains(&name);
                begins || self.shapes.as_ref().is_some_and(|log| log.wants(ask)) || self.attention.wants(ask)
            }
        }
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        self.attention.wants_branch(branch)
    }

    fn wants_queries(&self, site: &str, step: usize, grid: Grid) -> Option<Vec<i64>> {
        self.attention.wants_queries(site, step, grid)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Some(log) = &mut self.shapes {
            log.on_event(event)?;
        }
        self.attention.on_event(event)?;
        match event {
            Event::Begin(record) => self.run = Some((*record).clone()),
            Event::Step(step) => self.keep(step)?,
            Event::Finished(images) => self.images = images.to_vec(),
            Event::Tensor(site, tensor) => {
                let known = START_SITES.into_iter().find(|name| *name == site.name);
                if let Some(key) = known.filter(|_| self.record.contains(&Quantity::Latents)) {
                    // It comes before the step that it belongs to.
                    let step = self.steps.last().map_or(0, |last| last + 1);
                    self.begun_with.push((step, key, on_cpu(tensor)));
                }
            }
        }
        Ok(Flow::Continue)
    }
}

fn on_cpu(tensor: &Tensor) -> Tensor {
    tensor.to_device(Device::Cpu).to_kind(Kind::Float).copy()
}

/// A tensor `[batch, channels, height, width]` as an array of its numbers in f32.
///
/// # Errors
/// When it does not have four dimensions.
pub fn array(tensor: &Tensor) -> Result<Array4<f32>> {
    let (b, c, h, w) = tensor.size4()?;
    let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    let shape = (b as usize, c as usize, h as usize, w as usize);
    Array4::from_shape_vec(shape, Vec::try_from(&flat)?).map_err(|error| Error::Torch(error.to_string()))
}
