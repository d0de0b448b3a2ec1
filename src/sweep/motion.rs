//! The grid in motion: all cells go through their steps together.
//!
//! Enters: a sweep directory, and what to see of it. Leaves: an animation per page. Runs of different lengths are brought
//! together by the fraction of the run that is done, or go step by step, the shorter ones waiting at their end.

use super::picture::{CellView, Moment, What, mapped_words, preview};
use super::sheet::{LEAST_SIDE, Layout, Opened, all_of, shown};
use super::store::Store;
use crate::error::{Error, Result};
use crate::export::encode::{self, AnimationFormat, AnimationOptions, FPS_RANGE, Written};
use crate::record::plan::Quantity;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::grid::GridCell as Place;
use crate::viz::linear_map::LinearMap;
use crate::viz::pixels::WHITE;
use image::{Rgb, RgbImage};
use std::cell::Cell;
use std::str::FromStr;

/// Longer runs are shown with some steps left out: nobody watches more.
const MOST_FRAMES: usize = 150;
/// Seconds that the first and the last frame stand.
const HOLDS: (f64, f64) = (1.0, 2.5);
/// An animation's width and height in pixels are kept near these: a projector's.
const ROOM: (u32, u32) = (1800, 1800);

/// The least width that a cell is given without being asked for.
const LEAST_WIDTH: u32 = 96;

/// How runs of different lengths move together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// At every moment all have done the same share of their steps.
    Fraction,
    /// At every moment all have done the same number of steps; a run that is over waits.
    Step,
}

impl FromStr for Together {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fraction" => Ok(Together::Fraction),
            "step" => Ok(Together::Step),
            _ => Err(Error::unknown("alignment", text, ["fraction", "step"])),
        }
    }
}

/// How a grid moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// The file format.
    pub format: AnimationFormat,
    /// Frames a second.
    pub fps: f64,
    /// How runs of different lengths move together.
    pub together: Together,
}

/// Animates the pages of a sweep. Gives what was written. `progress` hears how many frames of how many are drawn.
///
/// # Errors
/// When the sweep cannot be read, has no such axes or cells, or a file cannot be written.
pub fn animate(
    store: &Store,
    layout: &Layout,
    motion: &Motion,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Written>> {
    let quantity = match layout.what {
        What::Final => Quantity::Latents,
        What::Step(quantity, Moment::Last) => quantity,
        What::Step(..) => {
            return Err(Error::invalid(
                format!("`{}` is one moment, an animation shows them all", layout.what),
                "write `--what latents` or `--what x0`",
            ));
        }
    };
    let layout = Layout { what: What::Step(quantity, Moment::Last), ..layout.clone() };
    let (_, record) = Store::open(store.dir())?;
    let pages = layout.open(store, &record)?;
    let map = preview(pages.iter().flat_map(|page| shown(&page.views)))?;
    let folder = layout.folder(store)?;
    let longest = |page: &Opened| shown(&page.views).map(|cell| cell.last).max().unwrap_or(0);
    let frames: Vec<usize> = pages.iter().map(|page| longest(page).min(MOST_FRAMES) + 1).collect();
    let (all, drawn) = (frames.iter().sum::<usize>(), Cell::new(0));
    let tick = || {
        drawn.set(drawn.get() + 1);
        progress(drawn.get(), all);
    };
    let mut written = vec![];
    for (index, page) in pages.iter().enumerate() {
        let mut words = vec![What::Step(quantity, Moment::Last).words()];
        if let Some(map) = &map
            && !all_of(&page.views, |cell| cell.is_decoded_throughout(quantity))?
        {
            words.push(mapped_words(map, quantity));
        }
        let film = Film {
            page,
            quantity,
            map: map.as_ref(),
            together: motion.together,
            width: width(page, &layout),
            heading: page.heading(&words),
            longest: longest(page),
        };
        let name = format!("{}.{}", layout.stem(index, pages.len()), motion.format.extension());
        written.push(film.write(&folder.join(name), motion, &tick)?);
    }
    layout.remove_stale(store, motion.format.extension(), pages.len())?;
    Ok(written)
}

/// A cell's width, where it is not left to the pictures: wide and high pages are made smaller.
fn width(page: &Opened, layout: &Layout) -> Option<u32> {
    let (width, height) = page.area;
    let across = ROOM.0 / page.page.col_labels.len().max(1) as u32;
    // A caption is about a tenth of its picture.
    let down = ROOM.1 * 9 / 10 / page.page.row_labels.len().max(1) as u32 * width / height.max(1);
    let room = across.min(down);
    layout.cell_size.or_else(|| (width.max(LEAST_SIDE) > room).then_some(room.max(LEAST_WIDTH)))
}

/// The error of a format that cannot hold a page, with the flags that make it smaller.
fn too_large(error: Error, fps: f64) -> Error {
    if !FPS_RANGE.contains(&fps) {
        return error;
    }
    error.with_hint(
        "`--cell-size 128` makes the cells smaller, `--max-cols 5 --max-rows 4` the pages; `--format webp` holds larger ones",
    )
}

/// One page in motion.
struct Film<'a> {
    page: &'a Opened,
    quantity: Quantity,
    map: Option<&'a LinearMap>,
    together: Together,
    width: Option<u32>,
    heading: String,
    /// Steps of the longest run.
    longest: usize,
}

impl Film<'_> {
    fn write(&self, path: &std::path::Path, motion: &Motion, tick: &dyn Fn()) -> Result<Written> {
        let frames = self.longest.min(MOST_FRAMES);
        let hold = |seconds: f64| ((seconds * motion.fps).round() as usize).max(1);
        let mut writer = None;
        for frame in 0..=frames {
            let share = if frames == 0 { 1.0 } else { frame as f64 / frames as f64 };
            let picture = self.frame(share)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let options = AnimationOptions::default();
                    let begun = encode::create(motion.format, path, picture.dimensions(), motion.fps, &options);
                    writer.insert(begun.map_err(|error| too_large(error, motion.fps))?)
                }
            };
            let periods = match frame {
                frame if frame == frames => hold(HOLDS.1),
                0 => hold(HOLDS.0),
                _ => 1,
            };
            writer.frame(&picture, periods)?;
            tick();
        }
        match writer {
            Some(writer) => writer.finish(),
            None => Err(Error::invalid("nothing to animate", "make some cells first")),
        }
    }

    /// The grid when `share` of the film is over.
    fn frame(&self, share: f64) -> Result<RgbImage> {
        let moment = match self.together {
            Together::Fraction => Moment::Share(share),
            Together::Step => Moment::Call((self.longest as f64 * share).round() as usize),
        };
        let cells: Vec<Place> = self.page.views.iter().map(|view| self.cell(view, moment)).collect::<Result<_>>()?;
        let drawn = self.page.draw(self.heading.clone(), cells)?;
        drawn.into_iter().next().ok_or_else(|| Error::invalid("an empty page", "make some cells first"))
    }

    /// A cell at a moment, with the number of its step below it.
    fn cell(&self, view: &CellView, moment: Moment) -> Result<Place> {
        let shown = match view {
            CellView::Words(words) => return Ok(Place::Missing((*words).into())),
            CellView::Run(shown) => shown,
        };
        // A prediction is only there after the first call.
        let first = usize::from(self.quantity == Quantity::PredictedOriginal);
        let step = moment.step(shown.last).max(first);
        let recorded = shown.picture(What::Step(self.quantity, Moment::Call(step)), self.map)?;
        let caption = match recorded {
            Some(_) => format!("step {step} of {}", shown.last),
            None => format!("step {step} was not recorded"),
        };
        // All frames have one size, whatever is there.
        let picture = recorded.unwrap_or_else(|| RgbImage::from_pixel(1, 1, Rgb([230; 3])));
        let picture = self.page.place(shown, &picture, self.width);
        // Many stand side by side: larger letters than under a picture of its own.
        let mut style = CaptionStyle::for_width(picture.width() * 2);
        (style.background, style.text.colour) = (WHITE, Rgb([20; 3]));
        Ok(Place::Picture(with_caption(&picture, &caption, &style)))
    }
}
