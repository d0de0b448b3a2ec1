//! What was typed for `sdviz attention`.

use super::animations::{FilesArgs, LookArgs, MotionArgs};
use clap::Args;
use std::path::PathBuf;

/// `sdviz attention`.
#[derive(Debug, Clone, Args)]
pub struct MapsArgs {
    /// The run, recorded with `sdviz trace --attention`
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// Words of the prompt: apple, "red apple" (words in a row), apple@2 (its second occurrence), "#5" (what stands at a
    /// place), "<start>", "<end>", "<padding>" [default: all words]
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
    /// What to show: words (over the steps), shares (who gets how much), heads (which head looks where), self (where
    /// places look)
    #[arg(long, default_value = "words", value_name = "WHAT")]
    pub what: String,
    /// Other runs beside it, step by step
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "RUN")]
    pub compare: Vec<PathBuf>,
    /// With self: the place that looks, as shares of width and height; repeat it for several
    #[arg(long, value_name = "X,Y")]
    pub query: Vec<String>,
    /// With self: so many components of where all places look, as colours; 3 is what colours can show
    #[arg(long, value_name = "N", conflicts_with = "query")]
    pub components: Option<usize>,
    /// Of a run with a second pass, the one to show: 1 or 2 [default: both; heads, daam and p2p, which take all steps
    /// together, the second]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub pass: Option<u8>,
    /// Steps to show, instead of eight on a sheet and all in a film
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub step: Vec<usize>,
    /// What maps lie over: x0 (the decoded predictions), images (the decoded latents), final (the finished picture), none
    /// [default: the first of them that is there]
    #[arg(long, value_name = "WHAT")]
    pub over: Option<String>,
    /// How the maps of layers and heads become one: shares (their mean), or as others do it: daam, p2p, a-and-e
    #[arg(long, default_value = "shares", value_name = "NAME", help_heading = "Numbers")]
    pub method: String,
    /// How a word's tokens become one: sum (what all of them get), mean
    #[arg(long, default_value = "sum", value_name = "HOW", help_heading = "Numbers")]
    pub merge: String,
    /// Only layers whose maps are so many times smaller than the latents: f1, f2, f4, f8 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST", help_heading = "Numbers")]
    pub sizes: Vec<String>,
    /// How small maps become large: bicubic, or hard (every number a square)
    #[arg(long, default_value = "bicubic", value_name = "HOW", help_heading = "Numbers")]
    pub upsampling: String,
    /// Divide at each place by what all words get there, instead of showing shares of all attention
    #[arg(long, help_heading = "Numbers")]
    pub relative: bool,
    /// Which prediction is looked at: text, and uncond or part1, part2, … where `--attention-branches` kept them
    #[arg(long, default_value = "text", value_name = "NAME", help_heading = "Numbers")]
    pub prediction: String,
    /// What is the first and the last colour: run (least and greatest of all steps, for each word), frame (of each
    /// step), fixed:LO,HI, percentile:P, sigma:K
    #[arg(long, alias = "normalize", default_value = "run", value_name = "HOW", help_heading = "Colours")]
    pub normalise: String,
    /// Colours of the maps: inferno, viridis, magma, cividis, grey
    #[arg(long, alias = "colors", default_value = "inferno", value_name = "NAME", help_heading = "Colours")]
    pub colours: String,
    /// How much of the picture a map hides where it is strongest, 0 to 1
    #[arg(long, default_value_t = 0.7, value_name = "SHARE", allow_negative_numbers = true, help_heading = "Colours")]
    pub alpha: f64,
    /// Leave the picture below in its colours, instead of making it grey
    #[arg(long, alias = "in-color", help_heading = "Colours")]
    pub in_colour: bool,
    /// Print the record of what was done to the numbers as JSON
    #[arg(long)]
    pub json: bool,
    /// File formats: png for a sheet, mp4, gif, webp, apng for a film; for shares also svg, pdf, csv, json
    /// [default: png,gif,mp4, and png for shares and heads]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
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
