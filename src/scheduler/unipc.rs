//! UniPC (Zhao et al. 2023, arXiv 2302.04867): a predictor and a corrector of the same order.
//!
//! Enters: the model's output and the latents at sigma. Leaves: the latents at the next sigma. Each call first corrects
//! the latents that entered it, with the output that the model gave for them (the paper's algorithm 5), and then
//! predicts the next ones from the corrected latents (algorithm 6). Follows diffusers' `UniPCMultistepScheduler` with
//! `predict_x0`, orders 1 to 3.

use super::betas::whole_timesteps_without_last;
use super::betas::{alphas_cumprod, final_sigma, interpolate, training_sigmas};
use super::dpmpp_2m::lambda;
use super::levels::Levels;
use super::prediction::{Prediction, add_noise_scaled, alpha_sigma, rounded};
use super::resolved::{FinalSigma, Solver};
use super::{Noise, NoiseLevel, Resolved, Scheduler, StepOutput, at};
use crate::arithmetic;
use crate::error::Result;
use std::collections::VecDeque;
use tch::Tensor;

pub(super) struct Unipc {
    prediction: Prediction,
    solver: Solver,
    solver_order: usize,
    lower_order_final: bool,
    disable_corrector: Vec<usize>,
    timesteps: Vec<f64>,
    sigmas: Vec<f32>,
    /// The last predictions of x0, newest first.
    predictions: VecDeque<Tensor>,
    /// The corrected latents of the last call, and the order of its step.
    last: Option<(Tensor, usize)>,
}

impl Unipc {
    pub(super) fn new(config: &Resolved, steps: usize) -> Result<Self> {
        let training = training_sigmas(&alphas_cumprod(config)?);
        let (timesteps, sigmas) = if let Some(how) = config.sigmas {
            let Levels { timesteps, mut sigmas } = Levels::whole(how, config, &training, steps);
            // Here `sigma_min` means the last of these sigmas.
            sigmas.push(match config.final_sigmas {
                FinalSigma::Zero => 0.0,
                FinalSigma::SigmaMin => sigmas.last().copied().unwrap_or_default(),
            });
            (timesteps, sigmas)
        } else {
            let whole = whole_timesteps_without_last(config, config.num_train_timesteps, steps)?;
            let timesteps: Vec<f64> = whole.iter().map(|t| *t as f64).collect();
            let mut sigmas: Vec<f64> = timesteps.iter().map(|t| interpolate(*t, &training)).collect();
            sigmas.push(final_sigma(config.final_sigmas, &training));
            (timesteps, sigmas)
        };
        Ok(Unipc {
            prediction: config.prediction_type,
            solver: config.solver_type,
            solver_order: config.solver_order,
            lower_order_final: config.lower_order_final,
            disable_corrector: config.disable_corrector.clone(),
            timesteps,
            sigmas: sigmas.into_iter().map(|sigma| sigma as f32).collect(),
            predictions: VecDeque::with_capacity(config.solver_order + 1),
            last: None,
        })
    }

    /// From the corrected latents of the call before `call` to latents at `call`, given the x0 of that earlier call and
    /// of those before it; with `clean`, the x0 at `call` itself, this is the corrector, without it the predictor.
    fn update(&self, call: usize, order: usize, sample: &Tensor, clean: Option<&Tensor>) -> Tensor {
        let Some(newest) = self.predictions.front() else {
            return sample.shallow_clone();
        };
        let (from, to) = (at(&self.sigmas, call - 1), at(&self.sigmas, call));
        let ((_, share), (next_alpha, next_share)) = (alpha_sigma(from), alpha_sigma(to));
        let h = lambda(to) - lambda(from);
        let phi = (-h).exp_m1();
        let b_of_h = if self.solver == Solver::Bh1 { -h } else { phi };
        let mut ratios = Vec::with_capacity(order);
        let mut slopes = Vec::with_capacity(order);
        for (back, older) in self.predictions.iter().enumerate().take(order).skip(1) {
            let ratio = (lambda(at(&self.sigmas, (call - 1).saturating_sub(back))) - lambda(from)) / h;
            slopes.push((older - newest) / f64::from(ratio));
            ratios.push(ratio);
        }
        ratios.push(1.0);
        let mut weights = match (clean, order) {
            // diffusers takes these two from the paper's appendix F instead of solving.
            (Some(_), 1) | (None, 2) => vec![0.5],
            (Some(_), _) => solve(&ratios, &right_side(-h, b_of_h, order)),
            (None, _) => solve(&ratios[..order - 1], &right_side(-h, b_of_h, order - 1)),
        };
        if let Some(clean) = clean {
            slopes.push(clean - newest);
        } else {
            weights.truncate(slopes.len());
        }
        let kind = sample.kind();
        let terms = slopes.iter().zip(&weights).map(|(slope, weight)| slope * f64::from(rounded(*weight, kind)));
        let straight = sample * f64::from(next_share / share) - newest * f64::from(next_alpha * phi);
        match terms.reduce(|sum, term| sum + term) {
            Some(sum) => straight - sum * f64::from(next_alpha * b_of_h),
            // Not a sum of nothing: at a last sigma of zero bh1's B(h) is infinite, and diffusers' product NaN.
            None => straight,
        }
    }
}

/// The right side of the paper's equation 11: φ_k(h) · k! / B(h) for k = 1 … n.
fn right_side(h: f32, b_of_h: f32, n: usize) -> Vec<f32> {
    let mut phi = h.exp_m1() / h - 1.0;
    let mut factorial = 1.0;
    let mut right = Vec::with_capacity(n);
    for k in 1..=n {
        right.push(phi * factorial / b_of_h);
        factorial *= (k + 1) as f32;
        phi = phi / h - 1.0 / factorial;
    }
    right
}

/// Solves Σ_j ratio_j^k · x_j = right_k for k = 0 … n − 1 in f32 as diffusers does.
fn solve(ratios: &[f32], right: &[f32]) -> Vec<f32> {
    let n = ratios.len();
    let row = |k: usize| ratios.iter().map(|ratio| ratio.powi(k as i32)).chain([right[k]]).collect::<Vec<f32>>();
    arithmetic::solve((0..n).map(row).collect(), 0.0).and_then(|mut found| found.pop()).unwrap_or_default()
}

impl Scheduler for Unipc {
    fn name(&self) -> &'static str {
        "unipc"
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn level(&self, call: usize) -> NoiseLevel {
        NoiseLevel::scaled(at(&self.sigmas, call))
    }

    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, _noise: &mut Noise) -> Result<StepOutput> {
        let (alpha, share) = alpha_sigma(at(&self.sigmas, call));
        let pred_original = self.prediction.clean(model_output, sample, alpha, share);
        let corrected = match self.last.take() {
            Some((last, order)) if call > 0 && !self.disable_corrector.contains(&(call - 1)) => {
                self.update(call, order, &last, Some(&pred_original))
            }
            _ => sample.shallow_clone(),
        };
        // The order of the step can be no higher than the number of predictions there are.
        let longest = self.solver_order.min(self.predictions.len() + 1);
        self.predictions.push_front(pred_original.shallow_clone());
        self.predictions.truncate(self.solver_order);
        let left = self.timesteps.len() - call;
        let order = if self.lower_order_final { longest.min(left) } else { longest };
        let prev_sample = self.update(call + 1, order, &corrected, None);
        self.last = Some((corrected, order));
        Ok(StepOutput { prev_sample, pred_original })
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> {
        Ok(add_noise_scaled(original, noise, at(&self.sigmas, call)))
    }
}
