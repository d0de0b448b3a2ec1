//! `sdviz trace`: draws a picture and records every step.

use super::report;
use crate::cli::args::TraceArgs;
use crate::cli::report::Talk;
use crate::cli::{advice, branch, donors, extras, interrupt, inversions, like, plan, runs, start, told};
use crate::error::{Error, Result as LibResult};
use crate::model::fingerprint::Fingerprints;
use crate::model::resolve;
use crate::model::vae_override;
use crate::pipeline::Pipeline;
use crate::record::schema::Stage;
use crate::run::branch::Fork;
use crate::run::donor;
use crate::run::start::Origin;
use crate::run::{self, Company, Ended, Hashes, Job};
use crate::trace::attribution::AttributionRecorder;
use crate::trace::blocks::BlockLog;
use crate::trace::on_step::OnStep;
use crate::trace::progress::Progress;
use crate::trace::sites::SiteRecorder;
use crate::trace::writer::{self, Recorder};
use crate::watch::observer::Observer;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Carries out a trace: checks everything, loads the model, runs, says what it left where.
pub fn run(args: &TraceArgs, talk: Talk) -> Result<ExitCode> {
    let started = Instant::now();
    let (args, warnings) = like::like(args)?;
    warnings.iter().for_each(|warning| talk.warn(warning));
    let (args, fork) = branch::branch(&args)?;
    let (args, origin) = start::start(args)?;
    let mut plan = plan::trace_plan(&args)?;
    args.purpose.iter().for_each(|purpose| purpose.apply(&mut plan));
    let init = plan::init_image(&args.picture, &mut plan)?;
    let on_step = plan::on_step(&args.on_step)?;
    let sites = plan::sites(&args.layers)?;
    let asked = plan::attribution::typed(&args.attribution)?;
    let choice = resolve::resolve_with(args.model.model.as_deref(), args.model.loading.vae.as_deref())?;
    let runs = donors::open(&args.donors)?;
    let of = fork.as_ref().map(Fork::run).or(origin.as_ref().map(Origin::run)).or(runs.first());
    let loading = extras::taken(&args.model.loading, of, &choice.id)?;
    let options = plan::load_options_with(&loading, args.keep.preview_vae.as_ref())?;
    talk.say(format!("model: {} ({})", choice.id, choice.chosen_by));
    vae_override::warning(&choice.files)?.iter().for_each(|warning| talk.warn(warning));

    let pipeline = Pipeline::load(&choice, options)?;
    pipeline.notes().iter().for_each(|note| talk.warn(note));
    pipeline.model().loras.iter().for_each(|lora| talk.say(format!("lora: {lora}")));
    pipeline.model().embeddings.iter().for_each(|embedding| talk.say(format!("embedding: {embedding}")));
    pipeline.model().preview.iter().for_each(|preview| talk.say(format!("pictures of the steps: {preview}")));
    if let Some(init) = &init {
        (plan.width, plan.height) = init.size(plan.width, plan.height, pipeline.model().vae_scale_factor);
    }
    plan::complete(&args, &pipeline, &mut plan);
    pipeline.complete(&mut plan)?;
    let donors = donors::donors(&args.donors, runs, &pipeline, &mut plan)?;
    fork.iter().try_for_each(|fork| fork.apply(&mut plan))?;
    origin.iter().try_for_each(|origin| origin.apply(&mut plan))?;
    // What takes from another run's steps has to know that the weights are the same.
    let takes = fork.is_some() || origin.is_some();
    let known = takes.then(|| Fingerprints::start(&choice, pipeline.model()).finish()).transpose()?;
    let hashes = known.as_deref().unwrap_or_default();
    let resolved = match (&fork, &origin) {
        (None, None) => pipeline.resolve(&plan)?,
        (Some(fork), _) => fork.resolve(&pipeline, &plan, hashes)?,
        (None, Some(origin)) => origin.resolve(&pipeline, &plan, hashes)?,
    };
    let mut resolved = donor::lend(resolved, &donors)?;
    resolved.record.sites = plan::kept_sites((&args.layers, sites.as_ref()), &resolved.record, &pipeline)?;
    let record = resolved.record.clone();
    args.purpose.iter().try_for_each(|purpose| purpose.check(&record))?;
    let first = record.plan.branch.as_ref().map_or(1, |parent| parent.step + 1);
    let attributor = asked.map(|asked| pipeline.attributor(&record, &asked, first)).transpose()?;
    let out = &folder(&args, talk)?;
    advice::before(&args, &record, &pipeline, talk);
    told::cuts(&record, talk);
    plan::syntax_hint(&plan).iter().for_each(|hint| talk.say(format!("hint: {hint}")));
    plan::tag_warnings(&plan).iter().for_each(|warning| talk.warn(warning));
    told::conditions(&record, talk);
    let fitted = init.map(|init| init.fit(plan.width, plan.height, plan.resize.unwrap_or_default()));
    let input = fork.as_ref().map_or(Ok(fitted), Fork::input)?;
    told::branch(&record, talk);
    told::start(&record, &pipeline, talk);
    inversions::before(&record, talk);
    inversions::start(&record, talk);
    told::second_pass(&record, talk);
    told::attention(&record, talk);
    told::sites(&record, talk);
    told::edits(&record, talk);
    attributor.iter().for_each(|attributor| told::attribution(attributor, talk));
    record.plan.vae_tile.iter().for_each(|side| talk.say(format!("decoding in tiles of {side}×{side} pixels")));
    let load = Stage { name: "load".into(), seconds: started.elapsed().as_secs_f64(), count: 1 };

    let interrupted = interrupt::listen(talk)?;
    let mut sites = sites.map(|options| SiteRecorder::new(out, options)).transpose()?;
    let mut recorder = Recorder::create(out, &plan)?;
    let on_step = on_step.map(|options| OnStep::new(options, out, interrupted.clone())).transpose()?;
    let mut progress = Progress::new(talk.quiet);
    let (mut observers, before): (Vec<&mut dyn Observer>, _) = (vec![&mut progress], vec![load]);
    // After the recorder: a step that has these files is whole.
    let mut blocks = args.layers.blocks.then(|| BlockLog::new(out));
    observers.extend(blocks.as_mut().map(|log| log as &mut dyn Observer));
    observers.extend(sites.as_mut().map(|sites| sites as &mut dyn Observer));
    let mut attribution = attributor.map(|attributor| AttributionRecorder::new(out, &record, attributor));
    observers.extend(attribution.as_mut().map(|recorder| recorder as &mut dyn Observer));
    let hashes = known.as_deref().map_or(Hashes::Of(&choice), Hashes::Known);
    let job = Job { input: input.as_ref(), started, before, ..Job::new(&pipeline, resolved, hashes) };
    let company = Company { observers, on_step, interrupted, ..Company::default() };
    let Ended { outcome, kept, hashes, timings, answers, asked_to_stop } = run::carry_out(job, &mut recorder, company);
    match outcome {
        Ok(outcome) if !outcome.stopped => {
            kept.map_err(|error| told::unmarked(error, out, &record))?;
            answers.iter().for_each(|answers| told::failures(answers, talk));
            like::other_weights(&args, &record.model, &hashes).iter().for_each(|warning| talk.warn(warning));
            if !args.no_report {
                report::of_run(out, talk);
            }
            told::success(out, &plan, &record, &timings, talk);
            inversions::after(out, &record, outcome.inversion.as_ref(), talk);
            origin.iter().for_each(|origin| inversions::likeness(origin, &outcome.images, talk));
            Ok(ExitCode::SUCCESS)
        }
        Ok(_) if asked_to_stop.is_some() => {
            asked_to_stop.iter().for_each(|asked| talk.say(asked));
            talk.say(told::left(kept, out, &record));
            Ok(ExitCode::from(1))
        }
        Ok(_) => Err(told::stopped(Error::Cancelled, kept, out, &record)),
        Err(error) => Err(told::stopped(error, kept, out, &record)),
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
