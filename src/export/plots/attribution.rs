//! The plot of what words cause: how far the prediction moves without each, step by step, and how alike that is to where they
//! are looked at.
//!
//! Enters: a run with files in `attribution/`. Leaves: what a figure is made of. The numbers are those of
//! [`crate::export::attribution`].

use super::{Parts, line, panel};
use crate::error::Result;
use crate::export::attribution::{Everything, Found, Options};
use crate::export::figure::{LOOKS, Line};
use crate::export::words;
use crate::trace::reader::Run;
use crate::units::count;

/// A quantity of a word, step by step.
type Curve = Vec<(usize, f64)>;

/// What the figure is made of.
pub(super) fn parts(run: &Run, batch: usize) -> Result<Parts> {
    let attention = run.record().attention.is_some();
    let everything = Everything::open(run, &Options { attention, batch, ..Options::default() })?;
    let share = |found: &Found| Some(100.0 * found.drop.as_ref()?.1 / found.whole.filter(|whole| *whole > 0.0)?);
    let gradient = |found: &Found| found.gradient.map(|share| 100.0 * share);
    let (shown, left) = most(&everything, &|found| share(found).or_else(|| gradient(found)));
    let curves = |value: &dyn Fn(&Found) -> Option<f64>| -> Vec<Line> {
        let of = |(look, place): (usize, &usize)| {
            line(&everything.words[*place].to_string(), look, curve(&everything, *place, value))
        };
        shown.iter().enumerate().map(of).filter(|line| !line.points.is_empty()).collect()
    };
    let all = [
        (
            "moved without the word, %",
            "‖ε(e) − ε(e∖w)‖ / ‖ε(e) − ε(∅)‖: 100 is as far as without the prompt",
            curves(&share),
        ),
        (
            "share of the gradients, %",
            "‖∂s/∂e ⊙ e‖ of the word’s tokens; all places together are 100",
            curves(&gradient),
        ),
        ("alike to its attention", "Pearson’s r of the two maps, over the places", curves(&Found::correlation)),
    ];
    let panels = all.into_iter().filter(|(.., curves)| !curves.is_empty());
    let panels = panels.map(|(y, about, curves)| panel(run, y, about, false, curves)).collect();
    let mut notes = vec![];
    if left > 0 {
        notes.push(format!("{} that move it less are left out.", count(left, "word")));
    }
    notes.extend(words::unfinished(run, run.steps()?.last().copied().unwrap_or(0)).map(|note| format!("{note}.")));
    Ok(Parts { title: "What each word causes", panels, notes })
}

/// A word's numbers, at the steps that have one.
fn curve(everything: &Everything, place: usize, value: &dyn Fn(&Found) -> Option<f64>) -> Curve {
    let at = |(step, found): (&usize, &Option<Found>)| Some((*step, value(found.as_ref()?)?));
    everything.steps.iter().zip(&everything.found[place]).filter_map(at).collect()
}

/// The places of the words that a figure has room for, in the order of the prompt, and how many are left out: those with the
/// least mean.
fn most(everything: &Everything, value: &dyn Fn(&Found) -> Option<f64>) -> (Vec<usize>, usize) {
    let mean = |place: usize| {
        let curve = curve(everything, place, value);
        curve.iter().map(|(_, value)| value).sum::<f64>() / curve.len().max(1) as f64
    };
    let mut places: Vec<usize> = (0..everything.words.len()).collect();
    places.sort_by(|a, b| mean(*b).total_cmp(&mean(*a)));
    let left = places.len().saturating_sub(LOOKS);
    places.truncate(LOOKS);
    places.sort_unstable();
    (places, left)
}
