//! How much of each spatial frequency is in a tensor.
//!
//! Enters: `[channels, height, width]` in f64. Leaves: a number for each ring of frequencies. With F the discrete Fourier
//! transform of a channel, u and v the whole numbers of waves over height and width and
//! ρ = √((u/height)² + (v/width)²) in cycles per place:
//!
//! ```text
//! ring      = min(rint(ρ · max(height, width)), max(height, width) // 2 + 1)
//! energy(b) = Σ over ring b and channels of |F|²/(height · width)      all rings together: Σ x² (Parseval)
//! power(b)  = energy(b) / how many (u, v) and channels are in ring b   white noise of variance 1: 1 in every ring
//! ```
//!
//! The last ring holds the corners, whose ρ is beyond 0.5, so that nothing is lost. The transform is two products of
//! matrices, which for the sizes of latents is as quick as a fast one, and exact to rounding.

use ndarray::{Array2, Array3, ArrayView2, Axis};
use std::f64::consts::TAU;

/// The rings of a size, with what it takes to find their energy.
#[derive(Debug)]
pub struct Rings {
    size: (usize, usize),
    /// The ring of each (u, v), v up to half the width: the other half mirrors it.
    ring: Array2<usize>,
    /// How many coefficients each ring has in one channel.
    counts: Vec<usize>,
    /// Cosines and sines of height × height, and of width × half the width.
    high: [Array2<f64>; 2],
    wide: [Array2<f64>; 2],
}

impl Rings {
    /// The rings of planes of this height and width.
    pub fn new(height: usize, width: usize) -> Rings {
        let (longer, half) = (height.max(width), width / 2 + 1);
        let frequency = |k: usize, n: usize| if 2 * k < n { k as f64 } else { k as f64 - n as f64 } / n as f64;
        let ring = Array2::from_shape_fn((height, half), |(u, v)| {
            let rho = frequency(u, height).hypot(frequency(v, width));
            ((rho * longer as f64).round_ties_even() as usize).min(longer / 2 + 1)
        });
        let mut counts = vec![0; longer / 2 + 2];
        for ((_, v), ring) in ring.indexed_iter() {
            counts[*ring] += times(v, width);
        }
        let waves = |n: usize, columns: usize, part: fn(f64) -> f64| {
            // The product is taken modulo n first, so that large angles cost no digits.
            Array2::from_shape_fn((n, columns), |(x, u)| part(TAU * ((x * u) % n) as f64 / n as f64))
        };
        Rings {
            size: (height, width),
            ring,
            counts,
            high: [waves(height, height, f64::cos), waves(height, height, f64::sin)],
            wide: [waves(width, half, f64::cos), waves(width, half, f64::sin)],
        }
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// The frequency that each ring stands for, in cycles per place: its number over the longer side; of the corners
    /// their mean.
    pub fn frequencies(&self) -> Vec<f64> {
        let longer = self.size.0.max(self.size.1) as f64;
        let last = self.counts.len() - 1;
        let plain = (0..last).map(|ring| ring as f64 / longer);
        plain.chain([0.5 * (0.5 + 0.5f64.sqrt())]).collect()
    }

    /// How many coefficients each ring has in one channel; 0 where the size leaves a ring empty.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The energy of each ring, summed over the channels.
    pub fn energy(&self, values: &Array3<f64>) -> Vec<f64> {
        let mut energy = vec![0.0; self.counts.len()];
        for plane in values.axis_iter(Axis(0)) {
            let squares = self.squares(plane);
            for ((_, v), (ring, square)) in self.ring.indexed_iter().map(|(at, ring)| (at, (ring, squares[at]))) {
                energy[*ring] += square * times(v, self.size.1) as f64;
            }
        }
        let places = (self.size.0 * self.size.1) as f64;
        energy.iter().map(|sum| sum / places).collect()
    }

    /// The power of each ring: energy per coefficient. NaN for an empty ring.
    pub fn power(&self, values: &Array3<f64>) -> Vec<f64> {
        let channels = values.len_of(Axis(0));
        let energy = self.energy(values);
        energy.iter().zip(&self.counts).map(|(energy, count)| energy / (count * channels) as f64).collect()
    }

    /// |F|² of a plane, for v up to half the width.
    fn squares(&self, plane: ArrayView2<f64>) -> Array2<f64> {
        let [cos, sin] = [plane.dot(&self.wide[0]), plane.dot(&self.wide[1])];
        let real = self.high[0].dot(&cos) - self.high[1].dot(&sin);
        let imaginary = self.high[0].dot(&sin) + self.high[1].dot(&cos);
        &real * &real + &imaginary * &imaginary
    }
}

/// How many coefficients of the whole transform a column of half of it stands for.
fn times(v: usize, width: usize) -> usize {
    if v == 0 || 2 * v == width { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        values.iter().sum()
    }

    #[test]
    fn nothing_is_lost_whatever_the_size() {
        for (height, width) in [(16, 16), (8, 12), (15, 9), (1, 5), (7, 8)] {
            let rings = Rings::new(height, width);
            let values = Array3::from_shape_fn((2, height, width), |(c, y, x)| ((c * 7 + y * 3 + x * x) as f64).sin());
            let squares: f64 = values.iter().map(|v| v * v).sum();
            assert!((total(&rings.energy(&values)) - squares).abs() < 1e-12 * squares, "{height}×{width}");
            assert_eq!(rings.counts().iter().sum::<usize>(), height * width);
            assert_eq!(rings.counts().len(), rings.frequencies().len());
        }
    }

    #[test]
    fn white_noise_is_flat() {
        let mut state = 7u64;
        let noise = Array3::from_shape_simple_fn((64, 24, 32), || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Evenly spread over ±√3: variance 1.
            3f64.sqrt() * ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
        });
        let rings = Rings::new(24, 32);
        for (power, count) in rings.power(&noise).iter().zip(rings.counts()) {
            assert!((power - 1.0).abs() < 5.0 / (64.0 * *count as f64).sqrt(), "{power} of {count}");
        }
    }

    #[test]
    fn a_sine_is_in_one_ring() {
        let rings = Rings::new(16, 32);
        // Three waves over the height of 16 are ring 6 of the longer side; five over the width are ring 5.
        for (ring, value) in [(6, (3.0, 0.0)), (5, (0.0, 5.0))] {
            let wave = |(_, y, x): (usize, usize, usize)| {
                (TAU * (value.0 * y as f64 / 16.0 + value.1 * x as f64 / 32.0)).sin()
            };
            let energy = rings.energy(&Array3::from_shape_fn((1, 16, 32), wave));
            assert!((energy[ring] - 256.0).abs() < 1e-9 && total(&energy) - energy[ring] < 1e-9, "{energy:?}");
        }
        let energy = rings.energy(&Array3::ones((1, 16, 32)));
        assert!((energy[0] - 512.0).abs() < 1e-9 && total(&energy) - energy[0] < 1e-9);
        assert_eq!(rings.frequencies()[6], 6.0 / 32.0);
    }
}
