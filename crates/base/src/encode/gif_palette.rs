//! From a picture of any number of colours to one of at most 256, drawn over the frame before it.
//!
//! Enters: a frame, and what the frames before it left on the screen. Leaves: the part that changed, as numbers into a
//! palette. Pixels that stay as they are become transparent, and neighbours of one colour stay neighbours of one colour: a
//! picture that was magnified with hard pixels keeps its squares, which is what makes a GIF small.

use image::RgbImage;
use quantette::color_map::{IndexedColorMap, NearestNeighborColorMap};
use quantette::color_space::srgb8_to_oklab;
use quantette::deps::palette::{Oklab, Srgb, cast::ComponentsAs};
use quantette::{PaletteSize, Pipeline, QuantizeMethod};
use std::collections::HashMap;

/// Colours of a palette.
const MOST: usize = 256;
/// In a frame that has to be rounded anyway, a pixel whose colour has moved by no more than this since it was drawn, of 255
/// and for each of red, green and blue, is not drawn again.
const UNSEEN: u8 = 2;
/// The share of the rounding error that is passed on: all of it would make noise of a lone bad colour.
const DIFFUSED: f32 = 7.0 / 8.0;
/// The most that neighbours can ask of a pixel, in Oklab, where black and white are 1 apart.
const MOST_ERROR: f32 = 0.1;

/// The part of a frame that changed.
#[derive(Debug, PartialEq)]
pub(super) struct Patch {
    /// Its left and upper edge, width and height in pixels.
    pub area: (u32, u32, u32, u32),
    /// Numbers into the palette.
    pub pixels: Vec<u8>,
    /// Red, green and blue of each colour.
    pub palette: Vec<u8>,
    /// The number that stands for what is there already.
    pub transparent: Option<u8>,
}

/// What is on the screen: for each pixel the colour that it was drawn for.
#[derive(Debug, Default)]
pub(super) struct Screen(Option<RgbImage>);

impl Screen {
    /// Draws a frame: gives what has to be coded. `None` if no palette can be made.
    pub fn draw(&mut self, frame: &RgbImage, dither: bool) -> Option<Patch> {
        let few = count(frame.pixels().map(|pixel| pixel.0)).is_some();
        let tolerance = if few { 0 } else { UNSEEN };
        let mut kept = self.kept(frame, tolerance);
        let colours = count(changed(frame, &kept));
        if colours.is_some_and(|colours| colours == MOST) && kept.contains(&true) {
            // No number is left for what stays: all is drawn.
            kept.fill(false);
        }
        let indexed = match exact(frame, &kept) {
            Some(indexed) => indexed,
            None => rounded(frame, &kept, dither)?,
        };
        self.remember(frame, &kept);
        Some(cropped(frame.dimensions(), indexed, &kept))
    }

    /// Which pixels stay as they are.
    fn kept(&self, frame: &RgbImage, tolerance: u8) -> Vec<bool> {
        let Some(shown) = &self.0 else { return vec![false; (frame.width() * frame.height()) as usize] };
        let near = |a: &[u8; 3], b: &[u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= tolerance);
        shown.pixels().zip(frame.pixels()).map(|(shown, now)| near(&shown.0, &now.0)).collect()
    }

    fn remember(&mut self, frame: &RgbImage, kept: &[bool]) {
        match &mut self.0 {
            None => self.0 = Some(frame.clone()),
            Some(shown) => {
                let drawn = shown.pixels_mut().zip(frame.pixels()).zip(kept).filter(|(_, kept)| !**kept);
                drawn.for_each(|((shown, now), _)| *shown = *now);
            }
        }
    }
}

/// The colours of the pixels that are to be drawn.
fn changed<'a>(frame: &'a RgbImage, kept: &'a [bool]) -> impl Iterator<Item = [u8; 3]> + 'a {
    frame.pixels().zip(kept).filter(|(_, kept)| !**kept).map(|(pixel, _)| pixel.0)
}

/// How many colours there are, if they fit in a palette.
fn count(colours: impl Iterator<Item = [u8; 3]>) -> Option<usize> {
    let mut seen: HashMap<[u8; 3], ()> = HashMap::new();
    let mut last = None;
    for colour in colours {
        if last != Some(colour) && seen.insert(colour, ()).is_none() && seen.len() > MOST {
            return None;
        }
        last = Some(colour);
    }
    Some(seen.len())
}

/// A whole frame as numbers into a palette of red, green, blue triples; pixels that stay have any number.
struct Indexed {
    pixels: Vec<u8>,
    palette: Vec<u8>,
}

/// The picture as it is, if what changes has few enough colours.
fn exact(frame: &RgbImage, kept: &[bool]) -> Option<Indexed> {
    let mut numbers: HashMap<[u8; 3], u8> = HashMap::new();
    let (mut palette, mut pixels) = (vec![], vec![0; kept.len()]);
    for ((pixel, kept), place) in frame.pixels().zip(kept).zip(&mut pixels) {
        if *kept {
            continue;
        }
        *place = match numbers.get(&pixel.0) {
            Some(number) => *number,
            None => {
                let number = u8::try_from(numbers.len()).ok()?;
                numbers.insert(pixel.0, number);
                palette.extend(pixel.0);
                number
            }
        };
    }
    Some(Indexed { pixels, palette })
}

/// The picture in the colours that suit it best. Wu's quantiser chooses them in Oklab, where distances are what the eye
/// sees.
fn rounded(frame: &RgbImage, kept: &[bool], dither: bool) -> Option<Indexed> {
    let colours: Vec<u8> = changed(frame, kept).flatten().collect();
    let colours: &[Srgb<u8>] = colours.as_slice().components_as();
    // One number is for what stays.
    let size = if kept.contains(&true) { MOST - 1 } else { MOST };
    let pipeline = Pipeline::new()
        .palette_size(PaletteSize::from_usize_clamped(size))
        .quantize_method(QuantizeMethod::Wu)
        .parallel(true);
    let palette = pipeline.input_slice(colours).ok()?.output_srgb8_palette();
    let flat: Vec<u8> = palette.iter().flat_map(|colour| [colour.red, colour.green, colour.blue]).collect();
    let oklab = quantette::PaletteBuf::from_mapping(&palette, srgb8_to_oklab);
    let map = NearestNeighborColorMap::new(oklab);
    let share = if dither { DIFFUSED } else { 0.0 };
    Some(Indexed { pixels: diffused(frame, kept, &map, share), palette: flat })
}

/// The nearest colours, the error of each passed on to its neighbours (Floyd and Steinberg 1976, row by row in turns from
/// left and right). A pixel of the same colour as the one before it or above it is drawn as that one, and passes on what
/// it was given: so squares of one colour stay whole, and the error goes from square to square.
fn diffused<M: IndexedColorMap<Oklab>>(frame: &RgbImage, kept: &[bool], map: &M, share: f32) -> Vec<u8> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let source: &[Srgb<u8>] = frame.as_raw().as_slice().components_as();
    let mut numbers = vec![0u8; source.len()];
    // A place more at both ends, so that every pixel has neighbours.
    let (mut here, mut below) = (vec![[0f32; 3]; width + 2], vec![[0f32; 3]; width + 2]);
    for y in 0..height {
        let row = y * width;
        let colours = srgb8_to_oklab(&source[row..row + width]);
        let forwards = y % 2 == 0;
        for i in 0..width {
            let x = if forwards { i } else { width - 1 - i };
            let (at, place) = (row + x, x + 1);
            let (next, before) = if forwards { (place + 1, place - 1) } else { (place - 1, place + 1) };
            if kept[at] {
                continue;
            }
            let asked = here[place];
            let previous = (i > 0).then(|| if forwards { at - 1 } else { at + 1 });
            let alike = |other: &usize| !kept[*other] && source[*other] == source[at];
            if let Some(previous) = previous.filter(alike) {
                numbers[at] = numbers[previous];
                add(&mut here[next], asked, 1.0);
                continue;
            }
            if let Some(above) = (y > 0).then(|| at - width).filter(alike) {
                numbers[at] = numbers[above];
                add(&mut below[place], asked, 1.0);
                continue;
            }
            let colour = colours[x];
            let wanted: [f32; 3] =
                std::array::from_fn(|c| [colour.l, colour.a, colour.b][c] + asked[c].clamp(-MOST_ERROR, MOST_ERROR));
            numbers[at] = map.palette_index(&Oklab::new(wanted[0], wanted[1], wanted[2]));
            let found = map.base_palette()[numbers[at]];
            let error = [wanted[0] - found.l, wanted[1] - found.a, wanted[2] - found.b].map(|error| error * share);
            add(&mut here[next], error, 7.0 / 16.0);
            add(&mut below[before], error, 3.0 / 16.0);
            add(&mut below[place], error, 5.0 / 16.0);
            add(&mut below[next], error, 1.0 / 16.0);
        }
        std::mem::swap(&mut here, &mut below);
        below.fill([0.0; 3]);
    }
    numbers
}

fn add(sum: &mut [f32; 3], error: [f32; 3], share: f32) {
    sum.iter_mut().zip(error).for_each(|(sum, error)| *sum += error * share);
}

/// The smallest rectangle that holds all that changed; one transparent pixel where nothing did.
fn cropped((width, height): (u32, u32), mut indexed: Indexed, kept: &[bool]) -> Patch {
    let transparent = kept.contains(&true).then_some((indexed.palette.len() / 3) as u8);
    if transparent.is_some() {
        indexed.palette.extend([0; 3]);
    }
    let changes = |x: u32, y: u32| !kept[(y * width + x) as usize];
    let in_row = |y: &u32| (0..width).any(|x| changes(x, *y));
    let in_column = |x: &u32| (0..height).any(|y| changes(*x, y));
    let edges =
        ((0..height).find(in_row), (0..height).rfind(in_row), (0..width).find(in_column), (0..width).rfind(in_column));
    let (Some(top), Some(bottom), Some(left), Some(right)) = edges else {
        return Patch { area: (0, 0, 1, 1), pixels: vec![0], palette: vec![0; 3], transparent: Some(0) };
    };
    let mut pixels = Vec::with_capacity(((right - left + 1) * (bottom - top + 1)) as usize);
    for at in (top..=bottom).flat_map(|y| (left..=right).map(move |x| (y * width + x) as usize)) {
        pixels.push(transparent.filter(|_| kept[at]).unwrap_or(indexed.pixels[at]));
    }
    Patch { area: (left, top, right - left + 1, bottom - top + 1), pixels, palette: indexed.palette, transparent }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::viz::pixels::magnify;
    use image::Rgb;

    /// A smooth picture of many colours, the brighter the later.
    fn smooth(side: u32, brightness: u8) -> RgbImage {
        RgbImage::from_fn(side, side, |x, y| Rgb([(x * 3) as u8 + brightness, (y * 3) as u8, ((x + y) * 2) as u8]))
    }

    fn colour(patch: &Patch, number: u8) -> [u8; 3] {
        std::array::from_fn(|c| patch.palette[3 * usize::from(number) + c])
    }

    #[test]
    fn what_stays_is_not_drawn_again() {
        let mut screen = Screen::default();
        let first = screen.draw(&smooth(64, 0), true).unwrap();
        assert_eq!((first.area, first.transparent, first.palette.len()), ((0, 0, 64, 64), None, 3 * 256));
        // The same frame again is one transparent pixel, and so is one that differs by what nobody sees …
        for brightness in [0, 2] {
            assert_eq!(screen.draw(&smooth(64, brightness), true).unwrap().pixels, [0], "{brightness}");
        }
        // … but differences do not add up: it is the colour that was drawn which counts.
        assert_eq!(screen.draw(&smooth(64, 3), true).unwrap().area, (0, 0, 64, 64));
        // Of a part that changed, only this part is drawn.
        let mut part = smooth(64, 3);
        (10..20).for_each(|x| (30..35).for_each(|y| part.put_pixel(x, y, Rgb([255; 3]))));
        part.put_pixel(12, 32, smooth(64, 3).get_pixel(12, 32).to_owned());
        let patch = screen.draw(&part, true).unwrap();
        assert_eq!((patch.area, patch.transparent, patch.pixels.len()), ((10, 30, 10, 5), Some(1), 50));
        assert_eq!(patch.pixels.iter().filter(|number| **number == 1).count(), 1);
        assert_eq!(colour(&patch, 0), [255; 3]);
    }

    #[test]
    fn few_colours_are_exact_whatever_was_there() {
        let frames: Vec<RgbImage> =
            (0..4u8).map(|i| RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * y + x) as u8, i, i]))).collect();
        let (mut screen, mut shown) = (Screen::default(), RgbImage::new(16, 16));
        for frame in frames.iter().chain(&frames[..2]) {
            let patch = screen.draw(frame, true).unwrap();
            let (left, top, width, _) = patch.area;
            for (i, number) in patch.pixels.iter().enumerate().filter(|(_, n)| Some(**n) != patch.transparent) {
                let (x, y) = (left + i as u32 % width, top + i as u32 / width);
                shown.put_pixel(x, y, Rgb(colour(&patch, *number)));
            }
            assert_eq!(shown, *frame);
        }
    }

    #[test]
    fn magnified_pictures_keep_their_squares() {
        for times in [2, 3] {
            let large = magnify(&smooth(48, 0), times);
            let patch = Screen::default().draw(&large, true).unwrap();
            let width = large.width();
            let at = |x: u32, y: u32| patch.pixels[(y * width + x) as usize];
            for (x, y) in (0..width).flat_map(|y| (0..width).map(move |x| (x, y))) {
                assert_eq!(at(x, y), at(x / times * times, y / times * times), "{x} {y}");
            }
        }
    }

    #[test]
    fn the_error_is_passed_on_so_that_the_mean_stays() {
        // More colours than a palette holds; the mean of each part is that of the source.
        let frame = magnify(&smooth(84, 0), 2);
        let mean = |of: &dyn Fn(usize) -> [u8; 3], c: usize| {
            (0..168 * 168).map(|i| f64::from(of(i)[c])).sum::<f64>() / f64::from(168 * 168)
        };
        let patch = Screen::default().draw(&frame, true).unwrap();
        let raw = frame.as_raw();
        for c in 0..3 {
            let drawn = mean(&|i| colour(&patch, patch.pixels[i]), c);
            let source = mean(&|i| [raw[3 * i], raw[3 * i + 1], raw[3 * i + 2]], c);
            assert!((drawn - source).abs() < 1.5, "{drawn} {source}");
        }
    }
}
