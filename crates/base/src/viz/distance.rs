//! How far two pictures of one size are from each other.

use crate::arithmetic::decibels;
use image::RgbImage;

/// Root mean square difference, over pixels and channels, in grey levels 0..=255.
pub fn root_mean_square(a: &RgbImage, b: &RgbImage) -> f64 {
    let pairs = a.as_raw().iter().zip(b.as_raw());
    let squares: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    (squares as f64 / a.as_raw().len().max(1) as f64).sqrt()
}

/// Peak signal-to-noise ratio in dB with a peak of 255; `None` where the pictures are the same.
pub fn psnr(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    let rms = root_mean_square(a, b);
    (rms > 0.0).then(|| decibels((rms / 255.0).powi(2)))
}
