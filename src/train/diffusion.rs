//! Training text encoder and UNet together, every weight of them.
//!
//! Enters: what the loss is computed from. Leaves: the rest of the model folder, and sample grids that are drawn with it.

use super::config::{DiffusionTraining, Samples};
use super::noise::{Batch, NoiseLoss};
use super::parameters::Parameters;
use super::save;
use super::trainer::{Lesson, Task, samples_file};
use super::workers::{self, Seen};
use crate::error::Result;
use crate::files::atomic::write_atomically;
use crate::model::components::{TEXT_ENCODER, UNET};
use crate::model::config::{TextConfig, UNetConfig};
use crate::model::resolve::{self, ModelChoice};
use crate::model::text_encoder::TextEncoder;
use crate::model::unet::UNet;
use crate::pipeline::{LoadOptions, Pipeline};
use crate::record::plan::{Decode, Plan};
use crate::trace::metadata::png_bytes;
use crate::viz::grid::gallery;
use crate::viz::pixels::BLACK;
use crate::viz::text::TextStyle;
use crate::watch::probe::Probe;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// What is known when the learning begins.
pub struct Setting<'a> {
    /// What the loss is computed from.
    pub noise: NoiseLoss<'a>,
    /// What is drawn on the way.
    pub samples: &'a Samples,
    /// The text encoder's configuration, as it is read and as it is written.
    pub text_encoder: (&'a TextConfig, &'a Map<String, Value>),
    /// The UNet's.
    pub unet: (&'a UNetConfig, &'a Map<String, Value>),
    /// The scheduler's class, for the model's index.
    pub scheduler: String,
    /// Where the model goes.
    pub model: PathBuf,
}

/// Learning to tell the noise.
pub struct DiffusionTask<'a> {
    setting: Setting<'a>,
    seen: Seen,
    workers: Vec<Worker>,
    device: Device,
}

/// One of the threads that share a batch.
struct Worker {
    text_encoder: TextEncoder,
    unet: UNet,
    /// The weights of both, in the layout's order; shared with the other workers.
    weights: Vec<Tensor>,
}

impl Worker {
    fn learn(&self, part: &Batch) -> Result<Lesson> {
        Lesson::of(part.loss(&self.text_encoder, &self.unet)?, &self.weights)
    }
}

impl<'a> DiffusionTask<'a> {
    /// From the weights that learn.
    ///
    /// # Errors
    /// When the configurations ask for other weights than there are.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> Result<DiffusionTask<'a>> {
        let device = parameters.flat().device();
        let DiffusionTraining { course, workers, dtype, .. } = setting.noise.training();
        let seen = Seen::of(parameters, dtype.kind());
        let parameters = seen.weights();
        let worker = |_| {
            let text_encoder = TextEncoder::new(&parameters.component("text_encoder"), setting.text_encoder.0.clone())?;
            let unet = UNet::new(&parameters.component("unet"), setting.unet.0.clone())?;
            let weights = parameters.views().into_iter().map(Tensor::shallow_clone).collect();
            Ok(Worker { text_encoder, unet, weights })
        };
        let count = workers::count(*workers, course.batch, device);
        let workers = (0..count).map(worker).collect::<Result<_>>()?;
        Ok(DiffusionTask { setting, seen, workers, device })
    }
}

impl Task for DiffusionTask<'_> {
    fn learn(&mut self, _: &[&Tensor]) -> Result<Lesson> {
        self.seen.follow();
        let batch = self.setting.noise.batch()?;
        let parts = batch.split(self.workers.len() as i64);
        workers::share(&mut self.workers, parts, Batch::pictures, Worker::learn)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let setting = &self.setting;
        for (component, json) in [(&TEXT_ENCODER, setting.text_encoder.1), (&UNET, setting.unet.1)] {
            save::component(&setting.model, component, json, &averaged.tensors(component.name, Kind::Float))?;
        }
        save::about(&setting.model, setting.samples.guidance_scale)?;
        save::index(&setting.model, &setting.scheduler)?;
        let choice = resolve::resolve(Some(&setting.model.display().to_string()))?;
        let options = LoadOptions { device: self.device, ..LoadOptions::default() };
        draw_samples(&choice, options, setting.samples, &folder.join(samples_file(step)))?;
        Ok(vec![])
    }
}

/// Draws the sample prompts with a model as it is on disk, which is what a user will see, and puts them on one sheet.
///
/// # Errors
/// When the model cannot be loaded, or the sheet cannot be written.
pub fn draw_samples(choice: &ModelChoice, options: LoadOptions, samples: &Samples, sheet: &Path) -> Result<()> {
    let pipeline = Pipeline::load(choice, options)?;
    let mut pictures = vec![];
    for (i, prompt) in samples.prompts.iter().enumerate() {
        let mut plan = Plan {
            prompt: prompt.clone(),
            seed: samples.seed + i as u64,
            steps: samples.steps,
            guidance_scale: samples.guidance_scale,
            scheduler: samples.scheduler.clone(),
            width: 0,
            height: 0,
            record: vec![],
            decode: Decode::Final,
            ..Plan::default()
        };
        pipeline.complete(&mut plan)?;
        let outcome = pipeline.generate(&plan, &Probe::silent())?;
        pictures.extend(outcome.images.into_iter().map(|image| (prompt.clone(), image)));
    }
    let picture = gallery(&pictures, 8, 2, &TextStyle::new(14.0, BLACK));
    write_atomically(sheet, &png_bytes(&picture)?)
}
