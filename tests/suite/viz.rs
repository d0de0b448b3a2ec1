//! Pictures compared with ones that were looked at.
//!
//! The golden pictures in `snapshots/viz/` are made by `SDVIZ_UPDATE_SNAPSHOTS=1 cargo test --test suite viz::`; look at them
//! before they are committed. Tolerance: sizes equal, no more than 1 in 1000 pixels off by more than 24 of 255 in any
//! colour, and 0.25 of 255 off on average: letters' edges are computed in floating point, and may differ in a last bit
//! between machines.

use crate::common::root;

use image::{Rgb, RgbImage};
use ndarray::{Array3, s};
use sdviz::viz::caption::{CaptionStyle, with_caption};
use sdviz::viz::colour::{ColourMap, OKABE_ITO, colour_bar};
use sdviz::viz::grid::{Axis, Grid, GridCell, GridStyle};
use sdviz::viz::latents::{ChannelTriple, contact_sheet, paint};
use sdviz::viz::normalise::{Normalisation, Range, RangeFinder};
use sdviz::viz::pixels::{WHITE, magnify, pad, side_by_side};
use sdviz::viz::text::{Align, TextStyle};

const INK: Rgb<u8> = Rgb([20; 3]);

/// Smooth latents `[4, height, width]`.
fn latents(height: usize, width: usize) -> Array3<f32> {
    Array3::from_shape_fn((4, height, width), |(channel, y, x)| {
        let (u, v, c) = (x as f32 / width as f32, y as f32 / height as f32, channel as f32 + 1.0);
        2.5 * (2.0 * c * u + (1.5 + 1.5 * c) * v).sin()
    })
}

fn check(name: &str, picture: &RgbImage) {
    let path = root("tests/suite/snapshots/viz").join(name).with_extension("png");
    if std::env::var_os("SDVIZ_UPDATE_SNAPSHOTS").is_some() {
        picture.save(&path).unwrap();
    }
    let golden = image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
    assert_eq!(picture.dimensions(), golden.dimensions(), "{name}");
    let differences = || picture.as_raw().iter().zip(golden.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let far = differences().collect::<Vec<_>>().chunks(3).filter(|pixel| pixel.iter().any(|d| *d > 24)).count();
    let pixels = (golden.width() * golden.height()) as usize;
    let mean = differences().map(f64::from).sum::<f64>() / (3 * pixels) as f64;
    assert!(far * 1000 <= pixels && mean <= 0.25, "{name}: {far} of {pixels} pixels are far off, {mean:.3} on average");
}

#[test]
fn text_is_crisp() {
    let mut picture = RgbImage::from_pixel(420, 160, WHITE);
    let mut y = 4;
    for px in [10.0, 14.0, 18.0, 26.0] {
        let style = TextStyle::new(px, INK);
        style.draw(&mut picture, (6, y), Align::Left, "step 12/25 · σ 1.62 ≤ ᾱ × −3 \u{4e2d}");
        y += i64::from(style.line_height());
    }
    TextStyle::new(26.0, OKABE_ITO[5]).bold().draw(&mut picture, (414, y), Align::Right, "guidance scale");
    check("text", &picture);
}

#[test]
fn bars_tell_their_scale() {
    let style = TextStyle::new(14.0, INK);
    let bar = |map: &ColourMap| colour_bar(*map, Range { lo: -2.5, hi: 2.8 }, 150, &style);
    let bars: Vec<_> = ColourMap::ALL.iter().map(bar).collect();
    check("colour_bars", &pad(&side_by_side(&bars, 16, WHITE), [8; 4], WHITE));
}

#[test]
fn a_frame_carries_its_caption() {
    let mut finder = RangeFinder::new(Normalisation::Run);
    finder.push(latents(16, 16).iter().copied());
    let range = finder.finish().unwrap().for_frame([]);
    let frame = magnify(&paint(latents(16, 16).view(), ChannelTriple::default(), range).unwrap(), 16);
    check("caption", &with_caption(&frame, "step 12/25 · t 481 · σ 1.62", &CaptionStyle::for_width(256)));
}

#[test]
fn a_grid_is_labelled() {
    let range = Range { lo: -2.5, hi: 2.5 };
    let picture = |number: usize| {
        let all = latents(16, 24);
        let part = all.slice(s![.., .., number..number + 16]);
        GridCell::Picture(paint(part, ChannelTriple::all(4)[4 * number], range).unwrap())
    };
    let grid = Grid {
        title: "a photograph of a cat, seed 42".into(),
        rows: Axis::new("guidance scale", ["1", "7.5"]),
        columns: Axis::new("steps", ["10", "25", "50"]),
        cells: (0..6).map(|i| if i == 4 { GridCell::Missing("not run yet".into()) } else { picture(i) }).collect(),
    };
    let style = GridStyle { least_cell: 128, ..GridStyle::default() };
    check("grid", &grid.draw(&style).unwrap()[0]);
}

#[test]
fn a_contact_sheet_shows_every_way() {
    let sheet = contact_sheet(latents(8, 12).view(), Range { lo: -2.5, hi: 2.5 }, "step 12/25 · σ 1.62").unwrap();
    check("contact_sheet", &sheet);
}
