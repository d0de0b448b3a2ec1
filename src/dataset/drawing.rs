//! Drawings: from SVG to pixels on a plain background.
//!
//! Enters: an SVG document. Leaves: the drawing at any size, measured by what is visible of it and not by the margins that
//! its author left, and pictures with it.

use crate::error::{Error, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage, RgbaImage};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

/// Fainter pixels do not count as part of a drawing.
const VISIBLE: u8 = 8;
/// Drawings are rendered this much larger than they are needed: the edges of shadows and lights are hard in SVG, and
/// become smooth when they are made smaller.
const LARGER: u32 = 3;

/// A drawing in pixels, premultiplied by alpha, with no margins.
#[derive(Debug)]
pub struct Drawing(RgbaImage);

impl Drawing {
    /// Renders an SVG document, for use in pictures of `size` pixels.
    ///
    /// # Errors
    /// When it is not SVG, or shows nothing.
    pub fn render(svg: &str, name: &str, size: u32) -> Result<Drawing> {
        let bad = |reason: String| Error::Invalid {
            message: format!("the drawing `{name}`, in the `icons.json` of its set, {reason}"),
            hint: None,
        };
        let tree = usvg::Tree::from_str(svg, &usvg::Options::default()).map_err(|e| bad(format!("is not SVG: {e}")))?;
        let (width, height) = (tree.size().width(), tree.size().height());
        let factor = (size * LARGER) as f32 / width.max(height);
        let side = |length: f32| ((length * factor).ceil() as u32).max(1);
        let mut page = Pixmap::new(side(width), side(height)).ok_or_else(|| bad("is too large".into()))?;
        resvg::render(&tree, Transform::from_scale(factor, factor), &mut page.as_mut());
        let page = RgbaImage::from_raw(page.width(), page.height(), page.take());
        let page = page.ok_or_else(|| bad("cannot be rendered".into()))?;
        let [left, top, right, bottom] = bounds(&page).ok_or_else(|| bad("shows nothing".into()))?;
        Ok(Drawing(imageops::crop_imm(&page, left, top, right - left, bottom - top).to_image()))
    }

    /// The drawing with its longer side `side` pixels long.
    pub fn scaled(&self, side: u32) -> Drawing {
        let (width, height) = self.0.dimensions();
        let scale = f64::from(side) / f64::from(width.max(height));
        let length = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let whole = DynamicImage::from(self.0.clone());
        Drawing(whole.resize_exact(length(width), length(height), FilterType::CatmullRom).into_rgba8())
    }

    /// A square picture of `size` pixels with the drawing on a plain background, `x` pixels right of the middle and `y`
    /// below it. What sticks out is cut.
    pub fn on(&self, background: [u8; 3], size: u32, (x, y): (i32, i32)) -> RgbImage {
        let mut picture = RgbImage::from_pixel(size, size, Rgb(background));
        let middle = |length: u32| (size as i32 - length as i32).div_euclid(2);
        let (left, top) = (middle(self.0.width()) + x, middle(self.0.height()) + y);
        for (column, row, pixel) in self.0.enumerate_pixels() {
            let at = (u32::try_from(left + column as i32), u32::try_from(top + row as i32));
            let (Ok(column), Ok(row)) = at else { continue };
            let Some(below) = picture.get_pixel_mut_checked(column, row) else { continue };
            let [red, green, blue, alpha] = pixel.0.map(u32::from);
            for (channel, ink) in below.0.iter_mut().zip([red, green, blue]) {
                *channel = (ink + (u32::from(*channel) * (255 - alpha) + 127) / 255).min(255) as u8;
            }
        }
        picture
    }
}

/// Left, top, right and bottom of what is visible.
fn bounds(page: &RgbaImage) -> Option<[u32; 4]> {
    let visible = page.enumerate_pixels().filter(|(.., pixel)| pixel.0[3] >= VISIBLE);
    visible.fold(None, |bounds, (x, y, _)| {
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
        Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)])
    })
}
