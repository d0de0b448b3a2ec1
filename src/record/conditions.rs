//! What a record says of a prompt that was read as AUTOMATIC1111's web UI reads it: which texts there are, cut into which
//! chunks of weighted tokens, and which of them holds at which step.
//!
//! Enters and leaves: a part of `run.json`. A run with a plain prompt has none of it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a prompt is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptSyntax {
    /// As it is written, cut to one window: as diffusers reads it.
    #[default]
    Plain,
    /// With the weights, schedules, breaks and `AND` of AUTOMATIC1111's web UI.
    A1111,
}

impl PromptSyntax {
    /// All of them.
    pub const ALL: [PromptSyntax; 2] = [PromptSyntax::Plain, PromptSyntax::A1111];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PromptSyntax::Plain => "plain",
            PromptSyntax::A1111 => "a1111",
        }
    }

    /// Whether it is the plain one.
    pub fn is_plain(&self) -> bool {
        *self == PromptSyntax::Plain
    }
}

impl fmt::Display for PromptSyntax {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PromptSyntax {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = PromptSyntax::ALL.into_iter().find(|syntax| syntax.name() == name.to_lowercase());
        found.ok_or_else(|| Error::unknown("prompt syntax", name, PromptSyntax::ALL.map(PromptSyntax::name)))
    }
}

/// What a run's prompts mean, step by step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// The texts that are encoded, each once.
    pub texts: Vec<Text>,
    /// The parts of the prompt that `AND` joins; one where there is no `AND`.
    pub prompt: Vec<PromptPart>,
    /// The texts of the negative prompt; `AND` means nothing there.
    pub negative_prompt: Vec<Phase>,
}

/// A text as the text encoder sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// The text, with its weights as they were written.
    pub text: String,
    /// Its tokens, at most 75 in each chunk, without begin-of-text, end-of-text and padding. Texts that have fewer chunks
    /// than the longest of the run are filled up with empty ones.
    pub chunks: Vec<Vec<WeightedToken>>,
}

/// One token and what its embedding is multiplied by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightedToken {
    /// Its id in the vocabulary.
    pub id: u32,
    /// The vocabulary's piece, `</w>` at a word's end.
    pub piece: String,
    /// The weight.
    pub weight: f64,
}

/// A part of a prompt that counts for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptPart {
    /// How much it counts.
    pub weight: f64,
    /// Its texts.
    pub schedule: Vec<Phase>,
}

/// A text, and how long it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The last step it holds for, counted from 1 as in `steps/`.
    pub until: usize,
    /// Its place in `texts`.
    pub text: usize,
}

impl Conditions {
    /// Chunks of the longest text.
    pub fn chunks(&self) -> usize {
        self.texts.iter().map(|text| text.chunks.len()).max().unwrap_or(1)
    }
}

/// The text that holds at a step, by its place in `texts`.
pub fn at(schedule: &[Phase], step: usize) -> usize {
    schedule.iter().find(|phase| step <= phase.until).or(schedule.last()).map_or(0, |phase| phase.text)
}
