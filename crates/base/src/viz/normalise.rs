//! Normalisation: which numbers become black and which white.
//!
//! Enters: how to choose the range (`run`, `frame`, `fixed:-3,3`, `percentile:1`, `sigma:3`) and the data, frame by
//! frame. Leaves: a [`Range`], which turns a number into a byte, and the share of numbers it clips. One range for a
//! whole run shows how the latents shrink and settle; a range per frame shows each frame's structure as clearly as
//! possible, and hides that.
//!
//! All arithmetic is in f64, on values given in f32, so that numpy gets the same pixels (`x` is the data in f64):
//!
//! ```text
//! run, frame     lo, hi = x.min(), x.max()
//! percentile:P   lo, hi = np.percentile(x, [P, 100 - P])
//! sigma:K        lo, hi = x.mean() - K * x.std(), x.mean() + K * x.std()
//! byte           np.floor(np.clip((x - lo) / (hi - lo), 0, 1) * 255 + 0.5).astype(np.uint8)
//! ```
//!
//! NaN and infinities are left out when a range is chosen. As a byte, NaN is 0, and an infinity is 0 or 255.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::pixels::unit_to_u8;
use crate::error::{Error, Result};

/// How the range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Normalisation {
    /// `run`: from the least to the greatest number of all frames.
    #[default]
    Run,
    /// `frame`: from the least to the greatest number of each frame.
    Frame,
    /// `fixed:LO,HI`: as given.
    Fixed(Range),
    /// `percentile:P`: from percentile P to percentile 100 − P of all frames, 0 ≤ P < 50.
    Percentile(f64),
    /// `sigma:K`: K > 0 standard deviations to either side of the mean of all frames.
    Sigma(f64),
}

impl fmt::Display for Normalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Normalisation::Run => f.write_str("run"),
            Normalisation::Frame => f.write_str("frame"),
            Normalisation::Fixed(Range { lo, hi }) => write!(f, "fixed:{lo},{hi}"),
            Normalisation::Percentile(percent) => write!(f, "percentile:{percent}"),
            Normalisation::Sigma(deviations) => write!(f, "sigma:{deviations}"),
        }
    }
}

impl FromStr for Normalisation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (text.trim(), None),
        };
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let wrong =
            |what: &str, example: &str| Error::invalid(format!("`{text}` {what}"), format!("such as `{example}`"));
        match (name, value) {
            ("run", None) => Ok(Normalisation::Run),
            ("frame", None) => Ok(Normalisation::Frame),
            ("run" | "frame", Some(_)) => Err(wrong("takes no value", name)),
            ("fixed", value) => {
                let ends = value.and_then(|value| value.split_once(',')).map(|(lo, hi)| (number(lo), number(hi)));
                match ends {
                    Some((Some(lo), Some(hi))) if lo < hi => Ok(Normalisation::Fixed(Range { lo, hi })),
                    Some((Some(_), Some(_))) => Err(wrong("needs the lower number first", "fixed:-3,3")),
                    _ => Err(wrong("needs two numbers, LO,HI", "fixed:-3,3")),
                }
            }
            ("percentile", value) => match value.and_then(number) {
                Some(percent) if (0.0..50.0).contains(&percent) => Ok(Normalisation::Percentile(percent)),
                _ => Err(wrong("needs a percentage from 0 to under 50", "percentile:1")),
            },
            ("sigma", value) => match value.and_then(number) {
                Some(deviations) if deviations > 0.0 => Ok(Normalisation::Sigma(deviations)),
                _ => Err(wrong("needs a number of standard deviations above 0", "sigma:3")),
            },
            _ => Err(Error::unknown("normalisation", name, ["run", "frame", "fixed", "percentile", "sigma"])),
        }
    }
}

impl TryFrom<String> for Normalisation {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Normalisation> for String {
    fn from(normalisation: Normalisation) -> Self {
        normalisation.to_string()
    }
}

/// The numbers that become black and white.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Becomes 0.
    pub lo: f64,
    /// Becomes 255.
    pub hi: f64,
}

impl Range {
    /// From the least to the greatest finite number; `None` if there is none.
    pub fn of(values: impl IntoIterator<Item = f32>) -> Option<Range> {
        let mut statistics = Statistics::default();
        values.into_iter().for_each(|value| statistics.push(value));
        statistics.extent()
    }

    /// The place of a number in the range: 0 at `lo`, 1 at `hi`, clipped to 0..=1.
    ///
    /// In a range without width, that number itself is in the middle (0.5), what is less at 0, what is more at 1. NaN
    /// stays NaN.
    pub fn unit(self, value: f32) -> f64 {
        let value = f64::from(value);
        if self.hi > self.lo {
            return ((value - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0);
        }
        match value.partial_cmp(&self.lo) {
            Some(std::cmp::Ordering::Less) => 0.0,
            Some(std::cmp::Ordering::Equal) => 0.5,
            Some(std::cmp::Ordering::Greater) => 1.0,
            None => f64::NAN,
        }
    }

    /// The byte for a number: see the module's formula.
    pub fn to_u8(self, value: f32) -> u8 {
        unit_to_u8(self.unit(value))
    }

    /// The smallest range with 0 in its middle that holds this one, for differences.
    pub fn around_zero(self) -> Range {
        let reach = self.lo.abs().max(self.hi.abs());
        Range { lo: -reach, hi: reach }
    }

    /// Counts what lies outside.
    pub fn clipping(self, values: impl IntoIterator<Item = f32>) -> Clipping {
        let mut clipping = Clipping::default();
        for value in values {
            clipping.total += 1;
            let value = f64::from(value);
            clipping.below += usize::from(value < self.lo);
            clipping.above += usize::from(value > self.hi);
            clipping.nan += usize::from(value.is_nan());
        }
        clipping
    }
}

/// How many numbers a range does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clipping {
    /// Numbers looked at.
    pub total: usize,
    /// Numbers under the range, −∞ among them.
    pub below: usize,
    /// Numbers over the range, ∞ among them.
    pub above: usize,
    /// NaNs.
    pub nan: usize,
}

impl Clipping {
    /// The share outside the range, 0..=1; 0 for no numbers.
    pub fn share(self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        (self.below + self.above) as f64 / self.total as f64
    }
}

impl std::ops::AddAssign for Clipping {
    fn add_assign(&mut self, other: Clipping) {
        self.total += other.total;
        self.below += other.below;
        self.above += other.above;
        self.nan += other.nan;
    }
}

/// Least, greatest, mean and standard deviation of numbers that pass by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    count: usize,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    not_finite: usize,
}

impl Default for Statistics {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Statistics { count: 0, min, max, mean: 0.0, squares: 0.0, not_finite: 0 }
    }
}

impl Statistics {
    /// Takes one number in (Welford's recurrence, which loses no digits to a large mean); NaN and infinities are only
    /// counted.
    pub fn push(&mut self, value: f32) {
        if !value.is_finite() {
            self.not_finite += 1;
            return;
        }
        let value = f64::from(value);
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let distance = value - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Finite numbers seen.
    pub fn count(&self) -> usize {
        self.count
    }

    /// NaNs and infinities seen.
    pub fn not_finite(&self) -> usize {
        self.not_finite
    }

    /// Least and greatest; `None` if there was no finite number.
    pub fn extent(&self) -> Option<Range> {
        (self.count > 0).then_some(Range { lo: self.min, hi: self.max })
    }

    /// Mean; 0 if there was no finite number.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of the whole population (numpy's `ddof=0`); 0 if there was no finite number.
    pub fn std(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.squares / self.count as f64).max(0.0).sqrt() }
    }
}

/// Finds the range of a run from frames that pass by. Only `percentile` keeps the numbers (4 bytes each); the others
/// keep four sums.
#[derive(Debug, Clone)]
pub struct RangeFinder {
    normalisation: Normalisation,
    statistics: Statistics,
    kept: Vec<f32>,
}

impl RangeFinder {
    /// A finder that has seen nothing.
    pub fn new(normalisation: Normalisation) -> Self {
        RangeFinder { normalisation, statistics: Statistics::default(), kept: Vec::new() }
    }

    /// Whether the data must pass by before the range is known: not for `frame` and `fixed`.
    pub fn needs_data(&self) -> bool {
        !matches!(self.normalisation, Normalisation::Frame | Normalisation::Fixed(_))
    }

    /// Takes in a frame.
    pub fn push(&mut self, values: impl IntoIterator<Item = f32>) {
        let keep = matches!(self.normalisation, Normalisation::Percentile(_));
        for value in values {
            self.statistics.push(value);
            if keep && value.is_finite() {
                self.kept.push(value);
            }
        }
    }

    /// What was chosen. An error if a range over the run was asked for and no finite number came.
    pub fn finish(mut self) -> Result<Ranges> {
        let empty = || Error::invalid("cannot choose a range: there is no finite number", "use `fixed:LO,HI`");
        Ok(Ranges::Whole(match self.normalisation {
            Normalisation::Frame => return Ok(Ranges::PerFrame),
            Normalisation::Fixed(range) => range,
            Normalisation::Run => self.statistics.extent().ok_or_else(empty)?,
            Normalisation::Sigma(deviations) => {
                self.statistics.extent().ok_or_else(empty)?;
                let (mean, reach) = (self.statistics.mean(), deviations * self.statistics.std());
                Range { lo: mean - reach, hi: mean + reach }
            }
            Normalisation::Percentile(percent) => {
                let lo = percentile(&mut self.kept, percent).ok_or_else(empty)?;
                let hi = percentile(&mut self.kept, 100.0 - percent).ok_or_else(empty)?;
                Range { lo, hi }
            }
        }))
    }
}

/// The ranges of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ranges {
    /// One for all frames.
    Whole(Range),
    /// For each frame its own.
    PerFrame,
}

impl Ranges {
    /// The range for a frame with these numbers. A frame without any finite number gets 0..1.
    pub fn for_frame(self, values: impl IntoIterator<Item = f32>) -> Range {
        match self {
            Ranges::Whole(range) => range,
            Ranges::PerFrame => Range::of(values).unwrap_or(Range { lo: 0.0, hi: 1.0 }),
        }
    }
}

/// numpy's default percentile (`method="linear"`), in f64; `None` of none. The numbers are reordered, not sorted.
fn percentile(numbers: &mut [f32], percent: f64) -> Option<f64> {
    let place = percent / 100.0 * (numbers.len().checked_sub(1)? as f64);
    if place as usize >= numbers.len() {
        return None;
    }
    let (_, below, larger) = numbers.select_nth_unstable_by(place as usize, f32::total_cmp);
    let next = larger.iter().min_by(|a, b| a.total_cmp(b)).unwrap_or(below);
    let (below, above, part) = (f64::from(*below), f64::from(*next), place.fract());
    // As numpy does it, from the nearer end: the last digit is the same, too.
    Some(if part < 0.5 { below + (above - below) * part } else { above - (above - below) * (1.0 - part) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn range(text: &str, frames: &[&[f32]]) -> Result<Ranges> {
        let mut finder = RangeFinder::new(text.parse().unwrap());
        frames.iter().for_each(|frame| finder.push(frame.iter().copied()));
        finder.finish()
    }

    #[test]
    fn every_spelling_comes_back() {
        for text in ["run", "frame", "fixed:-3,3.5", "fixed:0.001,1000000", "percentile:0.5", "sigma:3"] {
            let parsed: Normalisation = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            let json = serde_json::to_string(&parsed).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Normalisation>(&json).unwrap(), parsed);
        }
        assert_eq!("fixed: -1 , 1".parse::<Normalisation>().unwrap().to_string(), "fixed:-1,1");
    }

    #[test]
    fn wrong_spellings_say_what_is_wrong() {
        let expected = [
            ("runs", "unknown normalisation `runs`; did you mean `run`?"),
            ("run:3", "`run:3` takes no value"),
            ("fixed", "`fixed` needs two numbers, LO,HI"),
            ("fixed:1", "`fixed:1` needs two numbers, LO,HI"),
            ("fixed:1,x", "`fixed:1,x` needs two numbers, LO,HI"),
            ("fixed:3,-3", "`fixed:3,-3` needs the lower number first"),
            ("fixed:nan,3", "`fixed:nan,3` needs two numbers, LO,HI"),
            ("percentile:50", "`percentile:50` needs a percentage from 0 to under 50"),
            ("sigma:-1", "`sigma:-1` needs a number of standard deviations above 0"),
            ("sigma", "`sigma` needs a number of standard deviations above 0"),
        ];
        for (text, message) in expected {
            let error = text.parse::<Normalisation>().unwrap_err();
            assert_eq!(error.to_string(), message);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn ranges_are_numpys() {
        // x = np.arange(101) ** 2 / 7 - 100, in float32, then in float64; the figures are numpy 2.4's.
        let values: Vec<f32> = (0..101).map(|i| (f64::from(i * i) / 7.0 - 100.0) as f32).collect();
        let (first, second) = values.split_at(40);
        let near = |text: &str, lo: f64, hi: f64| match range(text, &[first, second]).unwrap() {
            Ranges::Whole(found) => {
                assert!((found.lo - lo).abs() < 1e-9 && (found.hi - hi).abs() < 1e-9, "{text}: {found:?}");
            }
            Ranges::PerFrame => panic!("{text}"),
        };
        near("run", -100.0, 1328.5714111328125);
        near("percentile:2.5", -99.07143020629883, 1258.0714111328125);
        near("percentile:0", -100.0, 1328.5714111328125);
        near("sigma:2", -482.26963794125174, 1239.4124927970443);
        near("fixed:-1,2", -1.0, 2.0);
        assert_eq!(range("frame", &[first]).unwrap(), Ranges::PerFrame);
        assert_eq!(Ranges::PerFrame.for_frame([3.0, -2.0]), Range { lo: -2.0, hi: 3.0 });
    }

    #[test]
    fn what_is_not_finite_chooses_no_range() {
        let frame = [1.0, f32::NAN, f32::INFINITY, -2.0, f32::NEG_INFINITY];
        for text in ["run", "percentile:0"] {
            assert_eq!(range(text, &[&frame]).unwrap(), Ranges::Whole(Range { lo: -2.0, hi: 1.0 }));
        }
        for text in ["run", "percentile:1", "sigma:1"] {
            assert!(range(text, &[&[f32::NAN]]).unwrap_err().to_string().contains("no finite number"));
        }
        let range = Range { lo: -2.0, hi: 1.0 };
        assert_eq!(frame.map(|value| range.to_u8(value)), [255, 0, 255, 0, 0]);
        let clipping = Range { lo: -1.0, hi: 1.0 }.clipping(frame);
        assert_eq!(clipping, Clipping { total: 5, below: 2, above: 1, nan: 1 });
        assert_eq!(clipping.share(), 0.6);
        assert_eq!(Clipping::default().share(), 0.0);
    }

    #[test]
    fn a_range_without_width_is_grey() {
        let Ranges::Whole(range) = range("run", &[&[0.25; 4]]).unwrap() else { panic!() };
        assert_eq!([0.2, 0.25, 0.3].map(|value| range.to_u8(value)), [0, 128, 255]);
        assert!(range.unit(f32::NAN).is_nan());
    }

    #[test]
    fn a_large_mean_costs_no_digits() {
        let mut statistics = Statistics::default();
        for value in [16_777_211.0, 16_777_213.0] {
            (0..5000).for_each(|_| statistics.push(value));
        }
        assert_eq!(statistics.count(), 10_000);
        assert!((statistics.mean() - 16_777_212.0).abs() < 1e-7 && (statistics.std() - 1.0).abs() < 1e-7);
    }

    #[test]
    fn ends_are_black_and_white() {
        let range = Range { lo: -3.0, hi: 3.0 };
        assert_eq!([-9.0, -3.0, 0.0, 3.0, 9.0].map(|value| range.to_u8(value)), [0, 0, 128, 255, 255]);
        assert_eq!(Range { lo: -1.0, hi: 0.5 }.around_zero(), Range { lo: -1.0, hi: 1.0 });
    }
}
