//! Solvers that ask the model twice in each step: where it begins, and once more inside it.
//!
//! Enters: what is special about one of them, a [`Method`]. Leaves: a scheduler of `2 n − 1` calls on k-diffusion's scale,
//! whose last step is Euler's alone. The calls, their timesteps and their sigmas are those of diffusers'
//! `KDPM2DiscreteScheduler` and `DPMSolverSDEScheduler`.

use super::betas::{SigmaSchedule, alphas_cumprod, training_sigmas};
use super::levels::timestep_of;
use super::prediction::{Prediction, add_noise_unscaled};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::Result;
use std::marker::PhantomData;
use tch::Tensor;

/// A step's sigmas: where it begins, where the model is asked again, and where it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub from: f32,
    pub middle: f32,
    pub to: f32,
}

/// What the second call of a step needs from the first.
pub(super) struct Begun {
    /// The latents that entered the step.
    pub sample: Tensor,
    /// The noise that the first call drew, if it did.
    pub noise: Option<Tensor>,
}

/// One of these solvers.
pub(super) trait Method {
    /// Its name on the command line.
    const NAME: &'static str;
    /// Whether the first call of a step draws noise, and the second.
    const DRAWS: (bool, bool);

    /// The sigma of the second call of a step.
    fn middle(from: f32, to: f32) -> f32;

    /// The latents at the middle, from those at the beginning and x0 there.
    fn first(span: Span, sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor;

    /// The latents at the end, from those at the middle, x0 there, and what the first call left.
    fn second(span: Span, begun: Begun, sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor;
}

pub(super) struct Singlestep<M> {
    prediction: Prediction,
    timesteps: Vec<f64>,
    /// The sigma at which each step begins, and the one at which the last ends.
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
    begun: Option<Begun>,
    method: PhantomData<M>,
}

impl<M: Method> Singlestep<M> {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let SigmaSchedule { timesteps, sigmas, init_noise_sigma } = SigmaSchedule::new(config, steps)?;
        let training = training_sigmas(&alphas_cumprod(config)?);
        let mut calls = Vec::with_capacity(2 * timesteps.len());
        for (step, timestep) in timesteps.into_iter().enumerate() {
            if step > 0 {
                let middle = M::middle(at(&sigmas, step - 1), at(&sigmas, step));
                calls.push(f64::from(timestep_of(f64::from(middle), &training) as f32));
            }
            calls.push(f64::from(timestep));
        }
        Ok(Singlestep {
            prediction: config.prediction_type,
            timesteps: calls,
            sigmas,
            init_noise_sigma,
            begun: None,
            method: PhantomData,
        })
    }

    /// The sigmas of the step that a call belongs to.
    fn span(&self, call: usize) -> Span {
        let (from, to) = (at(&self.sigmas, call / 2), at(&self.sigmas, call / 2 + 1));
        Span { from, middle: if to > 0.0 { M::middle(from, to) } else { 0.0 }, to }
    }

    /// The sigma of the latents that enter a call.
    fn sigma(&self, call: usize) -> f32 {
        if call >= self.timesteps.len() {
            return at(&self.sigmas, self.sigmas.len());
        }
        let span = self.span(call);
        if call.is_multiple_of(2) { span.from } else { span.middle }
    }
}

impl<M: Method> Scheduler for Singlestep<M> {
    fn name(&self) -> &'static str {
        M::NAME
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

    fn draws(&self, call: usize) -> bool {
        // The last step arrives where there is no noise.
        call + 1 < self.timesteps.len() && if call.is_multiple_of(2) { M::DRAWS.0 } else { M::DRAWS.1 }
    }

    fn remembers(&self, call: usize) -> bool {
        call % 2 == 1
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::unscaled(self.sigma(call))
    }

    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Result<Tensor> {
        let sigma = self.sigma(call);
        Ok(sample / f64::from((sigma * sigma + 1.0).sqrt()))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput> {
        let (span, sigma) = (self.span(call), self.sigma(call));
        let pred_original = self.prediction.clean_unscaled(model_output, sample, sigma);
        let fresh = if self.draws(call) { Some(super::prediction::draw(noise, model_output)?) } else { None };
        let prev_sample = match self.begun.take() {
            _ if span.to == 0.0 => sample + (sample - &pred_original) / f64::from(sigma) * f64::from(-sigma),
            Some(begun) if call % 2 == 1 => M::second(span, begun, sample, &pred_original, fresh.as_ref()),
            _ => {
                let prev_sample = M::first(span, sample, &pred_original, fresh.as_ref());
                self.begun = Some(Begun { sample: sample.shallow_clone(), noise: fresh });
                prev_sample
            }
        };
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_unscaled(original, noise, self.sigma(call)))
    }
}

/// The sigma half way between two in the logarithm, as libtorch's `lerp` computes it.
pub(super) fn geometric_mean(a: f32, b: f32) -> f32 {
    let (a, b) = (a.ln(), b.ln());
    (b - (b - a) * 0.5).exp()
}

/// What is added to latents that have this share of noise, if any.
pub(super) fn with_noise(latents: Tensor, noise: Option<&Tensor>, deviation: f32) -> Tensor {
    match noise {
        Some(noise) => latents + noise * f64::from(deviation),
        None => latents,
    }
}
