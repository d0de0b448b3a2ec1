//! What was typed for the verbs that show a run in pictures: `video`, `latents`, `preview`, `filmstrip`, `frames`.

use clap::Args;
use std::path::PathBuf;

/// How fast an animation runs, and which steps it has.
#[derive(Debug, Clone, Args)]
pub struct MotionArgs {
    /// Frames per second
    #[arg(long, default_value_t = 5.0, value_name = "N", allow_negative_numbers = true, help_heading = "Animation")]
    pub fps: f64,
    /// Seconds that the first and the last frame stay
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Animation"
    )]
    pub hold: f64,
    /// Take every Nth step, counted from the first, and the last one
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Animation")]
    pub every: usize,
    /// Run from the finished picture back to the noise
    #[arg(long, help_heading = "Animation")]
    pub reverse: bool,
}

/// How large pictures are shown, and what is written with them.
#[derive(Debug, Clone, Args)]
pub struct LookArgs {
    /// Side of the square that each picture is fitted into, by whole numbers where it is magnified
    /// [default: 512, larger pictures as they are]
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u32>,
    /// Write with the pictures what they are: step, timestep, σ (the default)
    #[arg(long, overrides_with = "no_captions")]
    pub captions: bool,
    /// Write nothing with the pictures
    #[arg(long)]
    pub no_captions: bool,
}

/// Of which picture files are made, and where they go.
#[derive(Debug, Clone, Args)]
pub struct FilesArgs {
    /// Which picture of the batch, counted from 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub batch: usize,
    /// Folder for the files [default: exports/ under the run]
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// `sdviz video`.
#[derive(Debug, Clone, Args)]
pub struct VideoArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// What to show: images (the decoded latents), x0 (the decoded predictions), latents (as colours)
    #[arg(long, default_value = "images", value_name = "WHAT")]
    pub what: String,
    /// More of the same run beside it: images, x0, latents
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub beside: Vec<String>,
    /// Other runs beside it, step by step
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "RUN")]
    pub compare: Vec<PathBuf>,
    /// File formats: mp4, gif, webp, apng
    #[arg(long, value_delimiter = ',', default_value = "mp4,gif", value_name = "LIST")]
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

/// `sdviz latents`.
#[derive(Debug, Clone, Args)]
pub struct LatentsArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// The channels shown as red, green and blue, counted from 0
    #[arg(long, default_value = "0,1,2", value_name = "R,G,B")]
    pub channels: String,
    /// What becomes black and white: run (least and greatest of all steps), frame (of each), fixed:LO,HI, percentile:P,
    /// sigma:K
    #[arg(long, alias = "normalize", default_value = "run", value_name = "HOW")]
    pub normalise: String,
    /// Which tensor: latents, x0, noise_uncond, noise_text, noise_guided
    #[arg(long, default_value = "latents", value_name = "WHAT")]
    pub what: String,
    /// Latents as the scheduler holds them, not divided to the variance that the model sees
    #[arg(long)]
    pub raw: bool,
    /// One picture of one step instead: the four channels, and all 24 ways to show three of them
    #[arg(long)]
    pub sheet: bool,
    /// The step on the sheet [default: the last one]
    #[arg(long, requires = "sheet", value_name = "N")]
    pub step: Option<usize>,
    /// File formats: mp4, gif, webp, apng; webp and apng have exactly the pixels of the formula
    #[arg(long, value_delimiter = ',', default_value = "mp4,gif,apng", value_name = "LIST")]
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

/// `sdviz preview`.
#[derive(Debug, Clone, Args)]
pub struct PreviewArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// What to preview: images (the latents), x0 (the predictions)
    #[arg(long, default_value = "images", value_name = "WHAT")]
    pub what: String,
    /// Save the fitted map as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "map")]
    pub save: Option<PathBuf>,
    /// Use a saved map instead of fitting one; the run need not be decoded then
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// File formats: mp4, gif, webp, apng
    #[arg(long, value_delimiter = ',', default_value = "mp4", value_name = "LIST")]
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

/// `sdviz filmstrip`.
#[derive(Debug, Clone, Args)]
pub struct FilmstripArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// What to show: images (the decoded latents), x0 (the decoded predictions), latents (as colours)
    #[arg(long, default_value = "images", value_name = "WHAT")]
    pub what: String,
    /// How many pictures, spread over the steps, the first and the last among them
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub frames: usize,
    /// How many in a row [default: up to 8]
    #[arg(long, value_name = "N")]
    pub columns: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub look: LookArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FilesArgs,
}

/// `sdviz frames`.
#[derive(Debug, Clone, Args)]
pub struct FramesArgs {
    /// The run
    #[arg(default_value = "run")]
    pub run: PathBuf,
    /// What to show: images (the decoded latents), x0 (the decoded predictions), latents (as colours)
    #[arg(long, default_value = "images", value_name = "WHAT")]
    pub what: String,
    /// Take every Nth picture, counted from the first, and the last one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub every: usize,
    /// Side of the square that each picture is fitted into, by whole numbers where it is magnified
    /// [default: pictures as they are]
    #[arg(long, value_name = "PIXELS")]
    pub size: Option<u32>,
    /// Write step, timestep and σ below the pictures
    #[arg(long)]
    pub captions: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FilesArgs,
}
