//! DEIS (Zhang and Chen 2023, arXiv 2204.13902): an exponential integrator with polynomials of past noise predictions.
//!
//! Enters: the model's output and the latents at sigma. Leaves: the latents at the next sigma, by integrating the polynomial
//! in ln σ through the last (up to three) noise predictions exactly. Follows diffusers' `DEISMultistepScheduler` with
//! `solver_type` `logrho`, orders 1 to 3; its last step ends at the sigma of training timestep 0, and where the sigmas are
//! placed, at the last of them, which is no step at all.

use super::betas::whole_timesteps_without_last;
use super::betas::{alphas_cumprod, interpolate, training_sigmas};
use super::dpmpp_2m::lambda;
use super::levels::Levels;
use super::prediction::{Prediction, add_noise_scaled, alpha_sigma};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use std::collections::VecDeque;
use tch::Tensor;

/// With fewer steps than this the last ones are of lower order, if the configuration says so.
const FEW_STEPS: usize = 15;

pub(super) struct Deis {
    prediction: Prediction,
    solver_order: usize,
    lower_order_final: bool,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    /// The last noise predictions, newest first.
    predictions: VecDeque<Tensor>,
}

impl Deis {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let training = training_sigmas(&alphas_cumprod(config)?);
        let (timesteps, mut sigmas) = if let Some(how) = config.sigmas {
            let levels = Levels::whole(how, config, &training, steps);
            (levels.timesteps, levels.sigmas)
        } else {
            let whole = whole_timesteps_without_last(config, config.num_train_timesteps, steps)?;
            let timesteps: Vec<f64> = whole.iter().map(|t| *t as f64).collect();
            let sigmas = timesteps.iter().map(|t| interpolate(*t, &training)).collect();
            (timesteps, sigmas)
        };
        let repeats = config.sigmas.is_some_and(|how| how.diffusers_field().is_some());
        let least = f64::from(at(&training, 0));
        sigmas.push(if repeats { sigmas.last().copied().unwrap_or(least) } else { least });
        Ok(Deis {
            prediction: config.prediction_type,
            solver_order: config.solver_order,
            lower_order_final: config.lower_order_final,
            timesteps,
            sigmas: sigmas.into_iter().map(|sigma| sigma as f32).collect(),
            predictions: VecDeque::with_capacity(config.solver_order + 1),
        })
    }

    /// The order of the step at `call`, for which there are so many predictions.
    fn order(&self, call: usize) -> usize {
        let few = self.lower_order_final && self.timesteps.len() < FEW_STEPS;
        let left = if few { self.timesteps.len() - call } else { usize::MAX };
        self.solver_order.min(self.predictions.len()).min(left)
    }

    /// ρ = σ_t / α_t at which the call `back` calls before `call` was made.
    fn rho(&self, call: usize, back: usize) -> f32 {
        rho(at(&self.sigmas, call.saturating_sub(back)))
    }

    /// The weights of the predictions, newest first: integrals from this call's ρ to the next one's of the Lagrange
    /// polynomials in ln ρ. A step of no length, whose logarithms coincide, has none.
    fn weights(&self, call: usize, order: usize) -> Vec<f32> {
        let (from, to) = (self.rho(call, 0), rho(at(&self.sigmas, call + 1)));
        let rhos: Vec<f32> = (0..order).map(|back| self.rho(call, back)).collect();
        match rhos[..] {
            [a, b] => vec![line(to, a, b) - line(from, a, b), line(to, b, a) - line(from, b, a)],
            [a, b, c] => vec![
                parabola(to, a, b, c) - parabola(from, a, b, c),
                parabola(to, b, c, a) - parabola(from, b, c, a),
                parabola(to, c, a, b) - parabola(from, c, a, b),
            ],
            _ => vec![],
        }
    }
}

fn rho(sigma: f32) -> f32 {
    let (alpha, share) = alpha_sigma(sigma);
    share / alpha
}

/// ∫ (ln t − ln c) / (ln b − ln c) dt.
fn line(t: f32, b: f32, c: f32) -> f32 {
    t * (-c.ln() + t.ln() - 1.0) / (b.ln() - c.ln())
}

/// ∫ (ln t − ln c) (ln t − ln d) / ((ln b − ln c) (ln b − ln d)) dt.
fn parabola(t: f32, b: f32, c: f32, d: f32) -> f32 {
    let (t_log, b, c, d) = (t.ln(), b.ln(), c.ln(), d.ln());
    let numerator = t * (c * (d - t_log + 1.0) - d * t_log + d + t_log * t_log - 2.0 * t_log + 2.0);
    numerator / ((b - c) * (b - d))
}

impl Scheduler for Deis {
    fn name(&self) -> &'static str {
        "deis"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::scaled(at(&self.sigmas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let (sigma, next) = (at(&self.sigmas, call), at(&self.sigmas, call + 1));
        let ((alpha, share), (next_alpha, next_share)) = (alpha_sigma(sigma), alpha_sigma(next));
        let pred_original = self.prediction.clean(model_output, sample, alpha, share);
        let epsilon = (sample - &pred_original * f64::from(alpha)) / f64::from(share);
        self.predictions.push_front(epsilon.shallow_clone());
        self.predictions.truncate(self.solver_order);
        let order = Deis::order(self, call);
        let prev_sample = if order < 2 {
            let h = lambda(next) - lambda(sigma);
            let straight = sample * f64::from(next_alpha / alpha);
            straight - epsilon * f64::from(next_share * (h.exp() - 1.0))
        } else {
            let weights = self.weights(call, order);
            let terms = self.predictions.iter().zip(weights).map(|(epsilon, weight)| epsilon * f64::from(weight));
            terms.fold(sample / f64::from(alpha), |sum, term| sum + term) * f64::from(next_alpha)
        };
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_scaled(original, noise, at(&self.sigmas, call)))
    }
}
