//! What was typed for the verbs about models and what they are made of: `inspect`, `convert`, `merge`, `fetch`,
//! `models`, `schedulers`, `schedule`, `tokens`.

use clap::Args;
use std::path::PathBuf;

/// `sdviz inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from the Hugging Face cache, or `pocket`
    /// [default: $SDVIZ_MODEL, else pocket]
    pub model: Option<String>,
    /// Levels of the tree to show below each component
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub depth: usize,
    /// List the sites instead, where tensors can be watched and changed, with their shapes: all, or those that fit a
    /// pattern such as `unet.mid_block.**` (`*` is one part of a name, `**` any number)
    #[arg(long, num_args = 0..=1, default_missing_value = "**", value_name = "PATTERN")]
    pub sites: Option<String>,
    /// Measure instead how long each block of the UNet takes, at the model's own size with guidance
    #[arg(long, conflicts_with = "sites")]
    pub time: bool,
    /// How many forward passes to measure, after one that is not counted
    #[arg(long, default_value_t = 5, value_name = "N", requires = "time")]
    pub repeat: usize,
    /// Where to measure: auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto", value_name = "DEVICE", requires = "time")]
    pub device: String,
    /// In which precision: auto (f16 on CUDA, else f32), f32, bf16 or f16
    #[arg(long, default_value = "auto", value_name = "DTYPE", requires = "time")]
    pub dtype: String,
    /// Weight files to take, as in `*.fp16.safetensors`
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sdviz convert`.
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// A folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from the Hugging Face cache, or `pocket`
    pub model: String,
    /// What to write: a checkpoint if it ends in .safetensors, else a folder
    pub out: PathBuf,
    /// Another autoencoder to put in: its folder or file, a model whose autoencoder to take, or `pocket`
    #[arg(long, value_name = "MODEL")]
    pub vae: Option<String>,
    /// Weight files to take, as in `*.fp16.safetensors`
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

/// `sdviz merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// The model to begin with
    pub a: String,
    /// The model to mix in
    pub b: String,
    /// The model whose difference to B is added to A
    pub c: Option<String>,
    /// How: (1 − ratio)·A + ratio·B, or A + ratio·(B − C)
    #[arg(long, value_enum, default_value = "weighted")]
    pub mode: MergeMode,
    /// How much
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    pub ratio: f32,
    /// Mix only in these sites, each with its own ratio if it is given: `unet.up_blocks,unet.mid_block=0.2`
    #[arg(long, value_delimiter = ',', value_name = "SITE[=RATIO]")]
    pub blocks: Vec<String>,
    /// Weight files to take, as in `*.fp16.safetensors`
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Folder for the new model
    #[arg(long, short, value_name = "FOLDER")]
    pub out: PathBuf,
}

/// How models are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MergeMode {
    /// (1 − ratio)·A + ratio·B
    Weighted,
    /// A + ratio·(B − C)
    AddDifference,
}

/// `sdviz fetch`.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// The repository: `owner/name`
    pub name: String,
    /// A branch, a tag or a commit
    #[arg(long, default_value = "main")]
    pub revision: String,
    /// Weight files to take, as in `*.fp16.safetensors`
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

/// `sdviz models`.
#[derive(Debug, Clone, Args)]
pub struct ModelsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sdviz schedulers`.
#[derive(Debug, Clone, Args)]
pub struct SchedulersArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sdviz schedule`.
#[derive(Debug, Clone, Args)]
pub struct ScheduleArgs {
    /// Schedulers to compare, up to six
    #[arg(long, value_delimiter = ',', default_value = "pndm,euler,dpmpp_2m_karras", value_name = "LIST")]
    pub scheduler: Vec<String>,
    /// Show each scheduler with its noise levels in each of these places: karras, exponential, beta, sgm_uniform, simple,
    /// normal, or default, where the model has them
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub sigmas: Vec<String>,
    /// Steps
    #[arg(long, default_value_t = 25, alias = "num-inference-steps")]
    pub steps: usize,
    /// The model whose scheduler settings to use: a folder in diffusers' layout, a checkpoint,
    /// `owner/name`, or `pocket`
    /// [default: $SDVIZ_MODEL, else pocket]
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
    /// Folder for the plot [default: exports; with --json no plot is made unless a folder is named]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// File formats of the plot: png, svg, pdf; csv, json for the numbers
    #[arg(long, value_delimiter = ',', default_value = "png", value_name = "LIST")]
    pub format: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sdviz tokens`.
#[derive(Debug, Clone, Args)]
pub struct TokensArgs {
    /// The prompt
    pub prompt: String,
    /// A negative prompt to show beside it
    #[arg(long, short, value_name = "TEXT", alias = "negative-prompt")]
    pub negative: Option<String>,
    /// A textual inversion embedding, with the word that stands for it in the prompt; repeat it for several
    #[arg(long, value_name = "NAME=FILE")]
    pub embedding: Vec<String>,
    /// How the prompts are read: plain or a1111
    #[arg(long, default_value = "plain", value_name = "NAME")]
    pub prompt_syntax: String,
    /// Steps over which a prompt that changes is shown
    #[arg(long, default_value_t = 25, value_name = "N")]
    pub steps: usize,
    /// The model whose tokenizer to use: a folder in diffusers' layout, a checkpoint,
    /// `owner/name`, or `pocket`
    /// [default: $SDVIZ_MODEL, else pocket]
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
