//! DDIM (Song et al. 2021, arXiv 2010.02502): predict x0, then go to the next level with the same noise.
//!
//! Enters: the model's output and the latents at timestep t. Leaves: the latents at t − ratio, by the paper's equation
//! 12, with `eta` times DDPM's noise. Follows diffusers' `DDIMScheduler`.

use super::betas::{alphas_cumprod, whole_timesteps};
use super::prediction::{Prediction, add_noise_preserving, clipped, draw, roots};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

pub(super) struct Ddim {
    pub(super) prediction: Prediction,
    clip: Option<f64>,
    eta: f64,
    pub(super) timesteps: Vec<f64>,
    /// ᾱ at which each call begins.
    pub(super) alphas: Vec<f32>,
    /// ᾱ at which each call ends: that of the timestep one whole ratio below, which is the next call's only with
    /// `leading` spacing.
    pub(super) next_alphas: Vec<f32>,
}

impl Ddim {
    pub(super) fn new(config: &Resolved, steps: usize, eta: f64) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let timesteps = whole_timesteps(config, steps)?;
        let ratio = (config.num_train_timesteps / steps) as i64;
        let last = if config.set_alpha_to_one { 1.0 } else { at(&alphas_cumprod, 0) };
        let alpha = |t: i64| usize::try_from(t).map_or(last, |t| at(&alphas_cumprod, t));
        Ok(Ddim {
            prediction: config.prediction_type,
            clip: config.clip(),
            eta,
            alphas: timesteps.iter().map(|t| alpha(*t)).collect(),
            next_alphas: timesteps.iter().map(|t| alpha(t - ratio)).collect(),
            timesteps: timesteps.into_iter().map(|t| t as f64).collect(),
        })
    }

    /// Steps that visit these timesteps, in this order, and end in clean latents.
    pub(super) fn visiting(config: &Resolved, timesteps: &[usize]) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let alphas: Vec<f32> = timesteps.iter().map(|t| at(&alphas_cumprod, *t)).collect();
        Ok(Ddim {
            prediction: config.prediction_type,
            clip: config.clip(),
            eta: 0.0,
            next_alphas: alphas.iter().skip(1).copied().chain([1.0]).collect(),
            alphas,
            timesteps: timesteps.iter().map(|t| *t as f64).collect(),
        })
    }
}

impl Scheduler for Ddim {
    fn name(&self) -> &'static str {
        "ddim"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn draws(&self, _call: usize) -> bool {
        self.eta > 0.0
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        let beyond = call >= self.alphas.len();
        NoiseLevel::preserving(if beyond { at(&self.next_alphas, call) } else { at(&self.alphas, call) })
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (alpha, next) = (at(&self.alphas, call), at(&self.next_alphas, call));
        let (signal, share) = roots(alpha);
        let pred_original = clipped(self.prediction.clean(model_output, sample, signal, share), self.clip);
        let epsilon = self.prediction.noise(model_output, sample, signal, share);
        // The paper's equation 16, σ_t(η).
        let variance = (1.0 - next) / (1.0 - alpha) * (1.0 - alpha / next);
        let deviation = self.eta as f32 * variance.sqrt();
        let direction = epsilon * f64::from((1.0 - next - deviation * deviation).sqrt());
        let mut prev_sample = &pred_original * f64::from(next.sqrt()) + direction;
        if self.eta > 0.0 {
            prev_sample += draw(noise, model_output)? * f64::from(deviation);
        }
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, at(&self.alphas, call)))
    }
}
