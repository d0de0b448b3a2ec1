//! `sdviz sweep` as it is typed: a sweep, and what concerns a cluster that makes it.

use super::SweepArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `sdviz sweep`.
#[derive(Debug, Clone, Args)]
pub struct SweepCommand {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// What hands a sweep to a cluster, and asks how far it is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Make nothing here: write a job array's script into the sweep's folder and submit it
    #[arg(long, value_name = "TO", conflicts_with_all = ["shard", "dry_run"])]
    pub submit: Option<Queue>,
    /// Tasks of the array, which share the cells out; never more than there are cells
    #[arg(long, value_name = "N", default_value_t = 8, requires = "submit")]
    pub tasks: usize,
    /// Options of sbatch, as they would be typed: "--gres=gpu:1 --time=2:00:00 --partition=long"
    #[arg(long, value_name = "OPTIONS", requires = "submit", allow_hyphen_values = true)]
    pub slurm_options: Option<String>,
    /// Say how many cells of a sweep are done, running, failed and missing, and who is at work; nothing else is done
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "sweep", exclusive = true)]
    pub status: Option<PathBuf>,
}

/// Where jobs are submitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Queue {
    /// Slurm, by `sbatch`.
    Slurm,
}
