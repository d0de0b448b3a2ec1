//! Latents as they are: numbers shown as colours, without a decoder.
//!
//! Enters: latents `[channels, height, width]` and the range that they are seen in. Leaves: pictures, one pixel per
//! latent value. Three of the four channels make red, green and blue; which three, and in which order, is arbitrary, so
//! the contact sheet shows all 24 ways beside the four channels on their own.

use std::fmt;
use std::str::FromStr;

use image::{Rgb, RgbImage};
use ndarray::{ArrayView3, Axis};

use super::colour::{ColourMap, colour_bar};
use super::grid::gallery;
use super::normalise::Range;
use super::pixels::{WHITE, pad, side_by_side, stacked, wrong_shape};
use super::text::{Align, TextStyle};
use crate::error::{Error, Result};

/// The channels that are shown as red, green and blue, in this order, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelTriple(pub [usize; 3]);

impl Default for ChannelTriple {
    /// The first three.
    fn default() -> Self {
        ChannelTriple([0, 1, 2])
    }
}

impl ChannelTriple {
    /// All ordered triples of different channels out of `channels`, in the order of their numbers: 24 of 4.
    pub fn all(channels: usize) -> Vec<ChannelTriple> {
        let every = || 0..channels;
        let triples = every().flat_map(|r| every().flat_map(move |g| every().map(move |b| [r, g, b])));
        triples.filter(|[r, g, b]| r != g && g != b && r != b).map(ChannelTriple).collect()
    }
}

impl fmt::Display for ChannelTriple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChannelTriple([red, green, blue]) = self;
        write!(f, "{red},{green},{blue}")
    }
}

impl FromStr for ChannelTriple {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[red, green, blue]) => Ok(ChannelTriple([red, green, blue])),
            _ => Err(Error::invalid(
                format!("`{text}` does not name three channels"),
                "such as `0,1,2`: the channels shown as red, green and blue, counted from 0",
            )),
        }
    }
}

/// Latents `[channels, height, width]` as a picture of `width`×`height`: each value is placed in `range` (see
/// [`Range::to_u8`]) and becomes the red, green or blue of its pixel.
///
/// An error if the triple names a channel that is not there.
pub fn paint(latents: ArrayView3<'_, f32>, triple: ChannelTriple, range: Range) -> Result<RgbImage> {
    let (channels, height, width) = latents.dim();
    if let Some(missing) = triple.0.into_iter().find(|&channel| channel >= channels) {
        let message = format!("channel {missing} of `{triple}` is not there: the latents have {channels} channels");
        return Err(Error::invalid(message, "channels are counted from 0"));
    }
    Ok(RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb(triple.0.map(|channel| range.to_u8(latents[[channel, y as usize, x as usize]])))
    }))
}

/// One picture of everything in the latents `[4, height, width]`: each channel on its own in viridis with a colour bar,
/// and all 24 ordered triples as red, green and blue, each with its name. Everything is seen in `range`. A long title is
/// wrapped.
///
/// An error if there are not four channels.
pub fn contact_sheet(latents: ArrayView3<'_, f32>, range: Range, title: &str) -> Result<RgbImage> {
    let (channels, height, width) = latents.dim();
    if channels != 4 || height == 0 || width == 0 {
        return Err(wrong_shape("a contact sheet's latents", "[4, height, width]", latents.shape()));
    }
    let ink = Rgb([20; 3]);
    let (label, heading) = (TextStyle::new(18.0, ink), TextStyle::new(22.0, ink).bold());
    let map = ColourMap::Viridis;
    // Six thumbnails are as wide as four channels with their bar.
    let longer = height.max(width) as u32;
    let (large, small) = ((256 / longer).max(1), (192 / longer).max(1));

    let channel = |(number, values): (usize, ndarray::ArrayView2<'_, f32>)| {
        (format!("channel {number}"), map.paint(values, range))
    };
    let singles: Vec<(String, RgbImage)> = latents.axis_iter(Axis(0)).enumerate().map(channel).collect();
    let singles = gallery(&singles, 4, large, &label);
    let bar = colour_bar(map, range, height as u32 * large, &label);
    let below_names = label.line_height() - bar.height().saturating_sub(height as u32 * large) / 2;
    let bar = pad(&bar, [0, below_names.min(singles.height()), 0, 0], WHITE);
    let bar_room = singles.height().max(bar.height());
    let top_row = [singles, bar].map(|part| {
        let missing = bar_room - part.height();
        pad(&part, [0, 0, 0, missing], WHITE)
    });
    let top_row = side_by_side(&top_row, 14, WHITE);

    let triples: Result<Vec<(String, RgbImage)>> = ChannelTriple::all(4)
        .into_iter()
        .map(|triple| Ok((triple.to_string(), paint(latents, triple, range)?)))
        .collect();
    let triples = gallery(&triples?, 6, small, &label);

    let width = top_row.width().max(triples.width());
    let line = |text: &str| {
        let words = heading.wrap_to(text, width, 4);
        let mut strip = RgbImage::from_pixel(width, heading.measure(&words).1, WHITE);
        heading.draw(&mut strip, (0, 0), Align::Left, &words);
        strip
    };
    let second = line("three channels as red, green, blue");
    let mut parts = vec![top_row, second, triples];
    if !title.is_empty() {
        parts.insert(0, line(title));
    }
    Ok(pad(&stacked(&parts, 14, WHITE), [18; 4], WHITE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use ndarray::Array3;

    fn latents() -> Array3<f32> {
        // Channel c holds c - 1.5 plus a little that varies.
        Array3::from_shape_fn((4, 2, 3), |(c, y, x)| c as f32 - 1.5 + (3 * y + x) as f32 / 100.0)
    }

    #[test]
    fn there_are_24_triples() {
        let all = ChannelTriple::all(4);
        assert_eq!((all.len(), all[0].to_string(), all[23].to_string()), (24, "0,1,2".into(), "3,2,1".into()));
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(unique.len(), 24);
        assert!(all.iter().all(|triple| triple.to_string().parse::<ChannelTriple>().unwrap() == *triple));
        for wrong in ["", "0,1", "0,1,2,3", "a,b,c", "0,1,-2"] {
            assert!(wrong.parse::<ChannelTriple>().unwrap_err().to_string().contains("three channels"));
        }
    }

    #[test]
    fn the_order_of_the_triple_is_the_order_of_the_colours() {
        let range = Range { lo: -1.5, hi: 2.5 };
        let picture = paint(latents().view(), ChannelTriple([2, 0, 3]), range).unwrap();
        assert_eq!(picture.dimensions(), (3, 2));
        // (0.5 + 1.5) / 4 * 255 + 0.5 = 128.0; 0; (1.5 + 1.5) / 4 * 255 + 0.5 = 191.75
        assert_eq!(picture.get_pixel(0, 0).0, [128, 0, 191]);
        // Row 1, column 2 is 0.05 more: 131.19, 3.69, 194.94.
        assert_eq!(picture.get_pixel(2, 1).0, [131, 3, 194]);
        let error = paint(latents().view(), ChannelTriple([0, 1, 4]), range).unwrap_err();
        assert_eq!(error.to_string(), "channel 4 of `0,1,4` is not there: the latents have 4 channels");
    }

    #[test]
    fn the_sheet_holds_everything() {
        let range = Range { lo: -2.0, hi: 2.0 };
        let flat = Array3::from_shape_fn((4, 64, 64), |(c, _, _)| c as f32 - 1.5);
        let sheet = contact_sheet(flat.view(), range, "step 0").unwrap();
        let count = |colour: Rgb<u8>| sheet.pixels().filter(|pixel| **pixel == colour).count();
        for (channel, value) in [-1.5f32, -0.5, 0.5, 1.5].into_iter().enumerate() {
            // The colour bar may hold the same colour once more.
            let expected = 256 * 256;
            let found = count(ColourMap::Viridis.at(range.unit(value)));
            assert!((expected..expected + 100).contains(&found), "channel {channel}: {found}");
        }
        for triple in ChannelTriple::all(4) {
            let colour = Rgb(triple.0.map(|channel| range.to_u8(channel as f32 - 1.5)));
            assert_eq!(count(colour), 192 * 192, "{triple}");
        }
        assert!(contact_sheet(Array3::zeros((3, 8, 8)).view(), range, "").is_err());
    }
}
