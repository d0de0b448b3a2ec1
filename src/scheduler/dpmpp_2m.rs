//! DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095): second-order multistep on predictions of x0.
//!
//! Enters: the model's output and the latents at sigma. Leaves: the latents at the next sigma, by the paper's algorithm
//! 2 in λ = ln(α/σ). Follows diffusers' `DPMSolverMultistepScheduler` with `algorithm_type` `dpmsolver++` and
//! `solver_order` 2, wherever its sigmas lie; the update is made in f32 whatever the model's dtype. With `algorithm_type`
//! `sde-dpmsolver++` (DPM++ 2M SDE) the step goes as far again towards x0 and fresh noise makes up for it.

use super::betas::whole_timesteps_without_last;
use super::betas::{alphas_cumprod, final_sigma, interpolate, training_sigmas};
use super::levels::Levels;
use super::prediction::{Prediction, add_noise_scaled, alpha_sigma};
use super::resolved::{FinalSigma, Solver};
use super::{Noise, NoiseLevel, Resolved, Scheduler, SchedulerKind, StepOutput, at};
use crate::error::Result;
use tch::{Kind, Tensor};

pub(super) struct Dpmpp2m {
    name: &'static str,
    prediction: Prediction,
    solver: Solver,
    /// Fresh noise at every step.
    stochastic: bool,
    /// The last step is of first order.
    first_order_last: bool,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    /// The last call's prediction of x0.
    previous: Option<Tensor>,
}

impl Dpmpp2m {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let training = training_sigmas(&alphas_cumprod);
        let (timesteps, mut sigmas) = if let Some(how) = config.sigmas {
            let levels = Levels::whole(how, config, &training, steps);
            (levels.timesteps, levels.sigmas)
        } else {
            let train = alphas_cumprod.len() - clipped_away(&alphas_cumprod, config.lambda_min_clipped);
            let timesteps: Vec<f64> =
                whole_timesteps_without_last(config, train, steps)?.iter().map(|t| *t as f64).collect();
            let sigmas = timesteps.iter().map(|t| interpolate(*t, &training)).collect();
            (timesteps, sigmas)
        };
        sigmas.push(final_sigma(config.final_sigmas, &training));
        Ok(Dpmpp2m {
            name: config.kind.name(),
            prediction: config.prediction_type,
            solver: config.solver_type,
            stochastic: config.kind == SchedulerKind::Dpmpp2mSde,
            first_order_last: config.euler_at_final
                || (config.lower_order_final && timesteps.len() < 15)
                || config.final_sigmas == FinalSigma::Zero,
            timesteps,
            sigmas: sigmas.into_iter().map(|sigma| sigma as f32).collect(),
            previous: None,
        })
    }
}

/// λ = ln(α/σ) at a sigma.
pub(super) fn lambda(sigma: f32) -> f32 {
    let (alpha, sigma) = alpha_sigma(sigma);
    alpha.ln() - sigma.ln()
}

/// How many of the noisiest training timesteps have a λ below the configured least one.
fn clipped_away(alphas_cumprod: &[f32], lambda_min: f64) -> usize {
    let lambda = |alpha: &f32| alpha.sqrt().ln() - (1.0 - alpha).sqrt().ln();
    alphas_cumprod.iter().filter(|alpha| f64::from(lambda(alpha)) < lambda_min).count()
}

impl Scheduler for Dpmpp2m {
    fn name(&self) -> &'static str {
        self.name
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn draws(&self, _call: usize) -> bool {
        self.stochastic
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::scaled(at(&self.sigmas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (sigma, next) = (at(&self.sigmas, call), at(&self.sigmas, call + 1));
        let (alpha, share) = alpha_sigma(sigma);
        let (next_alpha, next_share) = alpha_sigma(next);
        let pred_original = self.prediction.clean(model_output, sample, alpha, share);
        let h = lambda(next) - lambda(sigma);
        // With fresh noise the deterministic part goes twice as far in λ: α (e^−2h − 1), negative, the weight of x0.
        let (way, kept) = if self.stochastic { (2.0 * h, (-h).exp()) } else { (h, 1.0) };
        let weight = next_alpha * ((-way).exp() - 1.0);
        let sample = sample.to_kind(Kind::Float) * f64::from(next_share / share * kept);
        let mut prev_sample = sample - &pred_original * f64::from(weight);
        let last = call + 1 == self.timesteps.len();
        if let Some(previous) = self.previous.take().filter(|_| !(last && self.first_order_last)) {
            let before = lambda(sigma) - lambda(at(&self.sigmas, call.saturating_sub(1)));
            let slope = (&pred_original - previous) * f64::from(1.0 / (before / h));
            let slope_weight = match self.solver {
                Solver::Heun => -next_alpha * (((-way).exp() - 1.0) / way + 1.0),
                _ => 0.5 * weight,
            };
            prev_sample -= slope * f64::from(slope_weight);
        }
        if self.stochastic {
            let fresh = noise()?.to_device(model_output.device());
            prev_sample += fresh * f64::from(next_share * (1.0 - (-way).exp()).sqrt());
        }
        self.previous = Some(pred_original.shallow_clone());
        Ok(StepOutput { prev_sample: prev_sample.to_kind(model_output.kind()), pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_scaled(original, noise, at(&self.sigmas, call)))
    }
}
