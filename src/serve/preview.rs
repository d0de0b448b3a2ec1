//! Colours for latents before they are decoded: a linear map.
//!
//! Enters: a model's autoencoder, and what is decoded as runs go on. Leaves: small pictures, a pixel for each latent, in a
//! fraction of a millisecond. The map is fitted when the server starts, on a picture of flat patches as the autoencoder
//! gives it back, and again after each run, on all that was decoded since.

use crate::error::Result;
use crate::model::vae::Vae;
use crate::pipeline::Pipeline;
use crate::pipeline::start::{to_picture, to_tensor};
use crate::trace::metadata::png_bytes;
use crate::viz::linear_map::{LinearFit, LinearMap};
use crate::viz::pixels::to_unit;
use crate::watch::probe::Probe;
use image::{Rgb, RgbImage};
use ndarray::Array3;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tch::{Device, Kind, Tensor};

/// Patches of a side, and latents of a patch's side.
const PATCHES: (u32, u32) = (6, 6);

/// Paints latents.
#[derive(Debug)]
pub struct Painter {
    map: LinearMap,
    seen: LinearFit,
}

impl Painter {
    /// For the latents of a model; none where they have not four channels.
    ///
    /// # Errors
    /// When the autoencoder fails.
    pub fn of(pipeline: &Pipeline) -> Result<Option<Painter>> {
        if pipeline.model().latent_channels != 4 {
            return Ok(None);
        }
        let _no_gradients = tch::no_grad_guard();
        let (vae, picture) = (&pipeline.vae, patches(pipeline.model().vae_scale_factor as u32));
        let latents = encoded(vae, &to_tensor(&picture).to_device(pipeline.device()))?;
        let image = vae.decode(&(&latents / vae.config().scaling_factor), &Probe::new(vec![]))?;
        let picture = to_picture(&(image.to_kind(Kind::Float) / 2.0 + 0.5).clamp(0.0, 1.0))?;
        let mut seen = LinearFit::default();
        seen.push(numbers(&latents)?.view(), to_unit(&picture).view())?;
        Ok(Some(Painter { map: seen.solve()?, seen }))
    }

    /// Takes in latents in the model's variance, the first of a batch, and the picture that they were decoded to.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn see(&mut self, latents: &Tensor, decoded: &RgbImage) -> Result<()> {
        self.seen.push(numbers(latents)?.view(), to_unit(decoded).view())
    }

    /// Fits the map anew on all that was seen.
    ///
    /// # Errors
    /// When that has no one answer.
    pub fn fit(&mut self) -> Result<()> {
        self.map = self.seen.solve()?;
        Ok(())
    }

    /// The first of some latents, `[batch, 4, h, w]` in the model's variance, as a PNG of w×h pixels.
    ///
    /// # Errors
    /// When they have another shape.
    pub fn paint(&self, latents: &Tensor) -> Result<Vec<u8>> {
        png_bytes(&self.map.paint(numbers(latents)?.view())?)
    }
}

/// Flat patches of all colours.
fn patches(factor: u32) -> RgbImage {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (count, side) = (PATCHES.0, PATCHES.1 * factor);
    let colours: Vec<[u8; 3]> =
        (0..count * count).map(|_| std::array::from_fn(|_| (random.next_u32() >> 24) as u8)).collect();
    RgbImage::from_fn(count * side, count * side, |x, y| Rgb(colours[((y / side) * count + x / side) as usize]))
}

fn encoded(vae: &Vae, picture: &Tensor) -> Result<Tensor> {
    let posterior = vae.encode(picture, &Probe::new(vec![]))?;
    Ok(posterior.mean.to_kind(Kind::Float) * vae.config().scaling_factor)
}

/// The first of a batch, `[channels, h, w]`.
fn numbers(latents: &Tensor) -> Result<Array3<f32>> {
    let (_, channels, height, width) = latents.size4()?;
    let flat = latents.narrow(0, 0, 1).to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    let shape = (channels as usize, height as usize, width as usize);
    Array3::from_shape_vec(shape, Vec::try_from(&flat)?).map_err(|e| crate::error::Error::Torch(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::resolve;

    /// On the patches, and on a drawing that the map was not made from; better when it has seen that.
    #[test]
    fn the_map_meets_colours_it_has_not_seen_and_learns() {
        let pipeline = Pipeline::load(&resolve::resolve(Some("pocket")).unwrap(), Default::default()).unwrap();
        let mut painter = Painter::of(&pipeline).unwrap().unwrap();
        assert!(painter.map.fit.r2 > 0.6, "{:?}", painter.map.fit);
        let _no_gradients = tch::no_grad_guard();
        let sky = RgbImage::from_fn(128, 128, |_, y| if y < 64 { Rgb([40, 90, 220]) } else { Rgb([60, 160, 50]) });
        let latents = encoded(&pipeline.vae, &to_tensor(&sky)).unwrap();
        let error = |painter: &Painter| {
            let painted = painter.map.paint(numbers(&latents).unwrap().view()).unwrap();
            let (above, below) = (painted.get_pixel(8, 3).0, painted.get_pixel(8, 12).0);
            assert!(above[2] > above[0] + 60 && below[1] > below[2] + 20, "{above:?} {below:?}");
            let pixels = painted.enumerate_pixels().map(|(_, y, pixel)| (pixel, sky.get_pixel(0, y * 8)));
            pixels.map(|(a, b)| (0..3).map(|c| f64::from(a.0[c].abs_diff(b.0[c])).powi(2)).sum::<f64>()).sum::<f64>()
        };
        let before = error(&painter);
        (0..20).for_each(|_| painter.see(&latents, &sky).unwrap());
        painter.fit().unwrap();
        assert!(error(&painter) < before / 2.0, "{} {before}", error(&painter));
    }
}
