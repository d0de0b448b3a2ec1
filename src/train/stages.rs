//! The two stages of a model: the autoencoder, then text encoder and UNet.
//!
//! Enters: a folder of captioned pictures, a configuration, perhaps a model to go on from. Leaves: in the folder of the
//! training `vae/` and `diffusion/` with checkpoints, logs and samples, and `model/`, in diffusers' layout.

use super::config::{Course, DiffusionTraining, Samples, TrainConfig};
use super::data::Data;
use super::diffusion::{DiffusionTask, Setting};
use super::folder;
use super::noise::{LATENTS_FILE, Latents, NoiseLoss, token_ids};
use super::parameters::{Layout, Parameters};
use super::save;
use super::tokenizer;
use super::trainer::Trainer;
use super::vae::{self, VaeTask};
use crate::error::{Error, IoContext, Result};
use crate::files::atomic;
use crate::files::lock::Hold;
use crate::model::components::{self, INDEX, SCHEDULER_CONFIG, TEXT_ENCODER, UNET, VAE};
use crate::model::config::{Config, TextConfig, UNetConfig, VaeConfig};
use crate::model::files::ModelFiles;
use crate::model::fingerprint;
use crate::model::resolve;
use crate::model::text_encoder::TextEncoder;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::scheduler::SchedulerConfig;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor};

/// What is asked for.
pub struct TrainRequest<'a> {
    /// Pictures with captions.
    pub data: &'a Path,
    /// Pictures with captions of what a model that is taught must not forget.
    pub keep: Option<&'a Path>,
    /// What is trained and how.
    pub config: TrainConfig,
    /// The folder of the training.
    pub out: &'a Path,
    /// The model to go on from.
    pub init: Option<&'a str>,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether to begin anew.
    pub force: bool,
    /// Where it computes.
    pub device: Device,
    /// Raised to stop.
    pub interrupted: Arc<AtomicBool>,
    /// Whether to say nothing on the way.
    pub quiet: bool,
    /// Keeps others out of the stage's folder, once that is known.
    pub hold: RefCell<Option<Hold>>,
}

/// What a stage left.
#[derive(Debug)]
pub struct Done {
    /// What was learned: the model's folder, or a file.
    pub learned: PathBuf,
    /// The stage's folder.
    pub folder: PathBuf,
    /// The last step.
    pub step: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// How talkative a stage is.
pub type Say<'a> = &'a dyn Fn(&str);

impl TrainRequest<'_> {
    pub(super) fn model(&self) -> PathBuf {
        self.out.join("model")
    }

    /// Refuses to write `name` into a model's folder where it is already, unless a training left it there.
    fn check_model(&self, name: &str) -> Result<()> {
        let model = self.model();
        let there = [name, INDEX].iter().any(|name| model.join(name).exists());
        if there && !["vae", "diffusion"].iter().any(|stage| folder::is_known(&self.out.join(stage))) {
            return Err(Error::invalid(
                format!("`{}` holds a model that was not trained here, and would be overwritten", model.display()),
                "name another folder with `--out`; `--init` goes on from a model",
            ));
        }
        Ok(())
    }

    /// The stage's folder, in which nobody else trains from now on; without the training that was in it, if asked for.
    pub(super) fn folder(&self, stage: &str) -> Result<PathBuf> {
        let folder = self.out.join(stage);
        std::fs::create_dir_all(&folder).at("create", &folder)?;
        let hold = Hold::take(&folder)?;
        folder::begin(&folder, stage, self.force)?;
        for place in [self.out.to_path_buf(), self.model(), self.model().join("vae"), self.model().join("preview_vae")]
        {
            atomic::remove_stale(&place);
        }
        // A second stage in one program has a folder of its own.
        drop(self.hold.replace(Some(hold)));
        Ok(folder)
    }

    fn files(&self) -> Result<Option<ModelFiles>> {
        self.init.map(|name| resolve::resolve(Some(name)).map(|choice| choice.files)).transpose()
    }

    pub(super) fn data(&self, size: i64, say: Say) -> Result<Data> {
        let read = |folder: &Path| -> Result<Data> {
            let data = Data::read(folder, size as u32)?;
            for (path, why) in data.skipped.iter().take(10) {
                say(&format!("warning: `{}` is left out: {why}", path.display()));
            }
            let (used, left_out) = (data.captions.len(), data.skipped.len());
            if left_out > 0 {
                say(&format!("warning: {left_out} of {} pictures are left out", left_out + used));
            }
            say(&format!("`{}`: {used} pictures with captions, {size}×{size}", folder.display()));
            Ok(data)
        };
        let own = read(self.data)?;
        match self.keep {
            Some(keep) => Ok(own.half_and_half(read(keep)?)),
            None => Ok(own),
        }
    }

    /// What is drawn on the way: the configuration's prompts, or else the first captions.
    fn samples(&self, data: &Data) -> Samples {
        let mut samples = self.config.samples.clone();
        if samples.prompts.is_empty() {
            samples.prompts = first_captions(data, 8);
        }
        samples
    }

    /// The same for a model that is taught something: the new first, then what must not suffer.
    pub(super) fn personal_samples(&self, data: &Data) -> Samples {
        let mut samples = self.config.samples.clone();
        samples.prompts = first_captions(data, 8).into_iter().chain(samples.prompts.into_iter().take(8)).collect();
        samples
    }

    pub(super) fn trainer<'a>(&self, folder: &Path, course: &'a Course, settings: Value) -> Trainer<'a> {
        Trainer {
            course,
            seed: self.seed,
            folder: folder.to_path_buf(),
            settings,
            interrupted: self.interrupted.clone(),
            quiet: self.quiet,
        }
    }

    /// The first numbers: the model's that is gone on from, or fresh ones.
    pub(super) fn begin(&self, layout: &Layout, files: Option<&ModelFiles>) -> Result<Tensor> {
        match files {
            Some(files) => layout.read(|name| Ok(files.weights(components::named(name)?, None)?.1)),
            None => {
                tch::manual_seed(self.seed as i64);
                Ok(layout.fresh())
            }
        }
    }
}

/// The first captions of a data set, each once.
fn first_captions(data: &Data, count: usize) -> Vec<String> {
    let mut first: Vec<String> = vec![];
    for caption in &data.captions {
        if first.len() < count && !first.contains(caption) {
            first.push(caption.clone());
        }
    }
    first
}

/// A component's configuration: that of the model to go on from, else the training's.
pub(super) fn component<C: Config>(
    files: Option<&ModelFiles>,
    name: &str,
    table: &Map<String, Value>,
) -> Result<(C, Map<String, Value>)> {
    let (text, path) = match files {
        Some(files) => (files.required_text(name)?, files.path(name)),
        None => (Value::Object(table.clone()).to_string(), Path::new("the training's configuration").join(name)),
    };
    let json: Value = serde_json::from_str(&text).map_err(|e| Error::bad_file(&path, "configuration", e))?;
    Ok((C::parse(&text, &path)?, json.as_object().cloned().unwrap_or_default()))
}

/// The settings of a stage that a checkpoint must share: what is learned, not how long and how fast.
pub(super) fn settings(stage: &str, seed: u64, training: Value, configs: &[&Map<String, Value>]) -> Value {
    let mut training = training;
    if let (Some(training), Some(free)) = (training.as_object_mut(), json!(Course::default()).as_object()) {
        // `minutes` is not among the defaults; `decoder_only` says what is learned only where it is set: checkpoints from
        // before it go on.
        let has_no_say = |name: &str, value: &Value| {
            ["workers", "minutes", "dtype"].contains(&name) || name == "decoder_only" && value == false
        };
        training.retain(|name, value| !free.contains_key(name) && !has_no_say(name, value));
    }
    json!({"stage": stage, "seed": seed, "training": training, "model": configs})
}

/// Trains the autoencoder.
///
/// # Errors
/// When the data or the configuration cannot be used, a file cannot be written, or the loss is not finite.
pub fn vae(request: &TrainRequest, say: Say) -> Result<Done> {
    let files = request.files()?;
    let training = &request.config.vae;
    let (config, json): (VaeConfig, _) = component(files.as_ref(), VAE.config, &request.config.model.vae)?;
    if config.tiny.is_some() {
        return Err(Error::invalid(
            "the autoencoder is an AutoencoderTiny, which is not trained on pictures",
            "`sdviz train preview-vae` has a tiny decoder learn from a model's own",
        ));
    }
    request.check_model(VAE.config)?;
    let folder = request.folder("vae")?;
    let data = request.data(config.sample_size, say)?;
    let mut layout = Rc::new(Layout::of(|at| Vae::new(&at("vae"), config.clone()).map(drop))?);
    let mut frozen = None;
    if training.decoder_only {
        let known = files.as_ref().ok_or_else(|| {
            Error::invalid("`vae.decoder_only` needs a model whose encoder stays", "name one with `--init`")
        })?;
        let all = request.begin(&layout, Some(known))?.to_device(request.device);
        let learning = layout.only(&["vae.decoder.", "vae.post_quant_conv."]);
        frozen = Some(Parameters::new(std::mem::replace(&mut layout, Rc::new(learning)), all, false));
    }
    let part = if training.decoder_only { "decoder" } else { "autoencoder" };
    say(&format!("{part}: {} parameters", layout.total()));
    let settings = settings("vae", request.seed, json!(training), &[&json]);
    let trainer = request.trainer(&folder, &training.course, settings);
    let model = request.model();
    let setting = vae::Setting { data: &data, training, config: (&config, &json), frozen, model: model.clone() };
    let trained = trainer.run(
        &layout,
        || request.begin(&layout, files.as_ref()),
        request.device,
        |parameters| VaeTask::new(parameters, setting),
    )?;
    Ok(Done { learned: model, folder, step: trained.step, stopped: trained.stopped })
}

/// Trains text encoder and UNet on the latents of the autoencoder that the first stage left, or of the model to go on from.
///
/// # Errors
/// As [`vae`]; also when there is no autoencoder.
pub fn diffusion(request: &TrainRequest, say: Say) -> Result<Done> {
    let (files, training, model) = (request.files()?, &request.config.diffusion, request.model());
    let vae_files = vae_files(&model, files.as_ref())?;
    let vae_config: VaeConfig = vae_files.config(&VAE)?;
    let (unet_config, unet_json): (UNetConfig, _) = component(files.as_ref(), UNET.config, &request.config.model.unet)?;
    let (_, mut text_json): (TextConfig, _) =
        component(files.as_ref(), TEXT_ENCODER.config, &request.config.model.text_encoder)?;
    let scheduler_text = match &files {
        Some(files) => files.required_text(SCHEDULER_CONFIG)?,
        None => format!("{:#}\n", Value::Object(request.config.model.scheduler.clone())),
    };
    let scheduler = SchedulerConfig::parse(&scheduler_text)
        .map_err(|e| Error::bad_file(Path::new("scheduler_config.json"), "scheduler configuration", e))?;
    request.check_model(UNET.config)?;
    let folder = request.folder("diffusion")?;
    let size = unet_config.sample_size * vae_config.scale_factor() as i64;
    let data = request.data(size, say)?;

    write_tokenizer(request, files.as_ref(), &data, &model, &mut text_json)?;
    save::text(&model, SCHEDULER_CONFIG, &scheduler_text)?;
    let text_config =
        TextConfig::parse(&Value::Object(text_json.clone()).to_string(), &model.join(TEXT_ENCODER.config))?;
    copy_vae(&vae_files, &model)?;
    let subject = Subject { data: &data, vae: (&vae_files, vae_config), folder: &folder };
    let tokenizer = Tokenizer::of_model(&ModelFiles::Folder(model.clone()), &text_config)?;
    let noise = subject.noise(request, &tokenizer, training, &scheduler, say)?;

    let layout = Rc::new(both(&text_config, &unet_config)?);
    say(&format!("text encoder and UNet: {} parameters", layout.total()));
    let samples = request.samples(&data);
    let settings = settings("diffusion", request.seed, json!(training), &[&text_json, &unet_json]);
    let trainer = request.trainer(&folder, &training.course, settings);
    let setting = Setting {
        noise,
        samples: &samples,
        text_encoder: (&text_config, &text_json),
        unet: (&unet_config, &unet_json),
        scheduler: scheduler.class_name.clone().unwrap_or_else(|| "PNDMScheduler".into()),
        model: model.clone(),
    };
    let trained = trainer.run(
        &layout,
        || request.begin(&layout, files.as_ref()),
        request.device,
        |parameters| DiffusionTask::new(parameters, setting),
    )?;
    Ok(Done { learned: model, folder, step: trained.step, stopped: trained.stopped })
}

/// The weights of text encoder and UNet.
pub(super) fn both(text: &TextConfig, unet: &UNetConfig) -> Result<Layout> {
    Layout::of(|at| {
        TextEncoder::new(&at("text_encoder"), text.clone())?;
        UNet::new(&at("unet"), unet.clone()).map(drop)
    })
}

/// What text encoder and UNet learn from.
pub(super) struct Subject<'a> {
    pub data: &'a Data,
    pub vae: (&'a ModelFiles, VaeConfig),
    /// Where the latents are kept.
    pub folder: &'a Path,
}

impl Subject<'_> {
    pub(super) fn noise<'a>(
        self,
        request: &TrainRequest,
        tokenizer: &Tokenizer,
        training: &'a DiffusionTraining,
        scheduler: &SchedulerConfig,
        say: Say,
    ) -> Result<NoiseLoss<'a>> {
        let (ids, none, cut) = token_ids(tokenizer, &self.data.captions)?;
        if cut > 0 {
            let window = tokenizer.window();
            say(&format!("warning: {cut} captions are longer than {window} tokens; their ends are not seen"));
        }
        let (files, config) = self.vae;
        let (_, file) = files.weights(&VAE, None)?;
        let hash = fingerprint::of_bytes(file.bytes());
        let vae = Vae::new(&Weights::new("vae", file, request.device, Kind::Float), config)?;
        let cache = self.folder.join(LATENTS_FILE);
        let latents = Latents::of(self.data, &vae, &hash, &cache, request.device)?;
        NoiseLoss::new(latents, (ids, none), training, scheduler, request.device)
    }
}

/// The files of the autoencoder: what the first stage left, else those of the model to go on from.
fn vae_files(model: &Path, init: Option<&ModelFiles>) -> Result<ModelFiles> {
    if model.join(VAE.config).is_file() {
        return Ok(ModelFiles::Folder(model.to_path_buf()));
    }
    init.cloned().ok_or_else(|| {
        Error::invalid(
            format!("there is no autoencoder in `{}`", model.display()),
            "train one first: `sdviz train vae` with the same `--out`, or go on from a model with `--init`",
        )
    })
}

/// Copies an autoencoder that is not in the model's folder yet.
fn copy_vae(files: &ModelFiles, model: &Path) -> Result<()> {
    if model.join(VAE.config).is_file() {
        return Ok(());
    }
    let text = files.required_text(VAE.config)?;
    let (_, file) = files.weights(&VAE, None)?;
    let path = model.join(VAE.weights_file());
    atomic::make_folder_of(&path)?;
    atomic::write_atomically(&path, file.bytes())?;
    save::text(model, VAE.config, &text)
}

/// Writes the tokenizer into the model's folder, copied or made from the captions, and what it decides of the text
/// encoder's configuration.
fn write_tokenizer(
    request: &TrainRequest,
    files: Option<&ModelFiles>,
    data: &Data,
    model: &Path,
    text_json: &mut Map<String, Value>,
) -> Result<()> {
    if let Some(files) = files {
        let names = components::texts().into_iter().filter(|name| name.starts_with("tokenizer/"));
        for name in names {
            if let Some(text) = files.text(name)? {
                save::text(model, name, &text)?;
            }
        }
        return Ok(());
    }
    let window = text_json.get("max_position_embeddings").and_then(Value::as_i64).unwrap_or(77);
    let made = tokenizer::train(&data.captions, request.config.model.vocabulary, window)?;
    for (name, text) in &made.texts {
        save::text(model, &format!("tokenizer/{name}"), text)?;
    }
    let (bos, eos) = (made.entries - 2, made.entries - 1);
    for (name, value) in
        [("vocab_size", made.entries), ("bos_token_id", bos), ("eos_token_id", eos), ("pad_token_id", eos)]
    {
        text_json.insert(name.into(), value.into());
    }
    Ok(())
}
