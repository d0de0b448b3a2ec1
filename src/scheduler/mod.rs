//! Schedulers: the noise levels of a run, and the arithmetic that takes the latents from one level to the next.
//!
//! Enters: a scheduler's name, the model's `scheduler_config.json` and a number of steps. Leaves: a [`Scheduler`], which
//! knows no model. This file is the only registry; each algorithm stands in a file of its own.

use crate::error::Result;
use tch::Tensor;

/// What one scheduler step gives.
#[derive(Debug)]
pub struct StepOutput {
    /// The latents at the next noise level, shape of the sample.
    pub prev_sample: Tensor,
    /// The clean latents (x0) that the model's output implies at this call, shape of the sample.
    pub pred_original: Tensor,
}

/// A noise level of the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// ᾱ, the share of the signal's variance that is left, in 0..=1.
    pub alpha_cumprod: f64,
    /// σ = sqrt((1 − ᾱ) / ᾱ), the noise's standard deviation beside a signal of unit scale.
    pub sigma: f64,
    /// What the latents of this scheduler are divided by to have the variance the model and a viewer expect: 1 for the
    /// variance-preserving schedulers (PNDM, DDIM, DDPM, DPM-Solver++, UniPC), sqrt(σ² + 1) for the k-diffusion ones
    /// (LMS, Euler, Heun).
    pub latent_scale: f64,
}

/// Where a stochastic scheduler gets its noise from: a standard normal tensor of the sample's shape, drawn in the
/// pipeline's order.
pub type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// A sampling algorithm over a fixed list of model calls.
pub trait Scheduler {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// The timestep of each model call, in order, as the model is given it (fractional for some schedulers). PNDM
    /// calls the model once more than the number of steps, Heun twice as often less one.
    fn timesteps(&self) -> &[f64];

    /// What standard normal noise is multiplied by to become the starting latents.
    fn init_noise_sigma(&self) -> f64;

    /// Model calls per step, as diffusers counts them for image to image: 2 for Heun, else 1.
    fn order(&self) -> usize {
        1
    }

    /// Whether [`Scheduler::step`] draws noise: then exactly one draw per call.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// The noise level of the latents that enter model call `call`; `call == timesteps().len()` gives the level of the
    /// finished latents.
    fn level(&self, call: usize) -> NoiseLevel;

    /// The latents as the model wants to see them at call `call`, shape of the sample.
    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Tensor;

    /// One step: from the model's output at call `call` and the latents that entered it to the next latents. Calls come
    /// in order from the first one used, which for image to image is not 0.
    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput>;

    /// Clean latents noised to the level at which call `call` begins (image to image).
    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Tensor;
}
