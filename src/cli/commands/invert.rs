//! `sdviz invert`: from a picture to the noise that it could have been drawn from, as a run.

use super::trace;
use crate::cli::args::{InvertArgs, Purpose};
use crate::cli::inversions;
use crate::cli::report::Talk;
use crate::record::inversion::InversionPlan;
use anyhow::Result;
use std::process::ExitCode;

/// Carries it out as a trace that begins from the picture.
pub fn run(args: &InvertArgs, talk: Talk) -> Result<ExitCode> {
    let purpose = Purpose::Invert(InversionPlan { refine: args.refine, way_back: !args.no_way_back });
    let mut trace = inversions::trace(&args.photo, &args.fit, &args.place, purpose)?;
    trace.prompt = Some(args.prompt.clone());
    trace.negative_prompt = Some(args.negative_prompt.clone());
    (trace.steps, trace.guidance_scale) = (Some(args.steps), Some(args.guidance_scale));
    trace.scheduler = Some(args.scheduler.clone());
    (trace.keep, trace.layers) = (args.keep.clone(), args.layers.clone());
    (trace.attention, trace.model) = (args.attention.clone(), args.model.clone());
    trace::run(&trace, talk)
}
