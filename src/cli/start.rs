//! `--start`: the settings of the inversion whose latents a trace begins with, where none were typed.
//!
//! Enters: what was typed. Leaves: the same with the inversion's settings in the places that are left, and the step itself.

use super::args::TraceArgs;
use crate::error::{Error, Result};
use crate::run::start::Origin;

/// What was typed, filled up from the inversion after `--start`, and the step that the run begins with.
///
/// # Errors
/// When there is no such inversion or step, or a picture to begin from was typed too.
pub fn start(mut args: TraceArgs) -> Result<(TraceArgs, Option<Origin>)> {
    let Some(text) = &args.start else { return Ok((args, None)) };
    if args.picture.init_image.is_some() {
        return Err(Error::invalid(
            "`--start` begins from an inversion, `--init-image` from a picture: one of the two",
            "leave out `--init-image`: the inversion has its picture",
        ));
    }
    let origin = Origin::parse(text)?;
    let plan = origin.plan();
    args.prompt = args.prompt.or_else(|| Some(plan.prompt.clone()));
    args.prompt_syntax = args.prompt_syntax.or_else(|| Some(plan.prompt_syntax.to_string()));
    args.clip_skip = args.clip_skip.or(Some(plan.clip_skip));
    args.steps = args.steps.or(Some(plan.steps));
    args.width = args.width.or(Some(plan.width));
    args.height = args.height.or(Some(plan.height));
    args.scheduler = args.scheduler.or_else(|| Some(plan.scheduler.clone()));
    args.zero_terminal_snr |= plan.zero_terminal_snr;
    args.model.model = args.model.model.or_else(|| Some(origin.record().model.id.clone()));
    Ok((args, Some(origin)))
}
