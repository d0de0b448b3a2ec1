//! The plots of several runs in one figure.
//!
//! Enters: what the figure of each run alone is made of. Leaves: a panel for each curve that a run alone would have, with
//! one curve for each run. Runs are called by the settings that set them apart.

use super::{PROMPT, Parts, Plot};
use crate::error::{Error, Result};
use crate::export::figure::{Figure, LOOKS, Line, Panel};
use crate::export::settings;
use crate::trace::reader::Run;

/// More runs than this cannot be told apart.
pub const MOST_RUNS: usize = LOOKS;

/// The figure of several runs.
///
/// # Errors
/// As [`Plot::figure`]; also when they are too many.
pub(super) fn figure(plot: Plot, runs: &[&Run], batch: usize) -> Result<Figure> {
    if runs.len() > MOST_RUNS {
        let message = format!("{} runs are too many for one plot", runs.len());
        return Err(Error::invalid(message, format!("name {MOST_RUNS} at most")));
    }
    if plot == Plot::Layers {
        return Err(Error::invalid("the layers of several runs do not fit in one plot", "name one run"));
    }
    let names = settings::names(runs, batch);
    let (mut parts, mut missing, mut first_error): (Vec<(usize, Parts)>, _, _) = (vec![], vec![], None);
    for (place, run) in runs.iter().enumerate() {
        match plot.parts(run, batch) {
            Ok(own) => parts.push((place, own)),
            Err(error @ Error::NotRecorded { .. }) => {
                missing.push(names[place].clone());
                first_error = first_error.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(title) = parts.first().map(|(_, own)| own.title) else {
        let nothing = || Error::invalid("no run is named", "name one run at least");
        return Err(first_error.unwrap_or_else(nothing));
    };
    let mut notes = shared_notes(&parts, &names);
    if !missing.is_empty() {
        notes.push(format!("Not recorded: {}.", missing.join("; ")));
    }
    let subtitle = settings::common(runs, batch, PROMPT);
    Ok(Figure { title: title.into(), subtitle, panels: panels(&parts, &names), note: notes.join(" ") })
}

/// A panel for each curve of the runs' own panels.
fn panels(parts: &[(usize, Parts)], names: &[String]) -> Vec<Panel> {
    let mut together: Vec<((String, String), Panel)> = vec![];
    for (place, own) in parts {
        // The parts of a whole are those of one run.
        for panel in own.panels.iter().filter(|panel| !panel.stacked) {
            for curve in &panel.curves {
                let line =
                    Line { name: names[*place].clone(), points: curve.points.clone(), look: *place, theory: false };
                let key = (panel.y.clone(), curve.name.clone());
                if let Some((_, known)) = together.iter_mut().find(|(other, _)| *other == key) {
                    known.x_end = known.x_end.max(panel.x_end);
                    known.curves.push(line);
                    continue;
                }
                // A panel's only curve bears the panel's name.
                let y = if curve.name == panel.y { panel.y.clone() } else { curve.name.clone() };
                let about =
                    if curve.name == panel.y { panel.about.clone() } else { format!("{} · {}", panel.y, panel.about) };
                together.push((key, Panel { y, about, curves: vec![line], ..panel.clone() }));
            }
        }
    }
    // One run after the other has left a later run's own curves at the end.
    together.into_iter().map(|(_, panel)| panel).collect()
}

/// Sentences that hold for all runs as they are; the others with the name of the run that they are about.
fn shared_notes(parts: &[(usize, Parts)], names: &[String]) -> Vec<String> {
    let everywhere = |note: &String| parts.iter().all(|(_, own)| own.notes.contains(note));
    let mut notes: Vec<String> = vec![];
    for (place, own) in parts {
        for note in &own.notes {
            let note = if everywhere(note) { note.clone() } else { format!("{}: {note}", names[*place]) };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}
