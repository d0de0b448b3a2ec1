//! DPM-Solver++(2S) with ancestral noise (k-diffusion's `sample_dpmpp_2s_ancestral`), which diffusers does not have: its
//! `DPMSolverSinglestepScheduler` draws no noise.
//!
//! Enters: latents at sigma and x0. Leaves: after a first call the latents half way to a lower sigma in t = −ln σ, after the
//! second those at that sigma, by x0 half way, and fresh noise back up.

use super::prediction::ancestral;
use super::singlestep::{Begun, Method, Span, with_noise};
use tch::Tensor;

pub(super) struct Dpmpp2sA;

/// `(σ_to / σ_from) x − (e^−h − 1) x0` with h = ln σ_from − ln σ_to: the solution for a constant x0.
pub(super) fn towards(sample: &Tensor, clean: &Tensor, from: f32, to: f32) -> Tensor {
    sample * f64::from(to / from) - clean * f64::from((to.ln() - from.ln()).exp_m1())
}

impl Method for Dpmpp2sA {
    const NAME: &'static str = "dpmpp_2s_a";
    const DRAWS: (bool, bool) = (false, true);

    fn middle(from: f32, to: f32) -> f32 {
        let (t, t_next) = (-from.ln(), -ancestral(from, to).0.ln());
        (-(t + 0.5 * (t_next - t))).exp()
    }

    fn first(span: Span, sample: &Tensor, clean: &Tensor, _noise: Option<&Tensor>) -> Tensor {
        towards(sample, clean, span.from, span.middle)
    }

    fn second(span: Span, begun: Begun, _sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor {
        let (down, up) = ancestral(span.from, span.to);
        with_noise(towards(&begun.sample, clean, span.from, down), noise, up)
    }
}
