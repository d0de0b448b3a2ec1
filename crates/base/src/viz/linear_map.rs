//! A linear guess at the picture: four numbers of a latent pixel to one colour, without a decoder.
//!
//! Enters: latents and the pictures a decoder made of them. Leaves: a 4×3 matrix and a bias, fitted by least squares,
//! with how well it fits; and pictures made with it. The pairs are summed up one run at a time (the normal equations
//! hold 5×5 and 5×3 numbers), so memory stays the same however many there are.
//!
//! That such a map works at all is an observation of the Stable Diffusion community: decoding is nearly linear, once
//! detail under eight pixels is averaged away.

use std::fmt;
use std::path::Path;

use image::RgbImage;
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use super::pixels::{from_unit, wrong_shape};
use crate::arithmetic;
use crate::error::{Error, IoContext, Result};

/// Channels of the latents.
const CHANNELS: usize = 4;
/// Unknowns per colour: a factor for each channel, and the bias.
const TERMS: usize = CHANNELS + 1;

/// A linear map from latents to red, green and blue in 0..=1, and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearMap {
    /// What each channel adds to red, green and blue: `weights[channel][colour]`.
    pub weights: [[f64; 3]; CHANNELS],
    /// Red, green and blue of latents that are 0.
    pub bias: [f64; 3],
    /// How well it fits the pairs it was made from.
    pub fit: Fit,
}

/// How well a map fits. Measured before colours are clipped to 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Latent pixels it was made from.
    pub samples: u64,
    /// The share of the colours' variance that the map explains, over all three: 1 − Σ(error²) / Σ(distance from mean²).
    /// 1 if the colours do not vary and are met exactly.
    pub r2: f64,
    /// The same for red, green and blue apart.
    pub r2_per_colour: [f64; 3],
    /// Peak signal to noise ratio in decibels, −10·log₁₀ of the mean squared error, the peak being 1. At most 200.
    pub psnr_db: f64,
}

impl LinearMap {
    /// Latents `[4, height, width]` as colours `[3, height, width]`, nominally in 0..=1 and not clipped.
    pub fn colours(&self, latents: ArrayView3<'_, f32>) -> Result<Array3<f32>> {
        let (channels, height, width) = latents.dim();
        if channels != CHANNELS {
            return Err(wrong_shape("the linear map's latents", "[4, height, width]", latents.shape()));
        }
        Ok(Array3::from_shape_fn((3, height, width), |(colour, y, x)| {
            let mixed = (0..CHANNELS).map(|c| self.weights[c][colour] * f64::from(latents[[c, y, x]])).sum::<f64>();
            (self.bias[colour] + mixed) as f32
        }))
    }

    /// Latents `[4, height, width]` as a picture of `width`×`height`, clipped and rounded.
    pub fn paint(&self, latents: ArrayView3<'_, f32>) -> Result<RgbImage> {
        from_unit(self.colours(latents)?.view())
    }

    /// Reads a map from JSON.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        serde_json::from_str(&text).map_err(|reason| Error::bad_file(path, "linear map", reason))
    }

    /// Writes the map as JSON.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|reason| Error::bad_file(path, "linear map", reason))?;
        std::fs::write(path, text + "\n").at("write", path)
    }
}

/// The matrix, a line for each channel and one for the bias.
impl fmt::Display for LinearMap {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:<10}{:>8}{:>8}{:>8}", "", "red", "green", "blue")?;
        let channels = self.weights.iter().enumerate().map(|(channel, row)| (format!("channel {channel}"), row));
        for (name, [red, green, blue]) in channels.chain([("bias".to_string(), &self.bias)]) {
            write!(f, "\n{name:<10}{red:>8.3}{green:>8.3}{blue:>8.3}")?;
        }
        Ok(())
    }
}

/// The sums that a fit needs.
#[derive(Debug, Clone, Default)]
pub struct LinearFit {
    samples: u64,
    /// Σ of term × term, the terms being the four channels and 1.
    gram: [[f64; TERMS]; TERMS],
    /// Σ of term × colour.
    moments: [[f64; 3]; TERMS],
    /// Σ of colour².
    squares: [f64; 3],
}

impl LinearFit {
    /// Takes in latents `[4, height, width]` and the colours they were decoded to, `[3, k·height, k·width]` in 0..=1
    /// for a whole number k (8 for Stable Diffusion): each latent pixel's colour is the mean of its k×k block.
    ///
    /// An error if the shapes do not belong together, or a number is not finite; nothing is taken in then.
    pub fn push(&mut self, latents: ArrayView3<'_, f32>, decoded: ArrayView3<'_, f32>) -> Result<()> {
        let (channels, height, width) = latents.dim();
        if channels != CHANNELS || height * width == 0 {
            return Err(wrong_shape("the linear map's latents", "[4, height, width]", latents.shape()));
        }
        let block = decoded.dim().1 / height;
        if block == 0 || decoded.dim() != (3, height * block, width * block) {
            let expected = format!("[3, k·{height}, k·{width}]");
            return Err(wrong_shape("the decoded picture", &expected, decoded.shape()));
        }
        if latents.iter().chain(&decoded).any(|value| !value.is_finite()) {
            return Err(Error::invalid("cannot fit a linear map to numbers that are not finite", "decode in f32"));
        }
        let colours = block_means(decoded, block);
        for y in 0..height {
            for x in 0..width {
                let mut terms = [1.0; TERMS];
                (0..CHANNELS).for_each(|c| terms[c] = f64::from(latents[[c, y, x]]));
                self.add(terms, [0, 1, 2].map(|colour| colours[[colour, y, x]]));
            }
        }
        Ok(())
    }

    fn add(&mut self, terms: [f64; TERMS], colour: [f64; 3]) {
        self.samples += 1;
        for (row, &term) in terms.iter().enumerate() {
            (0..TERMS).for_each(|column| self.gram[row][column] += term * terms[column]);
            (0..3).for_each(|c| self.moments[row][c] += term * colour[c]);
        }
        (0..3).for_each(|c| self.squares[c] += colour[c] * colour[c]);
    }

    /// The map with the least squared error. An error if the latents seen do not vary in all four channels, so that
    /// many maps would fit.
    pub fn solve(&self) -> Result<LinearMap> {
        let solution = solve(&self.gram, &self.moments).ok_or_else(|| {
            let message = format!("{} latent pixels do not determine a linear map", self.samples);
            Error::invalid(message, "record more steps or seeds: every channel must vary on its own")
        })?;
        let mut weights = [[0.0; 3]; CHANNELS];
        weights.copy_from_slice(&solution[..CHANNELS]);
        Ok(LinearMap { weights, bias: solution[CHANNELS], fit: self.quality(&solution) })
    }

    /// How well a solution fits, from the sums alone: Σ(y − βx)² = Σy² − 2β·Σxy + βᵀ(Σxxᵀ)β.
    fn quality(&self, solution: &[[f64; 3]; TERMS]) -> Fit {
        let count = self.samples as f64;
        let (mut errors, mut spreads) = ([0.0; 3], [0.0; 3]);
        for c in 0..3 {
            let linear: f64 = (0..TERMS).map(|i| solution[i][c] * self.moments[i][c]).sum();
            let quadratic: f64 = (0..TERMS)
                .map(|i| (0..TERMS).map(|j| solution[i][c] * self.gram[i][j] * solution[j][c]).sum::<f64>())
                .sum();
            errors[c] = (self.squares[c] - 2.0 * linear + quadratic).max(0.0);
            let sum = self.moments[CHANNELS][c];
            spreads[c] = (self.squares[c] - sum * sum / count).max(0.0);
        }
        let share = |error: f64, spread: f64| {
            let nothing = 1e-12 * count;
            if spread > nothing {
                1.0 - error / spread
            } else if error > nothing {
                0.0
            } else {
                1.0
            }
        };
        let error: f64 = errors.iter().sum();
        Fit {
            samples: self.samples,
            r2: share(error, spreads.iter().sum()),
            r2_per_colour: [0, 1, 2].map(|c| share(errors[c], spreads[c])),
            psnr_db: arithmetic::decibels((error / (3.0 * count)).max(1e-20)),
        }
    }
}

/// The mean of each `block`×`block` square: `[3, block·h, block·w]` to `[3, h, w]`.
pub fn block_means(picture: ArrayView3<'_, f32>, block: usize) -> Array3<f64> {
    let (channels, height, width) = picture.dim();
    let area = (block * block) as f64;
    Array3::from_shape_fn((channels, height / block, width / block), |(c, y, x)| {
        let square = picture.slice(ndarray::s![c, y * block..(y + 1) * block, x * block..(x + 1) * block]);
        square.iter().map(|&value| f64::from(value)).sum::<f64>() / area
    })
}

/// Solves the normal equations; `None` if they have no single solution.
fn solve(gram: &[[f64; TERMS]; TERMS], right: &[[f64; 3]; TERMS]) -> Option<[[f64; 3]; TERMS]> {
    let scale: [f64; TERMS] = std::array::from_fn(|i| gram[i][i].sqrt());
    if scale.contains(&0.0) {
        return None;
    }
    // With ones on the diagonal, a small pivot means dependent channels and not small numbers.
    let row = |i: usize| {
        let coefficients = (0..TERMS).map(move |j| gram[i][j] / (scale[i] * scale[j]));
        coefficients.chain(right[i].map(|value| value / scale[i])).collect()
    };
    let colours = arithmetic::solve((0..TERMS).map(row).collect(), 1e-10)?;
    Some(std::array::from_fn(|i| std::array::from_fn(|colour| colours[colour][i] / scale[i])))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const WEIGHTS: [[f64; 3]; 4] = [[0.3, 0.2, 0.2], [0.15, 0.3, 0.05], [-0.15, 0.2, 0.25], [-0.2, -0.25, -0.45]];
    const BIAS: [f64; 3] = [0.5, 0.4, 0.45];

    fn random(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0
        }
    }

    /// Latents, and what a linear decoder would make of them, each pixel a block of 8×8 whose mean is the colour.
    fn pair(seed: u64, noise: f32) -> (Array3<f32>, Array3<f32>) {
        let mut next = random(seed);
        let latents = Array3::from_shape_fn((4, 6, 5), |_| next());
        let wobble = Array3::from_shape_fn((3, 6, 5), |_| noise * next());
        let decoded = Array3::from_shape_fn((3, 48, 40), |(c, y, x)| {
            let mixed: f64 = (0..4).map(|l| WEIGHTS[l][c] * f64::from(latents[[l, y / 8, x / 8]])).sum();
            let checks = if (x + y) % 2 == 0 { 0.1 } else { -0.1 };
            (BIAS[c] + mixed) as f32 + checks + wobble[[c, y / 8, x / 8]]
        });
        (latents, decoded)
    }

    fn fitted(noise: f32, pairs: u64) -> LinearMap {
        let mut fit = LinearFit::default();
        for seed in 0..pairs {
            let (latents, decoded) = pair(seed, noise);
            fit.push(latents.view(), decoded.view()).unwrap();
        }
        fit.solve().unwrap()
    }

    #[test]
    fn a_linear_decoder_is_found_again() {
        let map = fitted(0.0, 3);
        for c in 0..3 {
            assert!((map.bias[c] - BIAS[c]).abs() < 1e-6);
            assert!((0..4).all(|l| (map.weights[l][c] - WEIGHTS[l][c]).abs() < 1e-6));
        }
        assert!(map.fit.samples == 90 && map.fit.r2 > 1.0 - 1e-9 && map.fit.psnr_db > 100.0, "{:?}", map.fit);
        let (latents, decoded) = pair(9, 0.0);
        let colours = map.colours(latents.view()).unwrap();
        let means = block_means(decoded.view(), 8);
        assert!(colours.iter().zip(&means).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
        assert_eq!(map.paint(latents.view()).unwrap().dimensions(), (5, 6));
    }

    #[test]
    fn quality_is_measured_as_it_is_defined() {
        let map = fitted(0.1, 4);
        let (mut error, mut values) = (0.0, vec![Vec::new(); 3]);
        for seed in 0..4 {
            let (latents, decoded) = pair(seed, 0.1);
            let (colours, means) = (map.colours(latents.view()).unwrap(), block_means(decoded.view(), 8));
            error += colours.iter().zip(&means).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
            means.indexed_iter().for_each(|((c, _, _), value)| values[c].push(*value));
        }
        let spread: f64 = values
            .iter()
            .map(|colour| {
                let mean = colour.iter().sum::<f64>() / colour.len() as f64;
                colour.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
            })
            .sum();
        assert!((map.fit.r2 - (1.0 - error / spread)).abs() < 1e-6 && (0.5..0.999).contains(&map.fit.r2));
        let psnr = -10.0 * (error / (3.0 * 120.0)).log10();
        assert!((map.fit.psnr_db - psnr).abs() < 1e-4, "{} {psnr}", map.fit.psnr_db);
    }

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.json");
        let map = fitted(0.1, 2);
        map.save(&path).unwrap();
        let loaded = LinearMap::load(&path).unwrap();
        // serde_json reads a number to within its last bit.
        let numbers = |map: &LinearMap| map.weights.iter().flatten().chain(&map.bias).copied().collect::<Vec<f64>>();
        assert!(numbers(&loaded).iter().zip(numbers(&map)).all(|(a, b)| (a - b).abs() < 1e-15));
        assert!((loaded.fit.r2 - map.fit.r2).abs() < 1e-15 && loaded.fit.samples == map.fit.samples);
        std::fs::write(&path, "{}").unwrap();
        assert!(LinearMap::load(&path).unwrap_err().to_string().contains("is not a valid linear map: missing field"));
        assert!(LinearMap::load(&folder.path().join("none")).unwrap_err().to_string().starts_with("cannot read"));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let mut fit = LinearFit::default();
        assert!(fit.solve().unwrap_err().to_string().starts_with("0 latent pixels"));
        let (mut latents, decoded) = pair(1, 0.0);
        let error = fit.push(latents.view(), Array3::zeros((3, 47, 40)).view()).unwrap_err();
        assert_eq!(error.to_string(), "the decoded picture has shape [3, k·6, k·5], not [3, 47, 40]");
        assert!(fit.push(Array3::zeros((3, 6, 5)).view(), decoded.view()).is_err());
        assert!(fit.push(latents.view(), Array3::from_elem((3, 6, 5), f32::NAN).view()).is_err());
        assert_eq!(fit.samples, 0);
        // Two channels that say the same.
        let copy = latents.index_axis(ndarray::Axis(0), 1).to_owned();
        latents.index_axis_mut(ndarray::Axis(0), 2).assign(&copy);
        fit.push(latents.view(), decoded.view()).unwrap();
        assert_eq!(fit.solve().unwrap_err().to_string(), "30 latent pixels do not determine a linear map");
    }
}
