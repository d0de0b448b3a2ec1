//! DPM-Solver++ for the stochastic equation (k-diffusion's `sample_dpmpp_sde`).
//!
//! Enters: latents at sigma, x0 and noise. Leaves: after a first call the latents half way down in t = −ln σ, noised to that
//! sigma, after the second those at the end, noised too. Follows diffusers' `DPMSolverSDEScheduler`. There both noises are
//! increments of one Brownian path over sigma, from a tree of `torchsde`, whose numbers are its own. Here the first draw is
//! the increment of the first half and the second that of the second half, so that their sum is the whole step's: the same
//! distribution from the run's own numbers.

use super::dpmpp_2s_a::towards;
use super::prediction::ancestral;
use super::singlestep::{Begun, Method, Span, with_noise};
use tch::Tensor;

pub(super) struct DpmppSde;

impl Method for DpmppSde {
    const NAME: &'static str = "dpmpp_sde";
    const DRAWS: (bool, bool) = (true, true);

    fn middle(from: f32, to: f32) -> f32 {
        let (t, t_next) = (-from.ln(), -to.ln());
        (-(t + (t_next - t) * 0.5)).exp()
    }

    fn first(span: Span, sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor {
        let (down, up) = ancestral(span.from, span.middle);
        with_noise(towards(sample, clean, span.from, down), noise, up)
    }

    fn second(span: Span, begun: Begun, _sample: &Tensor, clean: &Tensor, noise: Option<&Tensor>) -> Tensor {
        let (down, up) = ancestral(span.from, span.to);
        let whole = begun.noise.as_ref().zip(noise).map(|(first, second)| path(span, first, second));
        with_noise(towards(&begun.sample, clean, span.from, down), whole.as_ref(), up)
    }
}

/// The Brownian increment of the whole step from those of its halves, each of unit variance.
fn path(span: Span, first: &Tensor, second: &Tensor) -> Tensor {
    let length = span.from - span.to;
    let share = |length_of_part: f32| f64::from((length_of_part / length).sqrt());
    first * share(span.from - span.middle) + second * share(span.middle - span.to)
}
