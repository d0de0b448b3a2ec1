//! What was typed for the verbs that read a run or a picture: `shapes`, `plot`, `diff`, `export`, `metadata`.

use super::animations::FilesArgs;
use clap::Args;
use std::path::PathBuf;

/// `sdviz shapes`.
#[derive(Debug, Clone, Args)]
pub struct ShapesArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// Every block, not only the dozen tensors to point at
    #[arg(long)]
    pub full: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `sdviz plot`.
#[derive(Debug, Clone, Args)]
pub struct PlotArgs {
    /// The run, or several to be drawn in one plot
    #[arg(default_value = "run", value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// What to plot: schedule, norms, guidance, change, distance; of the way's geometry plane, pca, cosines, spectrum, bands;
    /// blocks, what each layer adds; attention, who gets it; attribution, what words cause
    #[arg(long, value_delimiter = ',', default_value = "schedule,norms,guidance,change,distance", value_name = "LIST")]
    pub what: Vec<String>,
    /// File formats: png (1600 pixels wide), svg, pdf; csv, json for the numbers
    #[arg(long, value_delimiter = ',', default_value = "png", value_name = "LIST")]
    pub format: Vec<String>,
    /// Another title; `none` leaves it out, with the line below it
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// What the geometry is of: x (the latents), x0 (the predictions), noise (the guided predictions), pictures (the
    /// decoded latents' luma; spectrum and bands) [default: x; of bands x0; of spectrum the first three]
    #[arg(long, value_name = "WHAT")]
    pub of: Option<String>,
    /// The channels that the geometry is of, counted from 0 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub channels: Option<Vec<usize>>,
    /// Print the numbers as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FilesArgs,
}

/// `sdviz diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// A run
    pub run_a: PathBuf,
    /// The run to compare it with
    pub run_b: PathBuf,
    /// Check that no recorded quantity differs by more than this share of its largest value; 0 asks for equality.
    /// Exit code 1 if one does, or if the runs cannot be compared whole
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Draw a map of the difference at each step, all on one sheet
    #[arg(long)]
    pub maps: bool,
    /// Folder for the sheet [default: exports/ under the first run]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sdviz export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The run [default: the newest of run, run-2, …], then the names of exporters; a run that bears the name of an
    /// exporter is written `./NAME`, and `imagefolder` takes a sweep too
    #[arg(value_name = "RUN | NAME")]
    pub names: Vec<String>,
    /// Run every exporter
    #[arg(long)]
    pub all: bool,
    /// List the exporters
    #[arg(long)]
    pub list: bool,
    /// Folder for the files [default: exports/ under the run]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// `sdviz metadata`.
#[derive(Debug, Clone, Args)]
pub struct MetadataArgs {
    /// A picture made by sdviz, a Stable Diffusion web UI, or stable-diffusion.cpp: PNG, JPEG or WebP
    pub picture: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
