//! What was asked for: the plan of a run, which of its tensors are kept, which steps are decoded.

use crate::error::{Error, Result};
use crate::record::attention::AttentionPlan;
use crate::record::conditions::PromptSyntax;
use crate::record::edits::{self, PlannedEdit};
use crate::record::hires::Hires;
use crate::record::inputs::{InputFile, Resize};
use crate::record::inversion::{InversionPlan, LookPlan};
use crate::record::sigmas::Sigmas;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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
    /// DDIM's eta and TCD's gamma: 0 is deterministic.
    pub eta: f64,
    /// Where the noise levels lie. None leaves it to the model's scheduler configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<Sigmas>,
    /// Whether the betas are rescaled so that nothing is left of the signal at the last training timestep, and the
    /// schedule begins there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zero_terminal_snr: bool,
    /// How far the guided prediction is brought back to the deviation of the one with the prompt: 0 leaves it, 1 is all
    /// the way.
    #[serde(skip_serializing_if = "is_zero")]
    pub guidance_rescale: f64,
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
    /// What is changed on the way, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "edits::read")]
    pub edits: Vec<PlannedEdit>,
    /// The run whose steps it goes on from; none begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Box<Parent>>,
    /// The inversion from whose latents it begins; none begins from seeded noise or a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Box<Parent>>,
    /// Of a run that goes from the initial picture to noise: how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inversion: Option<InversionPlan>,
    /// Of a run that predicts once at each of some noise levels of the initial picture: which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look: Option<LookPlan>,
    /// The runs that its edits copy from, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub donors: Vec<Parent>,
    /// What is kept of each step.
    pub record: Vec<Quantity>,
    /// What is kept of attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionPlan>,
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
            sigmas: None,
            zero_terminal_snr: false,
            guidance_rescale: 0.0,
            strength: None,
            init_image: None,
            resize: None,
            mask: None,
            paste: false,
            vae_tile: None,
            hires: None,
            edits: vec![],
            branch: None,
            start: None,
            inversion: None,
            look: None,
            donors: vec![],
            record: vec![Quantity::Latents, Quantity::PredictedOriginal],
            attention: None,
            decode: Decode::Every(1),
            decode_what: vec![Quantity::Latents],
        }
    }
}

impl Plan {
    /// The seeds of the batch's pictures: consecutive ones, as web UIs have it.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.batch_size as u64).map(|i| self.seed.wrapping_add(i)).collect()
    }

    /// Whether it begins from a picture, which is encoded.
    pub fn takes_picture(&self) -> bool {
        self.strength.is_some() || self.looks_into_picture()
    }

    /// Whether it draws nothing, but looks into a picture: as an inversion, or at some of its noise levels.
    pub fn looks_into_picture(&self) -> bool {
        self.inversion.is_some() || self.look.is_some()
    }
}

/// A run that another takes from: one that it goes on from, whose steps up to one are the other's too, one that it begins
/// from, or one that it copies from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parent {
    /// What it was called: its folder, or `memory`.
    pub run: String,
    /// The step that it is gone on from, or begun from; of one that is copied from the last step.
    pub step: usize,
    /// SHA-256 of that step's latents, or of all steps' latents of one that is copied from: the numbers as little-endian
    /// f32, hexadecimal.
    pub sha256: String,
    /// What it was asked for.
    pub plan: Plan,
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
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

    /// Those that can be decoded to pictures: the others are noise.
    pub const PICTURED: [Quantity; 2] = [Quantity::Latents, Quantity::PredictedOriginal];

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
