//! `sdviz train`: makes a model from captioned pictures, or teaches one more.

use crate::cli::args::{StageArgs, TrainArgs, TrainCommand};
use crate::cli::interrupt;
use crate::cli::report::{Noted, Talk};
use crate::error::Error;
use crate::pipeline::device;
use crate::train::config::TrainConfig;
use crate::train::stages::{self, Done, Request};
use anyhow::Result;
use std::process::ExitCode;

/// Trains.
pub fn run(args: &TrainArgs, talk: Talk) -> Result<ExitCode> {
    match &args.command {
        TrainCommand::Vae(args) => stage(args, talk, stages::vae, "sdviz train diffusion"),
        TrainCommand::Diffusion(args) => stage(args, talk, stages::diffusion, "sdviz trace --model"),
    }
}

fn stage(
    args: &StageArgs,
    talk: Talk,
    train: fn(&Request, &dyn Fn(&str)) -> crate::error::Result<Done>,
    next: &str,
) -> Result<ExitCode> {
    let mut config = TrainConfig::read(args.config.as_deref())?;
    if let Some(steps) = args.steps {
        if steps == 0 {
            return Err(Error::invalid("0 steps teach nothing", "ask for at least one").into());
        }
        (config.vae.course.steps, config.diffusion.course.steps) = (steps, steps);
    }
    let request = Request {
        data: &args.data,
        config,
        out: &args.out,
        init: args.init.as_deref(),
        seed: args.seed,
        force: args.force,
        device: device::device(&args.device)?,
        interrupted: interrupt::listen(talk)?,
        quiet: talk.quiet,
    };
    let done = train(&request, &|text| talk.say(text))?;
    if done.stopped {
        let note = format!("a checkpoint of step {} is in `{}`", done.step, done.folder.display());
        return Err(Noted { error: Error::Cancelled, note: format!("{note}: the same command goes on from there") }.into());
    }
    talk.say(format!("model: {}", done.model.display()));
    talk.say(format!("log, loss curve, samples: {}", done.folder.display()));
    let next = if next.ends_with("--model") { format!("{next} {}", done.model.display()) } else { next.to_string() };
    talk.say(format!("next: {next}"));
    Ok(ExitCode::SUCCESS)
}
