//! Drawings: from SVG to pixels on a plain background.
//!
//! Enters: an SVG document. Leaves: the drawing at any size, measured by what is visible of it and not by the margins that
//! its author left, and pictures with it.

use crate::error::{Error, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

/// Fainter pixels do not count as part of a drawing.
const VISIBLE: u8 = 8;
/// Drawings are rendered this much larger than they are needed: the edges of shadows and lights are hard in SVG, and
/// become smooth when they are made smaller.
const LARGER: u32 = 3;
/// Sizes that a drawing is kept in, each half of the one before.
const LEVELS: usize = 4;

/// A drawing in pixels, premultiplied by alpha.
#[derive(Debug)]
pub struct Drawing {
    /// The pixels, and each time half as many along each side.
    levels: Vec<RgbaImage>,
    /// How many pixels on each side of the first are shadow alone, which its size does not count.
    margin: u32,
}

/// How a drawing stands in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Its longer side in pixels.
    pub side: u32,
    /// Pixels right of the picture's middle.
    pub x: i32,
    /// Pixels below it.
    pub y: i32,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
    /// How far it is turned, clockwise, in degrees.
    pub turn: f64,
}

impl Drawing {
    /// From pixels, premultiplied by alpha, of which `margin` on each side do not count.
    pub fn new(pixels: RgbaImage, margin: u32) -> Drawing {
        let mut levels = vec![pixels];
        while levels.len() < LEVELS {
            let last = &levels[levels.len() - 1];
            levels.push(halved(last));
        }
        Drawing { levels, margin }
    }

    /// Renders an SVG document, for use in pictures of `size` pixels: its pixels with no margins.
    ///
    /// # Errors
    /// When it is not SVG, or shows nothing.
    pub fn render(svg: &str, name: &str, size: u32) -> Result<RgbaImage> {
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
        Ok(imageops::crop_imm(&page, left, top, right - left, bottom - top).to_image())
    }

    /// The longer side of what counts.
    fn longer(&self) -> f64 {
        f64::from(self.levels[0].width().max(self.levels[0].height()) - 2 * self.margin)
    }

    /// The drawing with its longer side `side` pixels long, its margin left out of account.
    pub fn scaled(&self, side: u32) -> RgbaImage {
        let (width, height) = self.levels[0].dimensions();
        let scale = f64::from(side) / self.longer();
        let length = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let whole = DynamicImage::from(self.levels[0].clone());
        whole.resize_exact(length(width), length(height), FilterType::CatmullRom).into_rgba8()
    }

    /// Puts the drawing into a picture, turned or mirrored: each pixel is the mean of four places of the drawing.
    pub fn onto(&self, picture: &mut RgbImage, pose: Pose) {
        let wanted = self.longer() / f64::from(pose.side);
        // Not more than two of its pixels to one of the picture, of which four places are looked at.
        let level = (wanted / 2.0).log2().ceil().clamp(0.0, (LEVELS - 1) as f64) as usize;
        let pixels = &self.levels[level];
        let scale = wanted / f64::from(1u32 << level);
        let (sin, cos) = pose.turn.to_radians().sin_cos();
        let (width, height) = (f64::from(pixels.width()), f64::from(pixels.height()));
        let middle = |length: u32| f64::from(length) / 2.0;
        let (x0, y0) = (middle(picture.width()) + f64::from(pose.x), middle(picture.height()) + f64::from(pose.y));
        let reach = |a: f64, b: f64| (a.abs() + b.abs()) / 2.0 / scale + 1.0;
        let (wide, high) = (reach(width * cos, height * sin), reach(width * sin, height * cos));
        let within = |from: f64, most: u32| from.clamp(0.0, f64::from(most)) as u32;
        for row in within(y0 - high, picture.height())..within(y0 + high + 1.0, picture.height()) {
            for column in within(x0 - wide, picture.width())..within(x0 + wide + 1.0, picture.width()) {
                let mut sum = [0.0f32; 4];
                for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                    let (x, y) = (f64::from(column) + dx - x0, f64::from(row) + dy - y0);
                    let (x, y) = ((x * cos + y * sin) * scale, (y * cos - x * sin) * scale);
                    let x = if pose.mirrored { -x } else { x };
                    add_pixel(pixels, (x + width / 2.0) as f32, (y + height / 2.0) as f32, &mut sum);
                }
                lay_over(picture.get_pixel_mut(column, row), sum.map(|channel| (channel / 4.0).round() as u8));
            }
        }
    }
}

/// Puts a drawing into a picture, `x` pixels right of its middle and `y` below it. What sticks out is cut.
pub fn put(drawing: &RgbaImage, picture: &mut RgbImage, (x, y): (i32, i32)) {
    let middle = |whole: u32, length: u32| (whole as i32 - length as i32).div_euclid(2);
    let (left, top) = (middle(picture.width(), drawing.width()) + x, middle(picture.height(), drawing.height()) + y);
    for (column, row, pixel) in drawing.enumerate_pixels() {
        let at = (u32::try_from(left + column as i32), u32::try_from(top + row as i32));
        let (Ok(column), Ok(row)) = at else { continue };
        let Some(below) = picture.get_pixel_mut_checked(column, row) else { continue };
        lay_over(below, pixel.0);
    }
}

fn lay_over(below: &mut Rgb<u8>, above: [u8; 4]) {
    let [red, green, blue, alpha] = above.map(u32::from);
    for (channel, ink) in below.0.iter_mut().zip([red, green, blue]) {
        *channel = (ink + (u32::from(*channel) * (255 - alpha) + 127) / 255).min(255) as u8;
    }
}

/// Adds what a picture shows at a place between its pixels; nothing beyond its edges.
fn add_pixel(pixels: &RgbaImage, x: f32, y: f32, sum: &mut [f32; 4]) {
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (right, lower) = (x - left, y - top);
    for (dx, dy, weight) in [
        (0, 0, (1.0 - right) * (1.0 - lower)),
        (1, 0, right * (1.0 - lower)),
        (0, 1, (1.0 - right) * lower),
        (1, 1, right * lower),
    ] {
        let at = (u32::try_from(left as i32 + dx), u32::try_from(top as i32 + dy));
        let (Ok(column), Ok(row)) = at else { continue };
        if let Some(pixel) = pixels.get_pixel_checked(column, row) {
            sum.iter_mut().zip(pixel.0).for_each(|(sum, channel)| *sum += weight * f32::from(channel));
        }
    }
}

/// Half as many pixels along each side, each the mean of four.
fn halved(pixels: &RgbaImage) -> RgbaImage {
    let size = |length: u32| length.div_ceil(2).max(1);
    RgbaImage::from_fn(size(pixels.width()), size(pixels.height()), |x, y| {
        let mut sums = [2u32; 4];
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            if let Some(pixel) = pixels.get_pixel_checked(2 * x + dx, 2 * y + dy) {
                sums.iter_mut().zip(pixel.0).for_each(|(sum, channel)| *sum += u32::from(channel));
            }
        }
        Rgba(sums.map(|sum| (sum / 4) as u8))
    })
}

/// Left, top, right and bottom of what is visible.
pub(super) fn bounds(page: &RgbaImage) -> Option<[u32; 4]> {
    let visible = page.enumerate_pixels().filter(|(.., pixel)| pixel.0[3] >= VISIBLE);
    visible.fold(None, |bounds, (x, y, _)| {
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
        Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)])
    })
}
