//! The noise schedule: betas, the signal left after each training timestep, and which timesteps a run visits.
//!
//! Enters: a resolved configuration and a number of steps. Leaves: host vectors of ᾱ, timesteps and sigmas. Computed in
//! f32 where diffusers computes in f32 and in f64 where NumPy does, with NumPy's formulas for `linspace`, `arange` and
//! `interp`, so that the numbers are the same.

use super::levels::{Levels, linspace};
use super::prediction::LEAST_ALPHA;
use super::resolved::{BetaSchedule, FinalSigma, Resolved, Spacing};
use crate::error::{Error, Result};
use crate::record::sigmas::Sigmas;
use tch::{Device, Kind, Tensor};

/// ᾱ, the product of 1 − β up to each training timestep, f32.
pub(super) fn alphas_cumprod(config: &Resolved) -> Result<Vec<f32>> {
    let n = config.num_train_timesteps as i64;
    let linspace = |start: f64, end: f64| Tensor::f_linspace(start, end, n, (Kind::Float, Device::Cpu));
    let betas = match (&config.trained_betas, config.beta_schedule) {
        (Some(betas), _) => Tensor::from_slice(betas).to_kind(Kind::Float),
        (None, BetaSchedule::Linear) => linspace(config.beta_start, config.beta_end)?,
        (None, BetaSchedule::ScaledLinear) => {
            linspace(config.beta_start.powf(0.5), config.beta_end.powf(0.5))?.f_square()?
        }
        (None, BetaSchedule::SquaredCos) => Tensor::from_slice(&squared_cosine_betas(config.num_train_timesteps)),
    };
    let mut alphas = (-betas).f_add_scalar(1.0)?;
    if config.rescale_betas_zero_snr {
        alphas = with_zero_terminal_snr(&alphas)?;
    }
    // libtorch's own product, so that its last bits are those of diffusers.
    let mut cumprod: Vec<f32> = Vec::try_from(&alphas.f_cumprod(0, Kind::Float)?)?;
    if let Some(last) = cumprod.last_mut().filter(|_| config.rescale_betas_zero_snr && config.kind.steps_by_sigma()) {
        *last = LEAST_ALPHA;
    }
    Ok(cumprod)
}

/// 1 − β with the roots of ᾱ shifted, so that the last is 0, and stretched, so that the first stays (Lin et al. 2023, arXiv
/// 2305.08891, algorithm 1). In the order of diffusers' `rescale_zero_terminal_snr`, for the last bits.
fn with_zero_terminal_snr(alphas: &Tensor) -> Result<Tensor> {
    let roots = alphas.f_cumprod(0, Kind::Float)?.f_sqrt()?;
    let (first, last) = (roots.f_narrow(0, 0, 1)?, roots.f_narrow(0, -1, 1)?);
    let rescaled = roots.f_sub(&last)?.f_mul(&first.f_div(&first.f_sub(&last)?)?)?.f_square()?;
    let n = rescaled.size1()?;
    let ratios = rescaled.f_narrow(0, 1, n - 1)?.f_div(&rescaled.f_narrow(0, 0, n - 1)?)?;
    let betas = Tensor::f_cat(&[rescaled.f_narrow(0, 0, 1)?, ratios], 0)?.f_neg()?.f_add_scalar(1.0)?;
    Ok(betas.f_neg()?.f_add_scalar(1.0)?)
}

/// β = 1 − ᾱ(t + 1/n) / ᾱ(t) with ᾱ(t) = cos²((t + 0.008) / 1.008 · π/2), at most 0.999 (Nichol and Dhariwal 2021).
fn squared_cosine_betas(n: usize) -> Vec<f32> {
    let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0).cos().powi(2);
    let at = |i: usize| alpha_bar(i as f64 / n as f64);
    (0..n).map(|i| (1.0 - at(i + 1) / at(i)).min(0.999) as f32).collect()
}

/// σ = √((1 − ᾱ) / ᾱ) of every training timestep, f32.
pub(super) fn training_sigmas(alphas_cumprod: &[f32]) -> Vec<f32> {
    alphas_cumprod.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect()
}

/// The visited timesteps from the noisiest down, whole numbers (PNDM, DDIM, DDPM).
///
/// Errors: a timestep lies beyond the training timesteps, which diffusers finds only when it indexes.
pub(super) fn whole_timesteps(config: &Resolved, steps: usize) -> Result<Vec<i64>> {
    let train = config.num_train_timesteps;
    let timesteps: Vec<f64> = match config.timestep_spacing {
        Spacing::Linspace => linspace((train - 1) as f64, steps).iter().rev().map(|t| t.round_ties_even()).collect(),
        Spacing::Leading => leading(train / steps, steps, config.steps_offset),
        Spacing::Trailing => trailing(train, train, steps),
    };
    within(config, timesteps)
}

/// The same for the solvers that visit `steps + 1` timesteps and leave out the last (DPM-Solver++, UniPC). `train` is
/// the number of training timesteps that are not clipped away.
pub(super) fn whole_timesteps_without_last(config: &Resolved, train: usize, steps: usize) -> Result<Vec<i64>> {
    let timesteps: Vec<f64> = match config.timestep_spacing {
        Spacing::Linspace => {
            let all = linspace(train.saturating_sub(1) as f64, steps + 1);
            all.iter().rev().take(steps).map(|t| t.round_ties_even()).collect()
        }
        Spacing::Leading => {
            let mut all = leading(train / (steps + 1), steps + 1, config.steps_offset);
            all.truncate(steps);
            all
        }
        Spacing::Trailing => trailing(config.num_train_timesteps, train, steps),
    };
    let whole = within(config, timesteps)?;
    if whole.windows(2).any(|pair| pair[0] <= pair[1]) {
        return Err(Error::invalid(
            format!("{steps} steps are too many for {train} training timesteps: two steps would share one timestep"),
            "ask for fewer steps",
        ));
    }
    Ok(whole)
}

/// The visited timesteps of a model that was distilled with `original_inference_steps` steps (LCM, TCD): of theirs, so many,
/// evenly by their place.
///
/// # Errors
/// When more steps are asked for than it was distilled with.
pub(super) fn distilled_timesteps(config: &Resolved, steps: usize) -> Result<Vec<usize>> {
    let original = config.original_inference_steps;
    if steps > original {
        return Err(Error::invalid(
            format!(
                "{steps} steps of `{}` are more than the {original} that its models are distilled with",
                config.kind
            ),
            format!("ask for {original} steps or fewer: 4 are usual"),
        ));
    }
    let ratio = config.num_train_timesteps / original;
    let place = |i: usize| (i as f64 * (original as f64 / steps as f64)).floor() as usize;
    Ok((0..steps).map(|i| (original - place(i)) * ratio - 1).collect())
}

/// The visited timesteps from the noisiest down, fractional, as f32 holds them (LMS, Euler, Heun).
pub(super) fn fractional_timesteps(config: &Resolved, steps: usize) -> Vec<f32> {
    let train = config.num_train_timesteps;
    let timesteps = match config.timestep_spacing {
        Spacing::Linspace => linspace((train - 1) as f64, steps).into_iter().rev().collect(),
        Spacing::Leading => leading(train / steps, steps, config.steps_offset),
        Spacing::Trailing => trailing(train, train, steps),
    };
    timesteps.into_iter().map(|t| t as f32).collect()
}

/// Timesteps and sigmas of a scheduler that works on k-diffusion's scale.
pub(super) struct SigmaSchedule {
    /// The timestep of each step.
    pub timesteps: Vec<f32>,
    /// The sigma at which each step begins, and the one at which the last ends.
    pub sigmas: Vec<f32>,
    /// What starting noise is multiplied by.
    pub init_noise_sigma: f64,
}

impl SigmaSchedule {
    /// The schedule of LMS, Euler, Heun and their like: sigmas interpolated at fractional timesteps, or placed otherwise.
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let training = training_sigmas(&alphas_cumprod(config)?);
        let mut timesteps = fractional_timesteps(config, steps);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| interpolate(f64::from(*t), &training)).collect();
        if let Some(how) = config.sigmas {
            let ends = (sigmas.first().copied().unwrap_or(0.0), sigmas.last().copied().unwrap_or(0.0));
            let levels = Levels::placed(how, config, ends, &training, steps);
            // diffusers rounds Karras' timesteps for these two alone.
            let rounds = config.kind.is_dpm2() && how == Sigmas::Karras;
            let timestep = |t: f64| if rounds { t.round_ties_even() } else { t };
            timesteps = levels.timesteps.into_iter().map(|t| timestep(t) as f32).collect();
            sigmas = levels.sigmas;
        }
        sigmas.push(final_sigma(config.final_sigmas, &training));
        let sigmas: Vec<f32> = sigmas.into_iter().map(|sigma| sigma as f32).collect();
        let max = sigmas.iter().copied().fold(0.0, f32::max);
        let init = match config.timestep_spacing {
            Spacing::Linspace | Spacing::Trailing => max,
            Spacing::Leading => (max * max + 1.0).sqrt(),
        };
        Ok(SigmaSchedule { timesteps, sigmas, init_noise_sigma: f64::from(init) })
    }
}

/// The sigma at which the last step arrives.
pub(super) fn final_sigma(choice: FinalSigma, training: &[f32]) -> f64 {
    match choice {
        FinalSigma::Zero => 0.0,
        FinalSigma::SigmaMin => training.first().copied().map_or(0.0, f64::from),
    }
}

/// NumPy's `interp` of a table whose abscissas are 0, 1, 2, …: constant beyond the ends.
pub(super) fn interpolate(t: f64, table: &[f32]) -> f64 {
    let last = table.len() - 1;
    let low = t.max(0.0) as usize;
    if low >= last {
        return f64::from(table[last]);
    }
    let (a, b) = (f64::from(table[low]), f64::from(table[low + 1]));
    (b - a) * (t.max(0.0) - low as f64) + a
}

/// `ratio · i + offset`, from the largest down.
fn leading(ratio: usize, n: usize, offset: i64) -> Vec<f64> {
    (0..n).rev().map(|i| (i * ratio) as f64 + offset as f64).collect()
}

/// `round(arange(last, 0, −train / steps)) − 1`, with NumPy's rounding errors but for one: for 62 numbers of steps below
/// 1000, 61 for example, `arange` gives one element too many, a timestep of −1, which is left out here.
fn trailing(train: usize, last: usize, steps: usize) -> Vec<f64> {
    let (ratio, last) = (train as f64 / steps as f64, last as f64);
    let step = (last - ratio) - last;
    let n = (last / ratio).ceil() as usize;
    let all = (0..n).map(|i| (last + i as f64 * step).round_ties_even() - 1.0);
    all.filter(|t| *t >= 0.0).collect()
}

/// The timesteps as whole numbers, if the model was trained on all of them.
fn within(config: &Resolved, timesteps: Vec<f64>) -> Result<Vec<i64>> {
    let train = config.num_train_timesteps;
    match timesteps.iter().find(|t| **t < 0.0 || **t >= train as f64) {
        Some(t) => Err(Error::invalid(
            format!(
                "{} steps with `steps_offset` {} reach timestep {t}, but the model was trained on 0 to {}",
                timesteps.len(),
                config.steps_offset,
                train - 1
            ),
            "ask for fewer steps, or set `timestep_spacing` to `trailing`",
        )),
        None => Ok(timesteps.into_iter().map(|t| t as i64).collect()),
    }
}
