//! What was typed of attribution: what a trace finds out of its words, and the verb that shows it.

use super::{FilesArgs, LoadArgs, LookArgs};
use clap::Args;
use std::path::PathBuf;

/// What is found out of the words.
#[derive(Debug, Clone, Default, Args)]
pub struct AttributeArgs {
    /// Find out at some steps what each word of the prompt causes, beside the run, which keeps its bits: drop (how far the
    /// prediction moves without it), gradient (how much of the guidance each token carries; in f32)
    #[arg(
        long,
        value_name = "LIST",
        num_args = 0..=1,
        default_missing_value = "drop",
        value_delimiter = ',',
        help_heading = "Attribution"
    )]
    pub attribute: Option<Vec<String>>,
    /// The steps whose predictions are looked at [default: eight that are spread over the run]
    #[arg(long, value_delimiter = ',', value_name = "STEPS", requires = "attribute", help_heading = "Attribution")]
    pub at: Vec<usize>,
    /// The words: apple, "red apple", apple@2 (its second occurrence), "#5" (a place), "<end>", "<padding>"
    /// [default: all words]
    #[arg(long, value_delimiter = ',', value_name = "WORDS", requires = "attribute", help_heading = "Attribution")]
    pub words: Vec<String>,
    /// How a word is dropped: rows (its rows of the text embedding become the empty prompt's), retokenise (the prompt is
    /// encoded again without it) [default: rows]
    #[arg(long, value_name = "HOW", requires = "attribute", help_heading = "Attribution")]
    pub drop: Option<String>,
    /// The part of the picture whose guidance the gradient is of: left, top, right and bottom, each from 0 to 1
    /// [default: all of it]
    #[arg(long, value_name = "X0,Y0,X1,Y1", requires = "attribute", help_heading = "Attribution")]
    pub area: Option<String>,
}

/// `sdviz attribution`.
#[derive(Debug, Clone, Args)]
pub struct AttributionArgs {
    /// The run, recorded with `sdviz trace --attribute`; with --at any run whose latents were recorded
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// The words: apple, "red apple", apple@2 (its second occurrence), "#5" (a place), "<end>", "<padding>"
    /// [default: all that were dropped]
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    pub words: Vec<String>,
    /// Steps to show, instead of all that are there
    #[arg(long, value_delimiter = ',', value_name = "STEPS", conflicts_with = "at")]
    pub step: Vec<usize>,
    /// What stands beside the maps: attention, of a run recorded with --attention, and how alike the two are
    #[arg(long, value_name = "WHAT")]
    pub beside: Option<String>,
    /// Find it out now at these steps, from the recorded latents and with the run's model, and keep it in the run
    #[arg(long, value_delimiter = ',', value_name = "STEPS", help_heading = "Finding out")]
    pub at: Vec<usize>,
    /// What to find out: drop, gradient
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "drop",
        value_name = "LIST",
        requires = "at",
        help_heading = "Finding out"
    )]
    pub attribute: Vec<String>,
    /// How a word is dropped: rows, retokenise [default: rows]
    #[arg(long, value_name = "HOW", requires = "at", help_heading = "Finding out")]
    pub drop: Option<String>,
    /// The part of the picture whose guidance the gradient is of: left, top, right and bottom, each from 0 to 1
    #[arg(long, value_name = "X0,Y0,X1,Y1", requires = "at", help_heading = "Finding out")]
    pub area: Option<String>,
    /// What the maps lie over: x0, images, final, none [default: the first of these that is there]
    #[arg(long, value_name = "WHAT")]
    pub over: Option<String>,
    /// What is the first and the last colour: frame (0 and the greatest of each map), run (0 and the greatest of all steps,
    /// for each word), fixed:LO,HI, percentile:P, sigma:K
    #[arg(long, alias = "normalize", default_value = "frame", value_name = "HOW")]
    pub normalise: String,
    /// Colours of the maps: inferno, viridis, magma, cividis, grey
    #[arg(long, alias = "colors", default_value = "inferno", value_name = "NAME")]
    pub colours: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub look: LookArgs,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FilesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub loading: LoadArgs,
}
