//! Maps over pictures: a frame for each step, or some steps on one sheet.
//!
//! Enters: rows of maps, and what they lie over. Leaves: pictures of one size. On a frame the maps of a run stand beside
//! each other, the picture alone before them; several runs stand below each other. On a sheet a row is a word and a column
//! a step.

use super::paint::Colours;
use super::recorded::Recorded;
use super::track::{FrameRecord, Shown, Track, ends};
use super::under::Under;
use crate::error::Result;
use crate::export::footer::with_footer;
use crate::export::panels::DARK;
use crate::export::words;
use crate::record::plan::Quantity;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::normalise::Range;
use crate::viz::pixels::{BLACK, WHITE, centred, fill, fit, side_by_side, stacked};
use crate::viz::text::TextStyle;
use image::{Rgb, RgbImage};

/// The most pictures in a row of a frame.
const ROW: usize = 4;
/// Pixels between two pictures.
const GAP: u32 = 8;
/// Letters below a picture are as high as this at the least.
const LEAST_LETTERS: f32 = 15.0;
/// The side of a picture on a sheet is this at the least.
const LEAST_CELL: u32 = 160;

/// A run with its maps.
#[derive(Debug)]
pub struct Band<'a> {
    /// The run.
    pub recorded: &'a Recorded<'a>,
    /// What sets it apart from the others; empty for one alone.
    pub name: String,
    /// The pictures below the maps.
    pub under: Under,
    /// Its maps.
    pub tracks: Vec<Track<'a>>,
}

/// All of it.
#[derive(Debug)]
pub struct Film<'a> {
    /// The runs.
    pub bands: Vec<Band<'a>>,
    /// How maps look.
    pub colours: Colours,
    /// The square that a picture of a frame is fitted into, and one of a sheet.
    pub sides: [u32; 2],
    /// Words with the pictures.
    pub captions: bool,
    /// Above a sheet and below a frame.
    pub about: String,
    /// The size of a picture in a frame, once it is measured.
    pub cell: (u32, u32),
}

impl Band<'_> {
    /// A map over the picture of its step, and what was done to its numbers. `None` before the first.
    fn painted(&self, track: &Track, step: usize, colours: &Colours, side: u32) -> Result<Option<Painted>> {
        let Some(shown) = track.shown(step)? else { return Ok(None) };
        let below = self.under.at(self.recorded.run, step, self.recorded.batch)?;
        let (picture, record) = match shown {
            Shown::Map(map, record) => {
                let range = Range { lo: record.lo, hi: record.hi };
                let picture = match &below {
                    Some(below) => colours.over(below, map.view(), range),
                    None => colours.alone(map.view(), range),
                };
                (picture, Some(record))
            }
            // Colours say something of their own: nothing shines through.
            Shown::Colours(picture) => (picture, None),
        };
        let mut picture = fit(&picture, (side, side));
        if let Some(at) = track.marked() {
            mark(&mut picture, at, track.recorded.latents(step));
        }
        Ok(Some(Painted { picture, record }))
    }

    fn alone(&self, step: usize, side: u32) -> Result<Option<RgbImage>> {
        let picture = self.under.at(self.recorded.run, step, self.recorded.batch)?;
        Ok(picture.map(|picture| fit(&picture, (side, side))))
    }
}

/// A map over its picture.
struct Painted {
    picture: RgbImage,
    record: Option<FrameRecord>,
}

impl Film<'_> {
    /// The steps at which at least one row has a map.
    pub fn steps(&self) -> Vec<usize> {
        let tracks = self.bands.iter().flat_map(|band| &band.tracks);
        let mut steps: Vec<usize> = tracks.flat_map(|track| track.steps.iter().copied()).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// What was done to the numbers of each row at some steps.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn records(&self, track: &Track, steps: &[usize]) -> Result<Vec<FrameRecord>> {
        let mut records: Vec<FrameRecord> = vec![];
        for step in steps.iter().filter(|step| track.steps.contains(step)) {
            if let Some(Shown::Map(_, record)) = track.shown(*step)? {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// The frame of a step.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn frame(&self, step: usize) -> Result<RgbImage> {
        let cell = self.cell;
        let style = letters(cell.0);
        let mut rows = vec![];
        for band in &self.bands {
            let mut cells = vec![];
            if let Some(picture) = band.alone(step, self.sides[0])? {
                let label = if band.name.is_empty() { band.under.label() } else { &band.name };
                cells.push(self.captioned(&picture, label, "", cell, &style));
            }
            for track in &band.tracks {
                let painted = band.painted(track, step, &self.colours, self.sides[0])?;
                let empty = || RgbImage::from_pixel(cell.0, cell.1, DARK);
                let (picture, record) = painted.map_or_else(|| (empty(), None), |p| (p.picture, p.record));
                let numbers = match (record, track.latest(step)) {
                    (Some(record), _) => numbers(track, &record),
                    (None, None) => "not yet".into(),
                    _ => String::new(),
                };
                cells.push(self.captioned(&picture, &track.label, &numbers, cell, &style));
            }
            rows.extend(cells.chunks(columns(cells.len())).map(|row| side_by_side(row, GAP, DARK)));
        }
        let frame = stacked(&rows, GAP, DARK);
        if !self.captions {
            return Ok(frame);
        }
        // Letters as large as those below the pictures: a wide frame has no need of larger ones.
        let line = CaptionStyle { lines: 1, ..CaptionStyle::for_width(frame.width().min(480)) };
        Ok(with_footer(&with_caption(&frame, &self.place(step), &line), &self.about))
    }

    /// Where a step is, by the first run that has it.
    fn place(&self, step: usize) -> String {
        let run = self.bands.iter().find(|band| band.recorded.steps.contains(&step)).or(self.bands.first());
        run.map(|band| words::place_in_run(band.recorded.run, step, Quantity::PredictedOriginal).join(" · "))
            .unwrap_or_default()
    }

    fn captioned(
        &self,
        picture: &RgbImage,
        label: &str,
        numbers: &str,
        cell: (u32, u32),
        style: &CaptionStyle,
    ) -> RgbImage {
        let picture = if picture.dimensions() == cell { picture.clone() } else { centred(picture, cell, DARK) };
        if !self.captions {
            return picture;
        }
        let room = picture.width().saturating_sub(2 * style.padding);
        let label = style.text.ellipsize(label, room);
        let words = if numbers.is_empty() { label } else { format!("{label}\n{numbers}") };
        with_caption(&picture, &words, style)
    }

    /// Finds the size of a picture in a frame: that of the last step's.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn measure(&mut self) -> Result<()> {
        let mut cell = (1, 1);
        for band in &self.bands {
            let last = band.tracks.iter().filter_map(|track| track.steps.last().copied()).max().unwrap_or(0);
            let mut sizes = vec![];
            sizes.extend(band.alone(last, self.sides[0])?.map(|picture| picture.dimensions()));
            for track in &band.tracks {
                let painted = band.painted(track, last, &self.colours, self.sides[0])?;
                sizes.extend(painted.map(|painted| painted.picture.dimensions()));
            }
            cell = sizes.into_iter().fold(cell, |(w, h), (x, y)| (w.max(x), h.max(y)));
        }
        self.cell = cell;
        Ok(())
    }

    /// Some steps on a sheet, or on several where they are many.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sheet(&self, steps: &[usize]) -> Result<Vec<RgbImage>> {
        let (mut cells, mut names) = (vec![], vec![]);
        let missing = |note: &str| GridCell::Missing(note.into());
        for band in &self.bands {
            if !matches!(band.under, Under::Nothing) {
                names.push(if band.name.is_empty() { band.under.label().into() } else { band.name.clone() });
                for step in steps {
                    let picture = band.alone(*step, self.sides[1])?;
                    cells.push(picture.map_or_else(|| missing("not there"), GridCell::Picture));
                }
            }
            for track in &band.tracks {
                let range = track.range().map(|range| format!("\n{}", ends(range))).unwrap_or_default();
                names.push(format!("{}{range}", track.label));
                for step in steps {
                    let own = track.steps.contains(step);
                    let painted = if own { band.painted(track, *step, &self.colours, self.sides[1])? } else { None };
                    cells.push(painted.map_or_else(|| missing("not there"), |p| GridCell::Picture(p.picture)));
                }
            }
        }
        let place = |step: &usize| match self.captions {
            true => self.place(*step).replacen(" · ", "\n", 1),
            false => String::new(),
        };
        if !self.captions {
            names.iter_mut().for_each(String::clear);
        }
        let (rows, columns) = (Axis::new("", names), Axis::new("", steps.iter().map(place)));
        let title = if self.captions { self.about.clone() } else { String::new() };
        Grid { title, rows, columns, cells }.draw(&GridStyle { least_cell: LEAST_CELL, ..GridStyle::default() })
    }
}

/// What stands below a map: the mean over the picture, and what the colours mean.
fn numbers(track: &Track, record: &FrameRecord) -> String {
    let mean = words::short(100.0 * record.mean);
    let range = ends(track.range().unwrap_or(Range { lo: record.lo, hi: record.hi }));
    match track.marked() {
        // All of the attention of a place adds to one: the mean says nothing.
        Some(_) => format!("colours {range}"),
        None => format!("mean {mean} %\ncolours {range}"),
    }
}

/// What stands below a picture: a name and two lines of numbers, in letters that can be read from afar.
fn letters(width: u32) -> CaptionStyle {
    let usual = CaptionStyle::for_width(width);
    let text = TextStyle { px: usual.text.px.max(LEAST_LETTERS), ..usual.text };
    CaptionStyle { text, lines: 3, ..usual }
}

/// How many pictures stand in a row: few, and as many in each.
fn columns(cells: usize) -> usize {
    cells.div_ceil(cells.div_ceil(ROW).max(1)).max(1)
}

/// A frame around a place of the latents, white in black, to be seen on any colour.
fn mark(picture: &mut RgbImage, [x, y]: [f64; 2], (rows, columns): (usize, usize)) {
    let (width, height) = picture.dimensions();
    let start = |share: f64, places: usize, side: u32| {
        ((share * places as f64).floor() / places as f64 * f64::from(side)) as i64
    };
    let (left, top) = (start(x, columns, width), start(y, rows, height));
    let size = (width.div_ceil(columns.max(1) as u32).max(4), height.div_ceil(rows.max(1) as u32).max(4));
    let line = (width.min(height) / 128).max(1);
    for (out, colour) in [(2 * line, BLACK), (line, WHITE)] {
        frame_around(picture, (left, top), size, (out, line), colour);
    }
}

fn frame_around(
    picture: &mut RgbImage,
    (left, top): (i64, i64),
    (width, height): (u32, u32),
    (out, line): (u32, u32),
    colour: Rgb<u8>,
) {
    let (o, far) = (i64::from(out), (width + 2 * out, height + 2 * out));
    fill(picture, (left - o, top - o), (far.0, line), colour);
    fill(picture, (left - o, top + i64::from(height + out - line)), (far.0, line), colour);
    fill(picture, (left - o, top - o), (line, far.1), colour);
    fill(picture, (left + i64::from(width + out - line), top - o), (line, far.1), colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_equally_long() {
        assert_eq!([1, 2, 4, 5, 6, 7, 9].map(columns), [1, 2, 4, 3, 3, 4, 3]);
    }

    #[test]
    fn a_place_is_framed() {
        let mut picture = RgbImage::from_pixel(128, 128, Rgb([9, 9, 9]));
        mark(&mut picture, [0.5, 0.25], (16, 16));
        assert_eq!((*picture.get_pixel(63, 31), *picture.get_pixel(62, 30)), (WHITE, BLACK));
        assert_eq!((*picture.get_pixel(66, 36), *picture.get_pixel(72, 40)), (Rgb([9, 9, 9]), WHITE));
    }
}
