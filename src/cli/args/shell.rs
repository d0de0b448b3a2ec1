//! What was typed for `sdviz completions` and `sdviz man`.

use clap::Args;
use std::path::PathBuf;

/// `sdviz completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `sdviz man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Folder for the pages; `man -M` and MANPATH find them in a folder called man1
    #[arg(long, short, default_value = "man1", value_name = "FOLDER")]
    pub out: PathBuf,
}
