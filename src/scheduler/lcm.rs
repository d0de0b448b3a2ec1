//! Multistep sampling of latent consistency models (Luo et al. 2023, arXiv 2310.04378, algorithm 3).
//!
//! Enters: the model's output, the latents at timestep t and noise. Leaves: the consistency function's x0, noised anew to
//! the next timestep; after the last call x0 itself. Follows diffusers' `LCMScheduler`.

use super::betas::{alphas_cumprod, distilled_timesteps};
use super::prediction::{Prediction, add_noise_preserving, clipped, draw, roots};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

/// The deviation of the data that the boundary condition assumes (Song et al. 2023, arXiv 2303.01469, appendix C).
const SIGMA_DATA: f64 = 0.5;

pub(super) struct Lcm {
    prediction: Prediction,
    clip: Option<f64>,
    timestep_scaling: f64,
    timesteps: Vec<f64>,
    /// ᾱ at which each call begins, then 1.
    alphas: Vec<f32>,
}

impl Lcm {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let timesteps = distilled_timesteps(config, steps)?;
        Ok(Lcm {
            prediction: config.prediction_type,
            clip: config.clip(),
            timestep_scaling: config.timestep_scaling,
            alphas: timesteps.iter().map(|t| at(&alphas_cumprod, *t)).chain([1.0]).collect(),
            timesteps: timesteps.into_iter().map(|t| t as f64).collect(),
        })
    }

    /// How much of the latents and of x0 the consistency function is made of, so that at timestep 0 it changes nothing.
    fn boundary(&self, timestep: f64) -> (f64, f64) {
        let (scaled, data) = (timestep * self.timestep_scaling, SIGMA_DATA * SIGMA_DATA);
        let sum = scaled * scaled + data;
        (data / sum, scaled / sum.sqrt())
    }
}

impl Scheduler for Lcm {
    fn name(&self) -> &'static str {
        "lcm"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn draws(&self, call: usize) -> bool {
        call + 1 < self.timesteps.len()
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::preserving(at(&self.alphas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (signal, share) = roots(at(&self.alphas, call));
        let pred_original = clipped(self.prediction.clean(model_output, sample, signal, share), self.clip);
        let (skip, out) = self.boundary(at(&self.timesteps, call));
        let denoised = &pred_original * out + sample * skip;
        let prev_sample = if self.draws(call) {
            let (signal, share) = roots(at(&self.alphas, call + 1));
            denoised * f64::from(signal) + draw(noise, model_output)? * f64::from(share)
        } else {
            denoised
        };
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, at(&self.alphas, call)))
    }
}
