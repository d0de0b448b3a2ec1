//! Heun's method on the probability flow (Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn).
//!
//! Enters: the model's output and the latents at sigma. Leaves: after a first call Euler's estimate at the next sigma,
//! after the second the latents there, with the mean of both slopes. The last step is Euler's alone. Follows diffusers'
//! `HeunDiscreteScheduler`.

use super::betas::SigmaSchedule;
use super::prediction::{Prediction, add_noise_unscaled, clipped};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

pub(super) struct Heun {
    prediction: Prediction,
    clip: Option<f64>,
    timesteps: Vec<f64>,
    /// The sigma at which each call begins, and the last one: all but the first and the last stand twice.
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
    /// What the second call of a step needs from the first.
    first: Option<FirstCall>,
}

struct FirstCall {
    sample: Tensor,
    derivative: Tensor,
    change_of_sigma: f32,
}

impl Heun {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let SigmaSchedule { timesteps, sigmas, init_noise_sigma } = SigmaSchedule::new(config, steps)?;
        let mut both: Vec<f32> = sigmas.iter().take(steps).flat_map(|sigma| [*sigma; 2]).skip(1).collect();
        both.push(at(&sigmas, steps));
        Ok(Heun {
            prediction: config.prediction_type,
            clip: config.clip(),
            timesteps: timesteps.iter().flat_map(|t| [f64::from(*t); 2]).skip(1).collect(),
            sigmas: both,
            init_noise_sigma,
            first: None,
        })
    }
}

impl Scheduler for Heun {
    fn name(&self) -> &'static str {
        "heun"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.init_noise_sigma
    }

    fn order(&self) -> usize {
        2
    }

    fn remembers(&self, call: usize) -> bool {
        call % 2 == 1
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
        let pred_original = clipped(self.prediction.clean_unscaled(model_output, sample, sigma), self.clip);
        let derivative = (sample - &pred_original) / f64::from(sigma);
        let prev_sample = match self.first.take() {
            None => {
                let change_of_sigma = next - sigma;
                let prev_sample = sample + &derivative * f64::from(change_of_sigma);
                self.first = Some(FirstCall { sample: sample.shallow_clone(), derivative, change_of_sigma });
                prev_sample
            }
            Some(first) => {
                let mean = (first.derivative + derivative) / 2.0;
                first.sample + mean * f64::from(first.change_of_sigma)
            }
        };
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_unscaled(original, noise, at(&self.sigmas, call)))
    }
}
