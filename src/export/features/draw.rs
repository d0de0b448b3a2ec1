//! The pictures of a layer's features: a sheet of some steps, and frames beside the decoded pictures.

use super::{Features, Options};
use crate::error::{Error, Result};
use crate::export::animate::{Files, animate};
use crate::export::footer::{FOOTER_PROMPT, with_footer};
use crate::export::panels::DARK;
use crate::export::{Outputs, latents, settings, words};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use crate::viz::caption::{CaptionStyle, with_caption, with_heading};
use crate::viz::pixels::{WHITE, centred, fit, pad, side_by_side, stacked};
use crate::viz::text::TextStyle;
use image::{Rgb, RgbImage};

/// Steps on a sheet.
const SHEET_STEPS: usize = 8;
/// Pixels between two pictures; even, as video likes it.
const GAP: u32 = 8;
const INK: Rgb<u8> = Rgb([20; 3]);

/// Some steps of each run, a row for each run.
pub(super) fn sheet(features: &Features, runs: &[&Run], options: &Options) -> Result<RgbImage> {
    let names = settings::names(runs, options.batch);
    let mut rows = vec![];
    for (place, run) in runs.iter().enumerate() {
        let mut pictures = vec![];
        for step in words::spread_of(run, &features.steps[place], SHEET_STEPS) {
            let Some(picture) = features.picture(runs, place, step, options)? else { continue };
            let picture = options.size.apply(&picture);
            let text = TextStyle::new((picture.width() as f32 / 11.0).clamp(11.0, 64.0).round(), INK);
            let style = CaptionStyle { text, background: WHITE, lines: 1, padding: (text.px / 4.0).ceil() as u32 };
            let place = words::place_in_run(run, step, Quantity::PredictedOriginal);
            let words = if options.captions { place.first().cloned().unwrap_or_default() } else { String::new() };
            pictures.push(if options.captions { with_caption(&picture, &words, &style) } else { picture });
        }
        let row = side_by_side(&pictures, GAP, WHITE);
        let style = TextStyle::new((row.width() as f32 / 60.0).clamp(12.0, 40.0).round(), INK);
        rows.push(if runs.len() > 1 { with_heading(&row, &names[place], &style, 2, GAP) } else { row });
    }
    let sheet = stacked(&rows, GAP, WHITE);
    if !options.captions {
        return Ok(pad(&sheet, [GAP; 4], WHITE));
    }
    let style = TextStyle::new((sheet.width() as f32 / 60.0).clamp(12.0, 48.0).round(), INK).bold();
    let title = format!("{} · {}", settings::common(runs, options.batch, 80), features.describe(options));
    Ok(pad(&with_heading(&sheet, &title, &style, 4, GAP), [GAP; 4], WHITE))
}

/// The animation: of each run the picture as it is predicted, where it was decoded, and beside it the features.
pub(super) fn animation(
    features: &Features,
    runs: &[&Run],
    options: &Options,
    name: &str,
    outputs: &mut Outputs,
) -> Result<()> {
    if options.formats.is_empty() {
        return Ok(());
    }
    let mut steps: Vec<usize> = features.steps.concat();
    steps.sort_unstable();
    steps.dedup();
    let names = settings::names(runs, options.batch);
    let beside = runs.iter().map(|run| beside(run, options.batch)).collect::<Result<Vec<_>>>()?;
    let made_of = format!("{} · {}", features.describe(options), settings::common(runs, options.batch, FOOTER_PROMPT));
    let mut cell = (1, 1);
    for (place, steps) in features.steps.iter().enumerate() {
        // A second pass has larger pictures than the first.
        for step in [steps.first(), steps.last()].into_iter().flatten() {
            let picture = features.picture(runs, place, *step, options)?.ok_or_else(|| gone(*step))?;
            let (width, height) = options.size.apply(&picture).dimensions();
            cell = (cell.0.max(width), cell.1.max(height));
        }
    }
    let style = CaptionStyle { lines: if runs.len() > 1 { 2 } else { 1 }, ..CaptionStyle::for_width(cell.0) };
    let files = Files { name, formats: &options.formats, dither: false };
    animate(outputs, files, &options.pace, &options.pace.choose(&steps), |step| {
        let mut parts = vec![];
        for (place, run) in runs.iter().enumerate() {
            // A run that is shorter shows its last.
            let own = &features.steps[place];
            let own = own.iter().rev().find(|known| **known <= step).or(own.first()).copied().unwrap_or(step);
            let mut shown = vec![];
            if let Some(what) = beside[place] {
                shown.extend(run.picture(own, what, options.batch)?);
            }
            shown.push(features.picture(runs, place, own, options)?.ok_or_else(|| gone(own))?);
            for picture in shown {
                let picture = centred(&fit(&picture, cell), cell, DARK);
                let numbers = latents::caption(run, own, Quantity::PredictedOriginal, &style, picture.width());
                let words = if runs.len() > 1 { format!("{}\n{numbers}", names[place]) } else { numbers };
                parts.push(if options.captions { with_caption(&picture, &words, &style) } else { picture });
            }
        }
        let frame = side_by_side(&parts, GAP, DARK);
        Ok(if options.captions { with_footer(&frame, &made_of) } else { frame })
    })
}

/// Which pictures stand beside a run's features: the predictions, else the latents, where every step was decoded.
fn beside(run: &Run, batch: usize) -> Result<Option<Quantity>> {
    let steps = run.site_steps()?;
    for what in [Quantity::PredictedOriginal, Quantity::Latents] {
        let pictured = run.pictured_steps(what, batch)?;
        if steps.iter().all(|step| pictured.contains(step)) {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn gone(step: usize) -> Error {
    Error::NotRecorded {
        message: format!("the site of step {step} has gone"),
        hint: "is another program clearing the run's folder?".into(),
    }
}
