//! `--branch`: the settings of the run that is gone on from, where none were typed.
//!
//! Enters: what was typed. Leaves: the same with the run's settings in the places that are left, and the step itself.

use super::args::{Seed, TraceArgs};
use crate::error::{Error, Result};
use crate::record::plan::{Plan, Quantity};
use crate::run::branch::Fork;

/// What was typed, filled up from the run after `--branch`, and where the run goes on.
///
/// # Errors
/// When there is no such run or step, or a picture to begin from was typed too.
pub fn branch(typed: &TraceArgs) -> Result<(TraceArgs, Option<Fork>)> {
    let Some(text) = &typed.branch else { return Ok((typed.clone(), None)) };
    if typed.picture.init_image.is_some() {
        return Err(Error::invalid(
            "`--branch` goes on from a run, `--init-image` begins from a picture: one of the two",
            "leave out `--init-image`: a run that began from a picture goes on with it",
        ));
    }
    let fork = Fork::parse(text)?;
    let mut args = filled(typed.clone(), fork.plan());
    args.model.model = args.model.model.or_else(|| Some(fork.run().record().model.id.clone()));
    Ok((args, Some(fork)))
}

fn filled(mut args: TraceArgs, plan: &Plan) -> TraceArgs {
    let names = |all: &[Quantity]| match all {
        [] => vec!["none".to_string()],
        all => all.iter().map(Quantity::to_string).collect(),
    };
    args.prompt = args.prompt.or_else(|| Some(plan.prompt.clone()));
    args.negative_prompt = args.negative_prompt.or_else(|| Some(plan.negative_prompt.clone()));
    args.prompt_syntax = args.prompt_syntax.or_else(|| Some(plan.prompt_syntax.to_string()));
    args.clip_skip = args.clip_skip.or(Some(plan.clip_skip));
    args.seed = args.seed.or(Some(Seed::Number(plan.seed)));
    args.steps = args.steps.or(Some(plan.steps));
    args.guidance_scale = args.guidance_scale.or(Some(plan.guidance_scale));
    args.width = args.width.or(Some(plan.width));
    args.height = args.height.or(Some(plan.height));
    args.scheduler = args.scheduler.or_else(|| Some(plan.scheduler.clone()));
    args.eta = args.eta.or(Some(plan.eta));
    args.sigmas = args.sigmas.or(plan.sigmas.map(|sigmas| sigmas.to_string()));
    args.zero_terminal_snr |= plan.zero_terminal_snr;
    args.guidance_rescale = args.guidance_rescale.or(Some(plan.guidance_rescale));
    if args.batch_size == 1 {
        args.batch_size = plan.batch_size;
    }
    if let Some(hires) = &plan.hires {
        let typed = &mut args.hires;
        typed.hires = typed.hires.or(Some(hires.scale));
        typed.hires_strength = typed.hires_strength.or(Some(hires.strength));
        typed.hires_steps = typed.hires_steps.or(Some(hires.steps));
        typed.hires_upscaler = typed.hires_upscaler.take().or(Some(hires.upscaler.to_string()));
    }
    // What the run changed goes on, before what is typed now.
    let before = plan.edits.iter().map(|edit| edit.edit.clone());
    args.edits.edit = before.chain(args.edits.edit).collect();
    if args.donors.donor.is_empty() {
        args.donors.donor = plan.donors.iter().map(|donor| donor.run.clone().into()).collect();
    }
    args.keep.record = args.keep.record.or_else(|| Some(names(&plan.record)));
    args.keep.decode = args.keep.decode.or_else(|| Some(plan.decode.to_string()));
    args.keep.decode_what = args.keep.decode_what.or_else(|| Some(names(&plan.decode_what)));
    args
}
