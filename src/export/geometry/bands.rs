//! When each frequency settles: outline first, then detail.
//!
//! Enters: the predicted originals x₀(1) … x₀(N) of a run, or its decoded pictures. Leaves, for each
//! [ring](super::rings) b of frequencies, F being the Fourier transform:
//!
//! ```text
//! error     E(b, k) = Σ |F[x₀(k)] − F[x₀(N)]|² / Σ |F[x₀(N)]|²
//! settled   the first k from which on E(b, k) stays at 0.1 or below
//! coherence γ(b, k) = Re Σ F[x₀(k)]·conj F[x₀(N)] / √(Σ |F[x₀(k)]|² · Σ |F[x₀(N)]|²)
//! ```
//!
//! Beside them what a Gaussian would do whose variance in ring b is λ, the power of x₀(N) there. Its best denoiser gives
//! x₀ = y·λ/(λ+σ²) for y at noise level σ, and along the probability flow y grows as √(λ+σ²), so
//! x₀(k)/x₀(N) = √(λ/(λ+σ²)), with σ the level at which x₀(k) was predicted, and E = (1 − √(λ/(λ+σ²)))².

use super::rings::Rings;
use super::trajectory::{Of, Trajectory, Whose};
use crate::error::Result;
use serde::Serialize;

/// The error below which a ring counts as settled.
pub const SETTLED: f64 = 0.1;

/// The numbers; by ring, and within by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bands {
    /// Whose.
    #[serde(flatten)]
    pub whose: Whose,
    /// The frequency of each ring, cycles per place (of pictures, per pixel); the last ring holds all beyond 0.5.
    pub frequencies: Vec<f64>,
    /// λ, the power of each ring at the end.
    pub power: Vec<f64>,
    /// E. Not a number where the end has nothing in the ring.
    pub error: Vec<Vec<f64>>,
    /// γ.
    pub coherence: Vec<Vec<f64>>,
    /// The step from which on the ring is settled.
    pub settled: Vec<Option<usize>>,
    /// A Gaussian's E; empty for pictures, whose grey levels no schedule speaks of.
    pub gaussian_error: Vec<Vec<f64>>,
    /// A Gaussian's step.
    pub gaussian_settled: Vec<Option<usize>>,
}

impl Bands {
    /// Of a way.
    ///
    /// # Errors
    /// [`Error::NotRecorded`](crate::error::Error::NotRecorded) when it has fewer than two steps.
    pub fn of(way: &Trajectory) -> Result<Bands> {
        way.needs(2, "settling")?;
        let (_, height, width) = way.values[0].dim();
        let rings = Rings::new(height, width);
        let end = &way.values[way.values.len() - 1];
        let (own, power) = (rings.energy(end), rings.power(end));
        let count = own.len();
        let (mut error, mut coherence) = (vec![vec![]; count], vec![vec![]; count]);
        for values in &way.values {
            let (now, apart) = (rings.energy(values), rings.energy(&(values - end)));
            for ring in 0..count {
                error[ring].push(apart[ring] / own[ring]);
                // What two vectors have in common, from their lengths and that of their difference.
                let common = 0.5 * (now[ring] + own[ring] - apart[ring]);
                coherence[ring].push(common / (now[ring] * own[ring]).sqrt());
            }
        }
        let gaussian =
            |lambda: &f64| -> Vec<f64> { way.levels.iter().map(|level| gaussian(*lambda, level.sigma)).collect() };
        let knows_levels = way.of == Of::Predicted;
        let gaussian_error: Vec<Vec<f64>> = power.iter().filter(|_| knows_levels).map(gaussian).collect();
        let settles = |error: &Vec<f64>| settled(error).map(|at| way.steps[at]);
        Ok(Bands {
            whose: way.whose(),
            frequencies: rings.frequencies(),
            settled: error.iter().map(settles).collect(),
            gaussian_settled: gaussian_error.iter().map(settles).collect(),
            power,
            error,
            coherence,
            gaussian_error,
        })
    }
}

/// E of a Gaussian of variance `lambda` at the level σ.
fn gaussian(lambda: f64, sigma: f64) -> f64 {
    (1.0 - (lambda / (lambda + sigma * sigma)).sqrt()).powi(2)
}

/// The first place from which on the error stays low; none where it is not low at the end.
fn settled(error: &[f64]) -> Option<usize> {
    let last_high = error.iter().rposition(|error| error.is_nan() || *error > SETTLED);
    match last_high {
        None => (!error.is_empty()).then_some(0),
        Some(at) => (at + 1 < error.len()).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rises_again_has_not_settled() {
        assert_eq!(settled(&[2.0, 0.05, 0.3, 0.1, 0.0]), Some(3));
        assert_eq!(settled(&[0.0, 0.0]), Some(0));
        assert_eq!(settled(&[0.0, 0.5]), None);
        assert_eq!(settled(&[1.0, f64::NAN]), None);
        assert_eq!(settled(&[]), None);
    }

    #[test]
    fn a_gaussian_settles_at_a_level_that_its_variance_sets() {
        for lambda in [10.0f64, 1.0, 0.1] {
            assert!((gaussian(lambda, 1.067 * lambda.sqrt()) - 0.1).abs() < 1e-4);
            assert!(gaussian(lambda, 0.0) == 0.0 && gaussian(lambda, 1e6) > 0.99);
        }
    }
}
