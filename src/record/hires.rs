//! What a record says of a run at high resolution: how the first pass's result is enlarged, and where in the steps the
//! second pass over it begins.
//!
//! Enters and leaves: parts of `run.json`. A run of one pass has none of it.

use crate::error::{Error, Result};
use crate::record::inputs::Begin;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The largest scale: eight times is 4096 pixels from 512, and more than the model's sense of a whole picture bears.
const LARGEST_SCALE: f64 = 8.0;

/// A second pass, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hires {
    /// How many times wider and higher the picture becomes.
    pub scale: f64,
    /// The share of the second pass's steps that is made, above 0 and up to 1.
    pub strength: f64,
    /// How the first pass's result is enlarged.
    pub upscaler: Upscaler,
    /// The second pass's steps, of which `strength` makes a share.
    pub steps: usize,
}

impl Default for Hires {
    fn default() -> Self {
        Hires { scale: 2.0, strength: 0.6, upscaler: Upscaler::default(), steps: 25 }
    }
}

impl Hires {
    /// Whether the scale means anything.
    ///
    /// # Errors
    /// When it is not above 1 and up to 8.
    pub fn check_scale(&self) -> Result<()> {
        if self.scale > 1.0 && self.scale <= LARGEST_SCALE {
            return Ok(());
        }
        Err(Error::invalid(
            format!("cannot enlarge the picture {} times", self.scale),
            format!("choose above 1 and up to {LARGEST_SCALE}: `--hires 2` is usual"),
        ))
    }

    /// The second pass's width and height in pixels: `scale` times those of the first, each to the nearest multiple of
    /// `factor`, the autoencoder's pixels per latent.
    ///
    /// # Errors
    /// When the scale is not above 1 and up to 8, or so small that nothing becomes larger.
    pub fn size(&self, width: usize, height: usize, factor: usize) -> Result<(usize, usize)> {
        self.check_scale()?;
        let scale = self.scale;
        let nearest = |pixels: usize| ((pixels as f64 * scale / factor as f64).round() as usize).max(1) * factor;
        let (wide, high) = (nearest(width), nearest(height));
        if wide <= width || high <= height {
            return Err(Error::invalid(
                format!(
                    "{width}×{height} enlarged {scale} times is {wide}×{high}, to the nearest multiples of {factor}"
                ),
                format!("choose a larger number: {} adds {factor} pixels", larger(width.min(height), factor)),
            ));
        }
        Ok((wide, high))
    }
}

/// The scale that makes a side one multiple longer, in hundredths, rounded up.
fn larger(side: usize, factor: usize) -> f64 {
    ((1.0 + factor as f64 / side.max(1) as f64) * 100.0).ceil() / 100.0
}

/// How a picture is enlarged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upscaler {
    /// The latents, between their neighbours in a straight line.
    #[default]
    Latent,
    /// The decoded picture, with Lanczos' kernel; it is encoded again.
    Lanczos,
}

impl Upscaler {
    /// All of them.
    pub const ALL: [Upscaler; 2] = [Upscaler::Latent, Upscaler::Lanczos];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Upscaler::Latent => "latent",
            Upscaler::Lanczos => "lanczos",
        }
    }

    /// Its name in AUTOMATIC1111's web UI.
    pub fn a1111_name(self) -> &'static str {
        match self {
            Upscaler::Latent => "Latent",
            Upscaler::Lanczos => "Lanczos",
        }
    }
}

impl fmt::Display for Upscaler {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Upscaler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Upscaler::ALL.into_iter().find(|upscaler| upscaler.name() == name);
        found.ok_or_else(|| Error::unknown("upscaler", name, Upscaler::ALL.map(Upscaler::name)))
    }
}

/// The second pass of a run, as it was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecondPass {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Hires,
    /// Its width in pixels.
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
    /// The step that holds the latents it begins with, enlarged and noised. The first pass ends one step before.
    pub first_step: usize,
    /// Where in the schedule of its own steps it begins.
    pub begin: Begin,
}
