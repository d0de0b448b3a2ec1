//! Strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024, arXiv 2402.19159, algorithm 4).
//!
//! Enters: the model's output, the latents at timestep t and noise. Leaves: the latents at the next timestep, reached by a
//! step along the trajectory to a lower one, `(1 − eta)` of it, and fresh noise back up. Follows diffusers' `TCDScheduler`,
//! whose `eta` is the paper's γ.

use super::betas::{alphas_cumprod, distilled_timesteps};
use super::prediction::{Prediction, add_noise_preserving, draw, roots};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

pub(super) struct Tcd {
    prediction: Prediction,
    eta: f64,
    timesteps: Vec<f64>,
    /// ᾱ at which each call begins, then that of training timestep 0, where the last ends.
    alphas: Vec<f32>,
    /// ᾱ of the lower timestep that each call's step goes down to.
    lower: Vec<f32>,
}

impl Tcd {
    pub(super) fn new(config: &Resolved, steps: usize, eta: f64) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let timesteps = distilled_timesteps(config, steps)?;
        let next = || timesteps.iter().skip(1).copied().chain([0]);
        let alpha = |t: usize| at(&alphas_cumprod, t);
        // In f32 as diffusers' tensors have it.
        let lower = |t: usize| (((1.0 - eta) as f32) * t as f32).floor() as usize;
        Ok(Tcd {
            prediction: config.prediction_type,
            eta,
            alphas: timesteps.first().copied().into_iter().chain(next()).map(alpha).collect(),
            lower: next().map(|t| alpha(lower(t))).collect(),
            timesteps: timesteps.iter().map(|t| *t as f64).collect(),
        })
    }
}

impl Scheduler for Tcd {
    fn name(&self) -> &'static str {
        "tcd"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn draws(&self, call: usize) -> bool {
        self.eta > 0.0 && call + 1 < self.timesteps.len()
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::preserving(at(&self.alphas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (signal, share) = roots(at(&self.alphas, call));
        let lower = at(&self.lower, call);
        let (lower_signal, lower_share) = roots(lower);
        let pred_original = self.prediction.clean(model_output, sample, signal, share);
        let epsilon = self.prediction.noise(model_output, sample, signal, share);
        let mut prev_sample = &pred_original * f64::from(lower_signal) + epsilon * f64::from(lower_share);
        if self.draws(call) {
            let ratio = at(&self.alphas, call + 1) / lower;
            prev_sample =
                prev_sample * f64::from(ratio.sqrt()) + draw(noise, model_output)? * f64::from((1.0 - ratio).sqrt());
        }
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, at(&self.alphas, call)))
    }
}
