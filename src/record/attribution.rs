//! What a record holds of attribution: what each word of a prompt causes in a prediction.
//!
//! `attribution/NNN.safetensors` is about the prediction of step NNN. It says all about itself, in the metadata's entry
//! `sdviz`, so that it can be made with a run or later, from the latents that the run recorded.

use crate::error::{Error, Result};
use crate::record::attention::AttendedText;
use crate::record::words::Word;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The folder of attribution.
pub const ATTRIBUTION_FOLDER: &str = "attribution";

/// How far the prediction moves at each place without each word, `[batch, words, h, w]`, f16.
pub const DROP: &str = "drop";
/// The same over all places, `[batch, words]`, f32.
pub const DROP_NORM: &str = "drop_norm";
/// How far it moves at each place without the prompt, `[batch, h, w]`, f16.
pub const WHOLE: &str = "whole";
/// The same over all places, `[batch]`, f32.
pub const WHOLE_NORM: &str = "whole_norm";
/// The prediction's own norm, `[batch]`, f32.
pub const TEXT_NORM: &str = "text_norm";
/// Gradient times input of each place of the text, `[batch, places]`, f32.
pub const GRADIENT: &str = "gradient";
/// What was differentiated, `[batch]`, f32.
pub const SCORE: &str = "score";

/// The file of a step.
pub fn attribution_file(step: usize) -> String {
    format!("{ATTRIBUTION_FOLDER}/{step:03}.safetensors")
}

/// How a word is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dropping {
    /// Its rows of the text embedding become those of the empty prompt at the same places. What other places know of it
    /// stays.
    #[default]
    Rows,
    /// The prompt is encoded again without its tokens. What follows moves up.
    Retokenise,
}

impl Dropping {
    /// All of them.
    pub const ALL: [Dropping; 2] = [Dropping::Rows, Dropping::Retokenise];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Dropping::Rows => "rows",
            Dropping::Retokenise => "retokenise",
        }
    }
}

impl fmt::Display for Dropping {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Dropping {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let hit = Dropping::ALL.into_iter().find(|known| known.name() == name);
        hit.ok_or_else(|| Error::unknown("way to drop a word", name, Dropping::ALL.map(Dropping::name)))
    }
}

/// What is to be found out, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Whether words are dropped, and how.
    pub dropping: Option<Dropping>,
    /// Whether gradients are taken.
    pub gradient: bool,
    /// The words; none for all of the prompt.
    pub words: Vec<Word>,
    /// The steps whose predictions are looked at; none for some that are spread over the run.
    pub steps: Vec<usize>,
    /// Of which part of the picture gradients are: left, top, right and bottom from 0 to 1; none for all of it.
    pub area: Option<[f64; 4]>,
}

/// What a file says of its tensors, in the metadata's entry `sdviz`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The layout's version.
    pub schema_version: u32,
    /// The step.
    pub step: usize,
    /// Its timestep.
    pub timestep: Option<f64>,
    /// How words were dropped, where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropping: Option<Dropping>,
    /// The words that were dropped, in the order of the tensors, as they can be typed. Those that the step's text does not
    /// have are not among them.
    pub words: Vec<String>,
    /// The text that the prediction was told.
    pub text: AttendedText,
    /// Of which part of the picture the gradient is; none for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area: Option<[f64; 4]>,
}
