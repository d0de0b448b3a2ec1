//! What was typed about the layers: what of them a trace keeps, and the verb that shows it.

use super::animations::{FilesArgs, LookArgs, MotionArgs};
use clap::Args;
use std::path::PathBuf;

/// What a trace keeps of the layers.
#[derive(Debug, Clone, Args)]
pub struct LayersArgs {
    /// Keep how much each layer of the UNet adds, step by step: blocks.jsonl
    #[arg(long, help_heading = "Record")]
    pub blocks: bool,
    /// Keep the tensors at the UNet's sites that fit, as `unet.mid_block` or `unet.up_blocks.*.resnets.*` (`*` is one part
    /// of a name, `**` any number); repeat it for several. `sdviz inspect --sites` lists the sites
    #[arg(long, value_delimiter = ',', value_name = "PATTERN", help_heading = "Record")]
    pub sites: Vec<String>,
    /// Their precision: f16, which takes half the space, or f32
    #[arg(long, default_value = "f16", value_name = "DTYPE", requires = "sites", help_heading = "Record")]
    pub sites_dtype: String,
    /// Whose: text (of the prompt), uncond (of the negative prompt), both
    #[arg(long, default_value = "text", value_name = "WHOSE", requires = "sites", help_heading = "Record")]
    pub sites_branches: String,
    /// The most that they may take on disk; a run that would keep more is not begun
    #[arg(long, default_value = "2 GB", value_name = "SIZE", requires = "sites", help_heading = "Record")]
    pub sites_budget: String,
}

/// `sdviz features`.
#[derive(Debug, Clone, Args)]
pub struct FeaturesArgs {
    /// The run, or several to be seen in one basis; then the site, as `unet.up_blocks.1.resnets.1`
    #[arg(required = true, value_name = "RUN | SITE")]
    pub names: Vec<PathBuf>,
    /// Where the components come from: run (all steps of all runs, so that colours can be compared) or step (each step by
    /// itself, turned towards the step before)
    #[arg(long, default_value = "run", value_name = "HOW")]
    pub fit: String,
    /// Three channels as red, green and blue instead of components
    #[arg(long, value_name = "R,G,B", conflicts_with = "fit")]
    pub channels: Option<String>,
    /// What becomes dark and bright in each colour: run (least and greatest of all steps), frame (of each),
    /// percentile:P, sigma:K
    #[arg(long, alias = "normalize", default_value = "percentile:1", value_name = "HOW")]
    pub normalise: String,
    /// File formats: png (some steps on one picture), mp4, gif, webp, apng
    #[arg(long, value_delimiter = ',', default_value = "png,mp4,gif", value_name = "LIST")]
    pub format: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub motion: MotionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub look: LookArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FilesArgs,
}
