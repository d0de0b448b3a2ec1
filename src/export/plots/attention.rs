//! The plots of attention: who gets it, and how the maps of words change.
//!
//! Enters: a run recorded with `--attention`. Leaves: what figures are made of. The numbers come from
//! [`crate::export::attention::measures`].

use super::{PROMPT, Parts, line, panel};
use crate::error::Result;
use crate::export::attention::measures::{self, Shares};
use crate::export::attention::recorded::Recorded;
use crate::export::attention::words::{self, Word};
use crate::export::figure::{Figure, Line, Panel, bands};
use crate::export::settings;
use crate::record::attention::Prediction;
use crate::trace::reader::Run;

/// Words that have colours of their own: on the figure of shares alone, and beside other panels.
const WORDS: [usize; 2] = [5, 3];
/// What bands are called that are no words, in the order of their greys.
const OTHERS: [&str; 4] = ["<start>", "other tokens", "<end>", "<padding>"];

/// Who gets the attention at each step, of both passes or of one: one panel of bands.
///
/// # Errors
/// [`crate::error::Error::NotRecorded`] when the run recorded no attention; when a word is not in the prompt, when there
/// are too many, or a step cannot be read.
pub fn shares(
    run: &Run,
    named: &[Word],
    (prediction, pass): (Prediction, Option<usize>),
    batch: usize,
) -> Result<Figure> {
    let recorded = Recorded::open(run, prediction, batch)?.of_pass(pass)?;
    words::check(named, &recorded.texts()?)?;
    if named.len() > WORDS[0] {
        let message = format!("{} words are too many colours for one plot", named.len());
        return Err(crate::error::Error::invalid(message, format!("name {} at most", WORDS[0])));
    }
    let shares = measures::shares(&recorded, named, WORDS[0])?;
    let panels = vec![bands_of(run, &shares)];
    let subtitle = settings::about(run, batch, PROMPT);
    Ok(Figure { title: "Who gets the attention".into(), subtitle, panels, note: notes(&recorded).join(" ") })
}

/// The figure of one run: shares, spread, drift, overlap.
pub(super) fn parts(run: &Run, batch: usize) -> Result<Parts> {
    let recorded = Recorded::open(run, Prediction::TEXT, batch)?;
    let ways = measures::ways(&recorded, &[], WORDS[1])?;
    let shares = measures::shares(&recorded, &ways.words, WORDS[1])?;
    let names: Vec<String> = ways.words.iter().map(Word::to_string).collect();
    let curves = |values: Vec<Vec<(usize, f64)>>| -> Vec<Line> {
        values.into_iter().enumerate().map(|(look, curve)| line(&names[look], look, curve)).collect()
    };
    let percent = |curve: Vec<(usize, f64)>| curve.into_iter().map(|(step, value)| (step, 100.0 * value)).collect();
    let mut panels = vec![
        bands_of(run, &shares),
        panel(run, "spread of a word’s map", "entropy; 1: all places alike", false, curves(ways.spread)),
        panel(
            run,
            "drift of its middle, %",
            "from where it ends, of the picture’s side",
            false,
            curves(ways.drift.into_iter().map(percent).collect()),
        ),
    ];
    let overlap: Vec<Line> = ways
        .overlap
        .into_iter()
        .enumerate()
        .map(|(at, ((a, b), curve))| line(&format!("{} and {}", names[a], names[b]), WORDS[1] + at, curve))
        .collect();
    if !overlap.is_empty() {
        let about = format!("IoU of the places above {} of the way to the most", measures::CUT);
        panels.push(panel(run, "overlap of two words", &about, false, overlap));
    }
    Ok(Parts { title: "Attention: who gets it, and how it moves", panels, notes: notes(&recorded) })
}

fn bands_of(run: &Run, shares: &Shares) -> Panel {
    let mut words = 0;
    let mut curves = vec![];
    for (name, row) in &shares.rows {
        let look = match OTHERS.iter().position(|other| other == name) {
            Some(grey) => bands::GREYS + grey,
            None => {
                words += 1;
                words - 1
            }
        };
        let percent = shares.steps.iter().zip(row).map(|(step, share)| (*step, 100.0 * share)).collect();
        curves.push(line(name, look, percent));
    }
    Panel {
        stacked: true,
        ..panel(run, "share of the attention, %", "mean over places, heads and layers", false, curves)
    }
}

fn notes(recorded: &Recorded) -> Vec<String> {
    let texts = recorded.texts().map_or(1, |texts| texts.len());
    let mut notes = vec![];
    if texts > 1 {
        notes.push("The text changes between steps; a word has 0 where it is not in it.".to_string());
    }
    notes
}
