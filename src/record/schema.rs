//! What a run directory holds, as data: the types behind `run.json` and `shapes.jsonl`, and the names of its files.
//!
//! Nothing here knows libtorch or a model, so a record can be read anywhere. `docs/run-format.md` describes the same in
//! prose. Fields that an older or newer version lacks take their defaults.

use crate::error::{Error, Result};
use crate::record::answers::OnStepRecord;
use crate::record::conditions::{Conditions, PromptSyntax};
use crate::record::hires::{Hires, SecondPass};
use crate::record::inputs::{Begin, InputFile, Resize};
use crate::record::numbers;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The version of the run directory's layout that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The file that describes the run.
pub const RECORD_FILE: &str = "run.json";
/// The file's name.
pub const SWEEP_FILE: &str = "sweep.json";
/// The folder of the steps.
pub const STEPS_FOLDER: &str = "steps";
/// The log of tensor shapes, one JSON object a line.
pub const SHAPES_FILE: &str = "shapes.jsonl";

/// `run.json`: everything about a run but its tensors and pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Layout version of the run directory: [`SCHEMA_VERSION`] when it was written.
    pub schema_version: u32,
    /// The program's version that wrote it.
    #[serde(default)]
    pub sdviz_version: String,
    /// Whether the run is going on, ended well or stopped.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What was asked for.
    pub plan: Plan,
    /// The model and its weights.
    #[serde(default)]
    pub model: ModelRecord,
    /// The prompts as the text encoder sees them.
    #[serde(default)]
    pub tokens: Tokens,
    /// What the prompts mean step by step, for a run whose prompts are not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// The noise levels: entry `k` is the level of the latents in `steps/k`, so for each pass there is one more than
    /// model calls.
    #[serde(default)]
    pub schedule: Vec<Level>,
    /// Where in the scheduler's calls the loop begins, for a run from a picture; `schedule` holds only the calls made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// The second pass of a run at high resolution. Its levels follow the first pass's in `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hires: Option<SecondPass>,
    /// What the command after `--on-step` answered, written at the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_step: Option<OnStepRecord>,
    /// Where it ran.
    #[serde(default)]
    pub environment: Environment,
    /// How long each stage took: the one part that differs between two runs of the same plan.
    #[serde(default)]
    pub timings: Timings,
}

impl RunRecord {
    /// The number of the last step; 0 without a schedule.
    pub fn last_step(&self) -> usize {
        self.schedule.len().saturating_sub(1)
    }

    /// How often the model is called: once a step, but for the steps that a pass begins with.
    pub fn calls(&self) -> usize {
        self.last_step().saturating_sub(usize::from(self.hires.is_some()))
    }

    /// Which pass a step belongs to, 1 or 2.
    pub fn pass(&self, step: usize) -> usize {
        1 + usize::from(self.hires.as_ref().is_some_and(|second| step >= second.first_step))
    }

    /// Whether a step is the last of its pass.
    pub fn ends_pass(&self, step: usize) -> bool {
        step == self.last_step() || self.pass(step) != self.pass(step + 1)
    }
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Still going, or killed before it could say otherwise, where the two cannot be told apart.
    Running,
    /// Killed. No file says so: a reader finds it, when the record says `running` and nobody is writing any more.
    Killed,
    /// Ended well.
    Complete,
    /// Stopped by an error or by the user; see `failure`.
    Failed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Status::Running => "running",
            Status::Killed => "killed",
            Status::Complete => "complete",
            Status::Failed => "failed",
        })
    }
}

/// What was asked for. The same plan on the same machine gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt; empty when none was given.
    pub negative_prompt: String,
    /// How both prompts are read.
    #[serde(skip_serializing_if = "PromptSyntax::is_plain")]
    pub prompt_syntax: PromptSyntax,
    /// Which layer of the text encoder the embeddings are taken from: 1 the last, 2 the one before, …
    #[serde(skip_serializing_if = "is_one")]
    pub clip_skip: usize,
    /// The seed of the first picture; picture `i` of the batch has `seed + i`.
    pub seed: u64,
    /// Pictures made at once.
    pub batch_size: usize,
    /// Steps asked for. A scheduler may call the model more often: `schedule` has the calls.
    pub steps: usize,
    /// Classifier-free guidance scale; at 1 or below the negative prompt is not used.
    pub guidance_scale: f64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The scheduler's name on the command line.
    pub scheduler: String,
    /// Every setting of the scheduler as it took effect.
    pub scheduler_config: serde_json::Value,
    /// DDIM's eta: 0 is deterministic.
    pub eta: f64,
    /// How far from the initial picture to go, in 0..=1: the share of the steps that is made. None begins from noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The initial picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_image: Option<InputFile>,
    /// How it was made to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// The mask: white is repainted, black is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<InputFile>,
    /// Whether the finished picture has the initial picture's own pixels where the mask is black.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paste: bool,
    /// Side in pixels of the tiles in which the autoencoder decodes. None decodes whole pictures. It follows from how
    /// the model was loaded and the size: what is asked for here is not heeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vae_tile: Option<usize>,
    /// A second pass over the enlarged result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// What is kept of each step.
    pub record: Vec<Quantity>,
    /// Which steps are decoded to pictures.
    pub decode: Decode,
    /// What is decoded of them.
    pub decode_what: Vec<Quantity>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            prompt: String::new(),
            negative_prompt: String::new(),
            prompt_syntax: PromptSyntax::Plain,
            clip_skip: 1,
            seed: 0,
            batch_size: 1,
            steps: 25,
            guidance_scale: 7.5,
            width: 512,
            height: 512,
            scheduler: "pndm".into(),
            scheduler_config: serde_json::Value::Null,
            eta: 0.0,
            strength: None,
            init_image: None,
            resize: None,
            mask: None,
            paste: false,
            vae_tile: None,
            hires: None,
            record: vec![Quantity::Latents, Quantity::PredictedOriginal],
            decode: Decode::Every(1),
            decode_what: vec![Quantity::Latents],
        }
    }
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

/// A tensor that a step can record, shape `[batch, 4, height/8, width/8]`. Its name is its key in the step's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The latents after the step, as the scheduler holds them.
    Latents,
    /// The noise predicted with the negative prompt.
    NoiseUncond,
    /// The noise predicted with the prompt.
    NoiseText,
    /// The two combined by the guidance scale: what the scheduler was given.
    NoiseGuided,
    /// The clean latents (x0) that the prediction implies.
    PredictedOriginal,
}

impl Quantity {
    /// All of them, in the order they are computed.
    pub const ALL: [Quantity; 5] = [
        Quantity::Latents,
        Quantity::NoiseUncond,
        Quantity::NoiseText,
        Quantity::NoiseGuided,
        Quantity::PredictedOriginal,
    ];

    /// The key in the step's file.
    pub fn key(self) -> &'static str {
        match self {
            Quantity::Latents => "latents",
            Quantity::NoiseUncond => "noise_uncond",
            Quantity::NoiseText => "noise_text",
            Quantity::NoiseGuided => "noise_guided",
            Quantity::PredictedOriginal => "predicted_original",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.key())
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name == "x0" {
            return Ok(Quantity::PredictedOriginal);
        }
        Quantity::ALL
            .into_iter()
            .find(|q| q.key() == name)
            .ok_or_else(|| Error::unknown("quantity", name, Quantity::ALL.map(Quantity::key).into_iter().chain(["x0"])))
    }
}

/// Which steps are decoded to pictures. Written `every`, `final`, `none`, or a number: every Nth step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// Every Nth step counted from the start, the starting latents included, and the last.
    Every(usize),
    /// Only the finished picture.
    Final,
    /// Nothing at all.
    Nothing,
}

impl Decode {
    /// Whether step `step` is decoded (step 0: the starting latents).
    pub fn includes(self, step: usize, last: bool) -> bool {
        match self {
            Decode::Every(n) => step.is_multiple_of(n) || last,
            Decode::Final => last,
            Decode::Nothing => false,
        }
    }
}

impl fmt::Display for Decode {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Decode::Every(1) => f.write_str("every"),
            Decode::Every(n) => write!(f, "{n}"),
            Decode::Final => f.write_str("final"),
            Decode::Nothing => f.write_str("none"),
        }
    }
}

impl FromStr for Decode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "every" => Ok(Decode::Every(1)),
            "final" => Ok(Decode::Final),
            "none" => Ok(Decode::Nothing),
            _ => match text.parse() {
                Ok(n) if n > 0 => Ok(Decode::Every(n)),
                _ => Err(Error::invalid(
                    format!("cannot decode `{text}`"),
                    "give `every`, `final`, `none`, or a number N above 0 for every Nth step",
                )),
            },
        }
    }
}

impl Serialize for Decode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The model of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelRecord {
    /// What names it: `pocket`, a folder, `owner/name`.
    pub id: String,
    /// Why this model: `--model`, `SDVIZ_MODEL`, or `embedded`.
    pub chosen_by: String,
    /// The `_class_name` of model_index.json.
    pub class_name: String,
    /// Its weight files: text_encoder, unet, vae.
    pub components: Vec<ComponentRecord>,
    /// Channels of the latents (4 for Stable Diffusion 1.x).
    pub latent_channels: usize,
    /// Pixels per latent in each direction (8 for Stable Diffusion 1.x).
    pub vae_scale_factor: usize,
    /// The VAE's scaling factor: latents = encoded × factor.
    pub scaling_factor: f64,
    /// What the model predicts: `epsilon` or `v_prediction`.
    pub prediction_type: String,
    /// The LoRAs that were merged into its weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRecord>,
    /// The textual inversion embeddings that its tokenizer and text encoder were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingRecord>,
}

/// A textual inversion embedding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmbeddingRecord {
    /// The word that stands for it in a prompt.
    pub name: String,
    /// File name.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its vectors: the tokens that the word becomes.
    pub vectors: usize,
}

impl fmt::Display for EmbeddingRecord {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let plural = if self.vectors == 1 { "" } else { "s" };
        write!(f, "{}, {} token{plural} ({})", self.name, self.vectors, self.file)
    }
}

/// A LoRA that was merged into a model's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraRecord {
    /// File name.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// How strongly it counted; 1 is as it was trained.
    pub weight: f64,
    /// The layers that it changed.
    pub layers: usize,
}

impl fmt::Display for LoraRecord {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, weight {}, {} layers", self.file, self.weight, self.layers)
    }
}

/// A component's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentRecord {
    /// `text_encoder`, `unet`, `vae`.
    pub name: String,
    /// What names the model it was taken from, where that is not the run's: `--vae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// File name inside the folder of the model it comes from.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Parameters.
    pub parameters: u64,
    /// Type of the numbers in the file.
    pub file_dtype: String,
}

/// The prompts as tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// The prompt's tokens, from begin-of-text to the first end-of-text.
    pub prompt: Vec<Token>,
    /// The negative prompt's.
    pub negative_prompt: Vec<Token>,
    /// Places in the text encoder's window (77).
    pub window: usize,
    /// The end of the prompt that did not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cut: Option<String>,
    /// The end of the negative prompt that did not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt_cut: Option<String>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: u32,
    /// The vocabulary's piece, `</w>` at a word's end.
    pub piece: String,
}

/// A noise level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The timestep at which the model is called with these latents; none after the last call.
    pub timestep: Option<f64>,
    /// σ, the noise's standard deviation beside a signal of unit scale.
    pub sigma: f64,
    /// ᾱ, the share of the signal's variance that is left.
    pub alpha_cumprod: f64,
    /// What the recorded latents are divided by to have the variance the model sees: 1, or sqrt(σ² + 1) for the
    /// k-diffusion schedulers. Pictures of latents are decoded after this division.
    pub latent_scale: f64,
}

/// Where a run was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// `cpu`, `cuda:0`, …
    pub device: String,
    /// The dtype the model computed in.
    pub dtype: String,
    /// CPU threads of one operation.
    pub threads: usize,
    /// Source of the random numbers: `cpu`, as A1111's `RNG` field has it.
    pub rng: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// `linux x86_64`.
    pub platform: String,
}

/// Wall-clock times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// When the run began, seconds since 1970 (UTC).
    pub started_unix: u64,
    /// Seconds from the program's start to the end of the run.
    pub total_seconds: f64,
    /// Seconds per stage, in the order they first happened.
    pub stages: Vec<Stage>,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `load`, `text`, `unet`, `decode`, …
    pub name: String,
    /// Seconds in all.
    pub seconds: f64,
    /// How many times.
    pub count: usize,
}

/// One line of `shapes.jsonl`: a tensor, where it arises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteRow {
    /// Its place in the order of computation.
    pub order: usize,
    /// Its name: for module outputs the diffusers key path (`unet.down_blocks.0.resnets.1`).
    pub name: String,
    /// Whether it is one of the dozen of the short table.
    pub brief: bool,
    /// Shape in symbols: `[2·B, 4, H/8, W/8]`.
    pub symbolic: String,
    /// Shape in numbers.
    pub shape: Vec<i64>,
    /// Type of its numbers: `f32`, `i64`, …
    pub dtype: String,
    /// Least value.
    #[serde(with = "numbers")]
    pub min: f64,
    /// Greatest value.
    #[serde(with = "numbers")]
    pub max: f64,
    /// Mean.
    #[serde(with = "numbers")]
    pub mean: f64,
    /// Standard deviation (of the population).
    #[serde(with = "numbers")]
    pub std: f64,
}

/// The file of step `step`'s tensors inside the run directory: `steps/007.safetensors`.
pub fn step_file(step: usize) -> String {
    format!("{STEPS_FOLDER}/{step:03}.safetensors")
}

/// The file of a decoded picture inside the run directory: `steps/007.png`, `steps/007-x0.png` for the predicted
/// original, with `-b1` for the batch's second picture.
pub fn picture_file(step: usize, what: Quantity, batch: usize) -> String {
    let what = if what == Quantity::PredictedOriginal { "-x0" } else { "" };
    format!("{STEPS_FOLDER}/{step:03}{what}{}.png", batch_suffix(batch))
}

/// The finished picture's file: `final.png`, `final-b1.png` for the batch's second picture.
pub fn final_file(batch: usize) -> String {
    format!("final{}.png", batch_suffix(batch))
}

fn batch_suffix(batch: usize) -> String {
    if batch == 0 { String::new() } else { format!("-b{batch}") }
}
