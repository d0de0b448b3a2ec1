//! Training text encoder and UNet together, every weight of them.
//!
//! Enters: what the loss is computed from. Leaves: the rest of the model folder, and sample grids that are drawn with it.

use super::config::Samples;
use super::noise::NoiseLoss;
use super::parameters::Parameters;
use super::save;
use super::trainer::Task;
use crate::config::{TextConfig, UNetConfig};
use crate::error::Result;
use crate::model::resolve::{self, ModelChoice};
use crate::model::text_encoder::TextEncoder;
use crate::model::unet::UNet;
use crate::pipeline::{LoadOptions, Pipeline};
use crate::trace::metadata::png_bytes;
use crate::trace::observer::Probe;
use crate::trace::schema::{Decode, Plan};
use crate::trace::writer::write_atomically;
use crate::viz::grid::gallery;
use crate::viz::pixels::BLACK;
use crate::viz::text::TextStyle;
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
    text_encoder: TextEncoder,
    unet: UNet,
    device: Device,
}

impl<'a> DiffusionTask<'a> {
    /// From the weights that learn.
    ///
    /// # Errors
    /// When the configurations ask for other weights than there are.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> Result<DiffusionTask<'a>> {
        let text_encoder = TextEncoder::new(&parameters.component("text_encoder"), setting.text_encoder.0.clone())?;
        let unet = UNet::new(&parameters.component("unet"), setting.unet.0.clone())?;
        Ok(DiffusionTask { setting, text_encoder, unet, device: parameters.flat().device() })
    }
}

impl Task for DiffusionTask<'_> {
    fn loss(&self) -> Result<(Tensor, Vec<(&'static str, Tensor)>)> {
        self.setting.noise.of(&self.text_encoder, &self.unet)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let setting = &self.setting;
        for (component, json) in [("text_encoder", setting.text_encoder.1), ("unet", setting.unet.1)] {
            save::component(&setting.model, component, json, &averaged.tensors(component, Kind::Float))?;
        }
        save::index(&setting.model, &setting.scheduler)?;
        let choice = resolve::resolve(Some(&setting.model.display().to_string()))?;
        let options = LoadOptions { device: self.device, ..LoadOptions::default() };
        draw_samples(&choice, options, setting.samples, &folder.join(format!("samples-{step:06}.png")))?;
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
