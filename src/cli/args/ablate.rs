//! What was typed for `sdviz ablate`.

use super::{SweepArgs, usual};
use clap::Args;
use std::path::PathBuf;

/// `sdviz ablate`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("out", |out| out.default_value("ablation").help("Folder for the runs and what is drawn of them; one that is there is continued")))]
#[command(mut_arg("record", |record| record.default_value("latents")))]
#[command(mut_arg("decode", |decode| usual(decode, "final")))]
#[command(mut_arg("edits", |edit| edit.hide(true)))]
pub struct AblateArgs {
    /// What is changed, one at a time: a pattern over sites, see `sdviz inspect --sites`
    #[arg(long, default_value = "**.attn2", value_name = "PATTERN", help_heading = "Ablation")]
    pub sites: String,
    /// What is done to each: an operation of `--edit`, with its keys, as in `scale by=0.5` or `prompt text='a banana'`
    #[arg(long, default_value = "zero", value_name = "OP", help_heading = "Ablation")]
    pub op: String,
    /// When: that many equal parts of the steps, each by itself, or ranges of steps, `1-5,6-15,16-25`; `all` for all steps at
    /// once
    #[arg(long, default_value = "5", value_name = "WINDOWS", help_heading = "Ablation")]
    pub windows: String,
    /// Every head of the attentions by itself
    #[arg(long, help_heading = "Ablation")]
    pub heads: bool,
    /// The folder of a judge that `sdviz train judge` left, or `none` [default: the pocket model's, for that model]
    #[arg(long, value_name = "FOLDER", help_heading = "Ablation")]
    pub judge: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sweep: SweepArgs,
}
