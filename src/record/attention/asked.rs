//! What is to be kept of attention, as it was asked for.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Into how much detail the maps of a step go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// The mean over the heads and the layers of each size.
    #[default]
    Sizes,
    /// Each layer's mean over its heads too.
    Layers,
    /// Each head's too.
    HeadsPerStep,
}

impl Detail {
    /// All of them, the least first.
    pub const ALL: [Detail; 3] = [Detail::Sizes, Detail::Layers, Detail::HeadsPerStep];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Detail::Sizes => "sizes",
            Detail::Layers => "layers",
            Detail::HeadsPerStep => "heads-per-step",
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is to be kept of attention, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionPlan {
    /// Into how much detail cross-attention goes; the model's size decides where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// Whether self-attention is kept, of the sizes that are small enough.
    #[serde(rename = "self", skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
    /// Whether each place of the padding has a column of its own, and not one for their sum.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_tokens: bool,
    /// Whether the negative prompt and the further parts of the prompt are kept too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_branches: bool,
    /// Places of the picture, x and y in 0..1, of which it is kept where they look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<[f64; 2]>,
}
