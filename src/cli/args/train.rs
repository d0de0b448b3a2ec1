//! What was typed after `sdviz train`.

use crate::eval::judge::Of;
use clap::{Args, Subcommand, ValueEnum};
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
    /// A LoRA: a small addition that teaches a model a new thing or style, from a handful of pictures
    Lora(PersonalArgs),
    /// An embedding: a new word of the prompt, taught from a handful of pictures
    Embedding(EmbeddingArgs),
    /// A preview decoder for a model: a small network that learns what its decoder makes of latents, for `--preview-vae`
    PreviewVae(PreviewVaeArgs),
    /// The judge: a small network that names what a picture shows, from a data set of `sdviz dataset build`. `sdviz eval`
    /// uses it
    Judge(JudgeArgs),
}

/// What every training asks for. One that was stopped or killed goes on when it is started again with the same options.
#[derive(Debug, Clone, Args)]
pub struct CourseArgs {
    /// Folder of pictures with captions: `name.png` beside `name.txt`, or a `metadata.jsonl`
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,
    /// What is trained and how, a TOML file [default: as the pocket model was]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for checkpoints, logs, samples and what was learned
    #[arg(long, short, default_value = "training", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Steps [default: the configuration's]
    #[arg(long)]
    pub steps: Option<u64>,
    /// Minutes after which it ends, if it has not made its steps by then; the learning rate then follows the time
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Seed of everything random
    #[arg(long, short, default_value_t = 0)]
    pub seed: u64,
    /// Begin anew: what this training left in the folder goes
    #[arg(long)]
    pub force: bool,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// `sdviz train vae` and `sdviz train diffusion`.
#[derive(Debug, Clone, Args)]
pub struct StageArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub course: CourseArgs,
    /// Go on from the weights of this model, whose shape is then taken too: a folder in diffusers' layout, a checkpoint,
    /// `owner/name`, or `pocket`
    #[arg(long, value_name = "MODEL")]
    pub init: Option<String>,
}

/// `sdviz train judge`.
#[derive(Debug, Clone, Args)]
pub struct JudgeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub course: CourseArgs,
    /// What it learns to name
    #[arg(long, default_value = "object", value_name = "WHAT")]
    pub of: JudgeOf,
}

/// What a judge names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JudgeOf {
    /// The object that a picture shows
    Object,
    /// The style that it is drawn in
    Style,
}

impl From<JudgeOf> for Of {
    fn from(of: JudgeOf) -> Of {
        match of {
            JudgeOf::Object => Of::Object,
            JudgeOf::Style => Of::Style,
        }
    }
}

/// `sdviz train lora`.
#[derive(Debug, Clone, Args)]
pub struct PersonalArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub course: CourseArgs,
    /// Folder of pictures with captions that the model must not forget, shown half of the time: of other things, or such
    /// as it draws itself
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// The model to teach: a folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from the Hugging Face
    /// cache, or `pocket` [default: $SDVIZ_MODEL, else pocket]
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
}

/// `sdviz train preview-vae`.
#[derive(Debug, Clone, Args)]
pub struct PreviewVaeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub course: CourseArgs,
    /// The model whose decoder is learned from: a folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from
    /// the Hugging Face cache, or `pocket` [default: $SDVIZ_MODEL, else pocket]
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
}

/// `sdviz train embedding`.
#[derive(Debug, Clone, Args)]
pub struct EmbeddingArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub personal: PersonalArgs,
    /// The new word, as the captions have it
    #[arg(long, value_name = "WORD")]
    pub word: String,
    /// A word that the model knows, to begin as [default: nothing known]
    #[arg(long, value_name = "WORD")]
    pub like: Option<String>,
}
