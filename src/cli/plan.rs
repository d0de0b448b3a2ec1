//! What was typed, made into a plan and checked before any work.

use super::args::{ModelArgs, TraceArgs};
use crate::error::{Error, Result};
use crate::pipeline::{LoadOptions, device};
use crate::scheduler::SchedulerKind;
use crate::trace::schema::{Decode, Plan, Quantity};

/// How to load the model.
///
/// # Errors
/// When device or dtype are unknown or not there.
pub fn load_options(args: &ModelArgs) -> Result<LoadOptions> {
    let device = device::device(&args.device)?;
    Ok(LoadOptions { device, kind: device::dtype(&args.dtype, device)?, variant: args.variant.clone() })
}

/// The plan of a trace, as far as it does not depend on the model: sizes that were not given are 0, a scheduler that was
/// not given is empty.
///
/// # Errors
/// When a value cannot mean anything, whatever the model.
pub fn trace_plan(args: &TraceArgs) -> Result<Plan> {
    if args.prompt.trim().is_empty() {
        return Err(Error::invalid("the prompt is empty", "say what to draw, for example `--prompt \"a red apple\"`"));
    }
    if args.steps == 0 {
        return Err(Error::invalid("0 steps make no picture", "ask for at least one: `--steps 25` is usual"));
    }
    let scheduler = match &args.scheduler {
        Some(name) => SchedulerKind::parse(name)?.name().to_string(),
        None => String::new(),
    };
    let decode_what = quantities(&args.decode_what)?;
    let pictures = [Quantity::Latents, Quantity::PredictedOriginal];
    if let Some(other) = decode_what.iter().find(|what| !pictures.contains(what)) {
        return Err(Error::invalid(
            format!("`{other}` cannot be decoded to a picture: it is noise, not a picture"),
            "decode `latents`, `predicted_original`, or both",
        ));
    }
    Ok(Plan {
        prompt: args.prompt.clone(),
        negative_prompt: args.negative_prompt.clone(),
        seed: args.seed,
        batch_size: args.batch_size,
        steps: args.steps,
        guidance_scale: args.guidance_scale,
        width: args.width.unwrap_or(0),
        height: args.height.unwrap_or(0),
        scheduler,
        scheduler_config: serde_json::Value::Null,
        eta: args.eta,
        record: quantities(&args.record)?,
        decode: args.decode.parse::<Decode>()?,
        decode_what,
    })
}

/// A list of quantities: names, `all`, or `none`.
fn quantities(names: &[String]) -> Result<Vec<Quantity>> {
    let mut found = match names {
        [one] if one == "all" => Quantity::ALL.to_vec(),
        [one] if one == "none" => vec![],
        names => names.iter().map(|n| n.trim().parse()).collect::<Result<Vec<_>>>()?,
    };
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
