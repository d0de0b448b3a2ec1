//! What was typed, made into a plan and checked before any work.

pub mod ablation;
mod attention;
pub mod attribution;
mod sweep;

use super::args::{EditArgs, KeepArgs, LayersArgs, LoadArgs, OnStepArgs, PictureArgs, Seed, TraceArgs};
use super::like::tag_warning;
use crate::edit::{self, Edit};
use crate::error::{Error, Result};
use crate::model::embedding::EmbeddingChoice;
use crate::model::lora::LoraChoice;
use crate::pipeline::init_image::InitImage;
use crate::pipeline::{LoadOptions, Pipeline, device, hires, noise, start};
use crate::prompt::{conditions, extras};
use crate::record::edits::PlannedEdit;
use crate::record::hires::Hires;
use crate::record::inputs::{Resize, USUAL_STRENGTH};
use crate::record::layers::SitesRecord;
use crate::record::plan::{Decode, Plan, Quantity};
use crate::record::schema::RunRecord;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use crate::trace::{on_step, sites};
use crate::units;
use std::path::PathBuf;
use std::time::Duration;
pub use sweep::{Asked, shard, sweep_model, sweep_plan};

/// How to load the model.
///
/// # Errors
/// As [`load_options_with`].
pub fn load_options(args: &LoadArgs) -> Result<LoadOptions> {
    load_options_with(args, None)
}

/// The same, with what decodes the pictures of the steps.
///
/// # Errors
/// When device or dtype are unknown or not there, a LoRA's weight is no number, an embedding has no name, or there is no
/// such way to tile.
pub fn load_options_with(args: &LoadArgs, preview_vae: Option<&String>) -> Result<LoadOptions> {
    let device = device::device(&args.device)?;
    let some = |text: &&String| *text != super::extras::NONE;
    let loras = args.lora.iter().filter(some).map(|text| LoraChoice::parse(text)).collect::<Result<_>>()?;
    let embeddings = args.embedding.iter().filter(some).map(|text| EmbeddingChoice::parse(text));
    let embeddings = embeddings.collect::<Result<_>>()?;
    let kind = device::dtype(&args.dtype, device)?;
    let vae_tiling = args.vae_tiling.parse()?;
    Ok(LoadOptions {
        device,
        kind,
        variant: args.variant.clone(),
        loras,
        embeddings,
        vae_tiling,
        preview_vae: preview_vae.cloned(),
    })
}

/// The plan of a trace, as far as it does not depend on the model: sizes that were not given are 0, a scheduler that was
/// not given is empty. [`complete`] has the rest of what a model may have its own of.
///
/// # Errors
/// When a value cannot mean anything, whatever the model.
pub fn trace_plan(args: &TraceArgs) -> Result<Plan> {
    let usual = Plan::default();
    let prompt = args.prompt.clone().unwrap_or_default();
    let steps = args.steps.unwrap_or(usual.steps);
    refuse_zeros(args)?;
    let scheduler = match &args.scheduler {
        Some(name) => SchedulerKind::parse(name)?.name().to_string(),
        None => String::new(),
    };
    let sigmas: Option<Sigmas> = args.sigmas.as_deref().map(str::parse).transpose()?;
    if let (Ok(kind), Some(sigmas)) = (SchedulerKind::parse(&scheduler), sigmas) {
        kind.check_sigmas(sigmas)?;
    }
    let (record, decode, decode_what) = keeping(&args.keep)?;
    let strength = args.picture.init_image.as_ref().map(|_| args.strength.unwrap_or(USUAL_STRENGTH));
    strength.map_or(Ok(()), start::check_strength)?;
    let resize = resize(&args.picture)?;
    Ok(Plan {
        prompt,
        negative_prompt: args.negative_prompt.clone().unwrap_or_default(),
        prompt_syntax: args.prompt_syntax.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        clip_skip: args.clip_skip.unwrap_or(usual.clip_skip),
        seed: args.seed.map_or(usual.seed, number_of),
        batch_size: args.batch_size,
        steps,
        guidance_scale: args.guidance_scale.unwrap_or(usual.guidance_scale),
        width: args.width.unwrap_or(0),
        height: args.height.unwrap_or(0),
        scheduler,
        scheduler_config: serde_json::Value::Null,
        eta: args.eta.unwrap_or(usual.eta),
        sigmas,
        zero_terminal_snr: args.zero_terminal_snr,
        guidance_rescale: args.guidance_rescale.unwrap_or(usual.guidance_rescale),
        strength,
        init_image: None,
        resize: strength.map(|_| resize.unwrap_or_default()),
        mask: None,
        paste: args.picture.paste,
        hires: second_pass(args, steps)?,
        edits: edits(&args.edits)?,
        vae_tile: None,
        branch: None,
        start: None,
        inversion: None,
        look: None,
        donors: vec![],
        record,
        attention: attention::attention(&args.attention)?,
        decode,
        decode_what,
    })
}

/// A 0 that was typed: where it was not, the model's own size counts.
fn refuse_zeros(args: &TraceArgs) -> Result<()> {
    let zeros = [
        (args.steps == Some(0), "0 steps make no picture", "ask for at least one: `--steps 25` is usual"),
        (args.batch_size == 0, "a batch of 0 pictures", "ask for at least one"),
        (
            [args.width, args.height].contains(&Some(0)),
            "a picture of 0 pixels",
            "leave the size to the model, or give one",
        ),
    ];
    match zeros.into_iter().find(|(zero, ..)| *zero) {
        Some((_, message, hint)) => Err(Error::invalid(message, hint)),
        None => Ok(()),
    }
}

/// The folder that was named for a run, unless it is called like a picture.
///
/// # Errors
/// When it is, and there is no folder of that name.
pub fn not_a_picture(out: &PathBuf) -> Result<&PathBuf> {
    let ending = out.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    if ["png", "jpg", "jpeg", "webp", "gif", "mp4"].contains(&ending.as_str()) && !out.is_dir() {
        let folder = out.with_extension("");
        return Err(Error::invalid(
            format!("`{}` is the name of a picture, and a run is a folder", out.display()),
            format!("`--out {0}` makes the folder, and the picture is `{0}/final.png`", folder.display()),
        ));
    }
    Ok(out)
}

/// The seed that was typed, or a random one.
fn number_of(seed: Seed) -> u64 {
    match seed {
        Seed::Number(number) => number,
        Seed::Random => noise::random_seed(),
    }
}

/// Fills in what was not typed and depends on the model: guidance scale and steps, and for a small model that all is kept.
pub fn complete(args: &TraceArgs, pipeline: &Pipeline, plan: &mut Plan) {
    if args.guidance_scale.is_none() {
        plan.guidance_scale = pipeline.guidance_scale();
    }
    if args.steps.is_none() {
        plan.steps = pipeline.steps();
        // A second pass has as many where nothing else is said.
        plan.hires.iter_mut().filter(|_| args.hires.hires_steps.is_none()).for_each(|second| second.steps = plan.steps);
    }
    if args.eta.is_none() {
        plan.eta = SchedulerKind::usual_eta_of(&plan.scheduler);
    }
    if !pipeline.is_small() {
        return;
    }
    if args.keep.record.is_none() {
        plan.record = Quantity::ALL.to_vec();
    }
    if args.keep.decode_what.is_none() && matches!(plan.decode, Decode::Every(_)) {
        plan.decode_what = Quantity::PICTURED.to_vec();
    }
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

/// The edits that were typed, those of the file first. Each is read here once, so that what is wrong with it is told before
/// a model is loaded.
fn edits(args: &EditArgs) -> Result<Vec<PlannedEdit>> {
    let mut texts = args.edits.as_deref().map_or(Ok(vec![]), edit::file::read)?;
    texts.extend(args.edit.iter().cloned());
    texts.iter().try_for_each(|text| text.parse::<Edit>().map(drop))?;
    Ok(texts.into_iter().map(PlannedEdit::asked).collect())
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

/// What is kept of the sites, if anything.
///
/// # Errors
/// When the precision or the branch is unknown.
pub fn sites(args: &LayersArgs) -> Result<Option<sites::Options>> {
    let half = match args.sites_dtype.as_str() {
        "f16" => true,
        "f32" => false,
        other => return Err(Error::unknown("precision of sites", other, ["f16", "f32"])),
    };
    let options = sites::Options { patterns: args.sites.clone(), half, rows: args.sites_branches.parse()? };
    Ok((!args.sites.is_empty()).then_some(options))
}

/// What a run with this record will keep of its model's sites, if anything, within the budget.
///
/// # Errors
/// As [`sites::planned`]; when the budget is no size, or too small.
pub fn kept_sites(
    (args, options): (&LayersArgs, Option<&sites::Options>),
    record: &RunRecord,
    pipeline: &Pipeline,
) -> Result<Option<SitesRecord>> {
    let Some(options) = options else { return Ok(None) };
    let no_size = || Error::invalid(format!("`{}` is no size", args.sites_budget), "write `--sites-budget 500MB`");
    let budget = units::bytes(&args.sites_budget).ok_or_else(no_size)?;
    let kept = sites::planned(options, record, pipeline.sites()?)?;
    if kept.bytes as f64 <= budget {
        return Ok(Some(kept));
    }
    let (count, bytes) = (units::count(kept.sites.len(), "site"), kept.bytes as f64);
    Err(Error::invalid(
        format!("{count} would take {} on disk, more than {}", units::size(bytes), units::size(budget)),
        format!("name fewer, or go on with `--sites-budget {}MB`", (bytes / 1e6).ceil()),
    ))
}

/// What `--record`, `--decode` and `--decode-what` mean.
fn keeping(args: &KeepArgs) -> Result<(Vec<Quantity>, Decode, Vec<Quantity>)> {
    let usual = Plan::default();
    let named = |typed: &Option<Vec<String>>, usual| typed.as_deref().map_or(Ok(usual), quantities);
    let decode_what = named(&args.decode_what, usual.decode_what)?;
    if let Some(other) = decode_what.iter().find(|what| !Quantity::PICTURED.contains(what)) {
        return Err(Error::invalid(
            format!("`{other}` cannot be decoded to a picture: it is noise, not a picture"),
            "decode `latents`, `predicted_original`, or both",
        ));
    }
    let decode = args.decode.as_deref().map_or(Ok(usual.decode), str::parse)?;
    Ok((named(&args.record, usual.record)?, decode, decode_what))
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

/// A word on each tag of a network (`<lora:wood:0.7>`) in the prompt: a prompt loads nothing here.
pub fn tag_warnings(plan: &Plan) -> Vec<String> {
    let tags = extras::without_tags(&plan.prompt).1;
    let word = |tag: &String| match plan.prompt_syntax.is_plain() {
        true => format!("`{tag}` in the prompt is drawn as words: `{}` would load it", extras::flag(tag)),
        false => tag_warning(tag),
    };
    tags.iter().map(word).collect()
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
