//! From pictures, one per step, to animation files in several formats at once.
//!
//! Enters: the steps, and a function that draws one. Leaves: files. A frame is drawn once, handed to every encoder, and
//! forgotten: memory does not grow with the number of steps. The first and the last frame are held, so that a viewer
//! sees where it begins and ends.

use super::Outputs;
use super::encode::{self, AnimationFormat, AnimationOptions, AnimationWriter, FPS_RANGE};
use crate::error::{Error, Result};
use image::RgbImage;
use rayon::prelude::*;

/// The longest that a frame can be held, in seconds.
const LONGEST_HOLD: f64 = 60.0;

/// How fast an animation runs, and which steps it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Frames per second.
    pub fps: f64,
    /// Seconds that the first and the last frame are held.
    pub hold: f64,
    /// Take every Nth step, counted from the first, and the last one.
    pub every: usize,
    /// Run from the finished picture back to the noise.
    pub reverse: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { fps: 5.0, hold: 1.0, every: 1, reverse: false }
    }
}

impl Pace {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the one that cannot be.
    pub fn check(&self) -> Result<()> {
        if !FPS_RANGE.contains(&self.fps) {
            let hint = format!("choose between {} and {}", FPS_RANGE.start(), FPS_RANGE.end());
            return Err(Error::invalid(format!("cannot animate at `{}` frames per second", self.fps), hint));
        }
        if !(0.0..=LONGEST_HOLD).contains(&self.hold) {
            let hint = format!("choose seconds from 0 to {LONGEST_HOLD}");
            return Err(Error::invalid(format!("cannot hold a frame for `{}` seconds", self.hold), hint));
        }
        if self.every == 0 {
            return Err(Error::invalid("cannot take every 0th step", "1 takes all, 2 takes every other one"));
        }
        Ok(())
    }

    /// The steps to show, in the order they are shown. The predictions, which begin at step 1, are counted as if they had
    /// a step 0: frame by frame they show the same steps as the latents.
    pub fn choose(&self, steps: &[usize]) -> Vec<usize> {
        let last = steps.len().saturating_sub(1);
        let before = usize::from(steps.first() == Some(&1));
        let kept = |(place, step): (usize, &usize)| {
            let regular = (place + before).is_multiple_of(self.every);
            (regular || place == 0 || place == last).then_some(*step)
        };
        let mut chosen: Vec<usize> = steps.iter().enumerate().filter_map(kept).collect();
        if self.reverse {
            chosen.reverse();
        }
        chosen
    }

    /// Frame periods that the first and the last frame are shown.
    pub fn held_periods(&self) -> usize {
        ((self.fps * self.hold).round() as usize).max(1)
    }
}

/// The files of an animation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Files<'a> {
    /// The name without extension.
    pub name: &'a str,
    /// The formats; one that is named twice is written once.
    pub formats: &'a [AnimationFormat],
    /// GIF: diffuse the rounding error of the 256 colours. Good for gradients, bad for squares of one colour.
    pub dither: bool,
}

/// Draws the picture of each of `steps` and writes `NAME.mp4`, `NAME.gif`, … All pictures must have one size.
///
/// # Errors
/// What `draw` says; when there is no step, when a format cannot hold pictures of this size, when a file cannot be
/// written. Nothing is left of a file that failed.
pub fn animate(
    outputs: &mut Outputs,
    files: Files<'_>,
    pace: &Pace,
    steps: &[usize],
    mut draw: impl FnMut(usize) -> Result<RgbImage> + Send,
) -> Result<()> {
    let last = steps.len().saturating_sub(1);
    let mut writers: Vec<Box<dyn AnimationWriter>> = vec![];
    let mut next = steps.first().map(|&step| draw(step)).transpose()?;
    for place in 0..steps.len() {
        let Some(frame) = next.take() else { break };
        if place == 0 {
            writers = begin(outputs, files, pace, frame.dimensions())?;
        }
        let hold = if place == 0 || place == last { pace.held_periods() } else { 1 };
        // While this frame is coded, the next one is drawn.
        let (coded, drawn) = rayon::join(
            || writers.par_iter_mut().try_for_each(|writer| writer.frame(&frame, hold)),
            || steps.get(place + 1).map(|&step| draw(step)).transpose(),
        );
        coded?;
        next = drawn?;
    }
    let finished: Vec<_> = writers.into_par_iter().map(|writer| writer.finish()).collect();
    for written in finished {
        let written = written?;
        for remark in written.remarks {
            outputs.remark(format!("`{}`: {remark}", written.path.display()));
        }
        outputs.made(written.path);
    }
    Ok(())
}

fn begin(outputs: &Outputs, files: Files<'_>, pace: &Pace, size: (u32, u32)) -> Result<Vec<Box<dyn AnimationWriter>>> {
    let mut once: Vec<AnimationFormat> = vec![];
    files.formats.iter().for_each(|format| {
        if !once.contains(format) {
            once.push(*format);
        }
    });
    let begun = once.into_iter().map(|format| {
        let path = outputs.path(&format!("{}.{}", files.name, format.extension()))?;
        let options = AnimationOptions { dither: files.dither, ..AnimationOptions::default() };
        encode::create(format, &path, size, pace.fps, &options)
    });
    begun.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_always_there() {
        let steps = [0, 1, 2, 3, 4, 5];
        let every = |every, reverse| Pace { every, reverse, ..Pace::default() }.choose(&steps);
        assert_eq!(every(1, false), steps);
        assert_eq!(every(2, false), [0, 2, 4, 5]);
        assert_eq!(every(5, true), [5, 0]);
        assert_eq!(every(9, false), [0, 5]);
        assert_eq!(Pace::default().choose(&[]), [0; 0]);
        // Predictions beside latents.
        let pace = Pace { every: 2, ..Pace::default() };
        assert_eq!(
            (pace.choose(&[0, 1, 2, 3, 4, 5, 6]), pace.choose(&[1, 2, 3, 4, 5, 6])),
            (vec![0, 2, 4, 6], vec![1, 2, 4, 6])
        );
    }

    #[test]
    fn frames_are_held_for_a_second_and_for_one_period_at_least() {
        let held = |fps, hold| Pace { fps, hold, ..Pace::default() }.held_periods();
        assert_eq!((held(5.0, 1.0), held(0.2, 1.0), held(24.0, 0.0), held(2.5, 1.0)), (5, 1, 1, 3));
    }
}
