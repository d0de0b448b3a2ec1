//! Training text encoder and UNet together: to tell the noise in noisy latents, given a caption.
//!
//! Enters: pictures with captions, a trained autoencoder, a tokenizer. Leaves: the rest of the model folder. The pictures'
//! latents are computed once; each step draws samples, timesteps and noise anew.

use super::config::{DiffusionTraining, Samples};
use super::data::Data;
use super::parameters::Parameters;
use super::save;
use super::trainer::Task;
use super::vae::as_input;
use crate::config::{TextConfig, UNetConfig};
use crate::error::{Error, Result};
use crate::model::resolve;
use crate::model::text_encoder::TextEncoder;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{Bytes, WeightFile};
use crate::pipeline::{LoadOptions, Pipeline};
use crate::prompt::tokenizer::Tokenizer;
use crate::scheduler::SchedulerConfig;
use crate::trace::metadata::png_bytes;
use crate::trace::observer::Probe;
use crate::trace::schema::{Decode, Plan};
use crate::trace::writer::write_atomically;
use crate::viz::grid::gallery;
use crate::viz::pixels::BLACK;
use crate::viz::text::TextStyle;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The distribution of the pictures' latents, already multiplied by the scaling factor; `[count, 4, h, w]` each.
#[derive(Debug)]
pub struct Latents {
    /// Mean.
    pub mean: Tensor,
    /// Standard deviation.
    pub deviation: Tensor,
}

impl Latents {
    /// Encodes all pictures, or takes what `cache` has of the same pictures and the same autoencoder.
    ///
    /// # Errors
    /// When libtorch refuses, or the cache cannot be written.
    pub fn of(data: &Data, vae: &Vae, vae_hash: &str, cache: &Path, device: Device) -> Result<Latents> {
        let key = key(data, vae_hash);
        if let Some(found) = read_cache(cache, &key) {
            return Ok(found);
        }
        let _no_gradients = tch::no_grad_guard();
        let (mut means, mut deviations) = (vec![], vec![]);
        let factor = vae.config().scaling_factor;
        for some in data.pictures.split(16, 0) {
            let posterior = vae.encode(&as_input(&some, device), &Probe::silent())?;
            means.push((posterior.mean * factor).to_device(Device::Cpu).contiguous());
            deviations.push(((posterior.logvar * 0.5).exp() * factor).to_device(Device::Cpu).contiguous());
        }
        let latents = Latents { mean: Tensor::cat(&means, 0), deviation: Tensor::cat(&deviations, 0) };
        let tensors = [("deviation", &latents.deviation), ("mean", &latents.mean)];
        let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()));
        save::tensors(cache, &tensors, false, ("key", key))?;
        Ok(latents)
    }
}

/// What latents depend on: the pictures and the autoencoder.
fn key(data: &Data, vae_hash: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(vae_hash);
    for some in data.pictures.split(64, 0) {
        let mut bytes = vec![0; some.numel()];
        some.contiguous().copy_data_u8(&mut bytes, some.numel());
        hash.update(&bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cache(path: &Path, key: &str) -> Option<Latents> {
    let bytes = Bytes::map(path).ok()?;
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes.as_ref()).ok()?;
    if header.metadata().as_ref()?.get("key")? != key {
        return None;
    }
    let file = WeightFile::new(path, bytes).ok()?;
    let tensor = |name: &str| Some(file.tensor(name, file.entries().get(name)?).ok()?.copy());
    Some(Latents { mean: tensor("mean")?, deviation: tensor("deviation")? })
}

/// The captions' ids, `[count, window]`, those of no caption, `[window]`, and how many captions were cut.
///
/// # Errors
/// When the tokenizer refuses a caption.
pub fn token_ids(tokenizer: &Tokenizer, captions: &[String]) -> Result<(Tensor, Tensor, usize)> {
    let mut cut = 0;
    let mut ids = vec![];
    for caption in captions {
        let encoded = tokenizer.encode(caption)?;
        cut += usize::from(encoded.cut.is_some());
        ids.extend(encoded.ids);
    }
    let window = tokenizer.window() as i64;
    let none = Tensor::from_slice(&tokenizer.encode("")?.ids);
    Ok((Tensor::from_slice(&ids).view([captions.len() as i64, window]), none, cut))
}

/// What is known when the learning begins.
pub struct Setting<'a> {
    /// The pictures' latents.
    pub latents: &'a Latents,
    /// The captions' ids, and those of no caption.
    pub ids: (&'a Tensor, &'a Tensor),
    /// How it is trained.
    pub training: &'a DiffusionTraining,
    /// The noise schedule.
    pub scheduler: &'a SchedulerConfig,
    /// What is drawn on the way.
    pub samples: &'a Samples,
    /// Text encoder and UNet, as they are read and as they are written.
    pub text_encoder: (&'a TextConfig, &'a Map<String, Value>),
    /// The UNet's.
    pub unet: (&'a UNetConfig, &'a Map<String, Value>),
    /// Where the model goes.
    pub model: PathBuf,
}

/// Learning to tell the noise.
pub struct DiffusionTask<'a> {
    setting: Setting<'a>,
    text_encoder: TextEncoder,
    unet: UNet,
    /// ᾱ of each training timestep, and the weight of its loss.
    alphas: Tensor,
    weights: Tensor,
    predicts_v: bool,
    device: Device,
}

impl<'a> DiffusionTask<'a> {
    /// From the weights that learn.
    ///
    /// # Errors
    /// When the scheduler's configuration names something that is not implemented here.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> Result<DiffusionTask<'a>> {
        let device = parameters.flat().device();
        let text_encoder = TextEncoder::new(&parameters.component("text_encoder"), setting.text_encoder.0.clone())?;
        let unet = UNet::new(&parameters.component("unet"), setting.unet.0.clone())?;
        let alphas = setting.scheduler.training_alphas()?;
        let predicts_v = match setting.scheduler.prediction_type.as_deref() {
            None | Some("epsilon") => false,
            Some("v_prediction") => true,
            Some(other) => {
                return Err(Error::Unsupported {
                    field: "prediction_type".into(),
                    found: other.into(),
                    place: "the scheduler's configuration".into(),
                    supported: "epsilon, v_prediction".into(),
                });
            }
        };
        let weights: Vec<f32> = alphas.iter().map(|alpha| loss_weight(*alpha, setting.training, predicts_v)).collect();
        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers).to_device(device);
        let (alphas, weights) = (tensor(&alphas), tensor(&weights));
        Ok(DiffusionTask { setting, text_encoder, unet, alphas, weights, predicts_v, device })
    }
}

/// The weight of a noise level's loss: its signal-to-noise ratio, held between two bounds, over what the loss would weigh
/// on the predicted picture anyway: the ratio for noise prediction, one more for v (Hang et al. 2023, section 3.4).
fn loss_weight(alpha: f32, training: &DiffusionTraining, predicts_v: bool) -> f32 {
    let snr = f64::from(alpha) / (1.0 - f64::from(alpha));
    let bounded = snr.min(training.snr_most).max(training.snr_least);
    (bounded / if predicts_v { snr + 1.0 } else { snr }) as f32
}

impl Task for DiffusionTask<'_> {
    fn loss(&self) -> Result<(Tensor, Vec<(&'static str, Tensor)>)> {
        let (training, silent) = (self.setting.training, Probe::silent());
        let batch = training.course.batch;
        let count = self.setting.latents.mean.size()[0];
        let host = |kind| (kind, Device::Cpu);
        // Everything random comes from the CPU's generator, whatever the device, in this order.
        let which = Tensor::randint(count, [batch], host(Kind::Int64));
        let mean = self.setting.latents.mean.index_select(0, &which);
        let clean = mean.randn_like() * self.setting.latents.deviation.index_select(0, &which) + mean;
        let mut noise = clean.randn_like();
        if training.offset_noise > 0.0 {
            noise += Tensor::randn([batch, clean.size()[1], 1, 1], host(Kind::Float)) * training.offset_noise;
        }
        // One timestep from each of `batch` equal parts of the schedule: the loss scatters less.
        let steps = self.alphas.size()[0];
        let part = (Tensor::arange(batch, host(Kind::Float)) + Tensor::rand([batch], host(Kind::Float))) / batch as f64;
        let timesteps = (part * steps as f64).floor().clamp(0.0, (steps - 1) as f64);
        let dropped = Tensor::rand([batch, 1], host(Kind::Float)).lt(training.drop_captions);
        let ids = self.setting.ids.1.where_self(&dropped, &self.setting.ids.0.index_select(0, &which));

        let here = |t: &Tensor| t.to_device(self.device);
        let (clean, noise, timesteps) = (here(&clean), here(&noise), here(&timesteps));
        let index = timesteps.to_kind(Kind::Int64);
        let alpha = self.alphas.index_select(0, &index).view([batch, 1, 1, 1]);
        let (signal, rest) = (alpha.sqrt(), (&alpha.ones_like() - &alpha).sqrt());
        let noisy = &signal * &clean + &rest * &noise;
        let target = if self.predicts_v { &signal * &noise - &rest * &clean } else { noise };
        let context = self.text_encoder.forward(&here(&ids), &silent)?;
        let error = self.unet.forward(&noisy, &timesteps, &context, &silent)? - target;
        let per_picture = error.square().mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
        let plain = per_picture.mean(Kind::Float).detach();
        Ok(((per_picture * self.weights.index_select(0, &index)).mean(Kind::Float), vec![("unweighted", plain)]))
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let setting = &self.setting;
        for (component, json) in [("text_encoder", setting.text_encoder.1), ("unet", setting.unet.1)] {
            save::component(&setting.model, component, json, &averaged.tensors(component, Kind::Float))?;
        }
        save::index(&setting.model, setting.scheduler.class_name.as_deref().unwrap_or("PNDMScheduler"))?;
        let pictures = draw(&setting.model, setting.samples, self.device)?;
        if pictures.is_empty() {
            return Ok(vec![]);
        }
        let sheet = gallery(&pictures, 8, 2, &TextStyle::new(14.0, BLACK));
        write_atomically(&folder.join(format!("samples-{step:06}.png")), &png_bytes(&sheet)?)?;
        Ok(vec![])
    }
}

/// Draws the sample prompts with the model as it is in its folder: what a user will see.
fn draw(model: &Path, samples: &Samples, device: Device) -> Result<Vec<(String, image::RgbImage)>> {
    if samples.prompts.is_empty() {
        return Ok(vec![]);
    }
    let choice = resolve::resolve(Some(&model.display().to_string()))?;
    let pipeline = Pipeline::load(&choice, LoadOptions { device, ..LoadOptions::default() })?;
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
    Ok(pictures)
}
