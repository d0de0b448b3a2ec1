//! Colours for latents before they are decoded: a linear map, fitted when the server starts.
//!
//! Enters: a model's autoencoder. Leaves: small pictures, a pixel for each latent, in a fraction of a millisecond. The map is
//! fitted on a picture of flat patches that the autoencoder encodes: no run is needed for it.

use crate::error::Result;
use crate::model::vae::Vae;
use crate::pipeline::Pipeline;
use crate::pipeline::start::to_tensor;
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
const PATCHES: (u32, u32) = (8, 4);

/// Paints latents.
#[derive(Debug)]
pub struct Painter {
    map: LinearMap,
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
        let picture = patches(pipeline.model().vae_scale_factor as u32);
        let mut sums = LinearFit::default();
        sums.push(encoded(&pipeline.vae, &picture)?.view(), to_unit(&picture).view())?;
        Ok(Some(Painter { map: sums.solve()? }))
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

fn encoded(vae: &Vae, picture: &RgbImage) -> Result<Array3<f32>> {
    let posterior = vae.encode(&to_tensor(picture), &Probe::new(vec![]))?;
    numbers(&(posterior.mean.to_kind(Kind::Float) * vae.config().scaling_factor))
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

    /// On the patches, and on a drawing that the map was not made from.
    #[test]
    fn the_map_meets_colours_it_has_not_seen() {
        let pipeline = Pipeline::load(&resolve::resolve(Some("pocket")).unwrap(), Default::default()).unwrap();
        let painter = Painter::of(&pipeline).unwrap().unwrap();
        assert!(painter.map.fit.r2 > 0.8, "{:?}", painter.map.fit);
        let _no_gradients = tch::no_grad_guard();
        let sky = RgbImage::from_fn(128, 128, |_, y| if y < 64 { Rgb([40, 90, 220]) } else { Rgb([60, 160, 50]) });
        let latents = encoded(&pipeline.vae, &sky).unwrap();
        let painted = painter.map.paint(latents.view()).unwrap();
        let (above, below) = (painted.get_pixel(8, 3).0, painted.get_pixel(8, 12).0);
        assert!(above[2] > above[0] + 60 && below[1] > below[2] + 40, "{above:?} {below:?}");
    }
}
