//! What was typed for the verbs that change one site at a time in recorded runs: `patch`, `effects`.

use super::LoadArgs;
use clap::Args;
use std::path::PathBuf;

/// `sdviz patch`.
#[derive(Debug, Clone, Args)]
pub struct PatchArgs {
    /// The run that is copied from
    pub clean: PathBuf,
    /// The run that it is copied into, site by site: of the same size, steps and scheduler, with another prompt
    pub corrupted: PathBuf,
    /// What is copied, one at a time: patterns over sites, see `sdviz inspect --sites`
    #[arg(long, value_delimiter = ',', default_value = "unet.**.attn2", value_name = "PATTERNS")]
    pub sites: Vec<String>,
    /// When: that many equal parts of the steps, each by itself, or ranges of steps, `1-5,6-15,16-25`; `all` for all steps at
    /// once
    #[arg(long, alias = "steps", default_value = "5", value_name = "WINDOWS")]
    pub windows: String,
    /// The folder of a judge that `sdviz train judge` left, or `none` [default: the pocket model's, for that model]
    #[arg(long, value_name = "FOLDER")]
    pub judge: Option<PathBuf>,
    /// Folder for what is made; cells that are there are not made again
    #[arg(long, short, default_value = "patch", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Make only part K of N, for N processes that share the folder
    #[arg(long, value_name = "K/N")]
    pub shard: Option<String>,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub loading: LoadArgs,
}

/// `sdviz effects`.
#[derive(Debug, Clone, Args)]
pub struct EffectsArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// After which of its steps: the next prediction is made once more for every site. Several with commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "STEPS")]
    pub step: Vec<usize>,
    /// What is changed, one at a time: patterns over sites, see `sdviz inspect --sites`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "unet.**.attn1,unet.**.attn2,unet.**.ff,unet.**.resnets.*.conv2",
        value_name = "PATTERNS"
    )]
    pub sites: Vec<String>,
    /// What is done to each: an operation of `trace --edit`, with its keys
    #[arg(long, default_value = "zero", value_name = "OP")]
    pub op: String,
    /// Folder for the heat map and the table [default: exports/ under the run]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub loading: LoadArgs,
}
