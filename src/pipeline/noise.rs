//! Random numbers: drawn on the CPU in f32 from libtorch's generator, so a seed means the same picture on every device and
//! the same as `torch.Generator("cpu").manual_seed(seed)` in Python.
//!
//! Each picture of a batch has a seed of its own. Its numbers come in the pipeline's order, the starting noise first and
//! then one draw per step of a stochastic scheduler, so a picture does not depend on what else is in its batch.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
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
        NoiseStream::of(&seeds.iter().map(|seed| draw(*seed, shape, count)).collect::<Vec<_>>())
    }

    /// The stream of a batch from the draws of its pictures, `[1, shape…]` each and equally many for every picture.
    pub fn of(per_picture: &[Vec<Tensor>]) -> NoiseStream {
        let count = per_picture.iter().map(Vec::len).min().unwrap_or_default();
        let batch = |k: usize| Tensor::cat(&per_picture.iter().map(|draws| &draws[k]).collect::<Vec<_>>(), 0);
        NoiseStream { draws: (0..count).map(batch).collect() }
    }

    /// The next draw; `None` when all are used up.
    pub fn next_draw(&mut self) -> Option<Tensor> {
        self.draws.pop_front()
    }

    /// The next draw on a device; `None` when all are used up.
    pub fn next_draw_on(&mut self, device: Device) -> Option<Tensor> {
        // CUDA takes the numbers out of ordinary memory before the call returns: nobody has to wait for what it is doing.
        self.next_draw().map(|noise| noise.to_device_(device, Kind::Float, device.is_cuda(), false))
    }
}

/// A seed for a run that names none: 32 bits, which every other program takes too.
pub fn random_seed() -> u64 {
    // The standard library's hashers begin with random keys.
    RandomState::new().build_hasher().finish() & u64::from(u32::MAX)
}

/// The first `count` draws of a seed, `[1, shape…]` each. A longer stream begins with the very same numbers.
pub fn draw(seed: u64, shape: &[i64], count: usize) -> Vec<Tensor> {
    draw_after(seed, (shape, 0), shape, count)
}

/// `count` draws of a seed, `[1, shape…]` each, that follow `before.1` draws `[1, before.0…]` of the same generator.
pub fn draw_after(seed: u64, before: (&[i64], usize), shape: &[i64], count: usize) -> Vec<Tensor> {
    let one = |shape: &[i64]| Tensor::randn([&[1], shape].concat(), (Kind::Float, Device::Cpu));
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed as i64);
    (0..before.1).for_each(|_| drop(one(before.0)));
    (0..count).map(|_| one(shape)).collect()
}
