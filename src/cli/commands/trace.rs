//! `sdviz trace`: draws a picture and records every step.

use crate::cli::args::TraceArgs;
use crate::cli::report::{self, Talk};
use crate::cli::{advice, interrupt, like, plan, runs};
use crate::error::{Error, Result as LibResult, caught};
use crate::model::fingerprint::Fingerprints;
use crate::model::resolve::{self, ModelChoice};
use crate::model::swap;
use crate::pipeline::init_image::Input;
use crate::pipeline::{Outcome, Pipeline};
use crate::trace::answers::OnStepRecord;
use crate::trace::observer::{Observer, Probe};
use crate::trace::on_step::OnStep;
use crate::trace::progress::{Interrupt, Progress};
use crate::trace::schema::{self, Plan, RunRecord, Stage, Status, Timings};
use crate::trace::writer::{self, Kept, Recorder};
use anyhow::Result;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Carries out a trace: checks everything, loads the model, runs, says what it left where.
pub fn run(args: &TraceArgs, talk: Talk) -> Result<ExitCode> {
    let started = Instant::now();
    let (args, warnings) = like::like(args)?;
    warnings.iter().for_each(|warning| talk.warn(warning));
    let mut plan = plan::trace_plan(&args)?;
    let init = plan::init_image(&args.picture, &mut plan)?;
    let options = plan::load_options(&args.model.loading)?;
    let on_step = plan::on_step(&args.on_step)?;
    let choice = resolve::resolve_with(args.model.model.as_deref(), args.model.loading.vae.as_deref())?;
    talk.say(format!("model: {} ({})", choice.id, choice.chosen_by));
    swap::warning(&choice.files)?.iter().for_each(|warning| talk.warn(warning));

    let pipeline = Pipeline::load(&choice, options)?;
    pipeline.notes().iter().for_each(|note| talk.warn(note));
    pipeline.model().loras.iter().for_each(|lora| talk.say(format!("lora: {lora}")));
    pipeline.model().embeddings.iter().for_each(|embedding| talk.say(format!("embedding: {embedding}")));
    if let Some(init) = &init {
        (plan.width, plan.height) = init.size(plan.width, plan.height, pipeline.model().vae_scale_factor);
    }
    plan::complete(&args, &pipeline, &mut plan);
    pipeline.complete(&mut plan)?;
    let (record, _) = pipeline.plan(&plan)?;
    let out = &folder(&args, talk)?;
    advice::before(&args, &record, &pipeline, talk);
    warn_of_cuts(&record, talk);
    plan::syntax_hint(&plan).iter().for_each(|hint| talk.say(format!("hint: {hint}")));
    plan::tag_warnings(&plan).iter().for_each(|warning| talk.warn(warning));
    tell_conditions(&record, talk);
    let input = init.map(|init| init.fit(plan.width, plan.height, plan.resize.unwrap_or_default()));
    tell_start(&record, &pipeline, talk);
    tell_second_pass(&record, talk);
    record.plan.vae_tile.iter().for_each(|side| talk.say(format!("decoding in tiles of {side}×{side} pixels")));
    let load = Stage { name: "load".into(), seconds: started.elapsed().as_secs_f64(), count: 1 };

    let interrupted = interrupt::listen(talk)?;
    let mut recorder = Recorder::create(out, &plan)?;
    let mut on_step = on_step.map(|options| OnStep::new(options, out, interrupted.clone())).transpose()?;
    let watchers = (&mut recorder, on_step.as_mut());
    let outcome = caught(|| draw(&pipeline, (&plan, input.as_ref()), &choice, watchers, &interrupted, talk.quiet));
    let answers = on_step.map(OnStep::into_record);
    answers.iter().for_each(|answers| recorder.note_on_step(answers.clone()));
    let asked = asked_to_stop(answers.as_ref(), &record);
    let (outcome, hashes) = match outcome {
        Ok((outcome, hashes)) => (Ok(outcome), hashes),
        Err(error) => (Err(error), vec![]),
    };
    let stages = outcome.as_ref().map(|o| o.stages.clone()).unwrap_or_default();
    let timings = timings(started, [vec![load], stages].concat());
    let (status, failure) = match &outcome {
        Ok(outcome) if !outcome.stopped => (Status::Complete, None),
        Ok(_) => (Status::Failed, asked.clone().or(Some(Error::Cancelled.to_string()))),
        Err(error) => (Status::Failed, Some(error.to_string())),
    };
    let kept = recorder.finish(status, failure, &hashes, timings.clone());
    match outcome {
        Ok(outcome) if !outcome.stopped => {
            kept.map_err(|error| unmarked(error, out, &record))?;
            answers.iter().for_each(|answers| tell_failures(answers, talk));
            like::other_weights(&args, &record.model, &hashes).iter().for_each(|warning| talk.warn(warning));
            tell_success(out, &plan, &record, &timings, talk);
            Ok(ExitCode::SUCCESS)
        }
        Ok(_) if asked.is_some() => {
            asked.iter().for_each(|asked| talk.say(asked));
            talk.say(left(kept, out, &record));
            Ok(ExitCode::from(1))
        }
        Ok(_) => Err(stopped(Error::Cancelled, kept, out, &record)),
        Err(error) => Err(stopped(error, kept, out, &record)),
    }
}

/// The folder that the run goes to, which can take it. One that was not named is the first that is free.
fn folder(args: &TraceArgs, talk: Talk) -> LibResult<PathBuf> {
    let out = match &args.out {
        Some(named) => plan::not_a_picture(named)?.clone(),
        None if args.force => runs::RUN.into(),
        None => runs::free(),
    };
    writer::check_out(&out, args.force)?;
    if args.out.is_none() && out != Path::new(runs::RUN) {
        talk.say(format!("`{}` holds something already: this run goes to `{}`", runs::RUN, out.display()));
    }
    Ok(out)
}

fn draw(
    pipeline: &Pipeline,
    (plan, input): (&Plan, Option<&Input>),
    choice: &ModelChoice,
    (recorder, on_step): (&mut Recorder, Option<&mut OnStep>),
    interrupted: &Arc<AtomicBool>,
    quiet: bool,
) -> LibResult<(Outcome, Vec<String>)> {
    for (name, picture) in input.iter().flat_map(|input| input.files()) {
        recorder.write_input(name, &picture)?;
    }
    let fingerprints = Fingerprints::start(choice, pipeline.model());
    let (mut progress, mut interrupt) = (Progress::new(quiet), Interrupt(interrupted.clone()));
    let mut watchers: Vec<&mut dyn Observer> = vec![recorder];
    // After the recorder: its files are on disk by then.
    watchers.extend(on_step.map(|on_step| on_step as &mut dyn Observer));
    watchers.extend([&mut interrupt as &mut dyn Observer, &mut progress]);
    let probe = Probe::new(watchers);
    let outcome = match input {
        Some(input) => pipeline.generate_from(plan, input, &probe)?,
        None => pipeline.generate(plan, &probe)?,
    };
    Ok((outcome, fingerprints.finish()?))
}

/// Why the loop begins where it does, for a run from a picture.
fn tell_start(record: &RunRecord, pipeline: &Pipeline, talk: Talk) {
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

/// What the second pass is, for a run at high resolution.
fn tell_second_pass(record: &RunRecord, talk: Talk) {
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

fn warn_of_cuts(record: &RunRecord, talk: Talk) {
    let tokens = &record.tokens;
    for (name, cut) in [("prompt", &tokens.prompt_cut), ("negative prompt", &tokens.negative_prompt_cut)] {
        if let Some(cut) = cut {
            let places = tokens.window;
            talk.warn(format!("the {name} is longer than {places} tokens; this part of it is not seen: `{cut}`"));
        }
    }
}

/// What the web UI's syntax made of the prompt, in a line; its weights are in the record.
fn tell_conditions(record: &RunRecord, talk: Talk) {
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

fn timings(started: Instant, stages: Vec<Stage>) -> Timings {
    let total_seconds = started.elapsed().as_secs_f64();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    Timings { started_unix: (now - total_seconds) as u64, total_seconds, stages }
}

/// Where the record is, where the time went, and what to do next.
fn tell_success(out: &Path, plan: &Plan, record: &RunRecord, timings: &Timings, talk: Talk) {
    let calls = record.calls();
    let part = |stage: &Stage| match stage.count {
        1 => format!("{} {}", stage.name, seconds(stage.seconds)),
        n => format!("{} {} ({n}×)", stage.name, seconds(stage.seconds)),
    };
    let mut stages: Vec<_> = timings.stages.iter().filter(|s| s.seconds >= 0.0005).collect();
    stages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let parts: Vec<_> = stages.into_iter().map(part).collect();
    let pictures: Vec<_> = match plan.decode {
        schema::Decode::Nothing => vec![],
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
fn tell_failures(answers: &OnStepRecord, talk: Talk) {
    if let Some(first) = answers.failures.first() {
        let (failed, calls) = (answers.failures.len(), answers.calls);
        let told = format!("`--on-step` failed {failed} of {calls} times, first after step {}", first.step);
        talk.warn(format!("{told}: {}; run.json has them all", first.message));
    }
}

/// The words for a run that the command after `--on-step` stopped.
fn asked_to_stop(answers: Option<&OnStepRecord>, record: &RunRecord) -> Option<String> {
    let step = answers?.stopped_at?;
    Some(format!("stopped after step {step} of {}, as `--on-step` asked", record.last_step()))
}

/// An error with what is left on disk.
fn stopped(error: Error, kept: LibResult<Kept>, out: &Path, record: &RunRecord) -> anyhow::Error {
    report::Noted { error, note: left(kept, out, record) }.into()
}

/// An error at the very end, when every step was made.
fn unmarked(error: Error, out: &Path, record: &RunRecord) -> anyhow::Error {
    let note = format!("kept in `{}`: steps 0 to {}, readable as they are", out.display(), record.last_step());
    report::Noted { error, note }.into()
}

/// What a run that did not come to its end has left on disk.
fn left(kept: LibResult<Kept>, out: &Path, record: &RunRecord) -> String {
    let last = record.last_step();
    match kept {
        Ok(Kept { last_step: Some(step), .. }) => {
            format!("kept in `{}`: steps 0 to {step} of {last}, readable as they are", out.display())
        }
        Ok(_) => format!("nothing was recorded in `{}` yet", out.display()),
        Err(error) => {
            format!("`{}` could not be marked as failed ({error}); its whole steps are readable", out.display())
        }
    }
}
