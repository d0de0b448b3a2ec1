//! `--like`: the settings that a picture carries, where none were typed, and a word on everything of it that is not taken
//! over.
//!
//! Enters: what was typed. Leaves: the same with the picture's settings, and warnings. A picture of ours says everything,
//! one of a web UI most; a setting that nobody here has heard of is named as it stands.

use super::args::{Seed, TraceArgs};
use crate::error::{Error, Result};
use crate::prompt::extras;
use crate::record::model::{EmbeddingRecord, LoraRecord, ModelRecord};
use crate::record::plan::Parent;
use crate::scheduler::SchedulerKind;
use crate::trace::parameters::{Own, PictureSettings};
use serde_json::Value;
use std::path::Path;

/// Pairs that are taken over, have a word of their own below, or make no difference to a picture.
const HANDLED: [&str; 34] = [
    "Edits",
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Seed",
    "Size",
    "Clip skip",
    "Prompt syntax",
    "Model",
    "Model hash",
    "RNG",
    "Denoising strength",
    "Hires upscale",
    "Hires resize",
    "Hires upscaler",
    "Hires steps",
    "Eta",
    "Eta DDIM",
    "Variation seed",
    "Variation seed strength",
    "Seed resize from",
    "Lora",
    "Lora hashes",
    "TI hashes",
    "Embeddings",
    "VAE",
    "VAE hash",
    "Version",
    "User",
    "Created Date",
    "Batch pos",
    "Civitai resources",
    "Civitai metadata",
];

/// What a web UI says of its UniPC.
const UNIPC: [&str; 4] = ["UniPC variant", "UniPC order", "UniPC skip type", "UniPC lower order final"];

/// Pairs that only a picture that was repainted behind a mask has.
const MASKED: [&str; 5] = ["Mask blur", "Mask mode", "Masked content", "Inpaint area", "Masked area padding"];

/// What was typed, and for the rest what the picture after `--like` says. Gives words of warning too, for what it says
/// that is not taken over.
///
/// # Errors
/// When the picture carries no settings, or its sampler is not known and no other is typed.
pub fn like(typed: &TraceArgs) -> Result<(TraceArgs, Vec<String>)> {
    let Some(picture) = &typed.like else { return Ok((typed.clone(), vec![])) };
    let mut said = PictureSettings::read(picture)?;
    let mut warnings = vec![];
    warnings.extend(sampler(typed, &said)?);
    warnings.extend(noise(typed, &said));
    if typed.prompt.is_none() && said.own.is_none() {
        warnings.extend(take_tags_out(&mut said));
    }
    match &said.own {
        Some(own) => warnings.extend(beyond_settings_of_ours(typed, own)),
        None => warnings.extend(beyond_settings(typed, &said)),
    }
    warnings.extend(model(typed, &said));
    if typed.picture.init_image.is_some() && (said.hires.is_some() || said.parameters.contains_key("Hires upscaler")) {
        warnings.push("the picture had a second pass, which a run from a picture has not".into());
    }
    Ok((filled(typed.clone(), said), warnings))
}

/// What was typed, with a picture's settings in the places that are left.
fn filled(mut args: TraceArgs, said: PictureSettings) -> TraceArgs {
    // A run from a picture has one pass, whatever the other picture had, and only such a run has a strength.
    if args.picture.init_image.is_none() {
        let (typed, said) = (&mut args.hires, said.hires);
        typed.hires = typed.hires.or(said.map(|hires| hires.scale));
        typed.hires_strength = typed.hires_strength.or(said.map(|hires| hires.strength));
        typed.hires_steps = typed.hires_steps.or(said.map(|hires| hires.steps));
        typed.hires_upscaler = typed.hires_upscaler.take().or(said.map(|hires| hires.upscaler.to_string()));
    } else {
        args.strength = args.strength.or(said.strength);
        let own = said.own.as_ref().map(|own| &own.plan);
        args.picture.resize = args.picture.resize.or(own.and_then(|plan| plan.resize).map(|resize| resize.to_string()));
        args.picture.paste |= args.picture.mask.is_some() && own.is_some_and(|plan| plan.paste);
    }
    // The prompt's syntax is the picture's own: a prompt that was typed anew is read as it was typed.
    if args.prompt.is_none() {
        args.prompt_syntax = args.prompt_syntax.or(said.prompt_syntax.map(|syntax| syntax.name().into()));
    }
    // Edits that were typed take the place of the picture's.
    if args.edits.edit.is_empty() && args.edits.edits.is_none() {
        args.edits.edit = said.edits;
    }
    args.prompt = args.prompt.or(Some(said.prompt));
    args.negative_prompt = args.negative_prompt.or(Some(said.negative_prompt));
    args.clip_skip = args.clip_skip.or(said.clip_skip);
    args.steps = args.steps.or(said.steps);
    // Eta is a setting of the picture's scheduler.
    if args.scheduler.is_none() {
        args.eta = args.eta.or(said.eta.filter(|_| takes_eta(said.scheduler.as_deref())));
        args.sigmas = args.sigmas.or(said.sigmas.map(|sigmas| sigmas.to_string()));
    }
    if let Some(own) = &said.own {
        args.zero_terminal_snr |= own.plan.zero_terminal_snr;
        args.guidance_rescale = args.guidance_rescale.or(Some(own.plan.guidance_rescale));
    }
    args.scheduler = args.scheduler.or(said.scheduler);
    args.guidance_scale = args.guidance_scale.or(said.guidance_scale);
    args.seed = args.seed.or(said.seed.map(Seed::from));
    args.width = args.width.or(said.width);
    args.height = args.height.or(said.height);
    args
}

/// Whether eta means something to the scheduler of this name.
fn takes_eta(scheduler: Option<&str>) -> bool {
    scheduler.and_then(|name| SchedulerKind::parse(name).ok()).is_some_and(SchedulerKind::takes_eta)
}

/// Whether the picture's sampler is one of ours, and what may differ then.
fn sampler(typed: &TraceArgs, said: &PictureSettings) -> Result<Option<String>> {
    let Some(sampler) = said.like_sampler().filter(|_| typed.scheduler.is_none()) else { return Ok(None) };
    if sampler.scheduler.is_none() {
        return Err(Error::invalid(
            format!("the picture's sampler `{}` is not known here", sampler.name),
            "choose another with `--scheduler`: `sdviz schedulers` lists them",
        ));
    }
    let eta = said.eta.filter(|eta| *eta != 0.0 && typed.eta.is_none() && !takes_eta(sampler.scheduler.as_deref()));
    let unipc = said.own.is_none() && sampler.scheduler.as_deref() == Some("unipc");
    let words = [
        unipc.then(|| {
            let theirs = listed(said, |name| UNIPC.contains(&name));
            let theirs = if theirs.is_empty() { "if nobody set it otherwise".into() } else { theirs };
            format!("the web UI's UniPC is of order 3 in the variant bh1 ({theirs}), this one of order 2 and bh2 unless the \
                     model's configuration says otherwise")
        }),
        sampler.spacing.map(|spacing| {
            format!("the picture's noise levels were spaced as `{spacing}`: here the model's configuration says how")
        }),
        eta.map(|eta| format!("the picture's eta {eta} is not taken over: only `ddim` and `tcd` have one here")),
    ];
    Ok(words.into_iter().flatten().reduce(|all, word| format!("{all}; {word}")))
}

/// Whether the picture's seed means the same noise here.
fn noise(typed: &TraceArgs, said: &PictureSettings) -> Vec<String> {
    if typed.seed.is_some() || said.seed.is_none() {
        return vec![];
    }
    let mut words = vec![];
    if !said.cpu_noise {
        words.push("the picture's noise was not drawn on the CPU: its seed means other noise here".into());
    }
    let mixed = listed(said, |name| name.starts_with("Variation seed") || name == "Seed resize from");
    if !mixed.is_empty() {
        words.push(format!("the picture's noise was mixed ({mixed}), which is not done here: its seed gives another"));
    }
    words
}

/// Takes the tags of networks out of the picture's prompt.
fn take_tags_out(said: &mut PictureSettings) -> Vec<String> {
    let (left, tags) = extras::without_tags(&said.prompt);
    said.prompt = left.trim_end().into();
    tags.iter().map(|tag| tag_warning(tag)).collect()
}

/// What becomes of a tag in a prompt.
pub fn tag_warning(tag: &str) -> String {
    format!("`{tag}` in the prompt loads nothing and is not drawn: `{}` would load it", extras::flag(tag))
}

/// What a picture of ours had beside its settings.
fn beyond_settings_of_ours(typed: &TraceArgs, own: &Own) -> Vec<String> {
    let (plan, model, loading) = (&own.plan, &own.model, &typed.model.loading);
    let mut words = vec![];
    if plan.looks_into_picture() {
        words.push("the picture shows a step of a run that looked into another: this one is drawn from noise".into());
    } else if let (Some(picture), None) = (&plan.init_image, &typed.picture.init_image) {
        let strength = plan.strength.unwrap_or_default();
        words.push(format!(
            "the picture began from `{}` (strength {strength}): name it with `--init-image`, or this one begins from noise",
            picture.file
        ));
    }
    if let Some(parent) = &plan.start {
        let (run, step) = (&parent.run, parent.step);
        words.push(format!(
            "the picture's run began with step {step} of the inversion `{run}`: `--start {run}@{step}` does so again; this one \
             begins from noise"
        ));
    }
    if let Some(parent) = &plan.branch {
        let (run, step) = (&parent.run, parent.step);
        words.push(format!(
            "the picture's run went on from step {step} of `{run}`: `--branch {run}@{step}` does so again; this one draws \
             all steps with its settings"
        ));
    }
    if typed.donors.donor.is_empty() {
        let named =
            |donor: &Parent| format!("the picture's run copied from `{0}`: name it with `--donor {0}`", donor.run);
        words.extend(plan.donors.iter().map(named));
    }
    if let (Some(mask), None) = (&plan.mask, &typed.picture.mask) {
        words.push(format!("the picture was repainted behind the mask `{}`: name it with `--mask`", mask.file));
    }
    if let (Some(from), None) = (model.components.iter().find_map(|c| c.from.as_ref()), &loading.vae) {
        words.push(format!("the picture was decoded by the autoencoder `{from}`: name it with `--vae`"));
    }
    if loading.lora.is_empty() {
        let flag = |lora: &LoraRecord| {
            format!("the picture was drawn with a LoRA: name it with `--lora {}:{}`", lora.file, lora.weight)
        };
        words.extend(model.loras.iter().map(flag));
    }
    if loading.embedding.is_empty() {
        let flag = |word: &EmbeddingRecord| {
            format!("`{}` is an embedding: name it with `--embedding {}={}`", word.name, word.name, word.file)
        };
        words.extend(model.embeddings.iter().map(flag));
    }
    if !["", "f32"].contains(&own.dtype.as_str()) && loading.dtype == "auto" {
        words.push(format!("the picture was computed in {0}: `--dtype {0}` does so again", own.dtype));
    }
    words
}

/// What a picture of another program had beside the settings that are taken over.
fn beyond_settings(typed: &TraceArgs, said: &PictureSettings) -> Vec<String> {
    let (loading, mut words) = (&typed.model.loading, vec![]);
    let masked = listed(said, |name| MASKED.contains(&name));
    if let (Some(strength), None) = (said.strength, &typed.picture.init_image) {
        words.push(format!(
            "the picture began from another (denoising strength {strength}): name that with `--init-image`, or this one \
             begins from noise"
        ));
    }
    if !masked.is_empty() && typed.picture.mask.is_none() {
        words.push(format!("the picture was repainted behind a mask ({masked}): name it with `--mask`"));
    }
    if let (None, Some(upscaler)) = (said.hires, said.parameters.get("Hires upscaler")) {
        words
            .push(format!("the picture was enlarged with {}, which is not known here: see `--hires`", plain(upscaler)));
    }
    if loading.lora.is_empty() {
        words.extend(civitai_loras(said));
    }
    let first = |names: [&str; 2]| names.iter().find_map(|name| said.parameters.get(*name)).map(plain);
    if let Some(loras) = first(["Lora", "Lora hashes"]).filter(|_| loading.lora.is_empty()) {
        words.push(format!("the picture was drawn with the LoRAs {loras}: name them with `--lora`"));
    }
    if let Some(embeddings) = first(["Embeddings", "TI hashes"]).filter(|_| loading.embedding.is_empty()) {
        words.push(format!("the picture was drawn with the embeddings {embeddings}: name them with `--embedding`"));
    }
    if let Some(vae) = first(["VAE", "VAE hash"]).filter(|_| loading.vae.is_none()) {
        words.push(format!("the picture was decoded by the autoencoder {vae}: name it with `--vae`"));
    }
    let known = |name: &str| HANDLED.contains(&name) || MASKED.contains(&name) || UNIPC.contains(&name);
    let others = listed(said, |name| !known(name));
    if !others.is_empty() {
        words.push(format!("the picture also says, and this is not taken over: {others}"));
    }
    if !said.behind.is_empty() {
        words.push(format!("what stands behind the picture's settings is not taken over: `{}`", said.behind));
    }
    words
}

/// The LoRAs that Civitai's generator names, in a list of JSON objects.
fn civitai_loras(said: &PictureSettings) -> Option<String> {
    let listed: Vec<Value> = serde_json::from_str(&plain(said.parameters.get("Civitai resources")?)).ok()?;
    let loras = listed.iter().filter(|resource| resource["type"].as_str().is_some_and(|kind| kind.contains("lora")));
    let name = |lora: &Value| {
        let named = ["modelName", "modelVersionName", "modelVersionId", "air"].map(|key| lora[key].clone());
        let name = named.iter().find(|name| !name.is_null()).map_or("one without a name".into(), plain);
        lora["weight"].as_f64().map_or(name.clone(), |weight| format!("{name} (weight {weight})"))
    };
    let all = loras.map(name).reduce(|all, one| format!("{all}, {one}"))?;
    Some(format!("the picture was drawn with the LoRAs {all}: name them with `--lora`"))
}

/// Whether the picture was drawn with another model, as far as names tell.
fn model(typed: &TraceArgs, said: &PictureSettings) -> Option<String> {
    let theirs = said.model.as_deref()?;
    let named = typed.model.model.clone().or_else(|| std::env::var("SDVIZ_MODEL").ok());
    let ours = named.as_deref().unwrap_or("pocket");
    if short(theirs).eq_ignore_ascii_case(short(ours)) {
        return None;
    }
    let hash = said.parameters.get("Model hash").map(|hash| format!(" (hash {})", plain(hash)));
    let hash = hash.unwrap_or_default();
    let way = if typed.model.model.is_some() { "" } else { ": name it with `--model`" };
    Some(format!("the picture was drawn with the model `{theirs}`{hash}, this one is drawn with `{ours}`{way}"))
}

/// Whether a finished run had other weights than the picture it is like, where both have one name. `hashes` are those of
/// the model's components.
pub fn other_weights(args: &TraceArgs, model: &ModelRecord, hashes: &[String]) -> Option<String> {
    let said = PictureSettings::read(args.like.as_ref()?).ok()?;
    if !short(said.model.as_deref()?).eq_ignore_ascii_case(short(&model.id)) {
        return None;
    }
    let ours = hashes.get(model.components.iter().position(|c| c.name == "unet")?)?;
    let theirs = match &said.own {
        Some(own) => own.model.components.iter().find(|c| c.name == "unet")?.sha256.clone(),
        // Web UIs have the hash of the whole checkpoint: comparable where ours is one file too.
        None if hashes.iter().all(|hash| hash == ours) => plain(said.parameters.get("Model hash")?),
        None => return None,
    };
    let ten = |hash: &str| hash.chars().take(10).collect::<String>().to_lowercase();
    let differ = !theirs.is_empty() && !ours.is_empty() && ten(&theirs) != ten(ours);
    differ.then(|| {
        let (name, theirs, ours) = (&model.id, ten(&theirs), ten(ours));
        format!(
            "the picture was drawn with other weights of that name: `{name}` had the hash {theirs}, and now has {ours}"
        )
    })
}

/// A model's name without its folders and its ending.
fn short(name: &str) -> &str {
    let last = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name);
    [".safetensors", ".ckpt"].iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last)
}

/// The pairs with these names, as the picture has them.
fn listed(said: &PictureSettings, wanted: impl Fn(&str) -> bool) -> String {
    let pairs = said.parameters.iter().filter(|(name, _)| wanted(name));
    pairs.map(|(name, value)| format!("`{name}: {}`", plain(value))).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
