//! AdamW (Loshchilov and Hutter 2019) with gradient clipping and an average of the weights, over one flat tensor.
//!
//! Enters: gradients. Leaves: changed weights. Numbers are worked on in pieces that stay in the processor's cache.

use crate::error::Result;
use tch::{Kind, Tensor};

/// How weights are changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the averages of the gradient and of its square.
    pub betas: (f64, f64),
    /// Added to the root of the second.
    pub eps: f64,
    /// Share of the weights (times the learning rate) that goes at each step.
    pub weight_decay: f64,
    /// Gradients with a larger norm are scaled down to it.
    pub clip: f64,
    /// The most that the averaged weights keep of themselves at each step.
    pub ema: f64,
}

/// What the optimiser remembers, each `[total]` in f32.
#[derive(Debug)]
pub struct Memory {
    /// Average of the gradient.
    pub mean: Tensor,
    /// Average of its square.
    pub square: Tensor,
    /// Averaged weights.
    pub averaged: Tensor,
}

/// How many numbers are worked on at once on the CPU.
const PIECE: i64 = 1 << 18;

impl Memory {
    /// A memory of nothing, for these weights.
    pub fn new(flat: &Tensor) -> Memory {
        Memory { mean: flat.zeros_like(), square: flat.zeros_like(), averaged: flat.copy() }
    }
}

impl AdamW {
    /// One step, the `step`-th counted from 1, from the weights' gradients in the layout's order. Gives the gradients'
    /// norm, a single number. On a processor nothing is changed where it is not finite; on a GPU nobody waits to look, and
    /// the weights are lost.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn step(
        &self,
        flat: &Tensor,
        memory: &mut Memory,
        gradients: &[Tensor],
        step: u64,
        learning_rate: f64,
    ) -> Result<Tensor> {
        let _no_gradients = tch::no_grad_guard();
        let parts: Vec<Tensor> = gradients.iter().map(|g| g.reshape([-1])).collect();
        let gradient = Tensor::f_cat(&parts, 0)?.to_kind(Kind::Float);
        let norm = gradient.norm();
        let on_gpu = flat.device().is_cuda();
        let (mut shrink, mut shrink_there) = (1.0, None);
        if on_gpu {
            shrink_there = Some((norm.clamp_min(1e-12).reciprocal() * self.clip).clamp_max(1.0));
        } else {
            let norm_here = f64::try_from(&norm)?;
            if !norm_here.is_finite() {
                return Ok(norm);
            }
            shrink = (self.clip / norm_here.max(1e-12)).min(1.0);
        }
        let (b1, b2) = self.betas;
        let (correct1, correct2) = (1.0 - b1.powf(step as f64), 1.0 - b2.powf(step as f64));
        // Early on the average would mostly hold the first weights: let it forget faster (as diffusers' EMAModel does).
        let keep = self.ema.min((1.0 + step as f64) / (10.0 + step as f64));
        let total = flat.size()[0];
        let piece = if on_gpu { total } else { PIECE };
        let mut start = 0;
        while start < total {
            let part = |t: &Tensor| t.narrow(0, start, piece.min(total - start));
            let (mut weights, mut mean, mut square) = (part(flat), part(&memory.mean), part(&memory.square));
            let gradient = match &shrink_there {
                Some(shrink) => part(&gradient) * shrink,
                None => part(&gradient) * shrink,
            };
            let _ = mean.f_lerp_(&gradient, 1.0 - b1)?;
            let _ = square.f_lerp_(&gradient.square(), 1.0 - b2)?;
            if self.weight_decay > 0.0 {
                weights *= 1.0 - learning_rate * self.weight_decay;
            }
            let root = (square / correct2).sqrt_() + self.eps;
            weights -= mean / root * (learning_rate / correct1);
            let _ = part(&memory.averaged).f_lerp_(&weights, 1.0 - keep)?;
            start += piece;
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tch::Device;

    /// Against the formula, written out for two steps of one number each; the second gradient is clipped.
    #[test]
    fn a_step_is_the_formula() {
        let flat = Tensor::from_slice(&[0.5f32, -1.0]);
        let adamw = AdamW { betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.1, clip: 1.0, ema: 0.5 };
        let mut memory = Memory::new(&flat);
        let (mut w, mut m, mut v, mut a) = ([0.5f64, -1.0], [0.0f64; 2], [0.0f64; 2], [0.5f64, -1.0]);
        for (step, gradient) in [[0.3f32, -0.4], [3.0, 4.0]].into_iter().enumerate() {
            let n = step as i32 + 1;
            let norm = adamw.step(&flat, &mut memory, &[Tensor::from_slice(&gradient)], n as u64, 0.01).unwrap();
            let norm = f64::try_from(norm).unwrap();
            let expected = f64::from(gradient[0]).hypot(f64::from(gradient[1]));
            assert!((norm - expected).abs() < 1e-6);
            for i in 0..2 {
                let g = f64::from(gradient[i]) * (1.0 / expected).min(1.0);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                w[i] *= 1.0 - 0.01 * 0.1;
                let root = (v[i] / (1.0 - 0.99f64.powi(n))).sqrt() + 1e-8;
                w[i] -= 0.01 * (m[i] / (1.0 - 0.9f64.powi(n))) / root;
                let keep = 0.5f64.min((1.0 + f64::from(n)) / (10.0 + f64::from(n)));
                a[i] = keep * a[i] + (1.0 - keep) * w[i];
            }
            let near = |t: &Tensor, e: [f64; 2]| {
                let found = Vec::<f32>::try_from(t).unwrap();
                (0..2).all(|i| (f64::from(found[i]) - e[i]).abs() < 1e-6)
            };
            assert!(near(&flat, w), "step {n}: {flat:?} {w:?}");
            assert!(near(&memory.averaged, a), "step {n}: average");
        }
    }

    /// A gradient that is not finite leaves the weights as they are.
    #[test]
    fn a_bad_gradient_changes_nothing() {
        let flat = Tensor::ones([3], (Kind::Float, Device::Cpu));
        let adamw = AdamW { betas: (0.9, 0.99), eps: 1e-8, weight_decay: 0.0, clip: 1.0, ema: 0.5 };
        let mut memory = Memory::new(&flat);
        let norm = adamw.step(&flat, &mut memory, &[Tensor::from_slice(&[1.0f32, f32::NAN, 1.0])], 1, 0.1).unwrap();
        assert!(f64::try_from(norm).unwrap().is_nan());
        assert_eq!(Vec::<f32>::try_from(&flat).unwrap(), [1.0; 3]);
    }
}
