//! Latents in the hand: the numbers that the network paints, and what they look like without the decoder.

use crate::error::{Error, Result};
use crate::show::display;
use crate::show::picture::{Picture, sheet_of};
use crate::trace::metadata::png_bytes;
use crate::viz::latents::{ChannelTriple, contact_sheet, paint};
use crate::viz::normalise::Range;
use image::{Rgb, RgbImage};
use ndarray::{Array4, ArrayView3, Axis};
use std::fmt;

/// Latents of a batch, `[batch, 4, height/8, width/8]`. Pictures are of the batch's first item and show the least number
/// of all its channels black and the greatest white.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents(Array4<f32>);

impl Latents {
    /// From the numbers, `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(array: Array4<f32>) -> Result<Latents> {
        if array.is_empty() {
            let message = format!("latents of shape {:?} hold no number", array.shape());
            return Err(Error::invalid(message, "they have batch, channels, height and width"));
        }
        Ok(Latents(array))
    }

    /// Batch, channels, height, width.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// The numbers.
    pub fn array(&self) -> &Array4<f32> {
        &self.0
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().map(|value| f64::from(*value)).sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Their standard deviation (of the population).
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        let squares = self.0.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        (squares / self.0.len().max(1) as f64).sqrt()
    }

    /// A channel in grey, one pixel per latent; black all over if there is no such channel.
    pub fn channel(&self, channel: usize) -> Picture {
        let (first, range) = (self.first(), self.range());
        let (channels, height, width) = first.dim();
        let level = |x, y| if channel < channels { range.to_u8(first[[channel, y as usize, x as usize]]) } else { 0 };
        RgbImage::from_fn(width as u32, height as u32, |x, y| Rgb([level(x, y); 3])).into()
    }

    /// Three channels as red, green and blue, one pixel per latent.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn rgb(&self, channels: [usize; 3]) -> Result<Picture> {
        paint(self.first(), ChannelTriple(channels), self.range()).map(Picture::from)
    }

    /// All four channels and the 24 ways to show three of them as red, green and blue, on one sheet.
    ///
    /// # Errors
    /// When there are not four channels.
    pub fn mappings(&self) -> Result<Picture> {
        contact_sheet(self.first(), self.range(), "").map(Picture::from)
    }

    /// All channels in grey, side by side.
    pub fn sheet(&self) -> Picture {
        let channels = self.0.len_of(Axis(1));
        let cells: Vec<(String, Picture)> = (0..channels).map(|c| (format!("channel {c}"), self.channel(c))).collect();
        sheet_of(channels, &cells)
    }

    /// Shows all channels where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        display::bytes("image/png", png_bytes(&self.sheet()), &self.to_string());
    }

    fn first(&self) -> ArrayView3<'_, f32> {
        self.0.index_axis(Axis(0), 0)
    }

    fn range(&self) -> Range {
        Range::of(self.first().iter().copied()).unwrap_or(Range { lo: 0.0, hi: 1.0 })
    }
}

/// `latents [1, 4, 16, 16], mean 0.01, standard deviation 0.98`.
impl fmt::Display for Latents {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (shape, mean, std) = (self.shape(), self.mean(), self.std());
        write!(f, "latents {shape:?}, mean {mean:.3}, standard deviation {std:.3}")
    }
}
