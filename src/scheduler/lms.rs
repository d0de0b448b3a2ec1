//! Linear multistep over sigma (k-diffusion's `sample_lms`): Adams and Bashforth's method on uneven levels.
//!
//! Enters: the model's output and the latents at sigma. Leaves: the latents at the next sigma, by integrating the
//! polynomial through the last (up to four) derivatives. Follows diffusers' `LMSDiscreteScheduler`.

use super::betas::SigmaSchedule;
use super::prediction::{Prediction, add_noise_unscaled};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use std::collections::VecDeque;
use tch::Tensor;

/// The most derivatives that are remembered.
const ORDER: usize = 4;

pub(super) struct Lms {
    prediction: Prediction,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
    /// The newest first.
    derivatives: VecDeque<Tensor>,
}

impl Lms {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let SigmaSchedule { timesteps, sigmas, init_noise_sigma } = SigmaSchedule::new(config, steps)?;
        let timesteps = timesteps.into_iter().map(f64::from).collect();
        let derivatives = VecDeque::with_capacity(ORDER + 1);
        Ok(Lms { prediction: config.prediction_type, timesteps, sigmas, init_noise_sigma, derivatives })
    }

    /// The integral from this call's sigma to the next of the Lagrange polynomial that is 1 at the sigma `which` calls
    /// back and 0 at the other `order − 1`. diffusers integrates numerically to 1e-4; two Gauss points are exact for
    /// polynomials up to the third degree, and these have no higher.
    fn coefficient(&self, call: usize, order: usize, which: usize) -> f64 {
        let sigma = |back: usize| f64::from(at(&self.sigmas, call.saturating_sub(back)));
        let lagrange = |tau: f64| -> f64 {
            let others = (0..order).filter(|k| *k != which);
            others.map(|k| (tau - sigma(k)) / (sigma(which) - sigma(k))).product()
        };
        let (from, to) = (sigma(0), f64::from(at(&self.sigmas, call + 1)));
        let (middle, half) = ((from + to) / 2.0, (to - from) / 2.0);
        let point = half / 3.0_f64.sqrt();
        half * (lagrange(middle - point) + lagrange(middle + point))
    }
}

impl Scheduler for Lms {
    fn name(&self) -> &'static str {
        "lms"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::unscaled(at(&self.sigmas, call))
    }

    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Result<Tensor> {
        let sigma = at(&self.sigmas, call);
        Ok(sample / f64::from((sigma * sigma + 1.0).sqrt()))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let sigma = at(&self.sigmas, call);
        let pred_original = self.prediction.clean_unscaled(model_output, sample, sigma);
        self.derivatives.push_front((sample - &pred_original) / f64::from(sigma));
        self.derivatives.truncate(ORDER);
        // As in diffusers the order follows the index of the call, not the number of derivatives: an image-to-image run
        // that begins late uses the first terms of a higher order's sum until it has enough of them.
        let order = ORDER.min(call + 1);
        let terms = self.derivatives.iter().enumerate().take(order);
        let change = terms.map(|(which, derivative)| derivative * self.coefficient(call, order, which));
        let change = change.reduce(|sum, term| sum + term);
        let prev_sample = change.map_or_else(|| sample.shallow_clone(), |change| sample + change);
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_unscaled(original, noise, at(&self.sigmas, call)))
    }
}
