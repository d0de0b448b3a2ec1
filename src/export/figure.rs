//! Figures: line plots side by side, drawn for a projector, as PNG or SVG.
//!
//! Enters: names, units and points. Leaves: bytes of a 1600×900 picture. Colours are those of Okabe and Ito (2008), which
//! stay apart for colour-blind eyes; dashes and markers differ too, so that a figure survives a grey print. The font is
//! DejaVu Sans, shipped with the program; an SVG names it and falls back to the viewer's own.

mod axis;
mod draw;

use crate::error::{Error, Result};
use crate::trace::metadata::png_bytes;
use crate::viz::text::{BOLD_FONT, REGULAR_FONT};
use image::{RgbImage, imageops};
use plotters::prelude::*;
use std::sync::OnceLock;

/// Width and height of a figure, pixels.
pub const SIZE: (u32, u32) = (1600, 900);

/// The font's name: in an SVG, a list of families.
pub(super) const FONT: &str = "DejaVu Sans, Verdana, sans-serif";

/// PNGs are drawn this much larger and averaged down, because plotters draws lines without smoothing their edges.
const OVERSAMPLING: u32 = 2;

/// How far plotters sets DejaVu Sans too high in a bitmap, as a share of its size: it takes the baseline to be half the
/// size below the top, where this font has it 0.8 below, less what its `1.24` takes off the height.
const TEXT_DROP: f64 = 0.15;

/// A figure: one or several panels side by side under one title.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Of which run: prompt, scheduler, steps.
    pub subtitle: String,
    /// Left to right, at least one.
    pub panels: Vec<Panel>,
    /// A line at the bottom, for what the panels cannot say.
    pub note: String,
}

/// A coordinate system with its curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Name of the vertical axis, with its symbol; stands above it.
    pub y: String,
    /// A second, smaller line under it: the formula or the unit.
    pub about: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Where the horizontal axis ends, if the curves stop before it (a run that is not finished).
    pub x_end: f64,
    /// Whether the vertical axis is logarithmic. Values that are not above 0 are then left out.
    pub log: bool,
    /// The curves. A panel of one curve has no legend.
    pub curves: Vec<Line>,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, left to right. Those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Which colour, dash and marker. The same thing looks the same in every figure.
    pub look: usize,
}

impl Figure {
    /// The figure as a PNG.
    ///
    /// # Errors
    /// When it has no panel, or the drawing library refuses.
    pub fn png(&self) -> Result<Vec<u8>> {
        register_font()?;
        let (width, height) = (SIZE.0 * OVERSAMPLING, SIZE.1 * OVERSAMPLING);
        let mut large = RgbImage::new(width, height);
        {
            let area = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
            let pen = draw::Pen { k: f64::from(OVERSAMPLING), drop: TEXT_DROP };
            draw::figure(self, &area, pen).map_err(refused)?;
            area.present().map_err(refused)?;
        }
        png_bytes(&imageops::thumbnail(&large, SIZE.0, SIZE.1))
    }

    /// The figure as an SVG, in which text stays text.
    ///
    /// # Errors
    /// As [`Figure::png`].
    pub fn svg(&self) -> Result<Vec<u8>> {
        register_font()?;
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            draw::figure(self, &area, draw::Pen { k: 1.0, drop: 0.0 }).map_err(refused)?;
            area.present().map_err(refused)?;
        }
        Ok(text.into_bytes())
    }
}

/// Makes the shipped font known to plotters, once.
pub(super) fn register_font() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let register = |style, bytes| plotters::style::register_font(FONT, style, bytes).is_ok();
        register(FontStyle::Normal, REGULAR_FONT) && register(FontStyle::Bold, BOLD_FONT)
    });
    if *done { Ok(()) } else { Err(refused("the shipped font cannot be read")) }
}

/// The drawing library's refusal as our error.
pub(super) fn refused(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("cannot draw the figure: {error}"), "report this, with the command")
}
