//! The picture that a run begins from: read, turned as its EXIF says, and made to fit.
//!
//! Enters: a PNG, JPEG or WebP file, and a mask beside it if there is one. Leaves: an [`Input`] of the run's size, whose
//! sides the autoencoder can divide. No tensors here.

use crate::error::{Error, Result};
use crate::files::pictures;
use crate::model::fingerprint;
use crate::record::inputs::{INIT_FILE, InputFile, MASK_FILE, Resize};
use crate::viz::pixels::resized;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma, Pixel, RgbImage};
use std::path::Path;

/// What a file is not, when it cannot be read as a picture.
const INPUT: &str = "input picture";

/// The picture and the mask of a run, at the run's size.
#[derive(Debug, Clone)]
pub struct Input {
    /// The picture.
    pub picture: RgbImage,
    /// The mask, 255 where to repaint and 0 where to keep, nothing between.
    pub mask: Option<GrayImage>,
}

/// A picture as it was read, and its mask.
#[derive(Debug, Clone)]
pub struct InitImage {
    /// The picture, turned as its EXIF says.
    pub picture: RgbImage,
    /// What the record says of it.
    pub about: InputFile,
    /// The mask, of the picture's size, and what the record says of it.
    pub mask: Option<(GrayImage, InputFile)>,
}

impl InitImage {
    /// Reads a picture, and a mask beside it. Transparent parts of a picture turn white, as paper under a sketch;
    /// transparent parts of a mask turn black.
    ///
    /// # Errors
    /// When a file cannot be read or is no picture, when the mask has another size than the picture, or when it is black
    /// all over.
    pub fn read(path: &Path, mask: Option<&Path>) -> Result<InitImage> {
        let (picture, about) = read(path)?;
        let picture = on_paper(picture, 255);
        let mask = mask.map(|mask| read_mask(mask, &about)).transpose()?;
        Ok(InitImage { picture, about, mask })
    }

    /// The run's size, where `width` or `height` are 0: the other in proportion, or both as the picture has them, to the
    /// nearest multiple of `factor`, the autoencoder's pixels per latent.
    pub fn size(&self, width: usize, height: usize, factor: usize) -> (usize, usize) {
        let (own_width, own_height) = (self.about.width as f64, self.about.height as f64);
        let nearest = |pixels: f64| ((pixels / factor as f64).round() as usize).max(1) * factor;
        match (width, height) {
            (0, 0) => (nearest(own_width), nearest(own_height)),
            (width, 0) => (width, nearest(width as f64 * own_height / own_width)),
            (0, height) => (nearest(height as f64 * own_width / own_height), height),
            given => given,
        }
    }

    /// The picture and its mask at a size.
    pub fn fit(&self, width: usize, height: usize, resize: Resize) -> Input {
        let size = (width as u32, height as u32);
        let picture = fit(&self.picture, size, resize, &|picture, size| resized(picture, size, FilterType::Lanczos3));
        let mask = self.mask.as_ref().map(|(mask, _)| {
            let of_size = |mask: &GrayImage, (width, height)| {
                DynamicImage::from(mask.clone()).resize_exact(width, height, FilterType::Triangle).into_luma8()
            };
            let mut mask = fit(mask, size, resize, &of_size);
            mask.pixels_mut().for_each(|Luma([grey])| *grey = if *grey < 128 { 0 } else { 255 });
            mask
        });
        Input { picture, mask }
    }
}

impl Input {
    /// The files that a run directory keeps of it, by name.
    pub fn files(&self) -> Vec<(&'static str, RgbImage)> {
        let mask = self.mask.as_ref().map(|mask| (MASK_FILE, DynamicImage::from(mask.clone()).to_rgb8()));
        [(INIT_FILE, self.picture.clone())].into_iter().chain(mask).collect()
    }

    /// A finished picture with this one's own pixels where the mask is black. Without a mask, the picture as it is.
    pub fn pasted_over(&self, finished: &RgbImage) -> RgbImage {
        let Some(mask) = &self.mask else { return finished.clone() };
        let keeps = |x, y| mask.get_pixel(x, y).0[0] == 0;
        let pixel = |x, y| if keeps(x, y) { *self.picture.get_pixel(x, y) } else { *finished.get_pixel(x, y) };
        RgbImage::from_fn(finished.width(), finished.height(), pixel)
    }
}

/// Reads a picture, turned as its EXIF says, whatever its name ends in.
fn read(path: &Path) -> Result<(DynamicImage, InputFile)> {
    let bytes = pictures::bytes(path)?;
    let picture = pictures::decode(path, &bytes, INPUT)?;
    let about = InputFile {
        file: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: fingerprint::of_bytes(&bytes),
        width: picture.width() as usize,
        height: picture.height() as usize,
    };
    Ok((picture, about))
}

fn read_mask(path: &Path, of: &InputFile) -> Result<(GrayImage, InputFile)> {
    let (mask, about) = read(path)?;
    if (about.width, about.height) != (of.width, of.height) {
        let message = format!(
            "the mask `{}` is {}×{}, the picture `{}` is {}×{}",
            about.file, about.width, about.height, of.file, of.width, of.height
        );
        return Err(Error::invalid(message, "paint the mask over the picture itself: both must be of one size"));
    }
    let mask = luma(&on_paper(mask, 0));
    if mask.pixels().all(|Luma([grey])| *grey < 128) {
        let message = format!("the mask `{}` is black all over: there is nothing to repaint", about.file);
        return Err(Error::invalid(message, "paint white what is to change; black stays"));
    }
    Ok((mask, about))
}

/// The picture in front of a grey of this brightness.
fn on_paper(picture: DynamicImage, paper: u8) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let mut flat = picture.into_rgba8();
    for pixel in flat.pixels_mut() {
        let alpha = u32::from(pixel.0[3]);
        let over = |value: u8| ((u32::from(value) * alpha + u32::from(paper) * (255 - alpha) + 127) / 255) as u8;
        *pixel = pixel.map_with_alpha(over, |_| 255);
    }
    DynamicImage::from(flat).into_rgb8()
}

/// How bright a picture is: 0.299 red, 0.587 green, 0.114 blue, in the whole numbers of PIL's `convert("L")`, which
/// diffusers reads masks with.
fn luma(picture: &RgbImage) -> GrayImage {
    GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue] = picture.get_pixel(x, y).0.map(u32::from);
        Luma([((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16) as u8])
    })
}

/// A picture or a mask.
type Buffer<P> = image::ImageBuffer<P, Vec<u8>>;

/// Brings one to a size.
type Resample<P> = dyn Fn(&Buffer<P>, (u32, u32)) -> Buffer<P>;

/// A picture or mask at a size, with 8-bit channels; `of_size` resamples it.
fn fit<P>(picture: &Buffer<P>, (width, height): (u32, u32), resize: Resize, of_size: &Resample<P>) -> Buffer<P>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    if let Some(middle) = middle(picture, (width, height), resize) {
        return fit(&middle, (width, height), resize, of_size);
    }
    let (own_width, own_height) = picture.dimensions();
    let (across, down) = (f64::from(width) / f64::from(own_width), f64::from(height) / f64::from(own_height));
    let scale = match resize {
        Resize::Stretch => None,
        Resize::Crop => Some(across.max(down)),
        Resize::Pad => Some(across.min(down)),
    };
    let scaled = |own: u32, given: u32| scale.map_or(given, |scale| ((f64::from(own) * scale).round() as u32).max(1));
    let (inner_width, inner_height) = (scaled(own_width, width), scaled(own_height, height));
    let inner = match (inner_width, inner_height) == (own_width, own_height) {
        true => picture.clone(),
        false => of_size(picture, (inner_width, inner_height)),
    };
    // Where the inner picture's corner comes to lie: outside for a crop, inside for padding.
    let (left, top) = (offset(width, inner_width), offset(height, inner_height));
    let place = |at: u32, corner: i64, size: u32| (i64::from(at) - corner).clamp(0, i64::from(size) - 1) as u32;
    Buffer::from_fn(width, height, |x, y| *inner.get_pixel(place(x, left, inner_width), place(y, top, inner_height)))
}

/// The part of a very long picture from which a crop is taken, and a margin for the filter; none for other pictures. The
/// whole, enlarged to cover the size, would not fit in memory.
fn middle<P>(picture: &Buffer<P>, (width, height): (u32, u32), resize: Resize) -> Option<Buffer<P>>
where
    P: Pixel<Subpixel = u8> + 'static,
{
    const MARGIN: u32 = 4;
    let (own_width, own_height) = picture.dimensions();
    let scale = (f64::from(width) / f64::from(own_width)).max(f64::from(height) / f64::from(own_height));
    let enlarged = f64::from(own_width) * f64::from(own_height) * scale * scale;
    if resize != Resize::Crop || enlarged <= pictures::MOST_PIXELS as f64 {
        return None;
    }
    // As much is left out on either side, so that the middle stays the middle.
    let left_out = |own: u32, given: u32| {
        own.saturating_sub((f64::from(given) / scale).ceil() as u32).saturating_sub(2 * MARGIN) / 2
    };
    let (x, y) = (left_out(own_width, width), left_out(own_height, height));
    let (inner_width, inner_height) = (own_width - 2 * x, own_height - 2 * y);
    ((x, y) != (0, 0)).then(|| imageops::crop_imm(picture, x, y, inner_width, inner_height).to_image())
}

/// Half of what is left over, negative when the inner side is longer.
fn offset(outer: u32, inner: u32) -> i64 {
    (i64::from(outer) - i64::from(inner)).div_euclid(2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use image::Rgb;

    /// Left half red, right half blue.
    fn halves(width: u32, height: u32) -> InitImage {
        let picture =
            RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let about = InputFile { width: width as usize, height: height as usize, ..InputFile::default() };
        InitImage { picture, about, mask: None }
    }

    #[test]
    fn sizes_left_open_follow_the_picture() {
        let image = halves(100, 50);
        assert_eq!(image.size(0, 0, 8), (104, 48));
        assert_eq!(image.size(0, 0, 4), (100, 52));
        assert_eq!(image.size(64, 0, 8), (64, 32));
        assert_eq!(image.size(0, 128, 8), (256, 128));
        assert_eq!(image.size(64, 64, 8), (64, 64));
        assert_eq!(halves(2, 3).size(0, 0, 8), (8, 8));
    }

    #[test]
    fn each_way_to_resize_keeps_what_it_says() {
        let image = halves(80, 40);
        let at = |resize, x, y| image.fit(64, 64, resize).picture.get_pixel(x, y).0;
        for resize in Resize::ALL {
            assert_eq!(image.fit(64, 64, resize).picture.dimensions(), (64, 64));
            assert_eq!(at(resize, 0, 0), [255, 0, 0], "{resize}");
            assert_eq!(at(resize, 63, 63), [0, 0, 255], "{resize}");
        }
        // A bar at the left edge is stretched, cut off, or kept small.
        let mut barred = halves(80, 40);
        (0..8).for_each(|x| (0..40).for_each(|y| barred.picture.put_pixel(x, y, Rgb([0, 255, 0]))));
        let green = |resize| {
            let picture = barred.fit(64, 64, resize).picture;
            picture.pixels().filter(|p| p.0[1] > 128).count()
        };
        assert_eq!(green(Resize::Stretch), 6 * 64);
        assert_eq!(green(Resize::Crop), 0);
        assert_eq!(green(Resize::Pad), 6 * 64, "the bar is repeated up and down to the edge");
        // Padding repeats rows: the proportion of the middle is kept.
        let mut topped = halves(80, 40);
        (0..80).for_each(|x| (0..10).for_each(|y| topped.picture.put_pixel(x, y, Rgb([0, 255, 0]))));
        let padded = topped.fit(64, 64, Resize::Pad).picture;
        assert_eq!((0..64).filter(|y| padded.get_pixel(0, *y).0[1] > 128).count(), 16 + 8);
    }

    #[test]
    fn a_mask_is_as_bright_as_the_eye_has_it() {
        let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [77, 77, 77], [60, 150, 200]];
        let row = RgbImage::from_fn(6, 1, |x, _| Rgb(colours[x as usize]));
        // `Image.convert("L")` of PIL 12.
        assert_eq!(luma(&row).into_raw(), [76, 150, 29, 255, 77, 129]);
    }

    #[test]
    fn a_crop_of_a_line_is_its_middle_and_takes_no_memory() {
        for (width, height) in [(1, 65_535), (65_535, 1)] {
            let mut image = halves(width, height);
            let along = |x: u32, y: u32| i64::from(x + y) - 65_535 / 2;
            image.picture.enumerate_pixels_mut().for_each(|(x, y, pixel)| {
                *pixel = Rgb(if along(x, y).abs() <= 1 { [0, 255, 0] } else { [255, 0, 0] });
            });
            let cut = image.fit(512, 512, Resize::Crop).picture;
            assert_eq!(cut.dimensions(), (512, 512));
            assert!(cut.pixels().all(|pixel| pixel.0[1] > 200), "{width}×{height}: only the middle is left");
        }
    }

    #[test]
    fn a_picture_of_the_right_size_is_not_touched() {
        let mut image = halves(64, 64);
        image.picture.put_pixel(3, 5, Rgb([1, 2, 3]));
        for resize in Resize::ALL {
            assert_eq!(image.fit(64, 64, resize).picture, image.picture);
        }
    }
}
