//! Figures: line plots side by side, drawn for a projector and for print.
//!
//! Enters: names, units and points. Leaves: a picture of 1600×900 (higher where there are many panels) as SVG, and made
//! of that as PNG and as PDF; or the numbers alone. Colours are those of Okabe and Ito (2008), which stay apart for
//! colour-blind eyes; dashes and markers differ too, so that a figure survives a grey print. The fonts are shipped with
//! the program; an SVG names them and falls back to the viewer's own.

mod axis;
pub mod bands;
mod draw;
mod format;

use crate::error::{Error, Result};
pub use format::Format;
use plotters::prelude::*;

/// The width of a figure, pixels.
pub const WIDTH: u32 = 1600;
/// The height of a figure whose panels stand in one row, and of one with two rows.
const HEIGHTS: [u32; 2] = [900, 1500];
/// The most panels in one row.
const ROW: usize = 3;
/// More curves than this cannot be told apart.
pub const LOOKS: usize = 6;

/// A figure: one or several panels side by side under one title.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it shows; may be empty.
    pub title: String,
    /// Of which run: prompt, scheduler, steps; may be empty.
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
    /// What the horizontal axis is marked with.
    pub across: Across,
    /// Whether the vertical axis is logarithmic. Values that are not above 0 are then left out.
    pub log: bool,
    /// The curves. A panel of one curve has no legend.
    pub curves: Vec<Line>,
    /// Whether the curves are parts of a whole: they are drawn as bands that stand on each other, the first at the bottom.
    pub stacked: bool,
}

/// What a horizontal axis holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Across {
    /// Whole numbers from 0 on: steps.
    #[default]
    Steps,
    /// Any numbers.
    Numbers,
    /// Any numbers, at the scale of the vertical axis: a circle is round.
    SameScale,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Line {
    /// Its name in the legend; one without a name has no place there.
    pub name: String,
    /// Its points, left to right. Those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Which colour, dash and marker. The same thing looks the same in every figure.
    pub look: usize,
    /// Whether it is what a formula says, beside what was measured: then it is thin and dotted, in its look's colour.
    pub theory: bool,
}

impl Line {
    /// What was measured.
    pub fn measured(name: impl Into<String>, points: Vec<(f64, f64)>, look: usize) -> Line {
        Line { name: name.into(), points, look, theory: false }
    }

    /// What a formula says.
    pub fn theory(name: impl Into<String>, points: Vec<(f64, f64)>, look: usize) -> Line {
        Line { name: name.into(), points, look, theory: true }
    }
}

impl Figure {
    /// The figure as an SVG, in which text stays text.
    ///
    /// # Errors
    /// When it has no panel, or the drawing library refuses.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (WIDTH, self.height())).into_drawing_area();
            draw::figure(self, &area).map_err(refused)?;
            area.present().map_err(refused)?;
        }
        Ok(text)
    }

    /// Rows of panels.
    fn rows(&self) -> usize {
        1 + usize::from(self.panels.len() > ROW)
    }

    /// The height in pixels.
    fn height(&self) -> u32 {
        HEIGHTS[self.rows() - 1]
    }
}

/// The drawing library's refusal as our error.
fn refused(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("cannot draw the figure: {error}"), "report this, with the command")
}
