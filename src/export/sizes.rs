//! One size for all pictures of a run whose second pass is larger than its first.
//!
//! Enters: a picture of a step as it was recorded or painted. Leaves: the same at the second pass's size. Decoded
//! pictures are enlarged smoothly, for they are pictures; latents with hard pixels, for they are numbers.

use crate::trace::reader::Run;
use crate::viz::pixels;
use image::RgbImage;
use image::imageops::FilterType;

/// The second pass's width and height in pixels, for a step of the first.
fn larger(run: &Run, step: usize) -> Option<(usize, usize)> {
    let record = run.record();
    let second = record.hires.as_ref().filter(|_| record.pass(step) == 1);
    second.map(|second| (second.width, second.height))
}

/// Whether the step's pictures are smaller than others of the run.
pub fn is_small(run: &Run, step: usize) -> bool {
    larger(run, step).is_some()
}

/// A decoded picture of a step, at the size of the run's largest: bilinear between pixels.
pub fn picture(run: &Run, step: usize, picture: RgbImage) -> RgbImage {
    match larger(run, step) {
        Some((width, height)) => pixels::resized(&picture, (width as u32, height as u32), FilterType::Triangle),
        None => picture,
    }
}

/// Latents of a step as colours, one pixel per latent, at the size of the run's largest latents: each place shows the one
/// it lies in.
pub fn picture_of_latents(run: &Run, step: usize, painted: RgbImage) -> RgbImage {
    let Some((width, height)) = larger(run, step) else { return painted };
    let factor = run.record().model.vae_scale_factor.max(1);
    let (wide, high) = ((width / factor) as u32, (height / factor) as u32);
    RgbImage::from_fn(wide, high, |x, y| *painted.get_pixel(x * painted.width() / wide, y * painted.height() / high))
}
