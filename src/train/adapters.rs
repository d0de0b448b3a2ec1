//! Teaching a model a new thing: a LoRA, or an embedding. The model itself stays as it is.
//!
//! Enters: a model, a handful of captioned pictures, a configuration. Leaves: in the folder of the training a file to draw
//! with, and `lora/` or `embedding/` with checkpoint, log and samples.

use super::config::DiffusionTraining;
use super::data::Data;
use super::embedding::{self, EmbeddingTask};
use super::lora::{self, LoraTask};
use super::noise::NoiseLoss;
use super::parameters::Parameters;
use super::stages::{Done, Say, Subject, TrainRequest, both, component, settings};
use crate::error::{Error, Result};
use crate::model::components::{TEXT_ENCODER, UNET, VAE};
use crate::model::config::{TextConfig, UNetConfig, VaeConfig};
use crate::model::index;
use crate::model::resolve::{self, ModelChoice};
use crate::model::tokenizer::Tokenizer;
use crate::scheduler::SchedulerConfig;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::rc::Rc;

/// A model that is taught, and the pictures it is taught with.
struct Pupil {
    choice: ModelChoice,
    unet: (UNetConfig, Map<String, Value>),
    text_encoder: (TextConfig, Map<String, Value>),
    vae: VaeConfig,
    scheduler: SchedulerConfig,
    tokenizer: Tokenizer,
    data: Data,
    folder: PathBuf,
    /// The model's own weights, which stay.
    base: Parameters,
}

impl Pupil {
    fn open(request: &TrainRequest, stage: &str, say: Say) -> Result<Pupil> {
        let choice = resolve::resolve(request.init)?;
        let files = &choice.files;
        let unet: (UNetConfig, _) = component(Some(files), UNET.config, &Map::new())?;
        let text_encoder: (TextConfig, _) = component(Some(files), TEXT_ENCODER.config, &Map::new())?;
        let vae: VaeConfig = files.config(&VAE)?;
        let scheduler = index::scheduler(files)?;
        let folder = request.folder(stage)?;
        let data = request.data(unet.0.sample_size * vae.scale_factor() as i64, say)?;
        let tokenizer = Tokenizer::of_model(files, &text_encoder.0)?;
        let layout = Rc::new(both(&text_encoder.0, &unet.0)?);
        let weights = request.begin(&layout, Some(files))?.to_device(request.device);
        let base = Parameters::new(layout, weights, false);
        Ok(Pupil { choice, unet, text_encoder, vae, scheduler, tokenizer, data, folder, base })
    }

    fn noise<'a>(&self, request: &TrainRequest, training: &'a DiffusionTraining, say: Say) -> Result<NoiseLoss<'a>> {
        let subject = Subject { data: &self.data, vae: (&self.choice.files, self.vae.clone()), folder: &self.folder };
        subject.noise(request, &self.tokenizer, training, &self.scheduler, say)
    }
}

/// Trains a LoRA; it is left as `lora.safetensors`.
///
/// # Errors
/// When the data, the model or the configuration cannot be used, a file cannot be written, or the loss is not finite.
pub fn lora(request: &TrainRequest, say: Say) -> Result<Done> {
    let training = &request.config.lora;
    let pupil = Pupil::open(request, "lora", say)?;
    let noise = pupil.noise(request, &training.noise, say)?;
    let layout = Rc::new(lora::layout(pupil.base.layout(), training.rank, &training.targets)?);
    say(&format!("LoRA: {} parameters beside {}", layout.total(), pupil.base.layout().total()));
    let settings = settings("lora", request.seed, json!(training), &[&pupil.text_encoder.1, &pupil.unet.1]);
    let trainer = request.trainer(&pupil.folder, &training.noise.course, settings);
    let (samples, file) = (request.personal_samples(&pupil.data), request.out.join("lora.safetensors"));
    let setting = lora::Setting {
        noise,
        training,
        samples: &samples,
        choice: &pupil.choice,
        base: pupil.base.shared(),
        text_encoder: pupil.text_encoder.0.clone(),
        unet: pupil.unet.0.clone(),
        file: file.clone(),
    };
    let begin = || {
        tch::manual_seed(request.seed as i64);
        Ok(lora::fresh(&layout, training.rank))
    };
    let trained = trainer.run(&layout, begin, request.device, |parameters| Ok(LoraTask::new(parameters, setting)))?;
    Ok(Done { learned: file, folder: pupil.folder, step: trained.step, stopped: trained.stopped })
}

/// Trains an embedding for the word `word`, which begins as `like`, a word that the model knows; it is left as
/// `WORD.safetensors`.
///
/// # Errors
/// As [`lora()`]; also when no caption has the word.
pub fn embedding(request: &TrainRequest, word: &str, like: Option<&str>, say: Say) -> Result<Done> {
    let training = &request.config.embedding;
    let mut pupil = Pupil::open(request, "embedding", say)?;
    if !pupil.data.captions.iter().any(|caption| caption.contains(word)) {
        return Err(Error::invalid(
            format!("no caption has the word `{word}`: there is nothing to learn it from"),
            format!("write it into the captions, for example `a {word} on a blue background`"),
        ));
    }
    let begin = embedding::begin(&pupil.tokenizer, &pupil.base, like, training.vectors, request.seed)?;
    let first = pupil.tokenizer.add_embedding(word, training.vectors as usize)?;
    let noise = pupil.noise(request, &training.noise, say)?;
    let layout = Rc::new(embedding::layout(training.vectors, pupil.text_encoder.0.hidden_size));
    say(&format!("embedding: {} vectors of {}", training.vectors, pupil.text_encoder.0.hidden_size));
    let mut settings = settings("embedding", request.seed, json!(training), &[&pupil.text_encoder.1, &pupil.unet.1]);
    settings["word"] = word.into();
    settings["like"] = like.into();
    let trainer = request.trainer(&pupil.folder, &training.noise.course, settings);
    let (samples, file) = (request.personal_samples(&pupil.data), request.out.join(format!("{word}.safetensors")));
    let setting = embedding::Setting {
        noise,
        samples: &samples,
        choice: &pupil.choice,
        base: pupil.base.shared(),
        text_encoder: pupil.text_encoder.0.clone(),
        unet: pupil.unet.0.clone(),
        word: word.into(),
        first,
        file: file.clone(),
    };
    let trained =
        trainer.run(&layout, || Ok(begin), request.device, |parameters| EmbeddingTask::new(parameters, setting))?;
    Ok(Done { learned: file, folder: pupil.folder, step: trained.step, stopped: trained.stopped })
}
