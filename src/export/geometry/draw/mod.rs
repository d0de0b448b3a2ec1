//! The figures of a run's geometry.
//!
//! Enters: numbers, and the ways that they were taken of. Leaves: a title, panels, and sentences for the foot. One way
//! alone shows what a formula says beside what was measured, and more curves; several have a colour each.

mod frequencies;
mod ways;

use super::Numbers;
use super::trajectory::Trajectory;
use crate::export::figure::{Across, Line, Panel};

/// Points of a curve.
type Points = Vec<(f64, f64)>;

/// What a figure is made of.
pub(super) struct Parts {
    pub title: &'static str,
    pub panels: Vec<Panel>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// What the figure is made of.
pub(super) fn parts(numbers: &Numbers, all: &[Trajectory]) -> Parts {
    match numbers {
        Numbers::Plane(own) => ways::plane(own, all),
        Numbers::Components(own) => ways::components(own, all),
        Numbers::Cosines(own) => ways::cosines(own, all),
        Numbers::Spectrum(own) => frequencies::spectrum(own, all),
        Numbers::Bands(own) => frequencies::bands(own, all),
    }
}

/// A curve of each way.
fn each<T>(all: &[T], ways: &[Trajectory], points: impl Fn(&T, &Trajectory) -> Points) -> Vec<Line> {
    let pairs = all.iter().zip(ways).enumerate();
    pairs.map(|(look, (own, way))| Line::measured(way.name.clone(), points(own, way), look)).collect()
}

fn percent(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| 100.0 * value).collect()
}

/// A panel over numbers named `x`.
fn panel((x, across): (&str, Across), y: &str, about: &str, curves: Vec<Line>) -> Panel {
    Panel { y: y.into(), about: about.into(), x: x.into(), x_end: 0.0, across, log: false, curves, stacked: false }
}

/// A panel over the steps.
fn over_steps(ways: &[Trajectory], y: &str, about: &str, curves: Vec<Line>) -> Panel {
    let x_end = ways.iter().map(|way| way.planned as f64).fold(0.0, f64::max);
    Panel { x_end, ..panel(("step", Across::Steps), y, about, curves) }
}
