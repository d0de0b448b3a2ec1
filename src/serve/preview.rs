//! Colours for latents before they are decoded: a linear map.
//!
//! Enters: a model's autoencoder, and what is decoded as runs go on. Leaves: small pictures, a pixel for each latent, in a
//! fraction of a millisecond. The map is fitted when the server starts, on a picture of flat patches as the autoencoder
//! gives it back, and again after each run, on all that was decoded since.

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::preview::{fitted, numbers};
use crate::trace::metadata::png_bytes;
use crate::viz::linear_map::{LinearFit, LinearMap};
use crate::viz::pixels::to_unit;
use image::RgbImage;
use tch::Tensor;

/// Paints latents.
#[derive(Debug)]
pub struct Painter {
    map: LinearMap,
    seen: LinearFit,
}

impl Painter {
    /// For the latents of a model; none where they have not four channels, or its autoencoder cannot encode.
    ///
    /// # Errors
    /// When the autoencoder fails.
    pub fn of(pipeline: &Pipeline) -> Result<Option<Painter>> {
        if pipeline.model().latent_channels != 4 || !pipeline.vae.encodes() {
            return Ok(None);
        }
        let seen = fitted(&pipeline.vae, pipeline.device())?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::resolve;
    use crate::pipeline::preview::encoded;
    use crate::pipeline::start::to_tensor;
    use image::Rgb;

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
