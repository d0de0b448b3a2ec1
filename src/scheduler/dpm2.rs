//! DPM-Solver-2 in sigma, with and without ancestral noise (k-diffusion's `sample_dpm_2` and `sample_dpm_2_ancestral`).
//!
//! Enters: latents at sigma and x0. Leaves: after a first call Euler's estimate half way down in ln σ, after the second the
//! whole step along the slope there. Follows diffusers' `KDPM2DiscreteScheduler` and `KDPM2AncestralDiscreteScheduler`.

use super::prediction::ancestral;
use super::singlestep::{Begun, Method, Span, geometric_mean, with_noise};
use tch::Tensor;

/// Without noise.
pub(super) struct Dpm2;
/// To a lower sigma, and back up with fresh noise.
pub(super) struct Ancestral;

/// The change of the latents along the line from them to x0.
fn along(sample: &Tensor, clean: &Tensor, sigma: f32, change: f32) -> Tensor {
    (sample - clean) / f64::from(sigma) * f64::from(change)
}

impl Method for Dpm2 {
    const NAME: &'static str = "dpm2";
    const DRAWS: (bool, bool) = (false, false);

    fn middle(from: f32, to: f32) -> f32 {
        geometric_mean(to, from)
    }

    fn first(span: Span, sample: &Tensor, clean: &Tensor, _noise: Option<&Tensor>) -> Tensor {
        sample + along(sample, clean, span.from, span.middle - span.from)
    }

    fn second(span: Span, begun: Begun, sample: &Tensor, clean: &Tensor, _noise: Option<&Tensor>) -> Tensor {
        begun.sample + along(sample, clean, span.middle, span.to - span.from)
    }
}

impl Method for Ancestral {
    const NAME: &'static str = "dpm2_a";
    const DRAWS: (bool, bool) = (false, true);

    /// Half way to the lower sigma, which is σ_to² / σ_from: but for rounding the middle is σ_to itself.
    fn middle(from: f32, to: f32) -> f32 {
        geometric_mean(from, ancestral(from, to).0)
    }

    fn first(span: Span, sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor {
        Dpm2::first(span, sample, clean, noise)
    }

    fn second(span: Span, begun: Begun, sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor {
        let (down, up) = ancestral(span.from, span.to);
        with_noise(begun.sample + along(sample, clean, span.middle, down - span.from), noise, up)
    }
}
