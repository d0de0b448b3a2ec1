//! Euler's method on the probability flow (Karras et al. 2022, arXiv 2206.00364, algorithm 2 without churn).
//!
//! Enters: the model's output and the latents at sigma. Leaves: the latents at the next sigma, along the straight line
//! d = (x − x0) / σ. Follows diffusers' `EulerDiscreteScheduler`, which steps in f32 whatever the model's dtype.

use super::betas::SigmaSchedule;
use super::prediction::{Prediction, add_noise_unscaled};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::{Kind, Tensor};

pub(super) struct Euler {
    prediction: Prediction,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
}

impl Euler {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let SigmaSchedule { timesteps, sigmas, init_noise_sigma } = SigmaSchedule::new(config, steps)?;
        let timesteps = timesteps.into_iter().map(f64::from).collect();
        Ok(Euler { prediction: config.prediction_type, timesteps, sigmas, init_noise_sigma })
    }
}

impl Scheduler for Euler {
    fn name(&self) -> &'static str {
        "euler"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
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

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let (sigma, next) = (at(&self.sigmas, call), at(&self.sigmas, call + 1));
        let sample = sample.to_kind(Kind::Float);
        let pred_original = self.prediction.clean_unscaled(model_output, &sample, sigma);
        let derivative = (&sample - &pred_original) / f64::from(sigma);
        let prev_sample = (sample + derivative * f64::from(next - sigma)).to_kind(model_output.kind());
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_unscaled(original, noise, at(&self.sigmas, call)))
    }
}
