//! What was typed for a second pass at high resolution, in `trace`.

use super::number;
use clap::Args;

/// A second pass over the enlarged result.
#[derive(Debug, Clone, Default, Args)]
pub struct HiresArgs {
    /// Enlarge the finished picture so many times, noise it and denoise it again at that size: 2 is usual. The size is
    /// rounded to a multiple of what the autoencoder divides by (8)
    #[arg(long, value_name = "TIMES", value_parser = number, allow_negative_numbers = true, help_heading = "High resolution")]
    pub hires: Option<f64>,
    /// How far to go from the enlarged picture, above 0 and up to 1: the share of the second pass's steps that is made
    /// [default: 0.6]
    #[arg(long, value_name = "SHARE", value_parser = number, allow_negative_numbers = true, help_heading = "High resolution")]
    pub hires_strength: Option<f64>,
    /// How it is enlarged: latent (the latents, bilinear) or lanczos (the picture, encoded again) [default: latent]
    #[arg(long, value_name = "HOW", help_heading = "High resolution")]
    pub hires_upscaler: Option<String>,
    /// Steps of the second pass, of which the strength makes a share [default: as many as in the first]
    #[arg(long, value_name = "STEPS", help_heading = "High resolution")]
    pub hires_steps: Option<usize>,
}
