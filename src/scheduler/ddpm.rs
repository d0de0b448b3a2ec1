//! DDPM (Ho et al. 2020, arXiv 2006.11239): the reverse of the training process, with fresh noise at every step.
//!
//! Enters: the model's output, the latents at timestep t and noise. Leaves: a draw of the latents at the next timestep
//! from the posterior of the paper's equations 6 and 7. Follows diffusers' `DDPMScheduler`.

use super::betas::{alphas_cumprod, whole_timesteps};
use super::prediction::{Prediction, add_noise_preserving, clipped, draw, roots};
use super::resolved::Variance;
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

pub(super) struct Ddpm {
    prediction: Prediction,
    clip: Option<f64>,
    variance: Variance,
    timesteps: Vec<f64>,
    /// ᾱ at which each call begins, then the one at which the last ends, 1.
    alphas: Vec<f32>,
}

impl Ddpm {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let timesteps = whole_timesteps(config, steps)?;
        let alphas = timesteps.iter().map(|t| at(&alphas_cumprod, *t as usize)).chain([1.0]).collect();
        Ok(Ddpm {
            prediction: config.prediction_type,
            clip: config.clip(),
            variance: config.variance_type,
            timesteps: timesteps.into_iter().map(|t| t as f64).collect(),
            alphas,
        })
    }

    /// The standard deviation of the fresh noise.
    fn deviation(&self, alpha: f32, next: f32) -> f32 {
        let beta = 1.0 - alpha / next;
        let variance = ((1.0 - next) / (1.0 - alpha) * beta).max(1e-20);
        match self.variance {
            Variance::Small => variance.sqrt(),
            Variance::SmallLog => (0.5 * variance.ln()).exp(),
            Variance::Large => beta.sqrt(),
        }
    }
}

impl Scheduler for Ddpm {
    fn name(&self) -> &'static str {
        "ddpm"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn draws(&self, _call: usize) -> bool {
        true
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::preserving(at(&self.alphas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (alpha, next) = (at(&self.alphas, call), at(&self.alphas, call + 1));
        let (signal, share) = roots(alpha);
        let pred_original = clipped(self.prediction.clean(model_output, sample, signal, share), self.clip);
        let step_alpha = alpha / next;
        let from_original = next.sqrt() * (1.0 - step_alpha) / (1.0 - alpha);
        let from_sample = step_alpha.sqrt() * (1.0 - next) / (1.0 - alpha);
        let mut prev_sample = &pred_original * f64::from(from_original) + sample * f64::from(from_sample);
        // Drawn in any case, so that every call draws once; diffusers draws none at timestep 0, the last.
        let fresh = draw(noise, model_output)?;
        if at(&self.timesteps, call) > 0.0 {
            prev_sample += fresh * f64::from(self.deviation(alpha, next));
        }
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, at(&self.alphas, call)))
    }
}
