//! What was typed for `sdviz dataset`.

use crate::dataset::icons::ICONS_FOLDER;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `sdviz dataset`.
#[derive(Debug, Clone, Subcommand)]
pub enum DatasetCommand {
    /// Make pictures with captions out of free drawings, the same ones from the same seed
    Build(DatasetBuildArgs),
    /// Put some pictures of a data set on one sheet, with their captions
    Sheet(DatasetSheetArgs),
}

/// `sdviz dataset build`.
#[derive(Debug, Clone, Args)]
pub struct DatasetBuildArgs {
    /// Folder for the data set
    #[arg(long, short, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Replace the data set in the folder
    #[arg(long)]
    pub force: bool,
    /// Pictures
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub count: usize,
    /// Seed of order, sizes, places and captions
    #[arg(long, short, default_value_t = 0)]
    pub seed: u64,
    /// Folder with the packages of drawings; `make icons` fetches them
    #[arg(long, default_value = ICONS_FOLDER, value_name = "FOLDER")]
    pub icons: PathBuf,
    /// TOML file that says what to draw [default: what the pocket model knows]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `sdviz dataset sheet`.
#[derive(Debug, Clone, Args)]
pub struct DatasetSheetArgs {
    /// The data set
    pub dataset: PathBuf,
    /// Pictures, counted from the first
    #[arg(long, default_value_t = 48, value_name = "N")]
    pub count: usize,
    /// Pictures in a row
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub columns: usize,
    /// The sheet, a PNG
    #[arg(long, short, default_value = "sheet.png", value_name = "FILE")]
    pub out: PathBuf,
}
