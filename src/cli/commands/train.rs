//! `sdviz train`: makes a model from captioned pictures, or teaches one more.

use crate::cli::args::{CourseArgs, TrainArgs, TrainCommand};
use crate::cli::interrupt;
use crate::cli::report::{Noted, Talk};
use crate::error::{Error, Result as LibResult};
use crate::eval::judge::Of;
use crate::pipeline::device;
use crate::train::adapters;
use crate::train::config::TrainConfig;
use crate::train::judge;
use crate::train::preview_vae;
use crate::train::stages::{self, Done, Say, TrainRequest};
use anyhow::Result;
use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;

/// Trains.
pub fn run(args: &TrainArgs, talk: Talk) -> Result<ExitCode> {
    match &args.command {
        TrainCommand::Vae(args) => {
            let done = train(&args.course, (args.init.as_deref(), None), talk, stages::vae)?;
            tell(&done, "sdviz train diffusion", talk);
        }
        TrainCommand::Diffusion(args) => {
            let done = train(&args.course, (args.init.as_deref(), None), talk, stages::diffusion)?;
            tell(&done, &format!("sdviz trace --model {}", done.learned.display()), talk);
        }
        TrainCommand::Lora(args) => {
            let done = train(&args.course, (args.model.as_deref(), args.keep.as_deref()), talk, adapters::lora)?;
            tell(&done, &format!("sdviz trace --lora {}", done.learned.display()), talk);
        }
        TrainCommand::Embedding(args) => {
            let (word, like) = (&args.word, args.like.as_deref());
            let stage = |request: &TrainRequest, say: Say| adapters::embedding(request, word, like, say);
            let personal = &args.personal;
            let done = train(&personal.course, (personal.model.as_deref(), personal.keep.as_deref()), talk, stage)?;
            tell(
                &done,
                &format!("sdviz trace --embedding {word}={} --prompt \"… {word} …\"", done.learned.display()),
                talk,
            );
        }
        TrainCommand::PreviewVae(args) => {
            let done = train(&args.course, (args.model.as_deref(), None), talk, preview_vae::preview_vae)?;
            tell(&done, &format!("sdviz trace --preview-vae {}", done.learned.display()), talk);
        }
        TrainCommand::Judge(args) => {
            let of = Of::from(args.of);
            let stage = |request: &TrainRequest, say: Say| judge::judge(request, of, say);
            let done = train(&args.course, (None, None), talk, stage)?;
            tell(&done, &format!("sdviz eval prompts --{} {}", of.folder(), done.learned.display()), talk);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn train(
    args: &CourseArgs,
    (init, keep): (Option<&str>, Option<&Path>),
    talk: Talk,
    stage: impl Fn(&TrainRequest, Say) -> LibResult<Done>,
) -> Result<Done> {
    let mut config = TrainConfig::read(args.config.as_deref())?;
    if args.steps == Some(0) {
        return Err(Error::invalid("0 steps teach nothing", "ask for at least one").into());
    }
    if let Some(minutes) = args.minutes.filter(|minutes| !(minutes.is_finite() && *minutes > 0.0)) {
        return Err(Error::invalid(format!("{minutes} minutes teach nothing"), "give a number above 0").into());
    }
    for course in [
        &mut config.vae.course,
        &mut config.diffusion.course,
        &mut config.lora.noise.course,
        &mut config.embedding.noise.course,
        &mut config.judge.course,
        &mut config.preview_vae.course,
    ] {
        course.steps = args.steps.unwrap_or(course.steps);
        course.minutes = args.minutes.or(course.minutes);
    }
    let request = TrainRequest {
        data: &args.data,
        keep,
        config,
        out: &args.out,
        init,
        seed: args.seed,
        force: args.force,
        device: device::device(&args.device)?,
        interrupted: interrupt::listen(talk)?,
        quiet: talk.quiet,
        hold: RefCell::default(),
    };
    let done = stage(&request, &|text| talk.say(text))?;
    if done.stopped {
        let note = format!(
            "a checkpoint of step {} is in `{}`: the same command goes on from there",
            done.step,
            done.folder.display()
        );
        return Err(Noted { error: Error::Cancelled, note }.into());
    }
    Ok(done)
}

fn tell(done: &Done, next: &str, talk: Talk) {
    talk.say(format!("learned: {}", done.learned.display()));
    talk.say(format!("log, loss curve, samples: {}", done.folder.display()));
    talk.say(format!("next: {next}"));
}
