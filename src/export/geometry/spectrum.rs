//! Power spectra: how much of each spatial frequency there is in the latents, the predictions or the pictures, step by
//! step.
//!
//! Enters: a way. Leaves: the power of each [ring](super::rings) of frequencies at each step, averaged over the channels;
//! of latents also what a Gaussian would have: ᾱ·λ + (1 − ᾱ) at the level ᾱ, λ being the power of the last latents and
//! 1 that of white noise.

use super::rings::Rings;
use super::trajectory::{Of, Trajectory, Whose};
use serde::Serialize;

/// The numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spectrum {
    /// Whose.
    #[serde(flatten)]
    pub whose: Whose,
    /// The frequency of each ring, cycles per place (of pictures, per pixel); the last ring holds all beyond 0.5.
    pub frequencies: Vec<f64>,
    /// By step: the power of each ring.
    pub power: Vec<Vec<f64>>,
    /// By step, of latents alone: what a Gaussian of the last latents' spectrum would have.
    pub gaussian: Vec<Vec<f64>>,
}

impl Spectrum {
    /// Of a way.
    pub fn of(way: &Trajectory) -> Spectrum {
        let (_, height, width) = way.values[0].dim();
        let rings = Rings::new(height, width);
        let power: Vec<Vec<f64>> = way.values.iter().map(|values| rings.power(values)).collect();
        let end = power.last().cloned().unwrap_or_default();
        let mixed = |alpha: f64| end.iter().map(|lambda| alpha * lambda + (1.0 - alpha)).collect();
        let gaussian = match way.of {
            Of::Latents => way.levels.iter().map(|level| mixed(level.alpha_cumprod)).collect(),
            _ => vec![],
        };
        Spectrum { whose: way.whose(), frequencies: rings.frequencies(), power, gaussian }
    }
}
