//! PNDM (Liu et al. 2022, arXiv 2202.09778): the last four noise predictions, put into DDIM's transfer.
//!
//! Enters: the model's output and the latents at timestep t. Leaves: the latents at the previous timestep, by the
//! paper's equation 11. With `skip_prk_steps` (Stable Diffusion) the second call repeats the first step with the mean of
//! both ends' predictions; without it the first three steps are pseudo Runge-Kutta steps of four calls each. Follows
//! diffusers' `PNDMScheduler`.

use super::betas::{alphas_cumprod, whole_timesteps};
use super::prediction::{Prediction, add_noise_preserving, roots};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use tch::Tensor;

/// The steps that Runge-Kutta takes before the multistep method has enough predictions, four calls each.
const RUNGE_KUTTA_STEPS: usize = 3;

pub(super) struct Pndm {
    prediction: Prediction,
    alphas_cumprod: Vec<f32>,
    /// ᾱ before the first training timestep.
    final_alpha: f32,
    /// Training timesteps per step, rounded down.
    ratio: i64,
    whole_timesteps: Vec<i64>,
    timesteps: Vec<f64>,
    runge_kutta_calls: usize,
    /// Calls so far, which for image to image is not the index of the call.
    counter: usize,
    /// The last predictions, newest first.
    predictions: VecDeque<Tensor>,
    /// The latents at which the present step began.
    step_sample: Option<Tensor>,
    /// The Runge-Kutta step's weighted sum so far.
    sum: Option<Tensor>,
}

impl Pndm {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let alphas_cumprod = alphas_cumprod(config)?;
        let ratio = (config.num_train_timesteps / steps) as i64;
        let visited = whole_timesteps(config, steps)?;
        let (whole_timesteps, runge_kutta_calls) = if config.skip_prk_steps {
            (repeat_second(&visited), 0)
        } else if steps > RUNGE_KUTTA_STEPS {
            (with_runge_kutta(&visited, ratio / 2), 4 * RUNGE_KUTTA_STEPS)
        } else {
            return Err(Error::invalid(
                format!("scheduler `pndm` cannot make {steps} steps: its Runge-Kutta start alone takes three"),
                "ask for 4 steps or more, or set `skip_prk_steps` to true",
            ));
        };
        Ok(Pndm {
            prediction: config.prediction_type,
            final_alpha: if config.set_alpha_to_one { 1.0 } else { at(&alphas_cumprod, 0) },
            alphas_cumprod,
            ratio,
            timesteps: whole_timesteps.iter().map(|t| *t as f64).collect(),
            whole_timesteps,
            runge_kutta_calls,
            counter: 0,
            predictions: VecDeque::with_capacity(5),
            step_sample: None,
            sum: None,
        })
    }

    fn alpha(&self, timestep: i64) -> f32 {
        usize::try_from(timestep).map_or(self.final_alpha, |t| at(&self.alphas_cumprod, t))
    }

    /// One of the four calls of a pseudo Runge-Kutta step: the paper's equation 13.
    fn runge_kutta(&mut self, output: &Tensor, timestep: i64, sample: &Tensor) -> Tensor {
        let begins_half = self.counter.is_multiple_of(2);
        let to = timestep - if begins_half { self.ratio / 2 } else { 0 };
        let from = at(&self.whole_timesteps, self.counter / 4 * 4);
        let weight = if matches!(self.counter % 4, 0 | 3) { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let weighted = output * weight;
        let sum = match self.sum.take() {
            Some(sum) => sum + weighted,
            None => weighted,
        };
        if self.counter.is_multiple_of(4) {
            self.remember(output);
            self.step_sample = Some(sample.shallow_clone());
        }
        let begin = self.step_sample.as_ref().unwrap_or(sample);
        if self.counter % 4 == 3 {
            return self.transfer(begin, from, to, &sum);
        }
        let prev_sample = self.transfer(begin, from, to, output);
        self.sum = Some(sum);
        prev_sample
    }

    /// One call of the linear multistep method: the paper's equation 12.
    fn multistep(&mut self, output: &Tensor, timestep: i64, sample: &Tensor) -> Tensor {
        if self.counter == 1 {
            // The first step once more, with the mean of the predictions at both of its ends.
            let mean = self.predictions.front().map_or_else(|| output.shallow_clone(), |first| (output + first) / 2.0);
            let begin = self.step_sample.take().unwrap_or_else(|| sample.shallow_clone());
            return self.transfer(&begin, timestep + self.ratio, timestep, &mean);
        }
        self.remember(output);
        if self.counter == 0 {
            self.step_sample = Some(sample.shallow_clone());
        }
        let p = &self.predictions;
        let combined = match p.len() {
            0 | 1 => output.shallow_clone(),
            2 => (&p[0] * 3.0 - &p[1]) / 2.0,
            3 => (&p[0] * 23.0 - &p[1] * 16.0 + &p[2] * 5.0) / 12.0,
            _ => (&p[0] * 55.0 - &p[1] * 59.0 + &p[2] * 37.0 - &p[3] * 9.0) * (1.0 / 24.0),
        };
        self.transfer(sample, timestep, timestep - self.ratio, &combined)
    }

    fn remember(&mut self, output: &Tensor) {
        self.predictions.push_front(output.shallow_clone());
        self.predictions.truncate(4);
    }

    /// The paper's equation 11: from the latents at one timestep to those at another, given the noise between.
    fn transfer(&self, sample: &Tensor, from: i64, to: i64, output: &Tensor) -> Tensor {
        let (alpha, next) = (self.alpha(from), self.alpha(to));
        let (signal, share) = roots(alpha);
        let epsilon = self.prediction.noise(output, sample, signal, share);
        let denominator = alpha * (1.0 - next).sqrt() + (alpha * (1.0 - alpha) * next).sqrt();
        sample * f64::from((next / alpha).sqrt()) - epsilon * f64::from(next - alpha) / f64::from(denominator)
    }
}

/// The multistep method's calls: the second timestep twice.
fn repeat_second(visited: &[i64]) -> Vec<i64> {
    let mut calls = visited.to_vec();
    if let Some(second) = visited.get(1) {
        calls.insert(1, *second);
    }
    calls
}

/// The first three steps in half steps, each half's inner end twice, then the rest.
fn with_runge_kutta(visited: &[i64], half: i64) -> Vec<i64> {
    let mut calls = Vec::new();
    for pair in visited.windows(2).take(RUNGE_KUTTA_STEPS) {
        calls.extend([pair[0], pair[1] + half, pair[1] + half, pair[1]]);
    }
    calls.extend(visited.iter().skip(RUNGE_KUTTA_STEPS));
    calls
}

impl Scheduler for Pndm {
    fn name(&self) -> &'static str {
        "pndm"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn level(&self, call: usize) -> NoiseLevel {
        let timestep = match self.whole_timesteps.get(call) {
            Some(timestep) => *timestep,
            None => at(&self.whole_timesteps, call) - self.ratio,
        };
        NoiseLevel::preserving(self.alpha(timestep))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let timestep = at(&self.whole_timesteps, call);
        let (signal, share) = roots(self.alpha(timestep));
        let pred_original = self.prediction.clean(model_output, sample, signal, share);
        let prev_sample = if self.counter < self.runge_kutta_calls {
            if call != self.counter {
                return Err(Error::invalid(
                    "scheduler `pndm` cannot begin part-way with its Runge-Kutta start",
                    "set `skip_prk_steps` to true in the scheduler's configuration",
                ));
            }
            self.runge_kutta(model_output, timestep, sample)
        } else {
            self.multistep(model_output, timestep, sample)
        };
        self.counter += 1;
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_preserving(original, noise, at(&self.alphas_cumprod, at(&self.whole_timesteps, call) as usize)))
    }
}
