//! What was typed for `sdviz report`.

use clap::Args;
use std::path::PathBuf;

/// `sdviz report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The run, several to be compared, or a sweep
    #[arg(default_value = "run", value_name = "RUN | SWEEP")]
    pub runs: Vec<PathBuf>,
    /// The file [default: index.html in the run or the sweep; of several runs report.html]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The most that the file may have, in megabytes: tensors go to half precision and pictures to WebP until it fits
    #[arg(long, value_name = "MB", default_value = "10")]
    pub budget: f64,
    /// Keep everything as it was recorded, however large
    #[arg(long, conflicts_with = "budget")]
    pub full: bool,
    /// Which picture of a batch
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub batch: usize,
}
