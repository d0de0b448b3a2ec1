//! What `sdviz trace` says of a run: before it what was made of the settings, after it what is there, or what is left.

use crate::cli::advice;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::pipeline::Pipeline;
use crate::pipeline::attention::attention_bytes;
use crate::pipeline::attribution::Attributor;
use crate::record::answers::OnStepRecord;
use crate::record::plan::Plan;
use crate::record::schema::{self, RunRecord, Stage, Timings};
use crate::trace::writer::Recorded;
use crate::units;
use std::io::IsTerminal;
use std::path::Path;

/// Why the loop begins where it does, for a run from a picture.
pub fn start(record: &RunRecord, pipeline: &Pipeline, talk: Talk) {
    let (plan, native) = (&record.plan, pipeline.native_size());
    let (Some(begin), Some(picture)) = (&record.begin, &plan.init_image) else { return };
    let resized = match (picture.width, picture.height) == (plan.width, plan.height) {
        true => String::new(),
        false => format!(", to {}×{} ({})", plan.width, plan.height, plan.resize.unwrap_or_default()),
    };
    talk.say(format!("initial picture: {}, {}×{}{resized}", picture.file, picture.width, picture.height));
    talk.say(format!("start: {}", begin.why));
    if plan.width * plan.height > 4 * native * native {
        talk.warn(format!(
            "{}×{} is far more than the {native}×{native} the model was trained on: it takes long and may repeat itself; \
             `--width {native}` makes it smaller",
            plan.width, plan.height
        ));
    }
}

/// Where a branch goes on, and how much of it is left to make.
pub fn branch(record: &RunRecord, talk: Talk) {
    let Some(parent) = &record.plan.branch else { return };
    let (step, last) = (parent.step, record.last_step());
    talk.say(format!("branch: steps 0 to {step} are those of `{}`, {} to {last} are made now", parent.run, step + 1));
}

/// What the second pass is, for a run at high resolution.
pub fn second_pass(record: &RunRecord, talk: Talk) {
    let (plan, Some(second)) = (&record.plan, &record.hires) else { return };
    let (asked, begin) = (&second.asked, &second.begin);
    let times = |side: usize| (side as f64 * asked.scale * 10.0).round() / 10.0;
    let (wide, high) = (times(plan.width), times(plan.height));
    let rounded = match (wide, high) == (second.width as f64, second.height as f64) {
        true => String::new(),
        false => format!(", rounded from {wide}×{high} to multiples of {}", record.model.vae_scale_factor),
    };
    let (width, height) = (second.width, second.height);
    talk.say(format!("second pass: {width}×{height} ({}), from step {}{rounded}", asked.upscaler, second.first_step));
    talk.say(format!("its start: {}", begin.why));
}

/// What is kept of attention, and what it takes.
pub fn attention(record: &RunRecord, talk: Talk) {
    let Some(kept) = &record.attention else { return };
    let columns = kept.texts.iter().map(|text| text.columns.len()).max().unwrap_or_default();
    let also = [("self-attention", kept.own), ("chosen places", !kept.queries.is_empty())];
    let also: String = also.iter().filter(|(_, kept)| *kept).map(|(what, _)| format!(", {what}")).collect();
    let bytes = units::size(attention_bytes(kept, record) as f64);
    talk.say(format!(
        "attention: {}, {} of up to {columns} columns{also}; about {bytes}",
        kept.detail,
        units::count(kept.predictions.len(), "prediction")
    ));
}

/// Which sites are kept, and what that takes.
pub fn sites(record: &RunRecord, talk: Talk) {
    let Some(kept) = &record.sites else { return };
    let (sites, bytes) = (units::count(kept.sites.len(), "site"), units::size(kept.bytes as f64));
    talk.say(format!("sites: {sites} in {}; about {bytes}", kept.dtype));
}

/// Of what it is found out what words cause, and how much more is predicted.
pub fn attribution(attributor: &Attributor, talk: Talk) {
    let steps: Vec<String> = attributor.steps().iter().map(ToString::to_string).collect();
    talk.say(format!(
        "attribution: {} at {} {}; {} more for each picture and step",
        units::count(attributor.words().len(), "word"),
        if steps.len() == 1 { "step" } else { "steps" },
        steps.join(", "),
        units::count(attributor.predictions(), "prediction")
    ));
}

/// What each edit will change, a line each.
pub fn edits(record: &RunRecord, talk: Talk) {
    for edit in &record.plan.edits {
        let sites = match edit.sites.as_slice() {
            [one] => format!("`{one}`"),
            several => format!("{} sites", several.len()),
        };
        let when = match (edit.steps.as_str(), edit.steps.contains(['-', ','])) {
            ("", _) => "at no step".into(),
            (one, false) => format!("at step {one}"),
            (several, true) => format!("at steps {several}"),
        };
        talk.say(format!("edit: {}: changes {sites} {when}", edit.edit));
    }
}

/// A word on what of the prompts is not seen.
pub fn cuts(record: &RunRecord, talk: Talk) {
    let tokens = &record.tokens;
    for (name, cut) in [("prompt", &tokens.prompt_cut), ("negative prompt", &tokens.negative_prompt_cut)] {
        if let Some(cut) = cut {
            let places = tokens.window;
            talk.warn(format!("the {name} is longer than {places} tokens; this part of it is not seen: `{cut}`"));
        }
    }
}

/// What the web UI's syntax made of the prompt, in a line; its weights are in the record.
pub fn conditions(record: &RunRecord, talk: Talk) {
    let Some(conditions) = &record.conditions else { return };
    let weights: Vec<String> = conditions.prompt.iter().map(|part| part.weight.to_string()).collect();
    if let [weight] = weights.as_slice()
        && weight != "1"
    {
        talk.warn(format!("the prompt ends with a weight: all of it counts {weight} times"));
    }
    let parts =
        if weights.len() > 1 { format!("{} parts ({})", weights.len(), weights.join(", ")) } else { "1 part".into() };
    let (texts, chunks) = (conditions.texts.len(), conditions.chunks());
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    talk.say(format!(
        "prompts (a1111): {parts}, {texts} text{} of {chunks} chunk{} of up to {} tokens",
        plural(texts),
        plural(chunks),
        record.tokens.window.saturating_sub(2)
    ));
}

/// Where the record is, where the time went, and what to do next.
pub fn success(out: &Path, plan: &Plan, record: &RunRecord, timings: &Timings, talk: Talk) {
    let calls = record.calls_made();
    let part = |stage: &Stage| match stage.count {
        1 => format!("{} {}", stage.name, seconds(stage.seconds)),
        n => format!("{} {} ({n}×)", stage.name, seconds(stage.seconds)),
    };
    let mut stages: Vec<_> = timings.stages.iter().filter(|s| s.seconds >= 0.0005).collect();
    stages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let parts: Vec<_> = stages.into_iter().map(part).collect();
    let pictures: Vec<_> = match plan.decode {
        crate::record::plan::Decode::Nothing => vec![],
        _ => (0..plan.batch_size).map(|b| out.join(schema::final_file(b)).display().to_string()).collect(),
    };
    let plural = if calls == 1 { "" } else { "s" };
    talk.say(format!("{calls} model call{plural} in {}: {}", seconds(timings.total_seconds), parts.join(", ")));
    talk.say(format!("record: {}", out.display()));
    if !pictures.is_empty() {
        talk.say(format!("picture: {}", pictures.join(", ")));
    }
    talk.say(format!("next: {}", advice::next_steps(plan, out)));
    // For a program that reads on; a person at a terminal has just been told.
    if !std::io::stdout().is_terminal() {
        pictures.iter().for_each(report::print);
    }
}

/// `0.42 s`, `12.3 s`.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

/// Tells of the failures of the command after `--on-step`, once for all.
pub fn failures(answers: &OnStepRecord, talk: Talk) {
    if let Some(first) = answers.failures.first() {
        let (failed, calls) = (answers.failures.len(), answers.calls);
        let told = format!("`--on-step` failed {failed} of {calls} times, first after step {}", first.step);
        talk.warn(format!("{told}: {}; run.json has them all", first.message));
    }
}

/// An error with what is left on disk.
pub fn stopped(error: Error, kept: LibResult<Recorded>, out: &Path, record: &RunRecord) -> anyhow::Error {
    report::Noted { error, note: left(kept, out, record) }.into()
}

/// An error at the very end, when every step was made.
pub fn unmarked(error: Error, out: &Path, record: &RunRecord) -> anyhow::Error {
    let note = format!("kept in `{}`: steps 0 to {}, readable as they are", out.display(), record.last_step());
    report::Noted { error, note }.into()
}

/// What a run that did not come to its end has left on disk.
pub fn left(kept: LibResult<Recorded>, out: &Path, record: &RunRecord) -> String {
    let last = record.last_step();
    match kept {
        Ok(Recorded { last_step: Some(step), .. }) => {
            format!("kept in `{}`: steps 0 to {step} of {last}, readable as they are", out.display())
        }
        Ok(_) => format!("nothing was recorded in `{}` yet", out.display()),
        Err(error) => {
            format!("`{}` could not be marked as failed ({error}); its whole steps are readable", out.display())
        }
    }
}
