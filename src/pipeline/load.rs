//! A model loaded and ready: its parts, and what is known of it.
//!
//! Enters: a model's files. Leaves: tokenizer, networks and configuration that fit each other.

use super::device;
use super::preview::Preview;
use crate::edit::site::KnownSite;
use crate::error::{Error, Result};
use crate::model::about::About;
use crate::model::components::{Component, SCHEDULER_CONFIG, TEXT_ENCODER, UNET, VAE};
use crate::model::config::{TextConfig, UNetConfig, VaeConfig};
use crate::model::embedding::{Embedding, EmbeddingChoice};
use crate::model::few_steps::FewSteps;
use crate::model::files::ModelFiles;
use crate::model::index;
use crate::model::lora::{Adapters, LoraChoice};
use crate::model::resolve::ModelChoice;
use crate::model::text_encoder::TextEncoder;
use crate::model::tiling::Tiling;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{WeightFile, Weights};
use crate::record::model::{ComponentRecord, ModelRecord};
use crate::record::plan::Plan;
use crate::scheduler::{SchedulerConfig, SchedulerKind};
use std::path::PathBuf;
use std::sync::OnceLock;
use tch::{Device, Kind};

/// The most parameters of a small model. The pocket model has 11 million, Stable Diffusion 1.x a thousand million.
const SMALL_MODEL: u64 = 100_000_000;

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where it computes.
    pub device: Device,
    /// What it computes in. The VAE falls back to f32 where its configuration says that half precision overflows.
    pub kind: Kind,
    /// Which files: `fp16` for `*.fp16.safetensors`.
    pub variant: Option<String>,
    /// What is merged into the weights of text encoder and UNet.
    pub loras: Vec<LoraChoice>,
    /// Words that are added to tokenizer and text encoder.
    pub embeddings: Vec<EmbeddingChoice>,
    /// Whether the VAE decodes in tiles.
    pub vae_tiling: Tiling,
    /// What decodes the pictures of the steps: `tiny`, `linear`, or an autoencoder; none is the VAE.
    pub preview_vae: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            device: Device::Cpu,
            kind: Kind::Float,
            variant: None,
            loras: vec![],
            embeddings: vec![],
            vae_tiling: Tiling::default(),
            preview_vae: None,
        }
    }
}

/// A Stable Diffusion pipeline, loaded.
#[derive(Debug)]
pub struct Pipeline {
    /// Prompts to ids.
    pub tokenizer: Tokenizer,
    /// Ids to embeddings.
    pub text_encoder: TextEncoder,
    /// The noise prediction.
    pub unet: UNet,
    /// Latents to pictures.
    pub vae: Vae,
    /// Latents of the steps to pictures, where that is not the autoencoder's.
    pub(super) preview: Option<Preview>,
    pub(super) scheduler_config: SchedulerConfig,
    pub(super) model: ModelRecord,
    about: About,
    few_steps: Option<FewSteps>,
    weight_files: Vec<PathBuf>,
    notes: Vec<String>,
    pub(super) options: LoadOptions,
    /// Where a run can be changed, once somebody has asked.
    pub(super) sites: OnceLock<Vec<KnownSite>>,
}

impl Pipeline {
    /// Loads a model.
    ///
    /// # Errors
    /// When a file is missing, damaged, or describes something that is not implemented.
    pub fn load(choice: &ModelChoice, options: LoadOptions) -> Result<Pipeline> {
        let _no_gradients = tch::no_grad_guard();
        let files = &choice.files;
        let class_name = index::class_name(files)?;
        let unet_config: UNetConfig = files.config(&UNET)?;
        let vae_config: VaeConfig = files.config(&VAE)?;
        let text_config: TextConfig = files.config(&TEXT_ENCODER)?;
        let scheduler_config = index::scheduler(files)?;
        let about = About::read(files)?;
        let saved_from = index::saved_from(files)?;
        let names: Vec<&str> = [&choice.id].into_iter().chain(&saved_from).map(String::as_str).collect();
        let few_steps = FewSteps::told(&unet_config, &scheduler_config, &class_name, &names);
        let mut tokenizer = Tokenizer::of_model(files, &text_config)?;
        let mut notes = notes(files, &unet_config, &vae_config, &scheduler_config);
        notes.extend(index::notes(files)?);
        notes.extend(device::slow(options.kind, options.device));

        let variant = options.variant.as_deref();
        let adapters =
            Adapters::open(&options.loras, &unet_config, |component| Ok(files.weights(component, variant)?.1))?;
        let mut model = ModelRecord {
            id: choice.id.clone(),
            chosen_by: choice.chosen_by.into(),
            class_name,
            components: vec![],
            latent_channels: vae_config.latent_channels as usize,
            vae_scale_factor: vae_config.scale_factor(),
            scaling_factor: vae_config.scaling_factor,
            prediction_type: scheduler_config.prediction_type.clone().unwrap_or_else(|| "epsilon".into()),
            time_cond_proj_dim: unet_config.time_cond_proj_dim,
            loras: adapters.records().to_vec(),
            embeddings: vec![],
            preview: None,
        };
        let mut weight_files = vec![];
        let mut open = |component: &'static Component, kind: Kind| -> Result<Weights> {
            let (file, weights) = files.weights(component, variant)?;
            notes.extend(weights.note());
            model.components.push(component_record(component.name, files, &file, &weights));
            weight_files.extend(weights.paths().map(PathBuf::from));
            Ok(adapters.weights(component.name, weights, options.device, kind))
        };
        let mut text_encoder = TextEncoder::new(&open(&TEXT_ENCODER, options.kind)?, text_config)?;
        let unet = UNet::new(&open(&UNET, options.kind)?, unet_config)?;
        let vae_kind = vae_config.kind(options.kind);
        let vae = Vae::new(&open(&VAE, vae_kind)?, vae_config)?.with_tiling(options.vae_tiling);
        check_fit(&text_encoder, &unet, &vae)?;
        let load = |name: &String| Preview::load(name, files, &vae, (options.device, options.kind));
        let preview = options.preview_vae.as_ref().map(load).transpose()?;
        model.preview = preview.as_ref().map(|preview| preview.record().clone());
        for choice in &options.embeddings {
            let Embedding { vectors, record } = Embedding::open(choice, text_encoder.config().hidden_size)?;
            let first = tokenizer.add_embedding(&record.name, record.vectors)?;
            text_encoder.add_embedding(first, &vectors);
            model.embeddings.push(record);
        }
        Ok(Pipeline {
            tokenizer,
            text_encoder,
            unet,
            vae,
            preview,
            scheduler_config,
            model,
            about,
            few_steps,
            weight_files,
            notes,
            options,
            sites: OnceLock::new(),
        })
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.options.device
    }

    /// What it computes in.
    pub fn kind(&self) -> Kind {
        self.options.kind
    }

    /// What its scheduler configuration says.
    pub fn scheduler_config(&self) -> &SchedulerConfig {
        &self.scheduler_config
    }

    /// What there is to tell of the model's files, a line each: what was set right, and what was passed over.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The model, as a run's record names it.
    pub fn model(&self) -> &ModelRecord {
        &self.model
    }

    /// What the model says of itself beside diffusers' own files.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What its files say of a model that draws in few steps.
    pub fn few_steps(&self) -> Option<&FewSteps> {
        self.few_steps.as_ref()
    }

    /// The guidance scale for a run that asks for none: the model's own, else what suits a model of few steps, else 7.5.
    pub fn guidance_scale(&self) -> f64 {
        let few = self.few_steps.as_ref().map(|few| few.guidance_scale);
        self.about.guidance_scale.or(few).unwrap_or(Plan::default().guidance_scale)
    }

    /// The steps of a run that asks for none: the model's own, else what suits a model of few steps, else 25.
    pub fn steps(&self) -> usize {
        let few = self.few_steps.as_ref().map(|few| few.steps);
        self.about.steps.or(few).unwrap_or(Plan::default().steps)
    }

    /// Whether a run with this model is so quick, and its record so small, that everything may be kept of it unasked.
    pub fn is_small(&self) -> bool {
        self.model.components.iter().map(|component| component.parameters).sum::<u64>() <= SMALL_MODEL
    }

    /// The weight files on disk, in the order of the model's components and of their pieces. Those of an embedded model do
    /// not exist.
    pub fn weight_files(&self) -> &[PathBuf] {
        &self.weight_files
    }

    /// The size of picture it was trained on, width and height in pixels.
    pub fn native_size(&self) -> usize {
        self.unet.config().sample_size as usize * self.model.vae_scale_factor
    }

    /// The scheduler that the model's own configuration names.
    ///
    /// # Errors
    /// When it is not implemented: then one must be chosen.
    pub fn default_scheduler(&self) -> Result<SchedulerKind> {
        match &self.scheduler_config.class_name {
            Some(class) => {
                let kind = SchedulerKind::from_class_name(class, &self.scheduler_config);
                kind.map_err(|error| self.scheduler_config.path.iter().fold(error, |error, path| error.blaming(path)))
            }
            None => Ok(SchedulerKind::Pndm),
        }
    }
}

/// What there is to tell of a model's configuration files, with their paths.
fn notes(files: &ModelFiles, unet: &UNetConfig, vae: &VaeConfig, scheduler: &SchedulerConfig) -> Vec<String> {
    [(UNET.config, unet.notes()), (VAE.config, vae.notes()), (SCHEDULER_CONFIG, scheduler.corrections().to_vec())]
        .into_iter()
        .flat_map(|(name, notes)| {
            notes.into_iter().map(move |note| format!("`{}`: {note}", files.path(name).display()))
        })
        .collect()
}

fn component_record(name: &str, files: &ModelFiles, file: &str, weights: &WeightFile) -> ComponentRecord {
    ComponentRecord {
        name: name.into(),
        from: files.origin(name).map(String::from),
        file: file.into(),
        sha256: String::new(),
        parameters: weights.parameters(),
        file_dtype: weights.dtype_name(),
    }
}

/// Components of one model fit each other.
fn check_fit(text: &TextEncoder, unet: &UNet, vae: &Vae) -> Result<()> {
    let (unet, vae, text) = (unet.config(), vae.config(), text.config());
    let pairs = [
        ("text_encoder hidden_size", text.hidden_size, "unet cross_attention_dim", unet.cross_attention_dim),
        ("unet in_channels", unet.in_channels, "vae latent_channels", vae.latent_channels),
        ("unet out_channels", unet.out_channels, "vae latent_channels", vae.latent_channels),
    ];
    for (a, a_value, b, b_value) in pairs {
        if a_value != b_value {
            return Err(Error::invalid(
                format!("the model's parts do not fit: {a} is {a_value}, {b} is {b_value}"),
                "take all folders from one model",
            ));
        }
    }
    Ok(())
}
