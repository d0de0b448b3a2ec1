//! Euler's method with ancestral noise (k-diffusion's `sample_euler_ancestral`).
//!
//! Enters: the model's output, the latents at sigma and noise. Leaves: the latents at the next sigma, reached by a step
//! down to a lower sigma and fresh noise back up. Follows diffusers' `EulerAncestralDiscreteScheduler`, which steps in
//! f32 whatever the model's dtype.

use super::betas::SigmaSchedule;
use super::prediction::{Prediction, add_noise_unscaled, ancestral, draw};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::{Kind, Tensor};

pub(super) struct EulerA {
    prediction: Prediction,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
}

impl EulerA {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let SigmaSchedule { timesteps, sigmas, init_noise_sigma } = SigmaSchedule::new(config, steps)?;
        let timesteps = timesteps.into_iter().map(f64::from).collect();
        Ok(EulerA { prediction: config.prediction_type, timesteps, sigmas, init_noise_sigma })
    }
}

impl Scheduler for EulerA {
    fn name(&self) -> &'static str {
        "euler_a"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn draws(&self, _call: usize) -> bool {
        true
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::unscaled(at(&self.sigmas, call))
    }

    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Result<Tensor> {
        let sigma = at(&self.sigmas, call);
        Ok(sample / f64::from((sigma * sigma + 1.0).sqrt()))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (sigma, next) = (at(&self.sigmas, call), at(&self.sigmas, call + 1));
        let sample = sample.to_kind(Kind::Float);
        let pred_original = self.prediction.clean_unscaled(model_output, &sample, sigma);
        let (down, up) = ancestral(sigma, next);
        let derivative = (&sample - &pred_original) / f64::from(sigma);
        let prev_sample = sample + derivative * f64::from(down - sigma) + draw(noise, model_output)? * f64::from(up);
        Ok(StepOutput { prev_sample: prev_sample.to_kind(model_output.kind()), pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_unscaled(original, noise, at(&self.sigmas, call)))
    }
}
