//! File formats of a figure: SVG as it is drawn, PNG and PDF made of that, and the numbers as CSV and JSON.

use super::{Figure, WIDTH, refused};
use crate::error::{Error, Result};
use crate::trace::metadata::png_bytes;
use crate::viz::fonts;
use image::{RgbImage, RgbaImage};
use krilla::Document;
use krilla::geom::Size;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla_svg::{SurfaceExt, SvgSettings};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;
use serde_json::{Value, json};
use std::fmt::Write;
use std::str::FromStr;

/// Points of a PDF per pixel: 1600 pixels become 800 points, 28 cm.
const POINTS: f32 = 0.5;

/// A file format of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pixels, 1600 across.
    Png,
    /// Lines and text, for slides and print at any size.
    Svg,
    /// The same on a page of its size, for papers.
    Pdf,
    /// The numbers, one line each.
    Csv,
    /// The numbers and all words.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 5] = [Format::Png, Format::Svg, Format::Pdf, Format::Csv, Format::Json];

    /// The end of its file names, and its name on the command line.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Svg => "svg",
            Format::Pdf => "pdf",
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }

    /// The figure in this format.
    ///
    /// # Errors
    /// When a drawing library refuses.
    pub fn bytes(self, figure: &Figure) -> Result<Vec<u8>> {
        match self {
            Format::Png => figure.png(),
            Format::Svg => Ok(figure.svg()?.into_bytes()),
            Format::Pdf => pdf(figure),
            Format::Csv => Ok(csv(figure).into_bytes()),
            Format::Json => Ok((serde_json::to_string_pretty(&figure.as_json()).map_err(refused)? + "\n").into_bytes()),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let hit = Format::ALL.into_iter().find(|format| format.extension() == name);
        hit.ok_or_else(|| Error::unknown("format", name, Format::ALL.map(Format::extension)))
    }
}

impl Figure {
    /// The figure as a PNG.
    ///
    /// # Errors
    /// As [`Figure::svg`].
    pub fn png(&self) -> Result<Vec<u8>> {
        png_bytes(&pixels(self)?)
    }

    /// The words and the numbers; null for one that is not finite.
    pub fn as_json(&self) -> Value {
        let mut panels = vec![];
        for panel in &self.panels {
            let curve = |curve: &super::Line| json!({ "name": curve.name, "points": curve.points });
            let curves: Vec<Value> = panel.curves.iter().map(curve).collect();
            panels.push(
                json!({ "y": panel.y, "about": panel.about, "x": panel.x, "logarithmic": panel.log, "curves": curves }),
            );
        }
        json!({ "title": self.title, "subtitle": self.subtitle, "note": self.note, "panels": panels })
    }
}

/// The figure with its letters found in the fonts.
fn tree(figure: &Figure) -> Result<usvg::Tree> {
    let svg = figure.svg()?;
    let options = usvg::Options { fontdb: fonts::database(&svg), ..usvg::Options::default() };
    usvg::Tree::from_str(&svg, &options).map_err(refused)
}

fn pixels(figure: &Figure) -> Result<RgbImage> {
    let tree = tree(figure)?;
    let mut page = Pixmap::new(WIDTH, figure.height()).ok_or_else(|| refused("no memory for it"))?;
    resvg::render(&tree, Transform::identity(), &mut page.as_mut());
    let page = RgbaImage::from_raw(page.width(), page.height(), page.take());
    let page = page.ok_or_else(|| refused("the picture has another size"))?;
    Ok(image::DynamicImage::from(page).into_rgb8())
}

fn pdf(figure: &Figure) -> Result<Vec<u8>> {
    let tree = tree(figure)?;
    let (width, height) = (WIDTH as f32 * POINTS, figure.height() as f32 * POINTS);
    let (Some(size), Some(settings)) = (Size::from_wh(width, height), PageSettings::from_wh(width, height)) else {
        return Err(refused("the page has no size"));
    };
    let mut document = Document::new();
    document.set_metadata(Metadata::new().title(figure.title.clone()).creator("sdviz".into()));
    let mut page = document.start_page_with(settings);
    let mut surface = page.surface();
    surface.draw_svg(&tree, size, SvgSettings::default()).ok_or_else(|| refused("the page cannot hold it"))?;
    surface.finish();
    page.finish();
    document.finish().map_err(|error| refused(format!("{error:?}")))
}

/// A line for each point, with all digits. `inf` and `NaN` stand for what no figure shows.
fn csv(figure: &Figure) -> String {
    let mut text = "panel,curve,step,value\n".to_string();
    for panel in &figure.panels {
        for curve in &panel.curves {
            for (step, value) in &curve.points {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{},{},{step},{value}", field(&panel.y), field(&curve.name));
            }
        }
    }
    text
}

/// A field of a CSV file: in quotes where it holds a comma, a quote or a line break (RFC 4180).
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("x₀"), "x₀");
        assert_eq!(field("x, the \"latents\""), "\"x, the \"\"latents\"\"\"");
    }

    #[test]
    fn formats_come_back() {
        assert!(Format::ALL.iter().all(|format| format.extension().parse::<Format>().unwrap() == *format));
    }
}
