//! What a model's output means: the arithmetic that several algorithms share.
//!
//! Enters: the model's output, the latents it saw, the noise level as host numbers. Leaves: tensors of the same shape on
//! the same device. Host numbers are f32 where diffusers computes in f32, so that results agree to the last bits.

use crate::error::Result;
use tch::{Kind, Tensor};

use super::{Noise, NoiseLevel};

/// What stands for the last ᾱ of a schedule that leaves nothing of the signal, where its sigma must be finite: diffusers'
/// number, the smallest that half precision holds.
pub(super) const LEAST_ALPHA: f32 = 1.0 / 16_777_216.0;

/// What the model was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise ε.
    Epsilon,
    /// The velocity v = √ᾱ ε − √(1−ᾱ) x0 (Salimans and Ho 2022).
    Velocity,
}

impl Prediction {
    /// x0 from latents `alpha · x0 + sigma · ε` (variance preserving: alpha² + sigma² = 1). Shape of the sample.
    pub(super) fn clean(self, output: &Tensor, sample: &Tensor, alpha: f32, sigma: f32) -> Tensor {
        let (alpha, sigma) = (f64::from(alpha), f64::from(sigma));
        match self {
            Prediction::Epsilon => (sample - output * sigma) / alpha,
            Prediction::Velocity => sample * alpha - output * sigma,
        }
    }

    /// ε from the same latents. Shape of the sample.
    pub(super) fn noise(self, output: &Tensor, sample: &Tensor, alpha: f32, sigma: f32) -> Tensor {
        match self {
            Prediction::Epsilon => output.shallow_clone(),
            Prediction::Velocity => output * f64::from(alpha) + sample * f64::from(sigma),
        }
    }

    /// What a DDIM step from the level `from` to the level `to` (each √ᾱ and √(1−ᾱ)) multiplies its latents and the model's
    /// output by.
    pub(super) fn step_factors(self, from: (f32, f32), to: (f32, f32)) -> (f64, f64) {
        let [a, s, to_a, to_s] = [from.0, from.1, to.0, to.1].map(f64::from);
        match self {
            Prediction::Epsilon => (to_a / a, to_s - to_a * s / a),
            Prediction::Velocity => (to_a * a + to_s * s, to_s * a - to_a * s),
        }
    }

    /// x0 from latents `x0 + sigma · ε` (k-diffusion's scale). Shape of the sample.
    pub(super) fn clean_unscaled(self, output: &Tensor, sample: &Tensor, sigma: f32) -> Tensor {
        let variance = sigma * sigma + 1.0;
        match self {
            Prediction::Epsilon => sample - output * f64::from(sigma),
            Prediction::Velocity => output * f64::from(-sigma / variance.sqrt()) + sample / f64::from(variance),
        }
    }
}

/// √ᾱ and √(1−ᾱ).
pub(super) fn roots(alpha_cumprod: f32) -> (f32, f32) {
    (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt())
}

/// The share of signal and of noise in variance-preserving latents at this sigma.
pub(super) fn alpha_sigma(sigma: f32) -> (f32, f32) {
    let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
    (alpha, sigma * alpha)
}

/// Clips a prediction of x0 to ±`range`, if the configuration says so.
pub(super) fn clipped(clean: Tensor, range: Option<f64>) -> Tensor {
    match range {
        Some(range) => clean.clamp(-range, range),
        None => clean,
    }
}

/// The sigma to step down to and the deviation of the noise that leads back up, so that the variance is that of `to`:
/// down² + up² = to² (k-diffusion's `get_ancestral_step`).
pub(super) fn ancestral(from: f32, to: f32) -> (f32, f32) {
    let (variance, next) = (from * from, to * to);
    let up = (next * (variance - next) / variance).sqrt();
    ((next - up * up).sqrt(), up)
}

/// Draws the noise for one step, on the device and in the dtype of `like`.
pub(super) fn draw(noise: &mut Noise, like: &Tensor) -> Result<Tensor> {
    Ok(noise()?.to_device(like.device()).to_kind(like.kind()))
}

/// `√ᾱ · original + √(1−ᾱ) · noise`, with the roots taken in the latents' own dtype, as diffusers does.
pub(super) fn add_noise_preserving(original: &Tensor, noise: &Tensor, alpha_cumprod: f32) -> Tensor {
    let kind = original.kind();
    let alpha = rounded(alpha_cumprod, kind);
    let signal = rounded(alpha.sqrt(), kind);
    let share = rounded(rounded(1.0 - alpha, kind).sqrt(), kind);
    original * f64::from(signal) + noise * f64::from(share)
}

/// The same from a sigma (DPM-Solver++, UniPC).
pub(super) fn add_noise_scaled(original: &Tensor, noise: &Tensor, sigma: f32) -> Tensor {
    let kind = original.kind();
    let sigma = rounded(sigma, kind);
    let variance = rounded(rounded(sigma * sigma, kind) + 1.0, kind);
    let alpha = rounded(1.0 / rounded(variance.sqrt(), kind), kind);
    original * f64::from(alpha) + noise * f64::from(rounded(sigma * alpha, kind))
}

/// `original + sigma · noise` (k-diffusion's scale).
pub(super) fn add_noise_unscaled(original: &Tensor, noise: &Tensor, sigma: f32) -> Tensor {
    original + noise * f64::from(rounded(sigma, original.kind()))
}

/// The number as the dtype can hold it.
pub(super) fn rounded(x: f32, kind: Kind) -> f32 {
    match kind {
        Kind::Half => half::f16::from_f32(x).to_f32(),
        Kind::BFloat16 => half::bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

impl NoiseLevel {
    /// The level of variance-preserving latents with this ᾱ. Where nothing is left of the signal, the sigma is that of the
    /// schedulers that need a finite one.
    pub(super) fn preserving(alpha_cumprod: f32) -> Self {
        let alpha_cumprod = f64::from(alpha_cumprod);
        let signal = alpha_cumprod.max(f64::from(LEAST_ALPHA));
        NoiseLevel { alpha_cumprod, sigma: ((1.0 - signal) / signal).sqrt(), latent_scale: 1.0 }
    }

    /// The level of variance-preserving latents with this sigma.
    pub(super) fn scaled(sigma: f32) -> Self {
        NoiseLevel { latent_scale: 1.0, ..Self::unscaled(sigma) }
    }

    /// The level of latents on k-diffusion's scale with this sigma.
    pub(super) fn unscaled(sigma: f32) -> Self {
        let sigma = f64::from(sigma);
        let variance = sigma * sigma + 1.0;
        NoiseLevel { alpha_cumprod: 1.0 / variance, sigma, latent_scale: variance.sqrt() }
    }
}
