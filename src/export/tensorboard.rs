//! The run for TensorBoard: an event file with its curves, its decoded pictures, its prompt and its settings.
//!
//! Enters: a run. Leaves: `tensorboard/events.out.tfevents.sdviz`; of a batch `tensorboard/b0/…`, `b1/…`, each a run of
//! its own in TensorBoard. The curves are those of the plots ([`super::measures`]), step by step; pictures are the
//! recorded PNGs, byte for byte. Every event bears the time at which the run began, so the same run gives the same bytes.

mod events;

use super::measures::{self, Curve};
use super::report::{Curves, curves};
use super::{Outputs, asked, words};
use crate::error::{Error, IoContext, Result};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use events::{Content, EventWriter, Shown};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// The folder of the files.
const FOLDER: &str = "tensorboard";
/// TensorBoard reads what has `tfevents` in its name. Always the same name: an export made anew takes the old one's place.
const FILE: &str = "events.out.tfevents.sdviz";
/// The most pictures of one tag that TensorBoard shows unless it is told otherwise.
const SHOWN_PICTURES: usize = 10;

/// A curve with its tag and what that means.
type Tagged = (String, &'static str, Curve);

/// The event file of each picture of the batch, for the registry.
///
/// # Errors
/// When a step or a picture cannot be read, or a file not be written.
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let count = asked::batch_items(run)?;
    let mut most = 0;
    for batch in 0..count {
        let folder = if count == 1 { FOLDER.into() } else { format!("{FOLDER}/b{batch}") };
        let curves = curves(run, batch)?;
        if batch == 0 {
            missing(run, &curves).into_iter().for_each(|error| outputs.leave_out(error));
        }
        let tagged = tagged(run, batch, curves)?;
        let name = format!("{folder}/{FILE}");
        outputs.stream(&name, |out| {
            most = most.max(write(run, batch, &tagged, out, Path::new(&name))?);
            Ok(())
        })?;
    }
    if most > SHOWN_PICTURES {
        outputs.remark(format!(
            "TensorBoard shows {SHOWN_PICTURES} of the {most} pictures of a tag, unless it is started with \
             `--samples_per_plugin images={most}`"
        ));
    }
    let last = run.steps()?.last().and_then(|last| words::unfinished(run, *last));
    last.into_iter().for_each(|note| outputs.remark(note));
    Ok(())
}

/// Writes a file; gives the number of pictures of the tag that has most.
fn write(run: &Run, batch: usize, tagged: &[Tagged], out: &mut impl Write, path: &Path) -> Result<usize> {
    let at = |result: std::io::Result<()>| result.at("write", path);
    let mut writer = EventWriter::begin(out, run.record().timings.started_unix as f64).at("write", path)?;
    for (tag, about, text) in texts(run, batch) {
        at(writer.write(0, &[Shown { tag, about, content: Content::Text(&text) }]))?;
    }
    let mut by_step: BTreeMap<usize, Vec<Shown>> = BTreeMap::new();
    for (tag, about, curve) in tagged {
        for (step, value) in curve {
            by_step.entry(*step).or_default().push(Shown { tag, about, content: Content::Scalar(*value) });
        }
    }
    let [latents, predicted] = Quantity::PICTURED.map(|what| run.pictured_steps(what, batch));
    let (latents, predicted) = (latents?, predicted?);
    let last = run.record().last_step().max(by_step.keys().next_back().copied().unwrap_or(0));
    let steps: BTreeSet<usize> = by_step.keys().chain(&latents).chain(&predicted).copied().collect();
    for step in steps {
        if let Some(shown) = by_step.get(&step) {
            at(writer.write(step, shown))?;
        }
        for (what, steps) in [(Quantity::Latents, &latents), (Quantity::PredictedOriginal, &predicted)] {
            let png = if steps.contains(&step) { run.picture_file(step, what, batch)? } else { None };
            let tag = format!("picture/{what}");
            at(png.map_or(Ok(()), |png| picture(&mut writer, step, &tag, about_picture(what), &png)))?;
        }
    }
    let png = run.final_file(batch)?;
    at(png.map_or(Ok(()), |png| picture(&mut writer, last, "picture/final", "the finished picture", &png)))?;
    Ok(latents.len().max(predicted.len()))
}

fn picture<W: Write>(
    writer: &mut EventWriter<W>,
    step: usize,
    tag: &str,
    about: &str,
    png: &[u8],
) -> std::io::Result<()> {
    let (width, height) = asked::png_size(png).unwrap_or_default();
    writer.write(step, &[Shown { tag, about, content: Content::Png(width, height, png) }])
}

fn about_picture(what: Quantity) -> &'static str {
    match what {
        Quantity::PredictedOriginal => "the clean picture that the model call of this step predicts",
        _ => "the latents after this step, decoded",
    }
}

/// The curves with their tags.
fn tagged(run: &Run, batch: usize, curves: Curves) -> Result<Vec<Tagged>> {
    let levels = run.record().schedule.iter().enumerate();
    let mut all: Vec<Tagged> = vec![
        ("schedule/sigma".into(), "σ, the noise beside a signal of scale 1", vec![]),
        ("schedule/alpha_cumprod".into(), "ᾱ, the share of the signal’s variance that is left", vec![]),
        ("schedule/timestep".into(), "the timestep that the model is called with next", vec![]),
    ];
    for (step, level) in levels {
        all[0].2.push((step, level.sigma));
        all[1].2.push((step, level.alpha_cumprod));
        all[2].2.extend(level.timestep.map(|timestep| (step, timestep)));
    }
    for (name, curve) in curves.norms {
        let about = match name {
            "scaled_latents" => "Euclidean norm of the latents as the model sees them",
            _ => "Euclidean norm, over all channels and places",
        };
        all.push((format!("norm/{name}"), about, curve));
    }
    if let Some(guidance) = curves.guidance {
        let difference = "‖ε(prompt) − ε(∅)‖, what the prompt changes in the prediction";
        all.push(("guidance/difference".into(), difference, guidance.difference));
        all.push(("guidance/angle".into(), "the angle between ε(∅) and ε(prompt), degrees", guidance.angle));
        all.push(("guidance/share".into(), "‖s·(ε(prompt) − ε(∅))‖ / ‖ε guided‖", guidance.share));
    }
    all.extend(curves.change.map(|curve| ("change/predicted_original".into(), "‖x₀(k) − x₀(k−1)‖ / ‖x₀(k)‖", curve)));
    if let Some(distance) = curves.distance {
        let about = "root mean square distance to the finished latents";
        all.push(("distance/latents".into(), about, distance.latents));
        all.push(("distance/predicted_original".into(), about, distance.predicted));
    }
    for what in Quantity::PICTURED {
        let about = "root mean square distance of the decoded picture to the finished one, grey levels of 255";
        all.push((format!("distance/picture_{what}"), about, measures::picture_distance(run, what, batch)?));
    }
    Ok(all)
}

/// What was not recorded that would give a curve.
fn missing(run: &Run, curves: &Curves) -> Option<Error> {
    // Without guidance there is only one prediction to record.
    let needless = |what: &Quantity| *what == Quantity::NoiseUncond && !run.record().is_guided();
    let lacks = |what: &Quantity| !curves.norms.contains_key(what.key()) && !needless(what);
    let missing: Vec<Quantity> = Quantity::ALL.into_iter().filter(lacks).collect();
    (!missing.is_empty()).then(|| measures::not_recorded(run, &missing))
}

/// The prompts and a table of the settings.
fn texts(run: &Run, batch: usize) -> Vec<(&'static str, &'static str, String)> {
    let settings = asked::settings(run.record(), batch);
    let text = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let row = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), String::from);
        format!("| {name} | {} |\n", value.replace('|', "\\|").replace('\n', " "))
    };
    let rows: String = settings.iter().map(row).collect();
    let mut texts = vec![("prompt", "what was asked for", text("prompt"))];
    if run.record().is_guided() && !text("negative_prompt").is_empty() {
        texts.push(("negative_prompt", "what was to be stayed away from", text("negative_prompt")));
    }
    texts.push(("settings", "how the run was made", format!("| setting | value |\n|---|---|\n{rows}")));
    texts
}
