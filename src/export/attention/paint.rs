//! A map over a picture.
//!
//! Enters: a map of any size, the range that it is seen in, a picture. Leaves: the picture with the map's colours laid
//! over it, thicker where the map is stronger; or the map's colours alone. In words:
//!
//! ```text
//! unit  = clip((value - lo) / (hi - lo), 0, 1)              of the map's number that the pixel lies in
//! pixel = (1 - a) · picture + a · colours(unit), a = alpha · unit
//! ```
//!
//! The picture is grey by default: orange over a red apple says little.

use crate::viz::colour::ColourMap;
use crate::viz::normalise::Range;
use crate::viz::pixels::unit_to_u8;
use image::{Rgb, RgbImage};
use ndarray::ArrayView2;

/// How maps look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// The colours of a map.
    pub map: ColourMap,
    /// How much of the picture they hide where the map is strongest, 0 to 1.
    pub alpha: f64,
    /// Whether the picture below them is grey.
    pub grey: bool,
}

impl Default for Colours {
    fn default() -> Self {
        Colours { map: ColourMap::Inferno, alpha: 0.7, grey: true }
    }
}

/// How bright a colour is (ITU-R BT.601), as grey.
fn grey(Rgb([r, g, b]): Rgb<u8>) -> Rgb<u8> {
    let luma = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    Rgb([unit_to_u8(luma / 255.0); 3])
}

impl Colours {
    /// The map over a picture, as large as the picture.
    pub fn over(&self, picture: &RgbImage, map: ArrayView2<'_, f32>, range: Range) -> RgbImage {
        let (rows, columns) = map.dim();
        let (width, height) = picture.dimensions();
        let place =
            |at: u32, from: usize, to: u32| (at as usize * from / to.max(1) as usize).min(from.saturating_sub(1));
        RgbImage::from_fn(width, height, |x, y| {
            let own = picture.get_pixel(x, y);
            let below = if self.grey { grey(*own) } else { *own };
            if rows * columns == 0 {
                return below;
            }
            let unit = range.unit(map[[place(y, rows, height), place(x, columns, width)]]);
            let colour = self.map.at(unit);
            // What is no number is painted whole, for it to be seen.
            let alpha = if unit.is_nan() { 1.0 } else { self.alpha * unit.clamp(0.0, 1.0) };
            let mixed = |c: usize| (1.0 - alpha) * f64::from(below.0[c]) + alpha * f64::from(colour.0[c]);
            Rgb([0, 1, 2].map(|c| unit_to_u8(mixed(c) / 255.0)))
        })
    }

    /// The map's colours alone, one pixel a number.
    pub fn alone(&self, map: ArrayView2<'_, f32>, range: Range) -> RgbImage {
        self.map.paint(map, range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr2;

    #[test]
    fn colours_follow_the_formula() {
        let picture = RgbImage::from_pixel(4, 2, Rgb([200, 100, 50]));
        let range = Range { lo: 0.0, hi: 0.4 };
        let colours = Colours { alpha: 0.5, map: ColourMap::Grey, grey: false };
        let painted = colours.over(&picture, arr2(&[[0.0f32, 0.2]]).view(), range);
        assert_eq!((*painted.get_pixel(1, 1), painted.dimensions()), (Rgb([200, 100, 50]), (4, 2)));
        // Half way: a quarter of grey 128 over three quarters of the picture.
        let expected = [200.0, 100.0, 50.0].map(|c: f64| (0.75 * c + 0.25 * 128.0 + 0.5).floor() as u8);
        assert_eq!((*painted.get_pixel(2, 0), *painted.get_pixel(3, 1)), (Rgb(expected), Rgb(expected)));
        let on_grey = Colours { grey: true, ..colours }.over(&picture, arr2(&[[0.0f32]]).view(), range);
        assert_eq!(*on_grey.get_pixel(0, 0), Rgb([124; 3]));
        let nothing = arr2(&[[f32::NAN]]);
        assert_eq!(*colours.over(&picture, nothing.view(), range).get_pixel(0, 0), crate::viz::colour::NAN_COLOUR);
    }
}
