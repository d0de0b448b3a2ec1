//! A row of maps through the steps: a word's, or that of a place that looks at others.
//!
//! Enters: what a run recorded, and of what. Leaves: for each step a map, and the range that all of them are seen in.

use super::own::{Looking, Parts};
use super::recorded::{How, Recorded};
use super::words::Word;
use crate::error::{Error, Result};
use crate::export::words;
use crate::viz::normalise::{Normalisation, Range, RangeFinder, Ranges};
use image::RgbImage;
use ndarray::Array2;
use serde::Serialize;

/// Of what the maps are.
#[derive(Debug, Clone)]
pub enum Of {
    /// A word.
    Word(Word, How),
    /// Where a place looks.
    Place(Looking),
    /// Three components of where all places look, as red, green and blue.
    Parts(Parts),
}

/// A row of maps.
#[derive(Debug, Clone)]
pub struct Track<'a> {
    /// Of what.
    pub of: Of,
    /// What is read.
    pub recorded: &'a Recorded<'a>,
    /// What stands below it.
    pub label: String,
    /// The steps that have a map.
    pub steps: Vec<usize>,
    ranges: Ranges,
}

/// What was done to the numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrameRecord {
    /// The step.
    pub step: usize,
    /// Is the first of the colours.
    pub lo: f64,
    /// Is the last of them.
    pub hi: f64,
    /// Share of the numbers outside lo..hi.
    pub clipped: f64,
    /// The mean over the places.
    pub mean: f64,
}

/// A map, or a picture where three numbers at a place are its colours.
#[derive(Debug, Clone)]
pub enum Shown {
    /// A number at each place, and what became of them.
    Map(Array2<f32>, FrameRecord),
    /// Colours.
    Colours(RgbImage),
}

impl<'a> Track<'a> {
    /// Rows of the same thing in several runs: one range for all of them, found in one reading.
    ///
    /// # Errors
    /// When a step cannot be read, or no run has a map.
    pub fn open(of: Of, runs: &[&'a Recorded<'a>], label: &str, normalise: Normalisation) -> Result<Vec<Track<'a>>> {
        let mut finder = RangeFinder::new(normalise);
        let mut found = vec![];
        for &recorded in runs {
            let of = match &of {
                // Each run has kept places of its own.
                Of::Place(place) => Of::Place(place.in_run(recorded)?),
                other => other.clone(),
            };
            let mut track = Track { of, recorded, label: label.into(), steps: vec![], ranges: Ranges::PerFrame };
            for &step in &recorded.steps {
                match &track.of {
                    Of::Parts(parts) => {
                        if parts.picture(recorded, step)?.is_some() {
                            track.steps.push(step);
                        }
                    }
                    _ => {
                        let Some(map) = track.map(step)? else { continue };
                        track.steps.push(step);
                        if finder.needs_data() {
                            finder.push(map.iter().copied());
                        }
                    }
                }
            }
            found.push(track);
        }
        if found.iter().all(|track| track.steps.is_empty()) {
            let name = runs.first().map(|recorded| recorded.run.name().display().to_string()).unwrap_or_default();
            return Err(Error::NotRecorded {
                message: format!("no step of `{name}` has a map of `{label}`"),
                hint: "trace again with `--attention`".into(),
            });
        }
        if !matches!(of, Of::Parts(_)) {
            let ranges = finder.finish()?;
            found.iter_mut().for_each(|track| track.ranges = ranges);
        }
        Ok(found)
    }

    /// The map of a step.
    fn map(&self, step: usize) -> Result<Option<Array2<f32>>> {
        match &self.of {
            Of::Word(word, how) => self.recorded.map(step, word, how),
            Of::Place(place) => place.map(self.recorded, step),
            Of::Parts(_) => Ok(None),
        }
    }

    /// What is shown at a step: the latest there is that is not after it. `None` before the first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn shown(&self, step: usize) -> Result<Option<Shown>> {
        let Some(own) = self.latest(step) else { return Ok(None) };
        if let Of::Parts(parts) = &self.of {
            return Ok(parts.picture(self.recorded, own)?.map(Shown::Colours));
        }
        let Some(map) = self.map(own)? else { return Ok(None) };
        let range = self.ranges.for_frame(map.iter().copied());
        let record = record(own, range, &map);
        Ok(Some(Shown::Map(map, record)))
    }

    /// The last of its steps that is not after this one.
    pub fn latest(&self, step: usize) -> Option<usize> {
        let after = self.steps.partition_point(|&own| own <= step);
        self.steps.get(after.checked_sub(1)?).copied()
    }

    /// The range of all steps; none where each has its own.
    pub fn range(&self) -> Option<Range> {
        match self.ranges {
            Ranges::Whole(range) if !matches!(self.of, Of::Parts(_)) => Some(range),
            _ => None,
        }
    }

    /// The place that looks, as shares of width and height.
    pub fn marked(&self) -> Option<[f64; 2]> {
        match &self.of {
            Of::Place(place) => Some(place.at()),
            _ => None,
        }
    }
}

/// What was done to the numbers of a map.
pub fn record(step: usize, range: Range, map: &Array2<f32>) -> FrameRecord {
    let clipped = range.clipping(map.iter().copied()).share();
    FrameRecord { step, lo: range.lo, hi: range.hi, clipped, mean: mean(map) }
}

/// The mean over the places.
pub fn mean(map: &Array2<f32>) -> f64 {
    map.iter().map(|value| f64::from(*value)).sum::<f64>() / map.len().max(1) as f64
}

/// A range in per cent: `0.2 to 31 %`.
pub fn ends(range: Range) -> String {
    let short = |share: f64| words::short(100.0 * share).replace('-', "−");
    format!("{} to {} %", short(range.lo), short(range.hi))
}
