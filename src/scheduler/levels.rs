//! Where the noise levels of a run lie, if not simply at the timesteps that the spacing visits.
//!
//! Enters: a way to place them, the sigmas of all training timesteps, a number of steps. Leaves: the sigma and the
//! fractional training timestep of each step. The formulas are diffusers' `_convert_to_karras`, `_convert_to_exponential`
//! and `_convert_to_beta`, and ComfyUI's `normal_scheduler` and `simple_scheduler`, in f64.

use super::beta_quantile::beta_quantile;
use super::resolved::BetaSchedule;
use super::{Resolved, SchedulerKind, at};
use crate::record::sigmas::Sigmas;

/// The steps' training timesteps and sigmas, from the noisiest down.
pub(super) struct Levels {
    pub timesteps: Vec<f64>,
    pub sigmas: Vec<f64>,
}

impl Levels {
    /// `steps` levels. The first three ways lie between `max` and `min`, unless the configuration names others; the rest
    /// between the sigmas of the last and the first training timestep.
    pub(super) fn placed(
        how: Sigmas,
        config: &Resolved,
        (max, min): (f64, f64),
        training: &[f32],
        steps: usize,
    ) -> Levels {
        // As in diffusers, where Karras' sigmas of these two do not ask for the configuration's ends.
        let own_ends = how == Sigmas::Karras && matches!(config.kind, SchedulerKind::Lms | SchedulerKind::DpmppSde);
        let asked = |end: Option<f64>, usual: f64| end.filter(|_| !own_ends).unwrap_or(usual);
        let (max, min) = (asked(config.sigma_max, max), asked(config.sigma_min, min));
        let last = (training.len() - 1) as f64;
        match how {
            Sigmas::Karras => Levels::of_sigmas(karras(max, min, steps), training),
            Sigmas::Exponential => Levels::of_sigmas(exponential(max, min, steps), training),
            Sigmas::Beta => Levels::of_sigmas(beta(max, min, steps), training),
            Sigmas::Normal => Levels::at(linspace(last, steps).into_iter().rev().collect(), training),
            Sigmas::SgmUniform => {
                Levels::at(linspace(last, steps + 1).into_iter().rev().take(steps).collect(), training)
            }
            Sigmas::Simple => {
                let ratio = training.len() as f64 / steps as f64;
                Levels::at((0..steps).map(|i| last - (i as f64 * ratio).floor()).collect(), training)
            }
        }
    }

    fn of_sigmas(sigmas: Vec<f64>, training: &[f32]) -> Levels {
        Levels { timesteps: sigmas.iter().map(|sigma| timestep_of(*sigma, training)).collect(), sigmas }
    }

    fn at(timesteps: Vec<f64>, training: &[f32]) -> Levels {
        Levels { sigmas: timesteps.iter().map(|t| interpolate_logarithms(*t, training)).collect(), timesteps }
    }

    /// The same for a solver whose timesteps are whole. diffusers rounds Karras', but for DPM-Solver++ with the cosine
    /// schedule, and cuts the fractions of the other two off.
    pub(super) fn whole(how: Sigmas, config: &Resolved, training: &[f32], steps: usize) -> Levels {
        let ends = (f64::from(at(training, training.len())), f64::from(at(training, 0)));
        let mut levels = Levels::placed(how, config, ends, training, steps);
        let cut = match how {
            Sigmas::Karras => config.kind.is_dpmpp_2m() && config.beta_schedule == BetaSchedule::SquaredCos,
            other => other.diffusers_field().is_some(),
        };
        levels.timesteps.iter_mut().for_each(|t| *t = if cut { t.trunc() } else { t.round_ties_even() });
        levels
    }
}

/// NumPy's `linspace(0, stop, n)`.
pub(super) fn linspace(stop: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { stop / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i == n - 1 { stop } else { i as f64 * step }).collect()
}

/// The sigma at a fractional training timestep, by interpolating between the logarithms of the training sigmas.
pub(super) fn interpolate_logarithms(t: f64, training: &[f32]) -> f64 {
    let last = training.len() - 1;
    let low = (t.max(0.0) as usize).min(last);
    let (a, b) = (f64::from(training[low]).ln(), f64::from(training[(low + 1).min(last)]).ln());
    ((b - a) * (t.max(0.0) - low as f64) + a).exp()
}

/// The fractional training timestep of a sigma, by interpolating between the logarithms of the training sigmas.
pub(super) fn timestep_of(sigma: f64, training: &[f32]) -> f64 {
    let log = |sigma: f32| f64::from(f64::from(sigma).ln() as f32);
    let target = sigma.max(1e-10).ln();
    // The last training sigma that is not above the target, leaving room for a neighbour.
    let not_above = training.iter().rposition(|s| target - log(*s) >= 0.0).unwrap_or(0);
    let low = not_above.min(training.len().saturating_sub(2));
    let (a, b) = (log(training[low]), log(training[low + 1]));
    let weight = ((a - target) / (a - b)).clamp(0.0, 1.0);
    (1.0 - weight) * low as f64 + weight * (low + 1) as f64
}

/// Sigmas whose 7th roots are evenly spaced (Karras et al. 2022, equation 5 with ρ = 7).
fn karras(max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (max, min) = (max.powf(1.0 / 7.0), min.powf(1.0 / 7.0));
    linspace(1.0, steps).into_iter().map(|ramp| (max + ramp * (min - max)).powf(7.0)).collect()
}

/// Sigmas whose logarithms are evenly spaced.
fn exponential(max: f64, min: f64, steps: usize) -> Vec<f64> {
    let (max, min) = (max.ln(), min.ln());
    linspace(min - max, steps).into_iter().map(|way| (max + way).exp()).collect()
}

/// Sigmas at quantiles of Beta(0.6, 0.6) (Lee et al. 2024).
fn beta(max: f64, min: f64, steps: usize) -> Vec<f64> {
    linspace(1.0, steps).into_iter().map(|share| min + beta_quantile(1.0 - share) * (max - min)).collect()
}
