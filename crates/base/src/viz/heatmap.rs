//! A heat map: a table of numbers as colours, each number written in its place.
//!
//! Enters: numbers with a title for each row and column. Leaves: one picture with a bar that says which colour is which.

use super::colour::{ColourMap, colour_bar};
use super::normalise::Range;
use super::pixels::{WHITE, fill};
use super::text::{Align, TextStyle};
use crate::units::decimal;
use image::{Rgb, RgbImage, imageops};
use ndarray::Array2;

/// A table to be drawn.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// Stands above it, and says what the numbers are.
    pub title: String,
    /// The rows' titles.
    pub rows: Vec<String>,
    /// The columns' titles.
    pub columns: Vec<String>,
    /// The numbers, `[rows, columns]`; one that is not there is NaN.
    pub values: Array2<f32>,
    /// The colours.
    pub map: ColourMap,
    /// What the colours span.
    pub range: Range,
    /// Decimals of the numbers.
    pub decimals: usize,
}

/// The letters' em, and what stands between things, in pixels.
const EM: f32 = 16.0;
const GAP: u32 = 12;
/// No picture is narrower, so that its title has room.
const NARROWEST: u32 = 480;
/// What stands for a number that is not there.
const ABSENT: Rgb<u8> = Rgb([225; 3]);
const INK: Rgb<u8> = Rgb([20; 3]);

impl HeatMap {
    /// The picture.
    pub fn draw(&self) -> RgbImage {
        let (text, bold) = (TextStyle::new(EM, INK), TextStyle::new(EM, INK).bold());
        let widest = |labels: &[String]| labels.iter().map(|label| text.width(label)).max().unwrap_or_default();
        let numbers: Vec<String> = self.values.iter().map(|value| self.number(*value)).collect();
        let (wide, high) = (widest(&numbers).max(widest(&self.columns)) + 2 * GAP, text.line_height() + GAP / 2);
        let left = GAP + widest(&self.rows) + GAP;
        let within = wide * self.columns.len() as u32;
        let tall = high * self.rows.len() as u32;
        let bar = colour_bar(self.map, self.range, tall.max(6 * high), &text);
        let width = (left + within + GAP + bar.width() + GAP).max(NARROWEST);
        let heading = bold.wrap(&self.title, width - 2 * GAP);
        let top = GAP + heading.len() as u32 * bold.line_height() + GAP + text.line_height() + GAP / 2;
        let height = top + tall.max(bar.height()) + GAP;
        let mut picture = RgbImage::from_pixel(width, height, WHITE);
        for (line, words) in heading.iter().enumerate() {
            let y = GAP + line as u32 * bold.line_height();
            bold.draw(&mut picture, (i64::from(GAP), i64::from(y)), Align::Left, words);
        }
        for (column, label) in self.columns.iter().enumerate() {
            let x = left + wide * column as u32 + wide / 2;
            let y = top - text.line_height() - GAP / 2;
            text.draw(&mut picture, (i64::from(x), i64::from(y)), Align::Centre, label);
        }
        for (row, label) in self.rows.iter().enumerate() {
            let y = top + high * row as u32;
            text.draw(&mut picture, (i64::from(left - GAP), i64::from(y + GAP / 4)), Align::Right, label);
            for column in 0..self.columns.len() {
                let value = self.values[[row, column]];
                let paint = if value.is_nan() { ABSENT } else { self.map.at(self.range.unit(value)) };
                let x = left + wide * column as u32;
                fill(&mut picture, (x.into(), y.into()), (wide - 1, high - 1), paint);
                let style = TextStyle::new(EM, ink_on(paint));
                let place = (i64::from(x + wide / 2), i64::from(y + GAP / 4));
                style.draw(&mut picture, place, Align::Centre, &self.number(value));
            }
        }
        // The bar has half a line beyond its ends, for its outermost marks.
        let beside = i64::from(top) - i64::from(text.line_height().div_ceil(2));
        imageops::replace(&mut picture, &bar, i64::from(left + within + GAP), beside);
        picture
    }

    fn number(&self, value: f32) -> String {
        if value.is_nan() {
            return "–".into();
        }
        decimal(value.into(), self.decimals)
    }
}

/// Black or white, whichever is easier to read on a colour (ITU-R BT.601's luma).
fn ink_on(Rgb([r, g, b]): Rgb<u8>) -> Rgb<u8> {
    let luma = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    if luma > 140.0 { INK } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn each_number_has_its_colour_in_its_place() {
        let (map, range) = (ColourMap::Viridis, Range { lo: 0.0, hi: 1.0 });
        let values = array![[0.0, 1.0], [f32::NAN, 0.5]];
        let labels = |names: [&str; 2]| names.map(String::from).to_vec();
        let (rows, columns) = (labels(["a", "b"]), labels(["1-5", "6-10"]));
        let picture = HeatMap { title: "t".into(), rows, columns, values, map, range, decimals: 1 }.draw();
        let count = |colour: Rgb<u8>| picture.pixels().filter(|pixel| **pixel == colour).count();
        for colour in [map.at(0.0), map.at(1.0), map.at(0.5), ABSENT] {
            assert!(count(colour) > 300, "{colour:?}");
        }
        assert_eq!((ink_on(WHITE), ink_on(Rgb([0; 3]))), (INK, WHITE));
    }
}
