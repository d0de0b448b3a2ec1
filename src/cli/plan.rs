//! What was typed, made into a plan and checked before any work.

use super::args::{KeepArgs, LoadArgs, OnStepArgs, PictureArgs, SweepArgs, TraceArgs};
use super::axes::REPLACE_FLAG;
use crate::error::{Error, Result};
use crate::model::embedding::EmbeddingChoice;
use crate::model::lora::LoraChoice;
use crate::pipeline::init_image::InitImage;
use crate::pipeline::{LoadOptions, device, hires, start};
use crate::prompt::conditions;
use crate::scheduler::SchedulerKind;
use crate::sweep::field;
use crate::sweep::plan::{Axis, replacement};
use crate::trace::hires::Hires;
use crate::trace::inputs::Resize;
use crate::trace::on_step;
use crate::trace::parameters::Settings;
use crate::trace::schema::{Decode, Plan, Quantity};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// The strength of a run from a picture, where none is asked for: enough to change everything but the layout.
const STRENGTH: f64 = 0.75;

/// How to load the model.
///
/// # Errors
/// When device or dtype are unknown or not there, a LoRA's weight is no number, an embedding has no name, or there is no
/// such way to tile.
pub fn load_options(args: &LoadArgs) -> Result<LoadOptions> {
    let device = device::device(&args.device)?;
    let loras = args.lora.iter().map(|text| LoraChoice::parse(text)).collect::<Result<_>>()?;
    let embeddings = args.embedding.iter().map(|text| EmbeddingChoice::parse(text)).collect::<Result<_>>()?;
    let kind = device::dtype(&args.dtype, device)?;
    let vae_tiling = args.vae_tiling.parse()?;
    Ok(LoadOptions { device, kind, variant: args.variant.clone(), loras, embeddings, vae_tiling })
}

/// The plan of a trace, as far as it does not depend on the model: sizes that were not given are 0, a scheduler that was
/// not given is empty.
///
/// # Errors
/// When a value cannot mean anything, whatever the model.
pub fn trace_plan(args: &TraceArgs) -> Result<Plan> {
    let usual = Plan::default();
    let prompt = args.prompt.clone().unwrap_or_default();
    let steps = args.steps.unwrap_or(usual.steps);
    if prompt.trim().is_empty() {
        return Err(Error::invalid("the prompt is empty", "say what to draw, for example `--prompt \"a red apple\"`"));
    }
    if steps == 0 {
        return Err(Error::invalid("0 steps make no picture", "ask for at least one: `--steps 25` is usual"));
    }
    let scheduler = match &args.scheduler {
        Some(name) => SchedulerKind::parse(name)?.name().to_string(),
        None => String::new(),
    };
    let (record, decode, decode_what) = keeping(&args.keep)?;
    let strength = args.picture.init_image.as_ref().map(|_| args.strength.unwrap_or(STRENGTH));
    strength.map_or(Ok(()), start::check_strength)?;
    let resize = resize(&args.picture)?;
    Ok(Plan {
        prompt,
        negative_prompt: args.negative_prompt.clone().unwrap_or_default(),
        prompt_syntax: args.prompt_syntax.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        clip_skip: args.clip_skip.unwrap_or(usual.clip_skip),
        seed: args.seed.unwrap_or(usual.seed),
        batch_size: args.batch_size,
        steps,
        guidance_scale: args.guidance_scale.unwrap_or(usual.guidance_scale),
        width: args.width.unwrap_or(0),
        height: args.height.unwrap_or(0),
        scheduler,
        scheduler_config: serde_json::Value::Null,
        eta: args.eta.unwrap_or(usual.eta),
        strength,
        init_image: None,
        resize: strength.map(|_| resize.unwrap_or_default()),
        mask: None,
        paste: args.picture.paste,
        hires: second_pass(args, steps)?,
        vae_tile: None,
        record,
        decode,
        decode_what,
    })
}

/// The second pass of a trace whose first has so many steps, if it was asked for.
fn second_pass(args: &TraceArgs, steps: usize) -> Result<Option<Hires>> {
    let (typed, usual) = (&args.hires, Hires::default());
    let Some(scale) = typed.hires else {
        let lone = [
            ("--hires-strength", typed.hires_strength.is_some()),
            ("--hires-upscaler", typed.hires_upscaler.is_some()),
            ("--hires-steps", typed.hires_steps.is_some()),
        ];
        return match lone.into_iter().find(|(_, there)| *there) {
            None => Ok(None),
            Some((flag, _)) => Err(Error::invalid(
                format!("`{flag}` without `--hires`: there is no second pass"),
                "say how many times larger it shall be: `--hires 2`",
            )),
        };
    };
    let upscaler = typed.hires_upscaler.as_deref().map_or(Ok(usual.upscaler), str::parse)?;
    let strength = typed.hires_strength.unwrap_or(usual.strength);
    let asked = Hires { scale, strength, upscaler, steps: typed.hires_steps.unwrap_or(steps) };
    hires::check(&asked, args.picture.init_image.is_some())?;
    Ok(Some(asked))
}

/// The picture that runs begin from, if one was given, and what the plan says of it.
///
/// # Errors
/// When it or its mask cannot be read or used.
pub fn init_image(args: &PictureArgs, plan: &mut Plan) -> Result<Option<InitImage>> {
    let read = |path: &PathBuf| InitImage::read(path, args.mask.as_deref());
    let image = args.init_image.as_ref().map(read).transpose()?;
    plan.init_image = image.as_ref().map(|image| image.about.clone());
    plan.mask = image.as_ref().and_then(|image| image.mask.as_ref()).map(|(_, about)| about.clone());
    Ok(image)
}

/// How a picture is made to fit, if that was said.
fn resize(args: &PictureArgs) -> Result<Option<Resize>> {
    args.resize.as_deref().map(str::parse::<Resize>).transpose()
}

/// What was typed, and for the rest what the picture after `--like` says. Gives words of warning too, for what it says
/// that cannot be done here.
///
/// # Errors
/// When the picture carries no settings.
pub fn like(typed: &TraceArgs) -> Result<(TraceArgs, Vec<String>)> {
    let mut args = typed.clone();
    let Some(picture) = &typed.like else { return Ok((args, vec![])) };
    let said = Settings::read(picture)?;
    let mut warnings = vec![];
    if let (None, None, Some(sampler)) = (&args.scheduler, &said.scheduler, &said.sampler) {
        warnings.push(format!("the picture's sampler `{sampler}` is not known here: the model's own is used"));
    }
    if typed.seed.is_none() && said.seed.is_some() && !said.cpu_noise {
        warnings.push("the picture's noise was not drawn on the CPU: its seed means other noise here".into());
    }
    if let Some(loras) = ["Lora", "Lora hashes"].iter().find_map(|name| said.parameters.get(*name)) {
        warnings.push(format!("the picture was drawn with the LoRAs {loras}: name them with `--lora`"));
    }
    // A run from a picture has one pass, whatever the other picture had.
    if args.picture.init_image.is_none() {
        if let (None, Some(upscaler)) = (said.hires, said.parameters.get("Hires upscaler")) {
            warnings.push(format!("the picture was enlarged with {upscaler}, which is not known here: see `--hires`"));
        }
        let (typed, said) = (&mut args.hires, said.hires);
        typed.hires = typed.hires.or(said.map(|hires| hires.scale));
        typed.hires_strength = typed.hires_strength.or(said.map(|hires| hires.strength));
        typed.hires_steps = typed.hires_steps.or(said.map(|hires| hires.steps));
        typed.hires_upscaler = typed.hires_upscaler.take().or(said.map(|hires| hires.upscaler.to_string()));
    }
    args.prompt = args.prompt.or(Some(said.prompt));
    args.negative_prompt = args.negative_prompt.or(Some(said.negative_prompt));
    // The prompt's syntax is the picture's own: a prompt that was typed anew is read as it was typed.
    if typed.prompt.is_none() {
        args.prompt_syntax = args.prompt_syntax.or(said.prompt_syntax.map(|syntax| syntax.name().into()));
    }
    args.clip_skip = args.clip_skip.or(said.clip_skip);
    args.steps = args.steps.or(said.steps);
    // Eta is a setting of the picture's scheduler.
    if args.scheduler.is_none() {
        args.eta = args.eta.or(said.eta.filter(|_| said.scheduler.as_deref() == Some("ddim")));
    }
    args.scheduler = args.scheduler.or(said.scheduler);
    args.guidance_scale = args.guidance_scale.or(said.guidance_scale);
    args.seed = args.seed.or(said.seed);
    args.width = args.width.or(said.width);
    args.height = args.height.or(said.height);
    Ok((args, warnings))
}

/// What is done on each step, if anything.
///
/// # Errors
/// When the command is empty or its limit no time.
pub fn on_step(args: &OnStepArgs) -> Result<Option<on_step::Options>> {
    let Some(command) = args.on_step.clone() else { return Ok(None) };
    if command.trim().is_empty() {
        return Err(Error::invalid(
            "`--on-step` names no command",
            "write one as for the shell: `--on-step 'jq .step'`",
        ));
    }
    let seconds = args.on_step_limit;
    let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero());
    let limit =
        limit.ok_or_else(|| Error::invalid(format!("a limit of {seconds} s"), "give a number above 0; 60 is usual"))?;
    Ok(Some(on_step::Options { command, limit, strict: args.strict }))
}

/// What `--record`, `--decode` and `--decode-what` mean.
fn keeping(args: &KeepArgs) -> Result<(Vec<Quantity>, Decode, Vec<Quantity>)> {
    let decode_what = quantities(&args.decode_what)?;
    let pictures = [Quantity::Latents, Quantity::PredictedOriginal];
    if let Some(other) = decode_what.iter().find(|what| !pictures.contains(what)) {
        return Err(Error::invalid(
            format!("`{other}` cannot be decoded to a picture: it is noise, not a picture"),
            "decode `latents`, `predicted_original`, or both",
        ));
    }
    Ok((quantities(&args.record)?, args.decode.parse()?, decode_what))
}

/// A sweep's axes, the plan for what they leave open (sizes are 0 and the scheduler is empty, to be taken from the model),
/// and the picture that the cells begin from, if one was given.
///
/// # Errors
/// When a value cannot mean anything, whatever the model, there is no prompt, or the picture cannot be used.
pub fn sweep_plan(args: &SweepArgs) -> Result<(Vec<Axis>, Plan, Option<InitImage>)> {
    let (record, decode, decode_what) = keeping(&args.keep)?;
    let mut axes: Vec<Axis> = vec![];
    for (name, texts) in &args.axes.0 {
        if name == REPLACE_FLAG {
            axes.extend(texts.iter().map(|text| replacement(text)).collect::<Result<Vec<_>>>()?);
        } else if let Some(field) = field::field(name) {
            let mut values: Vec<_> =
                texts.iter().map(|text| (field.values)(text)).collect::<Result<Vec<_>>>()?.concat();
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.to_string()));
            axes.push(Axis { name: name.clone(), values });
        }
    }
    if !axes.iter().any(|axis| axis.name == "prompt") {
        return Err(Error::invalid("there is no prompt", "say what to draw, for example `--prompt \"a red apple\"`"));
    }
    let begins = args.picture.init_image.is_some();
    if !begins && axes.iter().any(|axis| axis.name == "strength") {
        return Err(Error::invalid("a strength, but no picture to begin from", "name one with `--init-image`"));
    }
    let mut base = Plan {
        width: 0,
        height: 0,
        scheduler: String::new(),
        strength: begins.then_some(STRENGTH),
        resize: resize(&args.picture)?.or(begins.then(Resize::default)),
        paste: args.picture.paste,
        record,
        decode,
        decode_what,
        ..Plan::default()
    };
    let image = init_image(&args.picture, &mut base)?;
    Ok((axes, base, image))
}

/// `K/N`, from 1.
///
/// # Errors
/// When it is something else.
pub fn shard(text: Option<&str>) -> Result<(usize, usize)> {
    let Some(text) = text else { return Ok((1, 1)) };
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
    parts.filter(|&(k, n): &(usize, usize)| 1 <= k && k <= n).ok_or_else(|| {
        Error::invalid(
            format!("`{text}` names no part of a sweep"),
            "write `--shard 2/4` for the second of four parts; parts are counted from 1",
        )
    })
}

/// A hint for prompts that are read plainly and look as if they were meant for a web UI.
pub fn syntax_hint(plan: &Plan) -> Option<String> {
    let looks = |text: &&String| conditions::looks_weighted(text);
    let text =
        [&plan.prompt, &plan.negative_prompt].into_iter().find(looks).filter(|_| plan.prompt_syntax.is_plain())?;
    Some(format!(
        "`{text}` looks weighted, and is drawn as it is written; `--prompt-syntax a1111` reads it as AUTOMATIC1111's web \
         UI does"
    ))
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
