//! Random numbers: drawn on the CPU in f32 from libtorch's generator, so a seed means the same picture on every device and
//! the same as `torch.Generator("cpu").manual_seed(seed)` in Python.
//!
//! Each picture of a batch has a seed of its own. Its numbers come in the pipeline's order, the starting noise first and
//! then one draw per step of a stochastic scheduler, so a picture does not depend on what else is in its batch.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// libtorch has one generator for the whole program: whoever seeds it must be alone until all is drawn.
static GENERATOR: Mutex<()> = Mutex::new(());

/// All the noise of a run.
#[derive(Debug)]
pub struct NoiseStream {
    draws: VecDeque<Tensor>,
}

impl NoiseStream {
    /// Draws `count` tensors `[seeds, shape…]` of standard normal noise, f32 on the CPU: picture `i` with `seeds[i]`.
    pub fn new(seeds: &[u64], shape: &[i64], count: usize) -> NoiseStream {
        let shape: Vec<i64> = [&[1], shape].concat();
        let per_seed: Vec<Vec<Tensor>> = {
            let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
            let draw = |_| Tensor::randn(shape.as_slice(), (Kind::Float, Device::Cpu));
            let stream = |seed: &u64| {
                tch::manual_seed(*seed as i64);
                (0..count).map(draw).collect()
            };
            seeds.iter().map(stream).collect()
        };
        let batch = |k: usize| Tensor::cat(&per_seed.iter().map(|draws| &draws[k]).collect::<Vec<_>>(), 0);
        NoiseStream { draws: (0..count).map(batch).collect() }
    }

    /// The next draw; `None` when all are used up.
    pub fn next_draw(&mut self) -> Option<Tensor> {
        self.draws.pop_front()
    }
}
