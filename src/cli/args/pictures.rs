//! What was typed for the verbs that look into a picture, `invert` and `look`, and what makes a trace theirs.

use super::{AttentionArgs, KEPT, KeepArgs, LayersArgs, ModelArgs, number, usual, whole};
use crate::error::Result;
use crate::record::inversion::{InversionPlan, LookPlan};
use crate::record::plan::Plan;
use crate::record::schema::RunRecord;
use crate::record::words::{self, Word};
use clap::Args;
use std::path::PathBuf;

/// `sdviz invert`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
#[command(mut_arg("record", |record| usual(record, KEPT)))]
#[command(mut_arg("decode", |decode| usual(decode, "every")))]
#[command(mut_arg("decode_what", |what| usual(what, "both with a small model, else latents")))]
pub struct InvertArgs {
    /// The picture: PNG, JPEG or WebP
    pub photo: PathBuf,
    /// What is to be seen on it; "" inverts without a prompt
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: String,
    /// What to stay away from; used when the guidance scale is above 1
    #[arg(long, short, default_value = "", value_name = "TEXT")]
    pub negative_prompt: String,
    /// Steps
    #[arg(
        long,
        alias = "num-inference-steps",
        default_value_t = 50,
        value_parser = whole,
        allow_negative_numbers = true
    )]
    pub steps: usize,
    /// Predict so many times more in each step, at the latents that it has arrived at, so that the way back meets the same
    /// predictions: 5 is usual. Each costs as much as the step
    #[arg(long, default_value_t = 0, value_name = "TIMES", value_parser = whole, allow_negative_numbers = true)]
    pub refine: usize,
    /// How strongly to follow the prompt; 1 is without guidance, which is what can be inverted well
    #[arg(
        long,
        short,
        default_value_t = 1.0,
        value_name = "SCALE",
        aliases = ["cfg-scale", "cfg"],
        value_parser = number,
        allow_negative_numbers = true
    )]
    pub guidance_scale: f64,
    /// Scheduler to invert: ddim is the one that can be
    #[arg(long, default_value = "ddim", value_name = "NAME", alias = "sampling-method")]
    pub scheduler: String,
    /// Make no way back to see what comes of the picture, which takes as many predictions as there are steps
    #[arg(long)]
    pub no_way_back: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fit: FitArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: PlaceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keep: KeepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub layers: LayersArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub attention: AttentionArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// `sdviz look`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct LookIntoArgs {
    /// The picture: PNG, JPEG or WebP
    pub photo: PathBuf,
    /// What is to be seen on it
    #[arg(long, short, value_name = "TEXT")]
    pub prompt: String,
    /// The noise levels at which to look, as shares of the training timesteps: 0 the picture as it is, 1 nothing but noise
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0.2,0.4,0.6",
        value_name = "LIST",
        value_parser = number,
        allow_negative_numbers = true
    )]
    pub at: Vec<f64>,
    /// The words to look for, as `sdviz attention` names them [default: all of the prompt]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub words: Vec<String>,
    /// A site whose features become colours, as unet.up_blocks.1.resnets.1; `sdviz inspect --sites` lists them. Repeat it
    /// for several
    #[arg(long, value_delimiter = ',', value_name = "SITE")]
    pub site: Vec<String>,
    /// Seed of the noise, the same at all levels
    #[arg(long, short, default_value_t = 0, value_name = "SEED")]
    pub seed: u64,
    /// Side of the square that each picture on the sheet is fitted into, by whole numbers where it is magnified
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    pub size: u32,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fit: FitArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: PlaceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// How a picture that is looked into is made to fit.
#[derive(Debug, Clone, Args)]
pub struct FitArgs {
    /// Width in pixels [default: the picture's own, to the nearest multiple of what the autoencoder divides by (8)]
    #[arg(long, short = 'W', value_name = "PIXELS", value_parser = whole, allow_negative_numbers = true)]
    pub width: Option<usize>,
    /// Height in pixels [default: as width]
    #[arg(long, short = 'H', value_name = "PIXELS", value_parser = whole, allow_negative_numbers = true)]
    pub height: Option<usize>,
    /// How the picture is made to fit: stretch, crop or pad
    #[arg(long, default_value = "stretch", value_name = "HOW")]
    pub resize: String,
}

/// Where the record goes.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Folder for the record [default: run, or the first of run-2, run-3, … that is free]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Replace the run in the folder, which is `run` if none is named
    #[arg(long)]
    pub force: bool,
    /// Write no report, index.html, at the end
    #[arg(long)]
    pub no_report: bool,
}

/// What a trace is for, where it does not draw.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    /// To go from the picture to noise.
    Invert(InversionPlan),
    /// To look at some noise levels of it, for some words.
    Look(LookPlan, Vec<Word>),
}

impl Purpose {
    /// Makes the plan of a run from a picture that of this purpose.
    pub fn apply(&self, plan: &mut Plan) {
        plan.strength = None;
        match self {
            Purpose::Invert(inversion) => plan.inversion = Some(inversion.clone()),
            Purpose::Look(look, _) => plan.look = Some(look.clone()),
        }
    }

    /// Refuses a word that the model is not told, before anything is computed.
    ///
    /// # Errors
    /// Names it, and the words there are.
    pub fn check(&self, record: &RunRecord) -> Result<()> {
        let (Purpose::Look(_, words), Some(kept)) = (self, &record.attention) else { return Ok(()) };
        words::check(words, &kept.texts.iter().collect::<Vec<_>>())
    }
}
