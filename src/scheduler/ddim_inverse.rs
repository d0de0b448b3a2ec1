//! DDIM's steps the other way: from a picture's latents to the noise that DDIM would draw them from.
//!
//! Enters: the model's output and the latents at the cleaner end of a step. Leaves: those at its noisier end. In diffusers'
//! convention (`DDIMInverseScheduler`) the model is told the timestep t at the noisier end, where the sampler's step begins,
//! but sees the latents at the cleaner one; both levels are the sampler's own, so that every spacing has its inverse. Where
//! the model was asked at the noisier end itself (`settled`), the sampler's step is solved for the latents that entered it.

use super::ddim::Ddim;
use super::prediction::{Prediction, add_noise_preserving, roots};
use super::{Noise, NoiseLevel, Scheduler, StepOutput, at};
use crate::error::Result;
use tch::Tensor;

pub(super) struct DdimInverse {
    prediction: Prediction,
    /// Whether the model's output belongs to the latents that a step leaves, instead of those that enter it.
    settled: bool,
    /// From the cleanest up.
    timesteps: Vec<f64>,
    /// ᾱ at which each call begins: where the sampler's step ends.
    from: Vec<f32>,
    /// ᾱ at which each call ends.
    to: Vec<f32>,
}

impl DdimInverse {
    /// The inverse of these steps.
    pub(super) fn of(ddim: Ddim, settled: bool) -> Self {
        let Ddim { prediction, mut timesteps, alphas: mut to, next_alphas: mut from, .. } = ddim;
        timesteps.reverse();
        to.reverse();
        from.reverse();
        DdimInverse { prediction, settled, timesteps, from, to }
    }

    /// ᾱ of the latents that enter a call. That at which the call before ended, where a spacing has them differ: the same
    /// numbers as the sampler's latents of that level have.
    fn alpha(&self, call: usize) -> f32 {
        call.checked_sub(1).map_or_else(|| at(&self.from, 0), |before| at(&self.to, before))
    }
}

impl Scheduler for DdimInverse {
    fn name(&self) -> &'static str {
        "ddim"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn remembers(&self, _call: usize) -> bool {
        false
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::preserving(self.alpha(call))
    }

    fn step(&mut self, output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let (cleaner, noisier) = (roots(at(&self.from, call)), roots(at(&self.to, call)));
        let (signal, share) = noisier;
        if self.settled {
            // The sampler has cleaner = kept · noisier + told · output.
            let (kept, told) = self.prediction.step_factors(noisier, cleaner);
            let prev_sample = (sample - output * told) / kept;
            let pred_original = self.prediction.clean(output, &prev_sample, signal, share);
            return Ok(StepOutput { prev_sample, pred_original });
        }
        let pred_original = self.prediction.clean(output, sample, cleaner.0, cleaner.1);
        let epsilon = self.prediction.noise(output, sample, cleaner.0, cleaner.1);
        let prev_sample = &pred_original * f64::from(signal) + epsilon * f64::from(share);
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, self.alpha(call)))
    }
}
