//! What is trained and how: a TOML file.
//!
//! Enters: text. Leaves: the model's own configuration files, as the JSON that they become, and the settings of the
//! training. A setting that is not known is refused by name.

use crate::error::{Error, IoContext, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;
use tch::Kind;

/// The embedded configuration: the pocket model's.
pub const POCKET: &str = include_str!("../../assets/pocket.toml");

/// A training's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The model's configuration files.
    pub model: ModelTables,
    /// How the autoencoder is trained.
    #[serde(default)]
    pub vae: VaeTraining,
    /// How text encoder and UNet are trained.
    #[serde(default)]
    pub diffusion: DiffusionTraining,
    /// How a LoRA is trained.
    #[serde(default)]
    pub lora: LoraTraining,
    /// How an embedding is trained.
    #[serde(default)]
    pub embedding: EmbeddingTraining,
    /// How the judge is trained.
    #[serde(default)]
    pub judge: JudgeTraining,
    /// How a preview decoder is trained.
    #[serde(default)]
    pub preview_vae: PreviewTraining,
    /// What is drawn on the way.
    #[serde(default)]
    pub samples: Samples,
}

/// The model's configuration files, and the size of its tokenizer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTables {
    /// Entries of the vocabulary, at the most.
    pub vocabulary: usize,
    /// `vae/config.json`.
    pub vae: Map<String, Value>,
    /// `text_encoder/config.json`.
    pub text_encoder: Map<String, Value>,
    /// `unet/config.json`.
    pub unet: Map<String, Value>,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: Map<String, Value>,
}

/// What both stages of training have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    /// Steps.
    pub steps: u64,
    /// Minutes after which it ends, if it has not made its steps by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Pictures of a step.
    pub batch: i64,
    /// The learning rate at its highest.
    pub learning_rate: f64,
    /// Steps over which it rises from 0.
    pub warm_up: u64,
    /// The share of the steps (or of the minutes, if these are over sooner) after which it falls, in a straight line.
    pub decay_from: f64,
    /// The share of it that is left at the end.
    pub decay_to: f64,
    /// AdamW's weight decay.
    pub weight_decay: f64,
    /// The largest norm of the gradients.
    pub clip: f64,
    /// The most that the averaged weights keep of themselves at each step.
    pub ema: f64,
    /// Every how many steps the log gets a line.
    pub log_every: u64,
    /// Every how many steps a checkpoint is written.
    pub checkpoint_every: u64,
    /// Every how many steps samples are drawn and the model is written; 0: only at the end.
    pub sample_every: u64,
}

impl Default for Course {
    fn default() -> Self {
        Course {
            steps: 10_000,
            minutes: None,
            batch: 16,
            learning_rate: 1e-3,
            warm_up: 100,
            decay_from: 0.5,
            decay_to: 0.02,
            weight_decay: 0.01,
            clip: 1.0,
            ema: 0.999,
            log_every: 50,
            checkpoint_every: 500,
            sample_every: 1000,
        }
    }
}

impl Course {
    /// How much of the training is done after `step` steps and so many seconds: the share of the steps, or that of the
    /// minutes, whichever is more. From 1 on it is over.
    pub fn share(&self, step: u64, seconds: f64) -> f64 {
        let time = self.minutes.map_or(0.0, |minutes| seconds / (60.0 * minutes));
        (step as f64 / self.steps.max(1) as f64).max(time)
    }

    /// The learning rate of a step, counted from 1, when this share of the training is done.
    pub fn learning_rate_at(&self, step: u64, share: f64) -> f64 {
        let rise = (step as f64 / self.warm_up.max(1) as f64).min(1.0);
        let fall = ((share - self.decay_from) / (1.0 - self.decay_from).max(1e-9)).clamp(0.0, 1.0);
        self.learning_rate * rise * (1.0 - fall * (1.0 - self.decay_to))
    }

    fn check(&self, table: &str) -> Result<()> {
        let above_0 = |name: &str, value: f64| {
            if value > 0.0 {
                return Ok(());
            }
            Err(Error::invalid(format!("`{table}.{name}` is {value}"), "give a number above 0"))
        };
        above_0("steps", self.steps as f64)?;
        above_0("batch", self.batch as f64)?;
        above_0("learning_rate", self.learning_rate)?;
        above_0("clip", self.clip)?;
        above_0("minutes", self.minutes.unwrap_or(1.0))?;
        above_0("log_every", self.log_every as f64)?;
        above_0("checkpoint_every", self.checkpoint_every as f64)
    }
}

/// What networks compute in while they learn. The weights that change, and their averages, are in f32 either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: faster where the device has instructions for it.
    Bf16,
}

impl Dtype {
    /// As libtorch calls it.
    pub fn kind(self) -> Kind {
        match self {
            Dtype::F32 => Kind::Float,
            Dtype::Bf16 => Kind::BFloat16,
        }
    }
}

/// How the autoencoder is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeTraining {
    /// Steps, batch, learning rate.
    #[serde(flatten)]
    pub course: Course,
    /// Side of the crops it sees, in pixels.
    pub crop: i64,
    /// Weight of the absolute error.
    pub absolute: f64,
    /// Weight of the squared error.
    pub squared: f64,
    /// Weight of the absolute error of the differences between neighbours.
    pub edges: f64,
    /// Weight of the divergence of the latents' distribution from a normal one, per number.
    pub kl: f64,
    /// Pictures that are held back to measure on.
    pub held_back: usize,
    /// Whether the decoder alone learns, of the model that is gone on from: the latents stay what they are.
    pub decoder_only: bool,
    /// Threads that share each batch on a processor.
    pub workers: usize,
    /// What the networks compute in.
    pub dtype: Dtype,
}

impl Default for VaeTraining {
    fn default() -> Self {
        let course = Course::default();
        VaeTraining {
            course,
            crop: 64,
            absolute: 1.0,
            squared: 4.0,
            edges: 0.5,
            kl: 2e-4,
            held_back: 64,
            decoder_only: false,
            workers: 1,
            dtype: Dtype::F32,
        }
    }
}

/// How text encoder and UNet are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiffusionTraining {
    /// Steps, batch, learning rate.
    #[serde(flatten)]
    pub course: Course,
    /// Share of the captions that is left away, so that there is a prediction without a prompt to guide from.
    pub drop_captions: f64,
    /// The loss of a noise level counts as if its signal-to-noise ratio were at most this (min-SNR, Hang et al. 2023).
    pub snr_most: f64,
    /// … and at least this: without it the highest noise levels, where backgrounds arise, count too little.
    pub snr_least: f64,
    /// Deviation of a noise that is one number for a whole channel.
    pub offset_noise: f64,
    /// Threads that share each batch on a processor, when text encoder and UNet are trained.
    pub workers: usize,
    /// What the networks compute in, when text encoder and UNet are trained.
    pub dtype: Dtype,
}

impl Default for DiffusionTraining {
    fn default() -> Self {
        let course = Course::default();
        DiffusionTraining {
            course,
            drop_captions: 0.1,
            snr_most: 5.0,
            snr_least: 0.2,
            offset_noise: 0.0,
            workers: 1,
            dtype: Dtype::F32,
        }
    }
}

/// How a LoRA is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraTraining {
    /// Steps, batch, learning rate, noise.
    #[serde(flatten)]
    pub noise: DiffusionTraining,
    /// Rows of `down`: how much can be learned.
    pub rank: i64,
    /// What is added counts alpha / rank.
    pub alpha: f64,
    /// The ends of the paths of the layers that it is added to.
    pub targets: Vec<String>,
}

impl Default for LoraTraining {
    fn default() -> Self {
        let course = Course { steps: 1000, batch: 4, learning_rate: 1e-4, ..Course::default() };
        let targets = ["to_q", "to_k", "to_v", "to_out.0"].map(String::from).to_vec();
        LoraTraining { noise: DiffusionTraining { course, ..Default::default() }, rank: 8, alpha: 8.0, targets }
    }
}

/// How an embedding is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmbeddingTraining {
    /// Steps, batch, learning rate, noise.
    #[serde(flatten)]
    pub noise: DiffusionTraining,
    /// How many tokens the word stands for.
    pub vectors: i64,
}

impl Default for EmbeddingTraining {
    fn default() -> Self {
        let course = Course { steps: 1000, batch: 4, learning_rate: 5e-3, weight_decay: 0.0, ..Course::default() };
        EmbeddingTraining { noise: DiffusionTraining { course, ..Default::default() }, vectors: 2 }
    }
}

/// How the judge is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeTraining {
    /// Steps, batch, learning rate.
    #[serde(flatten)]
    pub course: Course,
    /// How far pictures are turned either way, in degrees.
    pub turn: f64,
    /// How much they are made larger or smaller: 0.2 for a fifth.
    pub zoom: f64,
    /// How far they are moved, as a share of their side.
    pub shift: f64,
    /// Deviation of the noise that is added at the most, where black to white is 2.
    pub noise: f64,
    /// How much colours are made stronger or weaker, and moved.
    pub colour: f64,
    /// Pictures that are held back to measure on.
    pub held_back: usize,
}

impl Default for JudgeTraining {
    fn default() -> Self {
        let course = Course::default();
        JudgeTraining { course, turn: 8.0, zoom: 0.2, shift: 0.08, noise: 0.15, colour: 0.1, held_back: 512 }
    }
}

/// How a preview decoder is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreviewTraining {
    /// Steps, batch, learning rate.
    #[serde(flatten)]
    pub course: Course,
    /// Channels of its layers.
    pub width: i64,
    /// Blocks of each stage, from the latents' size up.
    pub blocks: Vec<i64>,
    /// Weight of the absolute error.
    pub absolute: f64,
    /// Weight of the squared error.
    pub squared: f64,
    /// Weight of the absolute error of the differences between neighbours.
    pub edges: f64,
    /// The most pictures that are learned from, each decoded three times.
    pub pictures: usize,
    /// Pictures that are held back to measure on.
    pub held_back: usize,
}

impl Default for PreviewTraining {
    fn default() -> Self {
        let (course, blocks) = (Course::default(), vec![2, 1, 1, 0]);
        let (absolute, squared, edges) = (1.0, 4.0, 0.5);
        PreviewTraining { course, width: 32, blocks, absolute, squared, edges, pictures: 1024, held_back: 64 }
    }
}

/// What is drawn on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Samples {
    /// The prompts; none: the first captions of the data.
    pub prompts: Vec<String>,
    /// Steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance_scale: f64,
    /// The first seed.
    pub seed: u64,
    /// The scheduler.
    pub scheduler: String,
}

impl Default for Samples {
    fn default() -> Self {
        Samples { prompts: vec![], steps: 20, guidance_scale: 5.0, seed: 1, scheduler: "ddim".into() }
    }
}

impl TrainConfig {
    /// Reads a file, or the embedded configuration.
    ///
    /// # Errors
    /// When it cannot be read, or a setting is unknown or cannot mean anything.
    pub fn read(path: Option<&Path>) -> Result<TrainConfig> {
        let (text, name) = match path {
            Some(path) => (std::fs::read_to_string(path).at("read", path)?, path),
            None => (POCKET.to_string(), Path::new("pocket.toml")),
        };
        let bad = |e: toml::de::Error| Error::bad_file(name, "training configuration", e.to_string().trim_end());
        let table: toml::Table = toml::from_str(&text).map_err(bad)?;
        known("vae", &table, &serde_json::json!(VaeTraining::default()), name)?;
        known("diffusion", &table, &serde_json::json!(DiffusionTraining::default()), name)?;
        known("lora", &table, &serde_json::json!(LoraTraining::default()), name)?;
        known("embedding", &table, &serde_json::json!(EmbeddingTraining::default()), name)?;
        known("preview_vae", &table, &serde_json::json!(PreviewTraining::default()), name)?;
        known("judge", &table, &serde_json::json!(JudgeTraining::default()), name)?;
        let config: TrainConfig = table.try_into().map_err(bad)?;
        config.judge.course.check("judge")?;
        config.preview_vae.course.check("preview_vae")?;
        config.vae.course.check("vae")?;
        config.diffusion.course.check("diffusion")?;
        config.lora.noise.course.check("lora")?;
        config.embedding.noise.course.check("embedding")?;
        for (table, dtype) in [("lora", config.lora.noise.dtype), ("embedding", config.embedding.noise.dtype)] {
            if dtype != Dtype::F32 {
                let message = format!("`{table}.dtype` is not f32, in which alone these are trained");
                return Err(Error::invalid(message, "leave it out"));
            }
        }
        for (setting, value) in [("lora.rank", config.lora.rank), ("embedding.vectors", config.embedding.vectors)] {
            if value < 1 {
                return Err(Error::invalid(format!("`{setting}` is {value}"), "give 1 or more"));
            }
        }
        Ok(config)
    }
}

/// Refuses a setting of a stage that there is not: serde cannot where structs are flattened.
fn known(stage: &str, table: &toml::Table, usual: &Value, name: &Path) -> Result<()> {
    let Some(settings) = table.get(stage).and_then(toml::Value::as_table) else { return Ok(()) };
    // `minutes` has no usual value.
    match settings.keys().find(|key| usual.get(key.as_str()).is_none() && *key != "minutes") {
        Some(key) => Err(Error::bad_file(name, "training configuration", format!("there is no `{stage}.{key}`"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_embedded_configuration_is_valid() {
        TrainConfig::read(None).unwrap();
    }

    #[test]
    fn the_learning_rate_rises_stays_and_falls() {
        let course = Course { steps: 1000, warm_up: 100, learning_rate: 2.0, decay_to: 0.1, ..Course::default() };
        for (step, expected) in [(50, 1.0), (100, 2.0), (500, 2.0), (750, 1.1), (1000, 0.2)] {
            let found = course.learning_rate_at(step, course.share(step, 1e9));
            assert!((found - expected).abs() < 1e-9, "step {step}");
        }
    }

    /// With a limit in minutes the rate follows the clock, however fast the steps are; the steps still end it if they are
    /// made sooner.
    #[test]
    fn the_learning_rate_follows_the_clock() {
        let course = Course { steps: 1000, minutes: Some(2.0), warm_up: 1, learning_rate: 2.0, ..Course::default() };
        for (step, seconds, share, rate) in
            [(10, 30.0, 0.25, 2.0), (10, 90.0, 0.75, 1.02), (700, 30.0, 0.7, 1.216), (20, 120.0, 1.0, 0.04)]
        {
            let found = course.share(step, seconds);
            assert!((found - share).abs() < 1e-9, "{step} steps, {seconds} s: {found}");
            let found = course.learning_rate_at(step, found);
            assert!((found - rate).abs() < 1e-9, "{step} steps, {seconds} s: {found}");
        }
    }
}
