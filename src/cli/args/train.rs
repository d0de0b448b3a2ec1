//! What was typed after `sdviz train`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `sdviz train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// What to train
    #[command(subcommand)]
    pub command: TrainCommand,
}

/// What is trained.
#[derive(Debug, Clone, Subcommand)]
pub enum TrainCommand {
    /// The autoencoder: pictures to latents and back. The first stage of a model from scratch
    Vae(StageArgs),
    /// Text encoder and UNet: noise to latents, led by a prompt. The second stage
    Diffusion(StageArgs),
}

/// `sdviz train vae` and `sdviz train diffusion`. A training that was stopped or killed goes on when it is started again
/// with the same options.
#[derive(Debug, Clone, Args)]
pub struct StageArgs {
    /// Folder of pictures with captions: `name.png` beside `name.txt`, or a `metadata.jsonl`
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
    /// The model and how it is trained, a TOML file [default: the pocket model's]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for checkpoints, logs, samples and the model
    #[arg(long, short, default_value = "training", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Go on from the weights of this model, whose shape is then taken too: a folder in diffusers' layout, a checkpoint,
    /// `owner/name`, or `pocket`
    #[arg(long, value_name = "MODEL")]
    pub init: Option<String>,
    /// Steps [default: the configuration's]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Seed of everything random
    #[arg(long, short, default_value_t = 0)]
    pub seed: u64,
    /// Begin anew: what this stage left in the folder goes
    #[arg(long)]
    pub force: bool,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}
