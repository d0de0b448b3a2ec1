//! A sweep as it was typed, made into axes and a plan for what they leave open.
//!
//! Enters: the flags, and where they name no prompt, the run in `run`. Leaves: what `sdviz sweep` carries out.

use super::{init_image, keeping, resize};
use crate::cli::args::{KeepArgs, LoadArgs, PictureArgs, SweepArgs};
use crate::cli::axes::REPLACE_FLAG;
use crate::cli::extras;
use crate::cli::runs;
use crate::error::{Error, Result};
use crate::pipeline::init_image::InitImage;
use crate::record::edits::PlannedEdit;
use crate::record::inputs::{INIT_FILE, MASK_FILE, Resize, USUAL_STRENGTH};
use crate::record::plan::Plan;
use crate::record::schema::RECORD_FILE;
use crate::sweep::field::{self, FIELDS, MODEL};
use crate::sweep::plan::Axis;
use crate::sweep::replace::replacement;
use crate::sweep::values;
use crate::trace::reader::Run;
use serde_json::Value;
use std::path::Path;

/// A sweep that was asked for.
#[derive(Debug)]
pub struct Asked {
    /// What varies, first named, first here. Fields with one value are among them.
    pub axes: Vec<Axis>,
    /// What the axes leave open: sizes are 0 and the scheduler is empty, to be taken from the model.
    pub base: Plan,
    /// The picture that the cells begin from.
    pub init: Option<InitImage>,
    /// Whether a model of which decoding is cheap decodes every step.
    pub decode_by_model: bool,
    /// What the user is told of settings that were not typed.
    pub notes: Vec<String>,
}

/// What a sweep's flags mean.
///
/// # Errors
/// When a value cannot mean anything, whatever the model, there is no prompt, or the picture cannot be used.
pub fn sweep_plan(args: &SweepArgs) -> Result<Asked> {
    let decode_by_model = args.keep.decode.is_none();
    let decode = args.keep.decode.clone().or(Some("final".into()));
    let (record, decode, decode_what) = keeping(&KeepArgs { decode, ..args.keep.clone() })?;
    let (mut notes, mut picture) = (vec![], args.picture.clone());
    let typed = |name: &str| args.axes.0.iter().find(|(axis, _)| axis == name).map(|(_, texts)| texts.as_slice());
    let run = if typed("prompt").is_none() { Some(usual_run()?) } else { None };
    let own = |text: fn(&Plan) -> &String| run.iter().map(move |run| text(&run.record().plan).clone());
    let mut prompts: Vec<String> = own(|plan| &plan.prompt).chain(own(|plan| &plan.negative_prompt)).collect();
    prompts.extend(["prompt", "negative_prompt"].into_iter().filter_map(typed).flatten().cloned());
    let mut axes = axes(&args.axes.0, &prompts.iter().map(String::as_str).collect::<Vec<_>>())?;
    if let Some(run) = &run {
        let (dir, prompt) = (run.name().display(), &run.record().plan.prompt);
        notes.push(format!("from `{dir}`: the prompt \"{prompt}\", and whatever is not given here"));
        take_picture(run, &mut picture);
        axes.extend(settings(run, &axes, &args.picture, &picture));
        notes.extend(left_out(run, args));
    }
    let begins = picture.init_image.is_some();
    if !begins && axes.iter().any(|axis| axis.name == "strength") {
        return Err(Error::invalid("a strength, but no picture to begin from", "name one with `--init-image`"));
    }
    let mut base = Plan {
        width: 0,
        height: 0,
        scheduler: String::new(),
        strength: begins.then_some(USUAL_STRENGTH),
        resize: resize(&picture)?.or(begins.then(Resize::default)),
        paste: picture.paste,
        record,
        decode,
        decode_what,
        ..Plan::default()
    };
    let init = init_image(&picture, &mut base)?;
    Ok(Asked { axes, base, init, decode_by_model, notes })
}

/// The model of the run that a sweep takes its prompt from, where neither prompt nor model were typed, and how to load it: with
/// that run's LoRAs and embeddings, where none were typed.
///
/// # Errors
/// When there is no such run, or a file of it is gone.
pub fn sweep_model(args: &SweepArgs) -> Result<(Option<String>, LoadArgs)> {
    if args.axes.0.iter().any(|(axis, _)| ["prompt", MODEL].contains(&axis.as_str())) {
        return Ok((None, args.loading.clone()));
    }
    let run = usual_run()?;
    let model = run.record().model.id.clone();
    let loading = extras::taken(&args.loading, Some(&run), &model)?;
    Ok((Some(model), loading))
}

/// The axes of the flags, in their order. What is said twice, of a field or of the same words, is one axis.
fn axes(typed: &[(String, Vec<String>)], prompts: &[&str]) -> Result<Vec<Axis>> {
    let mut axes: Vec<Axis> = vec![];
    for (name, texts) in typed {
        for text in texts {
            let axis = match field::field(name) {
                _ if name == REPLACE_FLAG => replacement(text, prompts)?,
                Some(field) => Axis::new(field.name, (field.values)(text)?),
                None => continue,
            };
            match axes.iter_mut().find(|known| known.name == axis.name) {
                Some(known) => {
                    known.title = known.title.take().or(axis.title);
                    known.values = values::once([known.values.as_slice(), &axis.values].concat());
                }
                None => axes.push(axis),
            }
        }
    }
    let twice = axes.iter().enumerate().find(|(i, axis)| axes[..*i].iter().any(|other| other.title() == axis.title()));
    if let Some((_, axis)) = twice {
        return Err(Error::invalid(
            format!("two axes are called `{}`", axis.title()),
            "give the replacements names of their own: `--replace \"style:flat=flat,glossy\"`",
        ));
    }
    Ok(axes)
}

/// The newest run in the folders that `sdviz trace` writes to unasked.
fn usual_run() -> Result<Run> {
    let newest = runs::newest();
    let dir = Path::new(&newest);
    if !dir.join(RECORD_FILE).is_file() {
        return Err(Error::invalid(
            "there is no prompt",
            format!(
                "say what to draw, for example `--prompt \"a red apple\"`; without one, the sweep takes prompt and \
                 settings of the newest run here, `{newest}`, and there is none"
            ),
        ));
    }
    Run::open(dir)
}

/// The picture that the run began from, where none was typed.
fn take_picture(run: &Run, picture: &mut PictureArgs) {
    let plan = &run.record().plan;
    let kept = |name: &str| Some(run.name().join(name)).filter(|path| path.is_file());
    if picture.init_image.is_some() || plan.init_image.is_none() {
        return;
    }
    picture.init_image = kept(INIT_FILE);
    picture.mask = kept(MASK_FILE);
    picture.paste = plan.paste && picture.mask.is_some();
    picture.resize = plan.resize.map(|resize| resize.to_string());
}

/// The run's settings as axes of one value, for all fields that were not typed. Size and strength are the picture's where
/// another one was typed.
fn settings(run: &Run, axes: &[Axis], typed: &PictureArgs, picture: &PictureArgs) -> Vec<Axis> {
    let plan = serde_json::to_value(&run.record().plan).unwrap_or_default();
    let edits = &run.record().plan.edits;
    let of = |name: &str| match name {
        MODEL => run.record().model.id.clone().into(),
        "edits" if !edits.is_empty() => PlannedEdit::as_text(edits).into(),
        name => plan[name].clone(),
    };
    let fits = |name: &str| match name {
        "strength" => picture.init_image.is_some() && typed.init_image.is_none(),
        "width" | "height" => typed.init_image.is_none(),
        _ => true,
    };
    let open = FIELDS.iter().map(|field| field.name).filter(|name| !axes.iter().any(|axis| axis.name == *name));
    open.filter(|name| fits(name)).map(|name| (name, of(name))).filter(|(_, value)| !value.is_null()).map(one).collect()
}

fn one((name, value): (&str, Value)) -> Axis {
    Axis::new(name, vec![value])
}

/// What the run had that a sweep does not take from it.
fn left_out(run: &Run, args: &SweepArgs) -> Vec<String> {
    let (plan, model) = (&run.record().plan, &run.record().model);
    let mut notes = vec![];
    if let Some(lora) = model.loras.first().filter(|_| args.loading.lora.is_empty()) {
        notes.push(format!("warning: the run's LoRA `{}` is left out: name its file with `--lora`", lora.file));
    }
    if let Some(word) = model.embeddings.first().filter(|_| args.loading.embedding.is_empty()) {
        notes.push(format!(
            "warning: the run's embedding `{}` is left out: name its file with `--embedding`",
            word.name
        ));
    }
    if let Some(from) = model.components.iter().find_map(|c| c.from.as_ref()).filter(|_| args.loading.vae.is_none()) {
        notes.push(format!("warning: the run's autoencoder, `{from}`, is left out: name it with `--vae`"));
    }
    if plan.hires.is_some() {
        notes.push("warning: the run's second pass is left out: sweeps have one".into());
    }
    notes
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
