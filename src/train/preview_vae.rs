//! Training a preview decoder: a small network that learns what a model's own decoder makes of latents.
//!
//! Enters: a model, captioned pictures. Leaves: `model/preview_vae/`, the decoder of an `AutoencoderTiny` in half precision,
//! which `--preview-vae` takes.

use super::config::PreviewTraining;
use super::folder;
use super::parameters::{Layout, Parameters};
use super::preview_pool::{KINDS, Pool};
use super::save;
use super::stages::{Done, Say, TrainRequest, settings};
use super::trainer::{Lesson, Task, samples_file};
use super::vae::{Weighed, picture_loss};
use crate::error::{Error, Result};
use crate::files::atomic::write_atomically;
use crate::model::components::PREVIEW_VAE;
use crate::model::config::{Config, TINY_CLASS, TinyConfig};
use crate::model::resolve;
use crate::model::tiny_vae::TinyDecoder;
use crate::pipeline::preview::{LINEAR, Preview};
use crate::pipeline::start::to_picture;
use crate::pipeline::{LoadOptions, Pipeline};
use crate::viz::distance::psnr;
use crate::viz::pixels::{WHITE, side_by_side, stacked};
use crate::watch::probe::Probe;
use image::RgbImage;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// Pairs that are shown on the way.
const SHOWN: usize = 9;

/// Learning to decode.
struct PreviewTask<'a> {
    decoder: TinyDecoder,
    pool: &'a Pool,
    held: &'a Pool,
    /// The linear map of the same model, to compare with.
    linear: &'a Preview,
    training: &'a PreviewTraining,
    config: &'a TinyConfig,
    json: &'a Map<String, Value>,
    device: Device,
    model: PathBuf,
}

impl Task for PreviewTask<'_> {
    fn learn(&mut self, weights: &[&Tensor]) -> Result<Lesson> {
        let batch = [self.training.course.batch];
        let places = Tensor::f_randint(self.pool.len(), batch, (Kind::Int64, Device::Cpu))?;
        let (latents, pictures) = self.pool.pairs(&places, self.device);
        let error = self.decoder.forward(&latents, &Probe::silent())? - pictures;
        let PreviewTraining { absolute, squared, edges, .. } = *self.training;
        let Weighed { loss, absolute, squared } = picture_loss(&error, (absolute, squared, edges));
        Lesson::of((loss, vec![("absolute", absolute.detach()), ("squared", squared.detach())]), weights)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let decoder = TinyDecoder::new(&(averaged.component(PREVIEW_VAE.name) / "decoder"), self.config)?;
        let (mut columns, mut sums) = (vec![], [[0.0; 2]; KINDS.len()]);
        for place in 0..self.held.len() {
            let (latents, truth) = self.held.pairs(&Tensor::from_slice(&[place]), self.device);
            let picture = |t: &Tensor| to_picture(&(t / 2.0 + 0.5).clamp(0.0, 1.0));
            let own = picture(&truth)?;
            let guesses = [picture(&decoder.forward(&latents, &Probe::silent())?)?, self.linear.decode(&latents)?];
            for (sum, guess) in sums[place as usize % KINDS.len()].iter_mut().zip(&guesses) {
                *sum += psnr(&own, guess).unwrap_or_default();
            }
            if columns.len() < SHOWN {
                let [tiny, linear] = guesses;
                columns.push(stacked(&[own, tiny, linear], 4, WHITE));
            }
        }
        let sheet: RgbImage = side_by_side(&columns, 4, WHITE);
        write_atomically(&folder.join(samples_file(step)), &crate::trace::metadata::png_bytes(&sheet)?)?;
        let weights = averaged.tensors(PREVIEW_VAE.name, Kind::Float);
        save::component(&self.model, &PREVIEW_VAE, self.json, &weights)?;
        let each = (self.held.len() as f64 / KINDS.len() as f64).max(1.0);
        let names = [["clean", "linear_clean"], ["noised", "linear_noised"], ["predicted", "linear_predicted"]];
        Ok(names.into_iter().flatten().zip(sums.into_iter().flatten().map(|sum| sum / each)).collect())
    }
}

/// Trains a preview decoder for a model; it is left in `model/preview_vae/`.
///
/// # Errors
/// When the data, the model or the configuration cannot be used, a file cannot be written, or the loss is not finite.
pub fn preview_vae(request: &TrainRequest, say: Say) -> Result<Done> {
    let training = &request.config.preview_vae;
    let choice = resolve::resolve(request.init)?;
    check_free(request)?;
    let options = LoadOptions { device: request.device, ..LoadOptions::default() };
    let pipeline = Pipeline::load(&choice, options)?;
    let own = pipeline.vae.config();
    let stages = own.block_out_channels.len();
    let json = config(training, own.latent_channels, stages)?;
    let config =
        TinyConfig::parse(&Value::Object(json.clone()).to_string(), Path::new("the training's configuration"))?;
    let data = request.data(pipeline.native_size() as i64, say)?;
    let (there, held) = (data.captions.len() as i64, training.held_back as i64);
    if held >= there {
        return Err(Error::invalid(
            format!("`preview_vae.held_back` is {held} of {there} pictures: none is left to learn from"),
            "set it lower, or give more pictures",
        ));
    }
    // Only now: one that is refused leaves no folder behind that would count as a training's.
    let folder = request.folder(PREVIEW_VAE.name)?;
    let count = (there - held).min(training.pictures as i64);
    say(&format!("{count} pictures and {held} held back, each decoded three times by the model's own decoder"));
    let seed = request.seed as i64;
    let pool = Pool::of(&pipeline, &data, (0, count), seed, |_| ())?;
    let held = Pool::of(&pipeline, &data, (there - held, held), seed.wrapping_add(1), |_| ())?;
    let linear = Preview::load(LINEAR, &choice.files, &pipeline.vae, (request.device, Kind::Float))?;
    let place = |at: crate::model::weights::Weights| TinyDecoder::new(&(at / "decoder"), &config);
    let layout = Rc::new(Layout::of(|at| place(at(PREVIEW_VAE.name)).map(drop))?);
    say(&format!("preview decoder: {} parameters", layout.total()));
    let settings = settings(PREVIEW_VAE.name, request.seed, json!([training, choice.id]), &[&json]);
    let trainer = request.trainer(&folder, &training.course, settings);
    let model = request.model();
    let trained = trainer.run(
        &layout,
        || request.begin(&layout, None),
        request.device,
        |parameters| {
            let (decoder, model) = (place(parameters.component(PREVIEW_VAE.name))?, model.clone());
            let (pool, held, linear) = (&pool, &held, &linear);
            let (config, json, device) = (&config, &json, request.device);
            Ok(PreviewTask { decoder, pool, held, linear, training, config, json, device, model })
        },
    )?;
    Ok(Done { learned: model.join(PREVIEW_VAE.name), folder, step: trained.step, stopped: trained.stopped })
}

/// Refuses to write over a preview decoder that no training here made.
fn check_free(request: &TrainRequest) -> Result<()> {
    let there = request.model().join(PREVIEW_VAE.config);
    if there.exists() && !folder::is_known(&request.out.join(PREVIEW_VAE.name)) {
        return Err(Error::invalid(
            format!("`{}` was not trained here, and would be overwritten", there.display()),
            "name another folder with `--out`",
        ));
    }
    Ok(())
}

/// Its `config.json`.
fn config(training: &PreviewTraining, latents: i64, stages: usize) -> Result<Map<String, Value>> {
    if training.blocks.len() != stages {
        let found = training.blocks.len();
        return Err(Error::invalid(
            format!("`preview_vae.blocks` has {found} stages, the model's decoder {stages}"),
            "give one number of blocks for each stage",
        ));
    }
    let widths = vec![training.width; stages];
    let config = json!({
        "_class_name": TINY_CLASS,
        "act_fn": "relu",
        "decoder_block_out_channels": widths,
        "encoder_block_out_channels": widths,
        "in_channels": 3,
        "latent_channels": latents,
        "num_decoder_blocks": training.blocks,
        "num_encoder_blocks": vec![1; stages],
        "out_channels": 3,
        "scaling_factor": 1.0,
        "upsample_fn": "nearest",
        "upsampling_scaling_factor": 2,
    });
    Ok(config.as_object().cloned().unwrap_or_default())
}
