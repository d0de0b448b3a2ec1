//! What was typed for `sdviz eval`.

use super::{JudgeOf, ModelArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `sdviz eval`.
#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// Draw objects on backgrounds, and have a judge say whether they are there
    Prompts(EvalPromptsArgs),
    /// Encode and decode pictures, and compare
    Vae(EvalVaeArgs),
    /// Draw objects on backgrounds, and see whether the word's map of attention lies on the object
    Attention(EvalAttentionArgs),
    /// Draw objects on backgrounds, and compare what each word causes with where it is looked at
    Attribution(EvalAttributionArgs),
    /// Draw the captions of compositions, and compare: how sharp, how near as a whole, how different from seed to seed
    Likeness(EvalLikenessArgs),
    /// Show the judge pictures whose content is known, as they are and through the autoencoder
    Judge(EvalJudgeArgs),
}

/// `sdviz eval prompts`.
#[derive(Debug, Clone, Args)]
pub struct EvalPromptsArgs {
    /// Pictures with guidance
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub count: usize,
    /// How many of them to draw without guidance, too
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub unguided: usize,
    /// Pictures without a background in the prompt, to draw again with a negative prompt against the one that came
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub negative: usize,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub drawn: DrawnArgs,
    /// Pictures in one forward pass
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub batch_size: usize,
    /// The folder of a judge that `sdviz train judge` left [default: the pocket model's]
    #[arg(long, value_name = "FOLDER")]
    pub judge: Option<PathBuf>,
    /// The folder of a judge of styles, from `sdviz train judge --of style` [default: the pocket model's, where `--judge`
    /// names no other judge]
    #[arg(long, value_name = "FOLDER")]
    pub style_judge: Option<PathBuf>,
    /// Pictures with a style in the prompt, of all styles together
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub styled: usize,
    /// Folder for report.json and sheets of the pictures
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// How pictures are drawn that are measured.
#[derive(Debug, Clone, Args)]
pub struct DrawnArgs {
    /// Steps
    #[arg(long, default_value_t = 25, alias = "num-inference-steps")]
    pub steps: usize,
    /// How strongly to follow the prompt
    #[arg(long, short, default_value_t = 5.0, value_name = "SCALE", aliases = ["cfg-scale", "cfg"])]
    pub guidance_scale: f64,
    /// Scheduler, see `sdviz schedulers` [default: the model's own]
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<String>,
    /// Seed of the order of prompts; the pictures' seeds count up from it
    #[arg(long, short, default_value_t = 0)]
    pub seed: u64,
}

/// How maps are measured on objects.
#[derive(Debug, Clone, Args)]
pub struct EvalMapsArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub drawn: DrawnArgs,
    /// A map counts as the object where it is above this share of the way from its least to its greatest number
    #[arg(long, default_value_t = 0.4, value_name = "SHARE", allow_negative_numbers = true)]
    pub cut: f64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// `sdviz eval attention`.
#[derive(Debug, Clone, Args)]
pub struct EvalAttentionArgs {
    /// Pictures
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub count: usize,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub maps: EvalMapsArgs,
}

/// `sdviz eval attribution`.
#[derive(Debug, Clone, Args)]
pub struct EvalAttributionArgs {
    /// Pictures
    #[arg(long, default_value_t = 48, value_name = "N")]
    pub count: usize,
    /// The steps whose predictions are looked at
    #[arg(long, value_delimiter = ',', default_value = "2,6,12,20", value_name = "STEPS")]
    pub at: Vec<usize>,
    /// How a word is dropped: rows, retokenise
    #[arg(long, default_value = "rows", value_name = "HOW")]
    pub drop: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub maps: EvalMapsArgs,
}

/// What pictures are measured on.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// A data set of `sdviz dataset build`; take another seed than the model was trained on
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
    /// Pictures
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub count: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// `sdviz eval vae`.
#[derive(Debug, Clone, Args)]
pub struct EvalVaeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: MeasureArgs,
}

/// `sdviz eval judge`.
#[derive(Debug, Clone, Args)]
pub struct EvalJudgeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: MeasureArgs,
    /// The folder of a judge that `sdviz train judge` left [default: the pocket model's]
    #[arg(long, value_name = "FOLDER")]
    pub judge: Option<PathBuf>,
    /// Which of the pocket model's judges
    #[arg(long, default_value = "object", value_name = "WHAT", conflicts_with = "judge")]
    pub of: JudgeOf,
}

/// `sdviz eval likeness`.
#[derive(Debug, Clone, Args)]
pub struct EvalLikenessArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on: MeasureArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub drawn: DrawnArgs,
    /// Pictures in one forward pass
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub batch_size: usize,
    /// Prompts that are drawn from several seeds
    #[arg(long, default_value_t = 12, value_name = "N")]
    pub prompts: usize,
    /// From how many
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub seeds: usize,
    /// The folder of a judge that `sdviz train judge` left [default: the pocket model's]
    #[arg(long, value_name = "FOLDER")]
    pub judge: Option<PathBuf>,
}
