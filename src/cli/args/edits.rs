//! What was typed for edits.

use clap::Args;
use std::path::PathBuf;

/// What is changed on a run's way.
#[derive(Debug, Clone, Default, Args)]
pub struct EditArgs {
    /// Change tensors on their way: an operation, a site, and when and where, as in `zero unet.mid_block steps=1-5`; repeat
    /// it for several, which are carried out in order. docs/edits.md has them all
    #[arg(long, value_name = "EDIT", help_heading = "Edits")]
    pub edit: Vec<String>,
    /// A TOML file of edits, which come before those of `--edit`
    #[arg(long, value_name = "FILE", help_heading = "Edits")]
    pub edits: Option<PathBuf>,
}
