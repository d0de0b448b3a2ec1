//! Where two runs differ: a map per step, all on one sheet.
//!
//! Enters: two runs. Leaves: one PNG. A map has a place for each place of the latents, magnified with hard pixels; its
//! value is the root mean square of the difference over the channels. All maps share one range, from 0 to the largest
//! value, which is written on the sheet.

use super::diff;
use super::settings;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::text::{Align, TextStyle};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Axis};

/// The most maps on one sheet; of longer runs evenly spaced steps are shown.
const MOST: usize = 60;
const WIDTH: u32 = 1600;
const MARGIN: u32 = 36;
/// Pixels between two lines of the head, and the size of the colours' bar.
const BETWEEN: u32 = 8;
const BAR: (u32, u32) = (400, 26);
const GAP: u32 = 14;
const ROW_GAP: u32 = 26;
const CAPTION: u32 = 40;
/// Characters of a prompt above the maps.
const PROMPT: usize = 80;
const INK: Rgb<u8> = Rgb([0; 3]);

/// One map: the step and the root mean square difference at each place, `[height/8, width/8]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The step in the first run.
    pub step: usize,
    /// The values.
    pub values: Array2<f32>,
}

/// The maps of the first of `latents`, `predicted_original`, `noise_guided`, … that both runs recorded, for picture
/// `batch`, at most 60 of them, and what they are of.
///
/// # Errors
/// When the runs have no such quantity of one shape in common; when a step cannot be read.
pub fn maps(a: &Run, b: &Run, batch: usize) -> Result<(Quantity, Vec<Map>)> {
    let pairs = thin(diff::shared_steps(a, b)?);
    let order = [Quantity::Latents, Quantity::PredictedOriginal, Quantity::NoiseGuided, Quantity::NoiseText];
    for what in order.into_iter().chain([Quantity::NoiseUncond]) {
        let mut maps = vec![];
        for &(step, step_b) in &pairs {
            if let (Some(mut one), Some(mut other)) = (a.tensor(step, what, batch)?, b.tensor(step_b, what, batch)?)
                && one.shape() == other.shape()
            {
                if let Some((scale, scale_b)) = diff::scales(a, b, (step, step_b), what) {
                    one /= scale;
                    other /= scale_b;
                }
                let squares = (&one - &other).mapv(|v| v * v);
                let mean = squares.mean_axis(Axis(0)).unwrap_or_default();
                maps.push(Map { step, values: mean.mapv(f32::sqrt) });
            }
        }
        if !maps.is_empty() {
            return Ok((what, maps));
        }
    }
    Err(Error::NotRecorded {
        message: format!(
            "`{}` and `{}` have no step in common that both recorded at one size",
            a.name().display(),
            b.name().display()
        ),
        hint: "trace both with the same `--record`, `--steps` and size".into(),
    })
}

/// Evenly spaced pairs, with the first and the last.
fn thin(pairs: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let n = pairs.len();
    if n <= MOST {
        return pairs;
    }
    (0..MOST).map(|i| pairs[i * (n - 1) / (MOST - 1)]).collect()
}

/// The sheet.
///
/// # Errors
/// As [`maps`].
pub fn sheet(a: &Run, b: &Run, batch: usize) -> Result<Vec<u8>> {
    let (what, maps) = maps(a, b, batch)?;
    let largest = maps.iter().flat_map(|m| &m.values).copied().filter(|v| v.is_finite()).fold(0.0, f32::max);
    // Maps of a smaller first pass are enlarged to those of the second.
    let dims = || maps.iter().map(|m| m.values.dim());
    let (height, width) = (dims().map(|d| d.0).max().unwrap_or(1), dims().map(|d| d.1).max().unwrap_or(1));
    let columns = match maps.len() as u32 {
        n @ 1..=5 => n,
        n @ 6..=24 => n.div_ceil(3).max(5),
        _ => 10,
    };
    let inner = WIDTH - 2 * MARGIN;
    // A whole number of pixels a place, so that all places have one size.
    let zoom = ((inner - GAP * (columns - 1)) / columns / width as u32).clamp(1, 24);
    let (tile_w, tile_h) = (width as u32 * zoom, height as u32 * zoom);
    let rows = (maps.len() as u32).div_ceil(columns);
    let sheet_width = WIDTH.max(columns * (tile_w + GAP) - GAP + 2 * MARGIN);
    let head = head(a, b, batch, what, sheet_width - 2 * MARGIN);
    let lines: u32 = head.iter().map(|(_, style)| style.line_height() + BETWEEN).sum();
    let top = 22 + lines + 28 + BAR.1 + 22;
    let mut picture =
        RgbImage::from_pixel(sheet_width, top + rows * (tile_h + CAPTION + ROW_GAP) + MARGIN, Rgb([255; 3]));
    let place = |i: u32| (MARGIN + i % columns * (tile_w + GAP), top + i / columns * (tile_h + CAPTION + ROW_GAP));
    for (i, map) in (0..).zip(&maps) {
        let (x, y) = place(i);
        let (rows, columns) = map.values.dim();
        for dy in 0..tile_h {
            for dx in 0..tile_w {
                let place = [dy as usize * rows / tile_h as usize, dx as usize * columns / tile_w as usize];
                picture.put_pixel(x + dx, y + CAPTION + dy, colour(map.values[place], largest));
            }
        }
    }
    let captions = (0..).zip(&maps).map(|(i, map)| (format!("step {}", map.step), place(i))).collect::<Vec<_>>();
    label(&mut picture, &head, largest, &captions);
    png_bytes(&picture)
}

/// The lines above the maps: what is compared, what both runs share, and what sets each apart.
fn head(a: &Run, b: &Run, batch: usize, what: Quantity, width: u32) -> Vec<(String, TextStyle)> {
    let (bold, plain) = (TextStyle::new(32.0, INK).bold(), TextStyle::new(24.0, INK));
    let names = settings::names(&[a, b], batch);
    let lines = [
        (format!("Where the runs differ: {what}, root mean square over the channels"), bold),
        (settings::common(&[a, b], batch, PROMPT), plain),
        (format!("{} against {}", names[0], names[1]), plain),
    ];
    let wrapped = |(text, style): (String, TextStyle)| {
        let lines = style.wrap_to(&text, width, 3);
        lines.lines().map(|line| (line.to_string(), style)).collect::<Vec<_>>()
    };
    lines.into_iter().flat_map(wrapped).filter(|(line, _)| !line.is_empty()).collect()
}

/// A number in three digits: `0.0123`, `4.56`, `7.8e-6`.
fn short(value: f32) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if !(0.001..10_000.0).contains(&v) => format!("{value:.2e}"),
        v => format!("{value:.*}", (2 - v.log10().floor() as i32).max(0) as usize),
    }
}

/// Dark for 0, bright for the largest value; a place that is not a number is red.
fn colour(value: f32, largest: f32) -> Rgb<u8> {
    if !value.is_finite() {
        return Rgb([255, 0, 0]);
    }
    let share = if largest > 0.0 { f64::from(value / largest) } else { 0.0 };
    let (r, g, b) = colorous::INFERNO.eval_continuous(share.clamp(0.0, 1.0)).as_tuple();
    Rgb([r, g, b])
}

/// Writes the head, the colours with their range, and the step above each map.
fn label(picture: &mut RgbImage, head: &[(String, TextStyle)], largest: f32, captions: &[(String, (u32, u32))]) {
    let mut y = 22;
    for (line, style) in head {
        style.draw(picture, (i64::from(MARGIN), i64::from(y)), Align::Left, line);
        y += style.line_height() + BETWEEN;
    }
    y += 28;
    for x in 0..BAR.0 {
        for dy in 0..BAR.1 {
            picture.put_pixel(MARGIN + x, y + dy, colour(x as f32, BAR.0 as f32));
        }
    }
    let plain = TextStyle::new(24.0, INK);
    let range = format!("0 to {}, the same range in all maps", short(largest));
    plain.draw(picture, (i64::from(MARGIN + BAR.0 + 16), i64::from(y) - 2), Align::Left, &range);
    for (caption, (x, y)) in captions {
        plain.draw(picture, (i64::from(*x), i64::from(*y) + 6), Align::Left, caption);
    }
}
