//! Pixels: from numbers to bytes, and from pictures to larger pictures.
//!
//! Enters: numbers in 0..=1, or pictures. Leaves: pictures. Rounding happens in [`unit_to_u8`] and nowhere else.
//! Pictures are magnified with hard pixels, because a latent value is a number and not a blur; they are made smaller by
//! averaging.

use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};
use ndarray::{Array3, ArrayView3};

use crate::error::{Error, Result};

/// White.
pub const WHITE: Rgb<u8> = Rgb([255; 3]);
/// Black.
pub const BLACK: Rgb<u8> = Rgb([0; 3]);

/// The byte for a number in 0..=1: `floor(clamp(value, 0, 1) * 255 + 0.5)` in f64. NaN gives 0.
///
/// In numpy: `np.floor(np.clip(value.astype(np.float64), 0, 1) * 255 + 0.5).astype(np.uint8)`.
pub fn unit_to_u8(value: f64) -> u8 {
    // The cast truncates, which is the floor for what is not negative, and takes NaN to 0.
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A picture from numbers in 0..=1, `[3, height, width]`; what lies outside is clipped. An error if the shape is another
/// one.
pub fn from_unit(values: ArrayView3<'_, f32>) -> Result<RgbImage> {
    let (channels, height, width) = values.dim();
    if channels != 3 {
        return Err(wrong_shape("a picture", "[3, height, width]", values.shape()));
    }
    Ok(RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb([0, 1, 2].map(|channel| unit_to_u8(f64::from(values[[channel, y as usize, x as usize]]))))
    }))
}

/// A picture as numbers in 0..=1, `[3, height, width]`.
pub fn to_unit(picture: &RgbImage) -> Array3<f32> {
    let shape = (3, picture.height() as usize, picture.width() as usize);
    Array3::from_shape_fn(shape, |(channel, y, x)| f32::from(picture.get_pixel(x as u32, y as u32).0[channel]) / 255.0)
}

/// An error that names the shape expected and the one found.
pub(super) fn wrong_shape(what: &str, expected: &str, found: &[usize]) -> Error {
    Error::Invalid { message: format!("{what} has shape {expected}, not {found:?}"), hint: None }
}

/// The picture `times` as large, every pixel a square. `times` is at least 1.
pub fn magnify(picture: &RgbImage, times: u32) -> RgbImage {
    if times <= 1 {
        return picture.clone();
    }
    let (width, height) = picture.dimensions();
    RgbImage::from_fn(width * times, height * times, |x, y| *picture.get_pixel(x / times, y / times))
}

/// The largest whole number of times that a picture of `size` can be magnified to stay within `room`, and 1 at least.
pub fn magnification(size: (u32, u32), room: (u32, u32)) -> u32 {
    (room.0 / size.0.max(1)).min(room.1 / size.1.max(1)).max(1)
}

/// The picture as large as `room` (width, height) allows, its shape kept: magnified a whole number of times with hard
/// pixels, or made smaller by averaging. Not padded.
pub fn fit(picture: &RgbImage, room: (u32, u32)) -> RgbImage {
    let (width, height) = picture.dimensions();
    if width <= room.0 && height <= room.1 {
        return magnify(picture, magnification((width, height), room));
    }
    let scale = (f64::from(room.0) / f64::from(width)).min(f64::from(room.1) / f64::from(height));
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    resized(picture, (side(width), side(height)), FilterType::Triangle)
}

/// The picture at `size` (width, height), by one of the `image` crate's filters.
///
/// [`imageops::resize`] is generic: it would be compiled with this crate, which a development build does not optimise,
/// and be many times slower there. `DynamicImage` brings it compiled.
pub fn resized(picture: &RgbImage, (width, height): (u32, u32), filter: FilterType) -> RgbImage {
    DynamicImage::from(picture.clone()).resize_exact(width, height, filter).into_rgb8()
}

/// The picture in the middle of an area of `size`, which is filled with `colour`. What sticks out is cut.
pub fn centred(picture: &RgbImage, size: (u32, u32), colour: Rgb<u8>) -> RgbImage {
    let mut area = RgbImage::from_pixel(size.0, size.1, colour);
    let offset = |room: u32, length: u32| (i64::from(room) - i64::from(length)).div_euclid(2);
    imageops::replace(&mut area, picture, offset(size.0, picture.width()), offset(size.1, picture.height()));
    area
}

/// The picture with margins.
pub fn pad(picture: &RgbImage, [left, top, right, bottom]: [u32; 4], colour: Rgb<u8>) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut area = RgbImage::from_pixel(width + left + right, height + top + bottom, colour);
    imageops::replace(&mut area, picture, i64::from(left), i64::from(top));
    area
}

/// The picture with a border of `width` pixels around it.
pub fn border(picture: &RgbImage, width: u32, colour: Rgb<u8>) -> RgbImage {
    pad(picture, [width; 4], colour)
}

/// Pictures in a row, `gap` pixels apart, centred vertically. No pictures give an empty picture.
pub fn side_by_side(pictures: &[RgbImage], gap: u32, colour: Rgb<u8>) -> RgbImage {
    let gaps = gap * (pictures.len() as u32).saturating_sub(1);
    let width = pictures.iter().map(RgbImage::width).sum::<u32>() + gaps;
    let height = pictures.iter().map(RgbImage::height).max().unwrap_or(0);
    let mut row = RgbImage::from_pixel(width, height, colour);
    let mut x = 0;
    for picture in pictures {
        imageops::replace(&mut row, picture, i64::from(x), i64::from((height - picture.height()) / 2));
        x += picture.width() + gap;
    }
    row
}

/// Pictures in a column, `gap` pixels apart, flush left. No pictures give an empty picture.
pub fn stacked(pictures: &[RgbImage], gap: u32, colour: Rgb<u8>) -> RgbImage {
    let gaps = gap * (pictures.len() as u32).saturating_sub(1);
    let width = pictures.iter().map(RgbImage::width).max().unwrap_or(0);
    let height = pictures.iter().map(RgbImage::height).sum::<u32>() + gaps;
    let mut column = RgbImage::from_pixel(width, height, colour);
    let mut y = 0;
    for picture in pictures {
        imageops::replace(&mut column, picture, 0, i64::from(y));
        y += picture.height() + gap;
    }
    column
}

/// Fills the part of a rectangle that lies within the picture.
pub fn fill(picture: &mut RgbImage, (x, y): (i64, i64), (width, height): (u32, u32), colour: Rgb<u8>) {
    let clip = |from: i64, length: u32, limit: u32| {
        let limit = i64::from(limit);
        from.clamp(0, limit) as u32..(from + i64::from(length)).clamp(0, limit) as u32
    };
    for row in clip(y, height, picture.height()) {
        for column in clip(x, width, picture.width()) {
            picture.put_pixel(column, row, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn checks(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]))
    }

    #[test]
    fn bytes_are_rounded_never_truncated() {
        // 0.5/255 is the first number that rounds up, 254.5/255 the first that gives 255.
        let expected =
            [(0.0, 0), (0.499 / 255.0, 0), (0.501 / 255.0, 1), (0.5, 128), (254.4 / 255.0, 254), (254.6 / 255.0, 255)];
        for (value, byte) in expected {
            assert_eq!(unit_to_u8(value), byte, "{value}");
        }
        for (value, byte) in [(-1.0, 0), (7.0, 255), (f64::NAN, 0), (f64::INFINITY, 255), (f64::NEG_INFINITY, 0)] {
            assert_eq!(unit_to_u8(value), byte, "{value}");
        }
        for byte in 0..=255 {
            assert_eq!(unit_to_u8(f64::from(byte) / 255.0), byte);
        }
    }

    #[test]
    fn pictures_survive_the_way_through_numbers() {
        let picture = checks(5, 3);
        let values = to_unit(&picture);
        assert_eq!(values.shape(), [3, 3, 5]);
        assert_eq!(from_unit(values.view()).unwrap(), picture);
        let error = from_unit(Array3::zeros((4, 2, 2)).view()).unwrap_err();
        assert_eq!(error.to_string(), "a picture has shape [3, height, width], not [4, 2, 2]");
    }

    #[test]
    fn pixels_stay_hard() {
        let large = magnify(&checks(3, 2), 4);
        assert_eq!(large.dimensions(), (12, 8));
        assert!(large.enumerate_pixels().all(|(x, y, pixel)| *pixel == *checks(3, 2).get_pixel(x / 4, y / 4)));
        assert_eq!(magnification((64, 32), (300, 300)), 4);
        assert_eq!(magnification((64, 32), (10, 10)), 1);
    }

    #[test]
    fn fitting_keeps_the_shape() {
        assert_eq!(fit(&checks(10, 20), (55, 45)).dimensions(), (20, 40));
        assert_eq!(fit(&checks(100, 200), (50, 50)).dimensions(), (25, 50));
        assert_eq!(fit(&checks(1000, 1), (50, 50)).dimensions(), (50, 1));
    }

    #[test]
    fn pictures_are_put_together() {
        let (a, b) = (checks(3, 4), checks(5, 2));
        let row = side_by_side(&[a.clone(), b.clone()], 2, WHITE);
        assert_eq!(row.dimensions(), (10, 4));
        assert_eq!(
            (*row.get_pixel(3, 0), *row.get_pixel(5, 0), *row.get_pixel(9, 2)),
            (WHITE, WHITE, *b.get_pixel(4, 1))
        );
        let column = stacked(&[a.clone(), b], 1, BLACK);
        assert_eq!(column.dimensions(), (5, 7));
        assert_eq!(border(&a, 2, WHITE).dimensions(), (7, 8));
        assert_eq!(side_by_side(&[], 3, WHITE).dimensions(), (0, 0));
        assert_eq!(*centred(&a, (1, 1), WHITE).get_pixel(0, 0), *a.get_pixel(1, 2));
        let mut area = RgbImage::new(4, 4);
        fill(&mut area, (-2, 3), (4, 9), WHITE);
        assert_eq!(area.pixels().filter(|pixel| **pixel == WHITE).count(), 2);
    }
}
