//! What a run directory holds, as data: the types behind `run.json` and `shapes.jsonl`, and the names of its files.
//!
//! Nothing here knows libtorch or a model, so a record can be read anywhere. `docs/run-format.md` describes the same in
//! prose. Fields that an older or newer version lacks take their defaults.

use crate::record::answers::OnStepRecord;
use crate::record::attention::AttentionRecord;
use crate::record::conditions::Conditions;
use crate::record::hires::SecondPass;
use crate::record::inputs::Begin;
use crate::record::inversion::{InversionRecord, RunKind};
use crate::record::layers::SitesRecord;
use crate::record::model::ModelRecord;
use crate::record::numbers;
use crate::record::plan::{Plan, Quantity};
use crate::record::preview::PreviewRecord;
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// The sites that stand beside the latents of the step that a pass begins with, by their keys in its file.
pub const START_SITES: [&str; 2] = ["encoded", MASK_SITE];

/// Where a picture is repainted, among the latents.
pub const MASK_SITE: &str = "mask";

/// `run.json`: everything about a run but its tensors and pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Layout version of the run directory: [`SCHEMA_VERSION`] when it was written.
    pub schema_version: u32,
    /// The program's version that wrote it.
    #[serde(default)]
    pub sdviz_version: String,
    /// What it is for, where it does not draw.
    #[serde(default, skip_serializing_if = "RunKind::is_drawing")]
    pub kind: RunKind,
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
    /// What is kept of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionRecord>,
    /// Which sites are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<SitesRecord>,
    /// How an inversion is made, and what it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inversion: Option<InversionRecord>,
    /// How often each edit of the plan changed a tensor, written at the end of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits_fired: Vec<usize>,
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

    /// Whether each step has a prediction with the negative prompt, as far as the guidance scale decides: a model that is told
    /// the scale has none.
    pub fn is_guided(&self) -> bool {
        self.plan.guidance_scale > 1.0 && self.model.time_cond_proj_dim.is_none()
    }

    /// How often the model is called: once a step, but for the steps that a pass begins with.
    pub fn calls(&self) -> usize {
        self.last_step().saturating_sub(usize::from(self.hires.is_some()))
    }

    /// How often the model is called for this run itself: the steps that it goes on from were made before.
    pub fn calls_made(&self) -> usize {
        self.steps_made().count()
    }

    /// The steps whose predictions this run makes itself.
    pub fn steps_made(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.hires.as_ref().map(|second| second.first_step);
        let before = self.plan.branch.as_ref().map_or(0, |parent| parent.step);
        (before + 1..=self.last_step()).filter(move |step| Some(*step) != first)
    }

    /// Predictions of a step for each picture: how many are told a part of the prompt, and whether there is one that is told
    /// the negative prompt.
    pub fn predictions(&self) -> (usize, bool) {
        let parts: Vec<f64> = match &self.conditions {
            Some(all) => all.prompt.iter().map(|part| part.weight).collect(),
            None => vec![1.0],
        };
        (parts.len(), self.plan.guidance_scale > 1.0 || parts != [1.0])
    }

    /// Height and width of the latents in a pass, 1 or 2.
    pub fn latents(&self, pass: usize) -> [usize; 2] {
        let second = self.hires.as_ref().filter(|_| pass > 1).map(|second| [second.height, second.width]);
        second.unwrap_or([self.plan.height, self.plan.width]).map(|pixels| pixels / self.model.vae_scale_factor.max(1))
    }

    /// Which pass a step belongs to, 1 or 2.
    pub fn pass(&self, step: usize) -> usize {
        1 + usize::from(self.hires.as_ref().is_some_and(|second| step >= second.first_step))
    }

    /// What made the picture of a step, where the model's own decoder did not: it makes the latents' with which a pass ends,
    /// for they are the finished picture or what is enlarged, and those that an inversion begins with, which are measured.
    pub fn previewed(&self, step: usize, what: Quantity) -> Option<&PreviewRecord> {
        let begins = step == 0 && self.plan.inversion.is_some();
        let own = what == Quantity::Latents && (begins || self.ends_pass(step));
        self.model.preview.as_ref().filter(|_| !own)
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

/// What a file's name ends in for this picture of the batch: nothing for the first, then `-b1`, `-b2`.
pub fn batch_suffix(batch: usize) -> String {
    if batch == 0 { String::new() } else { format!("-b{batch}") }
}
