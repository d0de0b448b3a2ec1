//! What was typed. Nothing is looked up or checked here beyond its form.

mod ablate;
mod animations;
mod attention;
mod attribution;
mod cluster;
mod dataset;
mod donors;
mod edits;
mod eval;
mod hires;
mod inside;
mod layers;
mod maps;
mod models;
mod numbers;
mod pictures;
mod report;
mod runs;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod train;

use super::axes::AxisArgs;
pub use ablate::AblateArgs;
pub use animations::{FilesArgs, FilmstripArgs, FramesArgs, LatentsArgs, LookArgs, MotionArgs, PreviewArgs, VideoArgs};
pub use attention::AttentionArgs;
pub use attribution::{AttributeArgs, AttributionArgs};
use clap::{Arg, Args, Parser, Subcommand};
pub use cluster::{ClusterArgs, SweepCommand};
pub use dataset::{DatasetBuildArgs, DatasetCommand, DatasetSheetArgs};
pub use donors::DonorArgs;
pub use edits::EditArgs;
pub use eval::{
    DrawnArgs, EvalAttentionArgs, EvalAttributionArgs, EvalCommand, EvalJudgeArgs, EvalLikenessArgs, EvalMapsArgs,
    EvalPromptsArgs, EvalVaeArgs, MeasureArgs,
};
pub use hires::HiresArgs;
pub use inside::{EffectsArgs, PatchArgs};
pub use layers::{FeaturesArgs, LayersArgs};
pub use maps::MapsArgs;
pub use models::{
    ConvertArgs, FetchArgs, InspectArgs, MergeArgs, MergeMode, ModelsArgs, ScheduleArgs, SchedulersArgs, TokensArgs,
};
pub use numbers::{Seed, number, whole};
pub use pictures::{FitArgs, InvertArgs, LookIntoArgs, PlaceArgs, Purpose};
pub use report::ReportArgs;
pub use runs::{DiffArgs, ExportArgs, MetadataArgs, PlotArgs, ShapesArgs};
#[cfg(feature = "serve")]
pub use serve::ServeArgs;
pub use shell::{CompletionsArgs, ManArgs};
use std::ffi::OsString;
use std::path::PathBuf;
pub use train::{
    CourseArgs, EmbeddingArgs, JudgeArgs, JudgeOf, PersonalArgs, PreviewVaeArgs, StageArgs, TrainArgs, TrainCommand,
};

/// Shows what happens inside Stable Diffusion.
#[derive(Debug, Parser)]
#[command(name = "sdviz", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Say only what went wrong
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// What to tell first of what was not typed.
    #[arg(skip)]
    pub note: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw a picture and record every step
    Trace(Box<TraceArgs>),
    /// Go from a picture to the noise that it could have been drawn from, and record every step
    Invert(Box<InvertArgs>),
    /// See what the model sees in a picture: one prediction at each of some noise levels
    Look(Box<LookIntoArgs>),
    /// Print the shapes of a run's tensors, from token ids to the picture
    Shapes(ShapesArgs),
    /// Print a model's components, parameters and output shapes
    Inspect(InspectArgs),
    /// Write a model as one file or as a folder in diffusers' layout
    Convert(ConvertArgs),
    /// Print how a picture was made, as it says itself
    Metadata(MetadataArgs),
    /// Mix models into a new one
    Merge(MergeArgs),
    /// Fetch a model from the Hugging Face hub into the cache
    Fetch(FetchArgs),
    /// List the models that are here
    Models(ModelsArgs),
    /// List the schedulers
    Schedulers(SchedulersArgs),
    /// Compare the noise schedules of several schedulers, without a run
    Schedule(ScheduleArgs),
    /// Print a prompt as the text encoder sees it: pieces, ids, places
    Tokens(TokensArgs),
    /// Plot a run: schedule, norms, guidance, change, distance; the geometry of its way; layers; attention
    Plot(PlotArgs),
    /// Compare two runs: where they part, and how far
    Diff(DiffArgs),
    /// Make videos of a run's pictures, alone or side by side
    Video(VideoArgs),
    /// Show latents as colours: three channels animated, or a sheet of all
    Latents(LatentsArgs),
    /// Show what a layer holds as colours: principal components of a recorded site, over the steps and several runs
    Features(FeaturesArgs),
    /// Show where the words of a prompt are looked at, step by step
    Attention(Box<MapsArgs>),
    /// Show what each word of the prompt causes in the predictions: maps, and a table of words and steps
    Attribution(Box<AttributionArgs>),
    /// Fit a linear map from latents to colours, and see how far it gets
    Preview(PreviewArgs),
    /// Put some steps of a run on one picture
    Filmstrip(FilmstripArgs),
    /// Write a run's pictures as numbered PNGs
    Frames(FramesArgs),
    /// Make files of a run with several exporters at once
    Export(ExportArgs),
    /// Write one page to explore a run in, several, or a sweep: it opens anywhere and needs no network
    Report(ReportArgs),
    /// Draw a picture for every combination of some settings, and put them beside each other
    Sweep(Box<SweepCommand>),
    /// Change a model's sites one at a time, in windows of steps, and measure what each does to the picture
    Ablate(Box<AblateArgs>),
    /// Copy what a run has at each site, in windows of steps, into another run, and measure what that recovers
    Patch(Box<PatchArgs>),
    /// Measure what each site adds to one prediction of a recorded run
    Effects(Box<EffectsArgs>),
    /// Put the pictures of a sweep beside each other, still or moving
    Grid(GridArgs),
    /// Show runs in a browser and make new ones there, for one or for a class
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    /// Make a data set to train on, and look at one
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Train a model on captioned pictures
    Train(TrainArgs),
    /// Measure how well a model obeys, and how well its autoencoder keeps pictures
    #[command(subcommand)]
    Eval(EvalCommand),
    /// List the plug-ins: programs called `sdviz-NAME` on the PATH, which are verbs too
    Plugins,
    /// Print what a shell needs to complete verbs and flags
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
    /// A plug-in: its name and its arguments.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Which model, and where and how it computes.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// A folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from the Hugging Face cache, or `pocket`,
    /// the embedded model
    /// [default: $SDVIZ_MODEL, else pocket]
    #[arg(long, short, value_name = "MODEL", help_heading = "Model")]
    pub model: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub loading: LoadArgs,
}

/// How a model is loaded, whichever it is.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Another autoencoder: its folder or file, a model whose autoencoder to take, or `pocket` [default: the model's own]
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub vae: Option<String>,
    /// Whether to decode pictures in overlapping tiles, which takes less memory: auto (above 1024×1024 that are also more
    /// than four times the pixels that the autoencoder was trained on), on (whatever is larger than a tile) or off
    #[arg(long, default_value = "auto", value_name = "WHEN", help_heading = "Model")]
    pub vae_tiling: String,
    /// A LoRA to merge into the weights, with how strongly it counts [default: 1]; repeat it for several
    #[arg(long, value_name = "FILE[:WEIGHT]", help_heading = "Model")]
    pub lora: Vec<String>,
    /// A textual inversion embedding, with the word that stands for it in the prompt; repeat it for several
    #[arg(long, value_name = "NAME=FILE", help_heading = "Model")]
    pub embedding: Vec<String>,
    /// Weight files to take, as in `*.fp16.safetensors`
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub variant: Option<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, default_value = "auto", value_name = "DEVICE", help_heading = "Model")]
    pub device: String,
    /// auto (f16 on CUDA, else f32), f32, bf16 or f16
    #[arg(long, default_value = "auto", value_name = "DTYPE", help_heading = "Model")]
    pub dtype: String,
}

/// What is kept of each step.
#[derive(Debug, Clone, Args)]
pub struct KeepArgs {
    /// What to keep of each step: latents, noise_uncond, noise_text, noise_guided, predicted_original (or x0), all, none
    #[arg(long, value_delimiter = ',', value_name = "LIST", help_heading = "Record")]
    pub record: Option<Vec<String>>,
    /// Which steps to decode to pictures: every, N (every Nth), final or none
    #[arg(long, value_name = "WHICH", help_heading = "Record")]
    pub decode: Option<String>,
    /// What to decode of them: latents, predicted_original (or x0), or both
    #[arg(long, value_delimiter = ',', value_name = "LIST", help_heading = "Record")]
    pub decode_what: Option<Vec<String>>,
    /// What decodes the pictures of the steps, where that shall cost little: tiny (the small decoder beside the model),
    /// linear (a colour for each latent), or another autoencoder, such as a folder of TAESD. The finished picture is the
    /// model's own decoder's in any case [default: its own]
    #[arg(long, value_name = "MODEL", help_heading = "Record")]
    pub preview_vae: Option<String>,
}

/// What a trace keeps where it is not told.
const KEPT: &str = "all with a small model (up to 100 million parameters), else latents,predicted_original";

/// Adds to an argument's help what counts where it is not given, if that is not for clap to know.
fn usual(arg: Arg, default: &str) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}

/// What is done on each step.
#[derive(Debug, Clone, Args)]
pub struct OnStepArgs {
    /// A shell command to run after each step is on disk. It finds the step as JSON on its standard input, and the run
    /// directory in $SDVIZ_RUN; exit code 3 stops the run
    #[arg(long, value_name = "COMMAND", help_heading = "On each step")]
    pub on_step: Option<String>,
    /// How long the command may take for a step; then it is ended, which counts as a failure
    #[arg(
        long,
        default_value_t = 60.0,
        value_name = "SECONDS",
        requires = "on_step",
        allow_negative_numbers = true,
        help_heading = "On each step"
    )]
    pub on_step_limit: f64,
    /// End the run when the command fails, instead of going on
    #[arg(long, requires = "on_step", help_heading = "On each step")]
    pub strict: bool,
}

/// `sdviz trace`. An option that is given twice counts as it was given last.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
#[command(mut_arg("record", |record| usual(record, KEPT)))]
#[command(mut_arg("decode", |decode| usual(decode, "every")))]
#[command(mut_arg("decode_what", |what| usual(what, "both with a small model, else latents")))]
pub struct TraceArgs {
    /// What to draw; "" draws without a prompt
    #[arg(long, short, value_name = "TEXT", required_unless_present_any = ["like", "branch", "start"])]
    pub prompt: Option<String>,
    /// What to stay away from; used when the guidance scale is above 1
    #[arg(long, short, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// How the prompts are read: plain, or a1111 for the weights, schedules and `AND` of AUTOMATIC1111's web UI
    /// [default: plain]
    #[arg(long, value_name = "NAME")]
    pub prompt_syntax: Option<String>,
    /// Layer of the text encoder to take the embeddings from: 1 the last, 2 the one before, … [default: 1]
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    pub clip_skip: Option<usize>,
    /// Take prompts, seed, steps, guidance, size and scheduler from a picture, where they are not given here
    #[arg(long, value_name = "PICTURE")]
    pub like: Option<PathBuf>,
    /// Go on from a step of a recorded run, as it was or with another prompt, negative prompt, guidance scale, clip skip or
    /// eta from there on; without @STEP from its last one, where a run that was cut short goes on
    #[arg(long, value_name = "RUN[@STEP]", conflicts_with = "like")]
    pub branch: Option<String>,
    /// Begin with the latents of an inversion (`sdviz invert`) instead of noise from a seed: with its noise, or with those
    /// of a step on its way; what is not said is as there
    #[arg(long, value_name = "RUN[@STEP]", conflicts_with_all = ["like", "branch"])]
    pub start: Option<String>,
    /// What it is for, where another verb has it made.
    #[arg(skip)]
    pub purpose: Option<Purpose>,
    /// Folder for the record [default: run, or the first of run-2, run-3, … that is free]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Replace the run in the folder, which is `run` if none is named
    #[arg(long)]
    pub force: bool,
    /// Write no report, index.html, at the end
    #[arg(long)]
    pub no_report: bool,
    /// Seed of the first picture's noise; the same seed gives the same picture, and -1 or random draws one
    /// [default: 0]
    #[arg(long, short, allow_negative_numbers = true)]
    pub seed: Option<Seed>,
    /// Steps [default: the model's own, else 25]
    #[arg(long, alias = "num-inference-steps", value_parser = whole, allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// How strongly to follow the prompt; 1 switches guidance off [default: the model's own, else 7.5]
    #[arg(
        long,
        short,
        value_name = "SCALE",
        aliases = ["cfg-scale", "cfg"],
        value_parser = number,
        allow_negative_numbers = true
    )]
    pub guidance_scale: Option<f64>,
    /// Width in pixels [default: the model's own]
    #[arg(long, short = 'W', value_name = "PIXELS", value_parser = whole, allow_negative_numbers = true)]
    pub width: Option<usize>,
    /// Height in pixels [default: the model's own]
    #[arg(long, short = 'H', value_name = "PIXELS", value_parser = whole, allow_negative_numbers = true)]
    pub height: Option<usize>,
    /// Scheduler, see `sdviz schedulers` [default: the model's own]
    #[arg(long, value_name = "NAME", alias = "sampling-method")]
    pub scheduler: Option<String>,
    /// DDIM's eta: 0 adds no noise, 1 as much as DDPM [default: 0]; or TCD's share of noise [default: 0.3]
    #[arg(long, value_parser = number)]
    pub eta: Option<f64>,
    /// Where the noise levels lie: karras, exponential, beta, sgm_uniform, simple, normal [default: where the model's
    /// scheduler configuration has them]
    #[arg(long, value_name = "NAME")]
    pub sigmas: Option<String>,
    /// Rescale the noise schedule so that it begins with pure noise; for models that predict v
    #[arg(long)]
    pub zero_terminal_snr: bool,
    /// Bring the guided prediction back to the deviation of the one with the prompt: 0 not at all, 1 all the way
    /// [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = number, allow_negative_numbers = true)]
    pub guidance_rescale: Option<f64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub picture: PictureArgs,
    /// How far to go from it, above 0 and up to 1: the share of the steps that is made [default: 0.75]
    #[arg(
        long,
        value_name = "SHARE",
        alias = "denoising-strength",
        requires = "init_image",
        value_parser = number,
        allow_negative_numbers = true,
        help_heading = "Image to image"
    )]
    pub strength: Option<f64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub hires: HiresArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub edits: EditArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub donors: DonorArgs,
    /// Pictures at once, with seeds that follow each other
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = whole, allow_negative_numbers = true)]
    pub batch_size: usize,
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
    pub attribution: AttributeArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub on_step: OnStepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArgs,
}

/// The picture that a run begins from.
#[derive(Debug, Clone, Args)]
pub struct PictureArgs {
    /// Picture to begin from instead of noise: PNG, JPEG or WebP
    #[arg(long, value_name = "FILE", aliases = ["init-img", "image"], help_heading = "Image to image")]
    pub init_image: Option<PathBuf>,
    /// How it is made to fit: stretch, crop or pad [default: stretch]. Without width and height its own size is taken, to
    /// the nearest multiple of what the autoencoder divides by (8)
    #[arg(long, value_name = "HOW", requires = "init_image", help_heading = "Image to image")]
    pub resize: Option<String>,
    /// Mask of the picture's size: white is repainted, black is kept
    #[arg(long, value_name = "FILE", requires = "init_image", help_heading = "Image to image")]
    pub mask: Option<PathBuf>,
    /// Put the picture's own pixels back where the mask is black, in the finished picture
    #[arg(long, requires = "mask", help_heading = "Image to image")]
    pub paste: bool,
}

/// `sdviz sweep`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("record", |record| record.default_value("latents,predicted_original")))]
#[command(mut_arg("decode", |decode| usual(decode, "every with a small model, which decodes quickly, else final")))]
#[command(mut_arg("decode_what", |what| what.default_value("latents")))]
pub struct SweepArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub axes: AxisArgs,
    /// Whether cells with edits take over the steps that come before the first edit.
    #[arg(skip)]
    pub take_over: bool,
    /// Folder for the sweep; one that is there is continued and widened
    #[arg(long, short, default_value = "sweep", value_name = "FOLDER")]
    pub out: PathBuf,
    /// Print the cells, the model's calls, estimated time and disk, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Make only part K of N, for N processes that share the folder
    #[arg(long, value_name = "K/N")]
    pub shard: Option<String>,
    /// Cells that differ only in the seed, in one forward pass
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub batch_seeds: usize,
    /// Draw no grid at the end
    #[arg(long)]
    pub no_grid: bool,
    /// Write no report, index.html, at the end
    #[arg(long)]
    pub no_report: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub picture: PictureArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keep: KeepArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub loading: LoadArgs,
}

/// `sdviz grid`.
#[derive(Debug, Clone, Args)]
pub struct GridArgs {
    /// The sweep
    #[arg(default_value = "sweep")]
    pub sweep: PathBuf,
    /// The axis that runs down: a field's name, as guidance_scale, or a replacement's name or words
    /// [default: the second that was named]
    #[arg(long, value_name = "AXIS")]
    pub rows: Option<String>,
    /// The axis that runs across [default: the first that was named]
    #[arg(long, visible_alias = "columns", value_name = "AXIS")]
    pub cols: Option<String>,
    /// Show only cells with this value: `seed=1`; repeat it for several axes
    #[arg(long = "where", value_name = "AXIS=VALUE")]
    pub only: Vec<String>,
    /// What to show of each cell: final, x0, latents; x0@10 after step 10, x0@50% halfway
    /// [default: final, for animations latents]
    #[arg(long, value_name = "WHAT")]
    pub what: Option<String>,
    /// png, and gif, mp4, webp or apng for all cells moving through their steps
    #[arg(long, value_delimiter = ',', default_value = "png", value_name = "LIST")]
    pub format: Vec<String>,
    /// How cells with different numbers of steps move: by fraction of their run, or step by step
    #[arg(long, default_value = "fraction", value_name = "HOW")]
    pub align: String,
    /// Speed of animations, in frames a second
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    pub fps: f64,
    /// Width of a cell's picture in pixels [default: between 160 and 320, by the pictures' own]
    #[arg(long, value_name = "PIXELS")]
    pub cell_size: Option<u32>,
    /// Most columns on a page
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub max_cols: usize,
    /// Most rows on a page
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub max_rows: usize,
    /// Where the pages go [default: exports/ in the sweep]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}
