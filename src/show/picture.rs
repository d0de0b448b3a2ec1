//! A picture in the hand, and sheets of several.

use crate::error::{Error, Result};
use crate::export::diff;
use crate::files::atomic::{make_folder_of, write_atomically};
use crate::files::pictures;
use crate::record::plan::Quantity;
use crate::record::schema::RunRecord;
use crate::show::display;
use crate::trace::metadata::{png_bytes, png_with_metadata, step_png};
use crate::viz::grid::gallery;
use crate::viz::pixels::{magnification, magnify};
use crate::viz::text::TextStyle;
use image::imageops;
use image::{ImageFormat, Rgb, RgbImage};
use std::borrow::Borrow;
use std::fmt;
use std::io::Cursor;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

/// The side of the square in which a notebook shows a small picture, in pixels.
const SHOWN: u32 = 256;
/// The same for a picture on a sheet: wide enough for a label of some words.
const ON_A_SHEET: u32 = 256;
/// The same where the labels are short and the pictures many.
const ON_A_DENSE_SHEET: u32 = 192;
/// The most pictures in a row of a sheet.
const ROW: usize = 6;

/// A picture: 8-bit RGB.
#[derive(Debug, Clone)]
pub struct Picture {
    pixels: RgbImage,
    made_by: Option<MadeBy>,
}

/// What a picture of a run says of its making when it is saved as PNG.
#[derive(Debug, Clone)]
pub(super) struct MadeBy {
    pub(super) record: Arc<RunRecord>,
    pub(super) batch: usize,
    /// The step and what was decoded; none for the finished picture.
    pub(super) step: Option<(usize, Quantity)>,
}

impl Picture {
    /// A picture that was read, whatever its name ends in: PNG, JPEG or WebP.
    ///
    /// # Errors
    /// When it cannot be read or is no picture.
    pub fn open(path: impl AsRef<Path>) -> Result<Picture> {
        Ok(pictures::open(path.as_ref(), "picture")?.into_rgb8().into())
    }

    /// A picture of `width`×`height` pixels, each as `pixel` has it: red, green and blue for a column and a row.
    pub fn from_fn(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        RgbImage::from_fn(width, height, |x, y| Rgb(pixel(x, y))).into()
    }

    pub(super) fn of_run(pixels: RgbImage, made_by: MadeBy) -> Picture {
        Picture { pixels, made_by: Some(made_by) }
    }

    /// Writes it as its name ends, into a folder that is made if need be: `.png`, `.jpg` or `.webp`. A picture of a run says in a PNG how it was made, as web UIs
    /// do: `sdviz metadata` reads it, `sdviz trace --like` takes it.
    ///
    /// # Errors
    /// When the ending is none of these, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = ImageFormat::from_path(path)
            .ok()
            .filter(|format| [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP].contains(format));
        let bytes = match format {
            Some(ImageFormat::Png) => self.png()?,
            Some(format) => {
                let mut bytes = Cursor::new(vec![]);
                let refused = |e| Error::invalid(format!("cannot encode the picture: {e}"), "save it as .png");
                self.pixels.write_to(&mut bytes, format).map_err(refused)?;
                bytes.into_inner()
            }
            None => {
                let message = format!("`{}` does not end like a picture", path.display());
                return Err(Error::invalid(message, "use .png, .jpg or .webp"));
            }
        };
        make_folder_of(path)?;
        write_atomically(path, &bytes)
    }

    /// Its PNG.
    ///
    /// # Errors
    /// When the PNG encoder refuses it.
    pub fn png(&self) -> Result<Vec<u8>> {
        match &self.made_by {
            None => png_bytes(&self.pixels),
            Some(MadeBy { record, batch, step: None }) => png_with_metadata(&self.pixels, record, *batch),
            Some(MadeBy { record, batch, step: Some(step) }) => step_png(&self.pixels, record, *batch, *step),
        }
    }

    /// The same with every pixel a square of `times`×`times`.
    #[must_use]
    pub fn magnified(&self, times: u32) -> Picture {
        magnify(&self.pixels, times.max(1)).into()
    }

    /// The part of `width`×`height` pixels whose upper left corner is at column `x` and row `y`, as far as it lies within.
    #[must_use]
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Picture {
        imageops::crop_imm(&self.pixels, x, y, width, height).to_image().into()
    }

    /// The mean of red, green and blue, each in levels from 0 to 255.
    pub fn mean_colour(&self) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for pixel in self.pixels.pixels() {
            sums.iter_mut().zip(pixel.0).for_each(|(sum, level)| *sum += f64::from(level));
        }
        sums.map(|sum| sum / f64::from((self.width() * self.height()).max(1)))
    }

    /// How far apart two pictures of one size are: the mean absolute difference of their values in levels of 255. NaN where
    /// their sizes differ.
    pub fn difference(&self, other: &Picture) -> f64 {
        if self.dimensions() != other.dimensions() {
            return f64::NAN;
        }
        let apart = self.as_raw().iter().zip(other.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        apart.sum::<f64>() / self.as_raw().len().max(1) as f64
    }

    /// The peak signal to noise ratio of two pictures of one size, in decibels; infinite where they are the same, NaN where
    /// their sizes differ.
    pub fn psnr(&self, other: &Picture) -> f64 {
        if self.dimensions() != other.dimensions() {
            return f64::NAN;
        }
        diff::psnr(self, other).unwrap_or(f64::INFINITY)
    }

    /// Shows it where a notebook's cell ends in it; a small one is magnified with hard pixels.
    pub fn evcxr_display(&self) {
        display::bytes("image/png", png_bytes(&self.for_the_eye()), &self.to_string());
    }

    /// Magnified, if it is small.
    pub(super) fn for_the_eye(&self) -> RgbImage {
        magnify(&self.pixels, magnification(self.dimensions(), (SHOWN, SHOWN)))
    }
}

/// `picture of 128×128 pixels`.
impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "picture of {}×{} pixels", self.pixels.width(), self.pixels.height())
    }
}

impl Deref for Picture {
    type Target = RgbImage;

    fn deref(&self) -> &RgbImage {
        &self.pixels
    }
}

impl DerefMut for Picture {
    fn deref_mut(&mut self) -> &mut RgbImage {
        // What is painted over is no longer what the run made.
        self.made_by = None;
        &mut self.pixels
    }
}

/// The same pixels, whatever made them.
impl PartialEq for Picture {
    fn eq(&self, other: &Picture) -> bool {
        self.pixels == other.pixels
    }
}

impl From<RgbImage> for Picture {
    fn from(pixels: RgbImage) -> Picture {
        Picture { pixels, made_by: None }
    }
}

impl From<Picture> for RgbImage {
    fn from(picture: Picture) -> RgbImage {
        picture.pixels
    }
}

/// Pictures with their names above, up to six in a row. Small ones are magnified with hard pixels.
pub fn sheet<L: AsRef<str>, P: Borrow<Picture>>(cells: &[(L, P)]) -> Picture {
    let rows = cells.len().div_ceil(ROW).max(1);
    sheet_of(cells.len().div_ceil(rows), cells)
}

/// The same with `columns` in a row.
pub fn sheet_of<L: AsRef<str>, P: Borrow<Picture>>(columns: usize, cells: &[(L, P)]) -> Picture {
    lay_out(columns, cells, ON_A_SHEET)
}

/// Pictures with short names, up to six in a row, less magnified.
pub(super) fn dense_sheet<L: AsRef<str>, P: Borrow<Picture>>(cells: &[(L, P)]) -> Picture {
    let rows = cells.len().div_ceil(ROW).max(1);
    lay_out(cells.len().div_ceil(rows), cells, ON_A_DENSE_SHEET)
}

fn lay_out<L: AsRef<str>, P: Borrow<Picture>>(columns: usize, cells: &[(L, P)], side: u32) -> Picture {
    let large = |(name, picture): &(L, P)| {
        let picture: &Picture = picture.borrow();
        let times = magnification(picture.dimensions(), (side, side));
        (name.as_ref().to_string(), magnify(picture, times))
    };
    let cells: Vec<(String, RgbImage)> = cells.iter().map(large).collect();
    gallery(&cells, columns, 1, &TextStyle::new(side as f32 / 16.0, Rgb([20; 3]))).into()
}
