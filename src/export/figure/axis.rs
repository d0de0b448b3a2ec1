//! Axes: from the values to a range that holds them, and to round numbers to write beside it.
//!
//! Logarithmic axes are drawn as linear ones of the decimal logarithm, so both go through the same code.

use crate::arithmetic::{decimals, round_step};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// A range with its marks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// Where it begins.
    pub start: f64,
    /// Where it ends, beyond the start.
    pub end: f64,
    /// Where marks stand, within the range.
    pub marks: Vec<f64>,
    log: bool,
    decimals: usize,
}

impl Axis {
    /// A linear axis that holds all values, with about `count` marks. It starts at 0 where that costs less than half of
    /// it, because lengths are compared more easily from there.
    pub fn linear(values: impl Iterator<Item = f64> + Clone, count: usize) -> Axis {
        let (mut low, mut high) = from_zero(bounds(values));
        if high - low <= 1e-9 * high.abs().max(1e-9) {
            let room = if high == 0.0 { 1.0 } else { 0.1 * high.abs() };
            (low, high) = (low - room, high + room);
        }
        let step = round_step((high - low) / count.max(1) as f64);
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        let marks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        let decimals = decimals(step);
        Axis { start: first * step, end: last * step, marks, log: false, decimals }
    }

    /// A linear axis from `start` to `end` as they are, with about `count` marks at round numbers within.
    pub fn within(start: f64, end: f64, count: usize) -> Axis {
        let step = round_step((end - start) / count.max(1) as f64);
        let (first, last) = ((start / step - 1e-9).ceil(), (end / step + 1e-9).floor());
        let marks = (0..=(last - first).max(0.0) as usize).map(|i| (first + i as f64) * step).collect();
        Axis { start, end, marks, log: false, decimals: decimals(step) }
    }

    /// Two linear axes over values that lie between these, on an area of so many pixels: the one that has more room is
    /// widened about its middle, until a unit takes as many pixels on both.
    pub fn at_one_scale(
        across: impl Iterator<Item = f64> + Clone,
        up: impl Iterator<Item = f64> + Clone,
        (width, height): (f64, f64),
        counts: (usize, usize),
    ) -> (Axis, Axis) {
        let (x, y) = (from_zero(bounds(across)), from_zero(bounds(up)));
        // With some room, so that no marker stands on an edge.
        let unit = 1.12 * ((x.1 - x.0) / width).max((y.1 - y.0) / height);
        let unit = if unit > 0.0 { unit } else { 1.0 / width };
        let axis = |(low, high): (f64, f64), pixels: f64, count| {
            let (middle, half) = (0.5 * (low + high), 0.5 * unit * pixels);
            Axis::within(middle - half, middle + half, count)
        };
        (axis(x, width, counts.0), axis(y, height, counts.1))
    }

    /// The axis of the steps, from 0 to `end`, marked at whole numbers.
    pub fn steps(end: f64, count: usize) -> Axis {
        let end = end.max(1.0);
        let step = round_step(end / count.max(1) as f64).max(1.0).round();
        let marks = (0..=(end / step) as usize).map(|i| i as f64 * step).collect();
        Axis { start: 0.0, end, marks, log: false, decimals: 0 }
    }

    /// A logarithmic axis that holds all values above 0, with a mark at every power of ten (or every second, …).
    pub fn log(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let (low, high) = bounds(values.filter(|v| *v > 0.0).map(f64::log10));
        let (first, mut last) = (low.floor(), high.ceil());
        if last <= first {
            last = first + 1.0;
        }
        let step = ((last - first) / 7.0).ceil().max(1.0);
        let marks = (0..=((last - first) / step) as usize).map(|i| first + i as f64 * step).collect();
        Axis { start: first, end: last, marks, log: true, decimals: 0 }
    }

    /// Where a value stands on the axis; none if it cannot stand there.
    pub fn place(&self, value: f64) -> Option<f64> {
        let place = if self.log { value.log10() } else { value };
        place.is_finite().then_some(place)
    }

    /// Where a linear axis begins, in words, if 0 lies outside it: lengths then look more different than they are.
    pub fn cut_at(&self) -> Option<String> {
        (!self.log && (self.start > 0.0 || self.end < 0.0)).then(|| self.label(self.start))
    }

    /// What is written at a mark.
    pub fn label(&self, mark: f64) -> String {
        if !self.log {
            // -0.0 where a negative axis meets 0.
            return format!("{:.*}", self.decimals, mark + 0.0);
        }
        match mark.round() as i32 {
            0 => "1".into(),
            1 => "10".into(),
            2 => "100".into(),
            -1 => "0.1".into(),
            power => format!("10{}", superscript(power)),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.start) / (self.end - self.start);
        (f64::from(from) + share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.start..self.end
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(mark: &f64) -> String {
        mark.to_string()
    }

    fn format_ext(&self, mark: &f64) -> String {
        self.label(*mark)
    }
}

/// A range that begins at 0 where that costs less than half of it.
fn from_zero((low, high): (f64, f64)) -> (f64, f64) {
    match (low, high) {
        (low, high) if low > 0.0 && low < 0.6 * high => (0.0, high),
        (low, high) if high < 0.0 && high > 0.6 * low => (low, 0.0),
        as_it_is => as_it_is,
    }
}

/// The least and the greatest finite value, `(0, 1)` if there is none.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) = (finite.clone().fold(f64::INFINITY, f64::min), finite.fold(f64::NEG_INFINITY, f64::max));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

fn superscript(number: i32) -> String {
    let digit = |c| match c {
        '-' => '⁻',
        c => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][c as usize - '0' as usize],
    };
    number.to_string().chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.marks.iter().map(|m| axis.label(*m)).collect()
    }

    #[test]
    fn marks_are_round_and_hold_the_values() {
        let axis = Axis::linear([14.6, 0.03].into_iter(), 5);
        assert_eq!(labels(&axis), ["0", "5", "10", "15"]);
        assert_eq!(axis.cut_at(), None);
        let axis = Axis::linear([0.971, 0.9].into_iter(), 4);
        assert_eq!(labels(&axis), ["0.90", "0.92", "0.94", "0.96", "0.98"]);
        assert_eq!((axis.start, axis.end), (0.9, 0.98));
        assert_eq!(axis.cut_at().as_deref(), Some("0.90"));
        assert_eq!(labels(&Axis::linear([-3.0, 2.0].into_iter(), 5)), ["-3", "-2", "-1", "0", "1", "2"]);
    }

    #[test]
    fn one_value_or_none_still_makes_an_axis() {
        for values in [vec![], vec![0.0], vec![7.0], vec![7.0, 7.0], vec![f64::NAN, f64::INFINITY], vec![1e-30]] {
            for axis in [Axis::linear(values.iter().copied(), 5), Axis::log(values.iter().copied())] {
                assert!(axis.start < axis.end && axis.end.is_finite(), "{values:?}: {axis:?}");
                assert!(!axis.marks.is_empty() && axis.marks.len() < 20, "{values:?}: {axis:?}");
            }
        }
    }

    #[test]
    fn powers_of_ten_are_written_out_near_1() {
        let axis = Axis::log([0.004, 900.0, 0.0].into_iter());
        assert_eq!(labels(&axis), ["10⁻³", "10⁻²", "0.1", "1", "10", "100", "10³"]);
        assert_eq!(axis.place(0.0), None);
        assert_eq!(axis.place(100.0), Some(2.0));
    }

    #[test]
    fn a_circle_is_round() {
        let (across, up) = ([-1.0, 1.0].into_iter(), [4.0, 10.0].into_iter());
        let (x, y) = Axis::at_one_scale(across, up, (300.0, 500.0), (4, 4));
        let units = [(x.end - x.start) / 300.0, (y.end - y.start) / 500.0];
        assert!((units[0] - units[1]).abs() < 1e-12, "{units:?}");
        assert!((x.start + 3.36).abs() < 1e-9 && (y.start + 0.6).abs() < 1e-9, "{x:?} {y:?}");
        assert_eq!(labels(&x), ["-2", "0", "2"]);
        let (x, y) = Axis::at_one_scale([7.0].into_iter(), [].into_iter(), (300.0, 500.0), (4, 4));
        assert!(x.start < 7.0 && 7.0 < x.end && y.start < y.end && !y.marks.is_empty(), "{x:?} {y:?}");
    }

    #[test]
    fn steps_are_whole_numbers() {
        assert_eq!(labels(&Axis::steps(25.0, 6)), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(labels(&Axis::steps(3.0, 6)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::steps(0.0, 6)), ["0", "1"]);
    }
}
