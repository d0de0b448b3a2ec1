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

/// How many draws of each picture a stream holds at the most. A run of 1,000 stochastic steps at 1024×1024 would else hold
/// 256 MB for each picture of its batch.
///
/// The generator cannot be put back to where it stood, so the draws before are made once more for each portion: for 1,000
/// draws about 7,000, of 0.7 ms each at that size on one thread: some seconds of a run of many minutes.
pub const HELD: usize = 64;

/// All the noise of a run, drawn in portions as it is used up.
#[derive(Debug)]
pub struct NoiseStream {
    seeds: Vec<u64>,
    /// What each generator has drawn before: shape and number.
    before: (Vec<i64>, usize),
    shape: Vec<i64>,
    /// Draws in all.
    count: usize,
    /// Draws that were made.
    made: usize,
    /// Those of them that are not used up.
    held: VecDeque<Tensor>,
}

impl NoiseStream {
    /// `count` tensors `[seeds, shape…]` of standard normal noise, f32 on the CPU: picture `i` with `seeds[i]`.
    pub fn new(seeds: &[u64], shape: &[i64], count: usize) -> NoiseStream {
        NoiseStream::after(seeds, (&[], 0), shape, count)
    }

    /// The same that follow `before.1` draws `[1, before.0…]` of the same generators.
    pub fn after(seeds: &[u64], before: (&[i64], usize), shape: &[i64], count: usize) -> NoiseStream {
        let mut stream = NoiseStream {
            seeds: seeds.to_vec(),
            before: (before.0.to_vec(), before.1),
            shape: shape.to_vec(),
            count,
            made: 0,
            held: VecDeque::new(),
        };
        stream.refill();
        stream
    }

    /// [`NoiseStream::new`] for a batch of which the first draws of each picture are there already, `[1, shape…]` each and
    /// equally many for every picture.
    pub fn begun(seeds: &[u64], shape: &[i64], count: usize, first: &[Vec<Tensor>]) -> NoiseStream {
        let made = first.iter().map(Vec::len).min().unwrap_or_default().min(count);
        let (seeds, shape, before) = (seeds.to_vec(), shape.to_vec(), (vec![], 0));
        NoiseStream { seeds, before, shape, count, made, held: batches(first, made) }
    }

    /// How many pictures it is for.
    pub fn pictures(&self) -> usize {
        self.seeds.len()
    }

    /// How many draws are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The next draw; `None` when all are used up.
    pub fn next_draw(&mut self) -> Option<Tensor> {
        if self.held.is_empty() {
            self.refill();
        }
        self.held.pop_front()
    }

    /// The next draw on a device; `None` when all are used up.
    pub fn next_draw_on(&mut self, device: Device) -> Option<Tensor> {
        // CUDA takes the numbers out of ordinary memory before the call returns: nobody has to wait for what it is doing.
        self.next_draw().map(|noise| noise.to_device_(device, Kind::Float, device.is_cuda(), false))
    }

    /// Makes the next portion.
    fn refill(&mut self) {
        let portion = HELD.min(self.count - self.made);
        let before = (self.before.0.as_slice(), self.before.1);
        let of = |seed: &u64| draw_some(*seed, before, &self.shape, (self.made, portion));
        let drawn: Vec<Vec<Tensor>> = self.seeds.iter().map(of).collect();
        self.held = batches(&drawn, portion);
        self.made += portion;
    }
}

/// The first `count` draws of a batch from those of its pictures.
fn batches(per_picture: &[Vec<Tensor>], count: usize) -> VecDeque<Tensor> {
    let batch = |k: usize| Tensor::cat(&per_picture.iter().map(|draws| &draws[k]).collect::<Vec<_>>(), 0);
    (0..count).map(batch).collect()
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
    draw_some(seed, before, shape, (0, count))
}

/// The same without the first `skipped` of them.
fn draw_some(seed: u64, before: (&[i64], usize), shape: &[i64], (skipped, count): (usize, usize)) -> Vec<Tensor> {
    let one = |shape: &[i64]| Tensor::randn([&[1], shape].concat(), (Kind::Float, Device::Cpu));
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed as i64);
    (0..before.1).for_each(|_| drop(one(before.0)));
    (0..skipped).for_each(|_| drop(one(shape)));
    (0..count).map(|_| one(shape)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHAPE: [i64; 3] = [4, 3, 5];

    /// However many draws a run takes, no more than a portion is held, and the numbers are those of drawing all at once.
    #[test]
    fn what_is_held_does_not_grow_with_the_steps() {
        for (count, most) in [(40, 40), (HELD, HELD), (400, HELD), (1000, HELD)] {
            let all: Vec<Vec<Tensor>> = [7, 8].map(|seed| draw(seed, &SHAPE, count)).into();
            let mut stream = NoiseStream::new(&[7, 8], &SHAPE, count);
            let mut held = stream.held();
            for (k, expected) in (0..count).map(|k| (k, Tensor::cat(&[&all[0][k], &all[1][k]], 0))) {
                assert_eq!(stream.next_draw().unwrap(), expected, "draw {k} of {count}");
                held = held.max(stream.held() + 1);
            }
            assert!(stream.next_draw().is_none());
            assert_eq!(held, most);
        }
    }

    /// Where others draw in between, as every edit with noise does, the stream goes on all the same.
    #[test]
    fn a_stream_goes_on_where_it_was() {
        let whole = draw_after(3, (&[2, 2], 5), &SHAPE, 200);
        let mut stream = NoiseStream::after(&[3], (&[2, 2], 5), &SHAPE, 200);
        for expected in &whole {
            drop(draw(99, &[17], 1));
            assert_eq!(&stream.next_draw().unwrap(), expected);
        }
        let first = vec![draw(3, &SHAPE, 10)];
        let mut begun = NoiseStream::begun(&[3], &SHAPE, 100, &first);
        for expected in draw(3, &SHAPE, 100) {
            assert_eq!(begun.next_draw().unwrap(), expected);
        }
        assert!(begun.next_draw().is_none());
    }
}
