//! What edits come to in a run: with its model's sites, its prompts' tokens, its schedule. Nothing is computed yet, and
//! whatever cannot apply is refused here.
//!
//! Enters: a record that has tokens and schedule, the model's sites, its tokenizer. Leaves: edits that are ready, each
//! with what the record says of it.

use super::Edit;
use super::armed::{Armed, Cells};
use super::blend::Outside;
use super::copy::{self, Copying};
use super::edits::Edits;
use super::layout::Places;
use super::op::{Op, Over};
use super::selector::{Area, Branches, Ranges, Steps};
use super::site::{self, KnownSite, Role, Target};
use super::tensor_file;
use super::token_map::Mapped;
use super::words::{self, WordPlaces};
use crate::error::{Error, Result};
use crate::files::pictures;
use crate::model::fingerprint;
use crate::model::tokenizer::Tokenizer;
use crate::record::edits::PlannedEdit;
use crate::record::hires::Upscaler;
use crate::record::plan::Decode;
use crate::record::schema::RunRecord;
use crate::watch::site::GUIDANCE_SCALE;
use std::collections::{BTreeSet, HashMap};
use tch::Tensor;

/// What a run's edits come to.
///
/// # Errors
/// When one cannot be read, or something that it names is not there.
pub fn resolve(record: &RunRecord, sites: &[KnownSite], tokenizer: &Tokenizer) -> Result<Edits> {
    let there: Vec<KnownSite> = sites.iter().filter(|site| arises(&site.name, record)).cloned().collect();
    let arm = |asked: &PlannedEdit| {
        arm(asked, record, &there, tokenizer).map_err(|error| match &error {
            Error::Invalid { message, hint } if !message.contains(&asked.edit) => {
                Error::Invalid { message: format!("{message}: in the edit `{}`", asked.edit), hint: hint.clone() }
            }
            _ => error,
        })
    };
    record.plan.edits.iter().map(arm).collect::<Result<_>>().map(Edits::new)
}

/// Whether a site arises in a run like this one.
fn arises(name: &str, record: &RunRecord) -> bool {
    let plan = &record.plan;
    let parts = record.conditions.as_ref().map_or(1, |conditions| conditions.prompt.len());
    let guided = record.is_guided() || parts > 1;
    let encodes = plan.strength.is_some() || plan.hires.is_some_and(|hires| hires.upscaler == Upscaler::Lanczos);
    match name {
        GUIDANCE_SCALE | "noise_uncond" => guided,
        "hires.starting_latents" => plan.hires.is_some(),
        _ if name.starts_with("vae.encoder") || name == "vae.quant_conv" => encodes,
        _ if name.starts_with("vae.") => plan.decode != Decode::Nothing,
        _ => true,
    }
}

fn arm(asked: &PlannedEdit, record: &RunRecord, sites: &[KnownSite], tokenizer: &Tokenizer) -> Result<Armed> {
    let edit: Edit = asked.edit.parse()?;
    check_op(&edit)?;
    let mut targets = site::targets(&edit, sites)?;
    let known = |name: &str| sites.iter().find(|site| site.name == name);
    let usual = if matches!(edit.op, Op::Freeu { .. }) { Branches::Both } else { Branches::Text };
    let branch = edit.at.branch.unwrap_or(usual);
    check_targets(&edit, &mut targets, &known, record)?;
    let of_predictions = targets.iter().any(|(name, _)| known(name).is_some_and(|site| site.of_predictions));
    check_branch(&edit, of_predictions, &targets, record)?;
    let steps = steps(&edit, &targets, record)?;
    let found = edit.at.words.as_ref().map(|words| WordPlaces::find(words, branch, record, tokenizer)).transpose()?;
    let (words, tokens) = found.map_or((None, vec![]), |(places, tokens)| (Some(places), tokens));
    let copying = copying(&edit, record, tokenizer)?;
    let window = record.tokens.window * record.conditions.as_ref().map_or(1, |conditions| conditions.chunks());
    if edit.op == Op::Mask && words.as_ref().is_some_and(|words| words.fill(window)) {
        return Err(Error::invalid("every token is masked: there is nothing left to look at", "leave one: `<start>`"));
    }
    let mut planned = PlannedEdit {
        edit: asked.edit.clone(),
        sites: targets
            .iter()
            .filter(|(_, role)| ![Role::Keep, Role::Watch].contains(role))
            .map(|(name, _)| name.clone())
            .collect(),
        steps: if steps.is_empty() { String::new() } else { Ranges::of(steps.iter().copied()).to_string() },
        branch: if of_predictions { branch.to_string() } else { String::new() },
        tokens,
        fingerprint: String::new(),
    };
    let (files, area, mut sums) = read_files(&edit, &targets)?;
    if let Op::Copy { from, .. } = &edit.op {
        sums.extend(record.plan.donors.get(*from).map(|donor| donor.sha256.clone()));
    }
    let all = serde_json::json!([planned, sums]).to_string();
    planned.fingerprint = fingerprint::of_bytes(all.as_bytes()).chars().take(16).collect();
    Ok(Armed { edit, planned, targets, steps, branch, words, area, files, context: None, copying, fired: 0 })
}

/// What an edit that copies knows of its donor before the run.
fn copying(edit: &Edit, record: &RunRecord, tokenizer: &Tokenizer) -> Result<Option<Copying>> {
    let Op::Copy { from, map, outside, .. } = &edit.op else { return Ok(None) };
    let (plan, donors) = (&record.plan, record.plan.donors.len());
    let Some(donor) = plan.donors.get(*from).map(|donor| &donor.plan) else {
        return Err(match donors {
            0 => Error::invalid("there is no run to copy from", "name one with `--donor RUN`"),
            n => Error::invalid(
                format!("there is no donor {from}: {n} are named, counted from 0"),
                "name it with `--donor RUN`",
            ),
        });
    };
    let mut copying = Copying::default();
    if (edit.op.is_mapped() || outside.is_some()) && [plan, donor].iter().any(|plan| !plan.prompt_syntax.is_plain()) {
        return Err(Error::invalid(
            "the words of a composed prompt cannot be told apart step by step",
            "use `--prompt-syntax plain` for both runs, or leave `map` and `outside` away",
        ));
    }
    if edit.op.is_mapped() {
        copying.mapped = Some(Mapped::of(*map, &donor.prompt, &plan.prompt, tokenizer)?);
    }
    if let Some(words) = outside {
        let places = |prompt: &str| match words::in_prompt(words, prompt, tokenizer)? {
            none if none.is_empty() => Err(Error::invalid(
                format!("none of the words of `outside` is in `{prompt}`"),
                "name a word of this run's prompt and one of the donor's: `outside=apple,pear`",
            )),
            places => Ok(places),
        };
        copying.outside = Some(Outside::new(&places(&plan.prompt)?, &places(&donor.prompt)?));
    }
    Ok(Some(copying))
}

/// What an operation needs beside its keys, and what it cannot have.
fn check_op(edit: &Edit) -> Result<()> {
    let at = &edit.at;
    match &edit.op {
        Op::Mask | Op::Weigh(_) if at.words.is_none() => {
            Err(Error::invalid("it says not which words", "add them: `words=apple`, `words='red apple',<end>`"))
        }
        Op::Freeu { .. } | Op::Set(_) => {
            let said = [
                ("heads", at.heads.is_some()),
                ("words", at.words.is_some()),
                ("channels", at.channels.is_some()),
                ("area", at.area.is_some()),
                ("sizes", at.sizes.is_some()),
            ];
            match said.into_iter().find(|(_, said)| *said) {
                None => Ok(()),
                Some((key, _)) => Err(Error::invalid(format!("`{key}` means nothing there"), "leave it away")),
            }
        }
        _ => Ok(()),
    }
}

/// Leaves out the sites that have not so many heads or channels, and refuses selectors that mean nothing at a site.
fn check_targets<'a>(
    edit: &Edit,
    targets: &mut Vec<Target>,
    known: &impl Fn(&str) -> Option<&'a KnownSite>,
    record: &RunRecord,
) -> Result<()> {
    let at = &edit.at;
    let cannot = |name: &str, key: &str, why: &str, way: &str| {
        Err(Error::invalid(format!("`{key}` means nothing at `{name}`: {why}"), way))
    };
    let mut most: [Option<(String, i64)>; 2] = [None, None];
    let mut left = vec![];
    for target in targets.drain(..) {
        let Some(site) = known(&target.0).filter(|_| target.1 == Role::Change) else {
            left.push(target);
            continue;
        };
        let (name, layout) = (site.name.as_str(), site.layout());
        let text = site.name.starts_with("text_encoder.");
        if at.words.is_some() && layout.tokens.is_none() {
            return cannot(name, "words", "it has no tokens", "name an `attn2`, its `.context`, or the text encoder");
        }
        if at.words.is_some() && text && record.conditions.is_some() {
            return cannot(name, "words", "the texts of a composed prompt share it", "use `--prompt-syntax plain`");
        }
        if at.area.is_some() && layout.places.is_none() {
            return cannot(name, "area", "it lies on no image", "name a block, an attention, or `latents`");
        }
        if at.area.is_some() && name.starts_with("vae.decoder") && record.plan.vae_tile.is_some() {
            return cannot(name, "area", "it is decoded in tiles", "add `--vae-tiling off`");
        }
        if at.batch.is_some() && text {
            return cannot(name, "batch", "all pictures share it", "leave `batch` away");
        }
        check_layout(edit, name, site)?;
        let mut enough = true;
        let bounds = [("heads", &at.heads, layout.heads), ("channels", &at.channels, layout.channels)];
        for (place, (key, ranges, dim)) in bounds.into_iter().enumerate() {
            let Some(ranges) = ranges else { continue };
            let Some(dim) = dim else { return cannot(name, key, "it has none", "name another site") };
            enough &= (ranges.last() as i64) < site.shape[dim];
            if most[place].as_ref().is_none_or(|(_, most)| *most < site.shape[dim]) {
                most[place] = Some((name.into(), site.shape[dim]));
            }
        }
        if enough {
            left.push(target);
        }
    }
    if let Some(batch) = at.batch.as_ref().filter(|batch| batch.last() >= record.plan.batch_size) {
        let message = format!("`batch={batch}`: the run has {} picture(s), counted from 0", record.plan.batch_size);
        return Err(Error::invalid(message, "ask for more with `--batch-size`"));
    }
    if left.iter().all(|(_, role)| *role == Role::Keep) {
        let found = ["heads", "channels"].into_iter().zip(most).find_map(|(key, most)| Some((key, most?)));
        let (key, (name, count)) = found.unwrap_or(("heads", (at.sites.clone(), 0)));
        return Err(Error::invalid(
            format!("no site of `{}` has so many {key}: `{name}` has {count}, counted from 0", at.sites),
            format!("name {key} up to {}", (count - 1).max(0)),
        ));
    }
    *targets = left;
    Ok(())
}

/// Whether an operation can be done to a tensor of this layout.
fn check_layout(edit: &Edit, name: &str, site: &KnownSite) -> Result<()> {
    let layout = site.layout();
    let (what, way) = match &edit.op {
        Op::Permute(_) | Op::Resample(_) if layout.keys.is_some() => {
            ("attention comes in pieces", "name the attention itself, or its `.heads`")
        }
        Op::Permute(_) | Op::Resample(_) | Op::Mean(Over::Places)
            if layout.places.is_none() && layout.tokens.is_none() =>
        {
            ("it has neither places nor tokens", "name another site")
        }
        Op::Mean(Over::Channels) | Op::Project { .. } if layout.channels.is_none() => {
            ("it has no channels", "name another site")
        }
        Op::Noise { .. } if site.shape.is_empty() => ("it is one number", "use `set`"),
        Op::Mean(Over::Batch) if site.name.starts_with("vae.") => {
            ("pictures are decoded one by one", "name a site of the unet")
        }
        Op::Copy { outside: Some(_), .. } if name != "latents" => {
            ("`outside` is for latents", "write `copy latents outside=…`")
        }
        Op::Copy { .. } if !site.of_predictions && copy::recorded_at(name).is_none() => (
            "the donor has no row there",
            "name a site of the unet, or `latents`, `noise_text`, `noise_uncond`, `noise_guided`",
        ),
        Op::Prompt(_) if !matches!(layout.places, None | Some(Places::Row(_))) => ("it is no text", "name an `attn2`"),
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("that cannot be done at `{name}`: {what}"), way))
}

fn check_branch(edit: &Edit, of_predictions: bool, targets: &[Target], record: &RunRecord) -> Result<()> {
    let Some(branch) = edit.at.branch else { return Ok(()) };
    if !of_predictions {
        let name = targets.first().map_or(edit.at.sites.as_str(), |(name, _)| name);
        return Err(Error::invalid(
            format!("`branch` means nothing at `{name}`, which is there once, not for each prediction"),
            "leave it away, or name a site inside of the unet",
        ));
    }
    if branch == Branches::Uncond && !arises("noise_uncond", record) {
        return Err(Error::invalid(
            "without guidance there is no prediction with the negative prompt",
            "ask for a `--guidance-scale` above 1",
        ));
    }
    Ok(())
}

/// At which steps an edit applies.
fn steps(edit: &Edit, targets: &[Target], record: &RunRecord) -> Result<BTreeSet<usize>> {
    let last = record.last_step();
    let begins = |step: &usize| record.hires.as_ref().is_some_and(|second| second.first_step == *step);
    let calls: Vec<usize> = (1..=last).filter(|step| !begins(step)).collect();
    let level = |step: usize| record.schedule[step - 1];
    let at = |wanted: &dyn Fn(usize) -> bool| calls.iter().copied().filter(|step| wanted(*step)).collect();
    let steps: BTreeSet<usize> = match &edit.at.steps {
        Steps::None => return Ok(BTreeSet::new()),
        // Before the first call nothing of the unet arises.
        Steps::All if targets.iter().all(|(name, _)| name.starts_with("unet.")) => calls.iter().copied().collect(),
        Steps::All => (0..=last).collect(),
        Steps::Calls(ranges) => (0..=last).filter(|step| ranges.contains(*step)).collect(),
        Steps::Share(from, to) => {
            let place = |share: f64| (share * calls.len() as f64 + 1e-9) as usize;
            calls
                .iter()
                .enumerate()
                .filter(|(k, _)| (place(*from)..place(*to)).contains(k))
                .map(|(_, step)| *step)
                .collect()
        }
        Steps::Timesteps(high, low) => at(&|step| level(step).timestep.is_some_and(|t| (*low..=*high).contains(&t))),
        Steps::Sigma(high, low) => at(&|step| (*low..=*high).contains(&level(step).sigma)),
    };
    if steps.is_empty() {
        let (first, end) = (record.schedule.first(), calls.last().map(|step| level(*step)));
        let span = |what: &dyn Fn(&crate::record::schema::Level) -> f64| {
            let (high, low) = (first.map_or(0.0, what), end.as_ref().map_or(0.0, what));
            let round = |x: f64| (x * 100.0).round() / 100.0;
            format!("{} down to {}", round(high), round(low))
        };
        return Err(Error::invalid(
            "it names none of the run's steps",
            format!(
                "the run has the steps 1 to {last}, timesteps {}, σ {}; `steps=none` switches an edit off",
                span(&|level| level.timestep.unwrap_or_default()),
                span(&|level| level.sigma)
            ),
        ));
    }
    let before = targets.iter().all(|(name, _)| name.starts_with("text_encoder."));
    if before && edit.at.steps != Steps::All && !steps.contains(&0) {
        return Err(Error::invalid(
            "the text encoder runs once, before the first step",
            "leave `steps` away; for another text at some steps there is `prompt unet.** text=…`",
        ));
    }
    Ok(steps)
}

/// The tensors and the area that an edit reads, and the sums of the files for its fingerprint.
type Files = (HashMap<String, Tensor>, Option<Cells>, Vec<String>);

fn read_files(edit: &Edit, targets: &[Target]) -> Result<Files> {
    let (mut files, mut sums) = (HashMap::new(), vec![]);
    if let Some(file) = edit.op.file() {
        for (name, _) in targets {
            files.insert(name.clone(), tensor_file::read(file, name)?);
        }
        sums.push(fingerprint::of_file(&file.path)?);
    }
    let area = match &edit.at.area {
        None => None,
        Some(Area::Rectangle(sides)) => Some(Cells::Rectangle(*sides)),
        Some(Area::Mask(path)) => {
            sums.push(fingerprint::of_file(path)?);
            Some(Cells::Mask(pictures::open(path, "mask")?.into_luma8()))
        }
    };
    Ok((files, area, sums))
}
