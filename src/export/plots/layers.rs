//! The plot of what each layer adds.
//!
//! Enters: a run whose layers were measured (`--blocks`). Leaves: a panel for each kind of layer, its layers in the order
//! of computation, with a curve for some of the steps.

use super::Parts;
use crate::error::{Error, Result};
use crate::export::figure::{Across, LOOKS, Line, Panel};
use crate::export::words;
use crate::record::layers::{LayerKind, LayerRow};
use crate::trace::reader::Run;

/// Parts of the network, by what their sites begin with.
const PARTS: [(&str, &str); 3] = [("unet.down_blocks.", "down"), ("unet.mid_block.", "mid"), ("unet.up_blocks.", "up")];

/// What the figure is made of.
pub(super) fn parts(run: &Run, batch: usize) -> Result<Parts> {
    let rows: Vec<LayerRow> = run.layer_rows()?.into_iter().filter(|row| row.batch == batch).collect();
    if rows.is_empty() {
        return Err(Error::NotRecorded {
            message: format!("`{}` did not keep what its layers add", run.name().display()),
            hint: "trace again with `--blocks`".into(),
        });
    }
    let mut steps: Vec<usize> = rows.iter().map(|row| row.step).collect();
    steps.dedup();
    let shown = words::spread_of(run, &steps, LOOKS - 1);
    let (mut panels, mut notes) =
        (vec![], vec!["Share: rms(update)² / (rms(in)² + rms(update)²), with out = in + update.".into()]);
    for kind in LayerKind::ALL.into_iter().filter(|kind| *kind != LayerKind::Transformer) {
        let of_kind: Vec<&LayerRow> = rows.iter().filter(|row| row.kind == kind).collect();
        let curve = |(look, step): (usize, &usize)| {
            let own = of_kind.iter().filter(|row| row.step == *step).enumerate();
            let points = own.map(|(place, row)| ((place + 1) as f64, 100.0 * row.share)).collect();
            Line::measured(format!("step {step}"), points, look)
        };
        let curves: Vec<Line> = shown.iter().enumerate().map(curve).collect();
        let first: Vec<&str> = of_kind.iter().filter(|row| row.step == steps[0]).map(|row| row.site.as_str()).collect();
        if first.is_empty() {
            continue;
        }
        let about = format!("share that each adds, %; {}", places(&first));
        let (y, x) = (kind.about().to_string(), "layer, in the order of computation".to_string());
        panels.push(Panel {
            y,
            about,
            x,
            x_end: first.len() as f64,
            across: Across::Steps,
            log: false,
            curves,
            stacked: false,
        });
    }
    notes.extend(words::unfinished(run, steps.last().copied().unwrap_or(0)).map(|note| format!("{note}.")));
    Ok(Parts { title: "Who adds how much: the UNet’s layers", panels, notes })
}

/// `1–3 down, 4–5 mid, 6–11 up`.
fn places(sites: &[&str]) -> String {
    let part = |(start, name): (&str, &str)| {
        let own: Vec<usize> = (1..=sites.len()).filter(|place| sites[place - 1].starts_with(start)).collect();
        let (first, last) = (own.first()?, own.last()?);
        Some(if first == last { format!("{first} {name}") } else { format!("{first}–{last} {name}") })
    };
    PARTS.into_iter().filter_map(part).collect::<Vec<_>>().join(", ")
}
