//! What a record says of a run that looks into a picture: one that goes from the picture to the noise it could have been
//! drawn from, and one that predicts once at each of some noise levels.
//!
//! Enters and leaves: parts of `run.json`. A run that draws has none of it.

use serde::{Deserialize, Serialize};

/// How each step of an inversion is made, by the name of the diffusers class that has it so: the model is told the timestep
/// to which the step goes, and predicts from the latents that enter it.
pub const CONVENTION: &str = "DDIMInverseScheduler";
/// What is taken of the autoencoder's posterior.
pub const ENCODE: &str = "mean";

/// What a run is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// It draws: from noise, or from a picture that is noised.
    #[default]
    Drawing,
    /// It goes from a picture to noise.
    Inversion,
    /// It predicts once at each of some noise levels of a picture.
    Look,
}

impl RunKind {
    /// Whether it is the usual one, of which no record speaks.
    pub fn is_drawing(&self) -> bool {
        *self == RunKind::Drawing
    }
}

/// What was asked of an inversion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InversionPlan {
    /// How often each step predicts again where it has arrived, so that the way back meets the same predictions. 0 is plain
    /// inversion.
    pub refine: usize,
    /// Whether the way back is made too, at guidance scale 1, for the record's `psnr_reconstructed`.
    pub way_back: bool,
}

/// What was asked of a look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LookPlan {
    /// The noise levels from the noisiest down, as shares of the training timesteps: 0 the first, 1 the last.
    pub at: Vec<f64>,
}

/// An inversion: its convention, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InversionRecord {
    /// How each step is made: [`CONVENTION`].
    pub convention: String,
    /// How often each step predicts again.
    pub refine: usize,
    /// What of the autoencoder's posterior the picture is encoded to: [`ENCODE`].
    pub encode: String,
    /// What was found on the way.
    #[serde(flatten)]
    pub found: Found,
}

impl InversionRecord {
    /// That of an inversion that has not begun.
    pub fn planned(plan: &InversionPlan) -> InversionRecord {
        let (convention, encode) = (CONVENTION.into(), ENCODE.into());
        InversionRecord { convention, refine: plan.refine, encode, found: Found::default() }
    }
}

/// What an inversion finds, written at its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// For each step and each prediction in it ‖arrived − predicted at‖ / ‖arrived‖: how far the latents that the step leaves
    /// are from those at which the model was asked. 0 would be the exact inverse of a step of the sampler.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residuals: Vec<Vec<f64>>,
    /// PSNR in dB between the picture and what the autoencoder alone makes of it; absent where nothing is decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr_vae: Option<f64>,
    /// PSNR in dB between the picture and what the way back from the noise makes of it; absent where it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psnr_reconstructed: Option<f64>,
}
