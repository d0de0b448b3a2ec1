//! What a record holds of the layers: the tensors at some sites, and how much each layer adds.
//!
//! `sites/NNN.safetensors` has the tensors of step NNN by their sites' names; `blocks.jsonl` has a [`LayerRow`] a line.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The folder of the recorded sites.
pub const SITES_FOLDER: &str = "sites";
/// The log of what each layer adds, one JSON object a line.
pub const BLOCKS_FILE: &str = "blocks.jsonl";

/// The file of a step's sites.
pub fn site_file(step: usize) -> String {
    format!("{SITES_FOLDER}/{step:03}.safetensors")
}

/// The key of a site's rows: its name for those that were told the prompt, or that no prompt was told; `NAME@uncond` for
/// those of the negative prompt, `NAME@text1` for those of a second part of the prompt.
pub fn site_key(name: &str, rows: &str) -> String {
    if rows.is_empty() { name.into() } else { format!("{name}@{rows}") }
}

/// What a site's file says of its tensors, in the metadata's entry `sdviz`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SitesMetadata {
    /// The layout's version.
    pub schema_version: u32,
    /// The step.
    pub step: usize,
    /// By key: height and width, of tensors whose places are in a row, `[batch, places, channels]`.
    #[serde(default)]
    pub grids: std::collections::BTreeMap<String, (usize, usize)>,
}

/// What `run.json` says of the sites that are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SitesRecord {
    /// The patterns, as they were asked for.
    pub patterns: Vec<String>,
    /// The sites that fit, in the order of computation.
    pub sites: Vec<String>,
    /// The type of their numbers: `f16` or `f32`.
    pub dtype: String,
    /// Whose rows.
    pub branches: SiteRows,
    /// What the numbers of all steps that the run makes take, in bytes.
    pub bytes: u64,
}

/// Which rows of a batch are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteRows {
    /// Those that are told the prompt.
    #[default]
    Text,
    /// Those that are told the negative prompt, or nothing.
    Uncond,
    /// Both.
    Both,
}

impl SiteRows {
    const ALL: [(&str, SiteRows); 3] =
        [("text", SiteRows::Text), ("uncond", SiteRows::Uncond), ("both", SiteRows::Both)];
}

impl FromStr for SiteRows {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let hit = SiteRows::ALL.into_iter().find(|(known, _)| *known == name);
        hit.map(|(_, rows)| rows).ok_or_else(|| Error::unknown("branch", name, SiteRows::ALL.map(|(known, _)| known)))
    }
}

/// What kind of layer adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// A ResNet block: what its convolutions add to its (projected) input.
    Resnet,
    /// Self-attention.
    Attn1,
    /// Cross-attention.
    Attn2,
    /// Feed-forward.
    Ff,
    /// A transformer with its projections, as a whole.
    Transformer,
}

impl LayerKind {
    /// All of them.
    pub const ALL: [LayerKind; 5] =
        [LayerKind::Resnet, LayerKind::Attn1, LayerKind::Attn2, LayerKind::Ff, LayerKind::Transformer];

    /// In words.
    pub fn about(self) -> &'static str {
        match self {
            LayerKind::Resnet => "ResNet blocks",
            LayerKind::Attn1 => "self-attention",
            LayerKind::Attn2 => "cross-attention",
            LayerKind::Ff => "feed-forward",
            LayerKind::Transformer => "transformers",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            LayerKind::Resnet => "resnet",
            LayerKind::Attn1 => "attn1",
            LayerKind::Attn2 => "attn2",
            LayerKind::Ff => "ff",
            LayerKind::Transformer => "transformer",
        })
    }
}

/// What a layer adds to what goes through it, at a step, over the rows that are told the prompt: out = in + update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    /// The step.
    pub step: usize,
    /// The layer's site.
    pub site: String,
    /// Its kind.
    pub kind: LayerKind,
    /// Which picture of the batch.
    pub batch: usize,
    /// Root mean square of what it adds to; of a ResNet block with a projection around it, of what that gives.
    pub rms_in: f64,
    /// Root mean square of what leaves.
    pub rms_out: f64,
    /// Root mean square of what it adds.
    pub rms_update: f64,
    /// The cosine of the angle between in and out.
    pub cos: f64,
    /// rms_update² / (rms_in² + rms_update²).
    pub share: f64,
}
