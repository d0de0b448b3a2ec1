//! Branches: a run that goes on from a step of a recorded one, as it was or with other words.
//!
//! Enters: a recorded run, whole or cut short, and a step. Leaves: its plan, to be changed in what comes after the step, and
//! that plan resolved so that the steps before are the recorded ones. What would need other steps before is refused.

use crate::error::{Error, Result};
use crate::files::pictures;
use crate::model::fingerprint;
use crate::pipeline::init_image::Input;
use crate::pipeline::past::Past;
use crate::pipeline::{Pipeline, Resolved};
use crate::record::inputs::{INIT_FILE, MASK_FILE};
use crate::record::model::ModelRecord;
use crate::record::plan::{Parent, Plan, Quantity};
use crate::trace::reader::Run;
use crate::watch::recorded::Recorded;
use serde_json::Value;
use std::path::Path;

/// The flags whose settings all steps of a run share.
pub(super) const OF_STEPS: [&str; 5] = ["--steps", "--width", "--height", "--scheduler", "--batch-size"];

/// A step of a recorded run that another goes on from.
#[derive(Debug, Clone)]
pub struct Fork {
    run: Run,
    step: usize,
    parent: Parent,
}

impl Fork {
    /// What `RUN@STEP` names; without a step the last one that is whole: there a run that was cut short goes on.
    ///
    /// # Errors
    /// As [`Fork::of`].
    pub fn parse(text: &str) -> Result<Fork> {
        let named = text.rsplit_once('@').and_then(|(run, step)| Some((run, step.parse::<usize>().ok()?)));
        match named.filter(|_| !Path::new(text).is_dir()) {
            Some((run, step)) => Fork::of(Run::open(run)?, Some(step)),
            None => Fork::of(Run::open(text)?, None),
        }
    }

    /// A step of a run; the last one that is whole where none is named.
    ///
    /// # Errors
    /// When the run has no such step, or its latents were not recorded.
    pub fn of(run: Run, step: Option<usize>) -> Result<Fork> {
        let (name, steps) = (run.name().display().to_string(), run.steps()?);
        let Some(last) = steps.last().copied() else {
            return Err(Error::invalid(format!("`{name}` has no step yet"), "draw it anew with `--like`"));
        };
        let step = step.unwrap_or(last);
        if !steps.contains(&step) {
            return Err(Error::invalid(format!("`{name}` has no step {step}"), format!("its last step is {last}")));
        }
        let Some(latents) = run.tensors(step, Quantity::Latents)? else {
            return Err(Error::NotRecorded {
                message: format!("`{name}` does not have the latents of step {step}"),
                hint: "record them: `--record latents` when it is made".into(),
            });
        };
        let sha256 = fingerprint::of_parts(latents.iter().map(|value| value.to_le_bytes()));
        let parent = Parent { run: name, step, sha256, plan: run.record().plan.clone() };
        Ok(Fork { run, step, parent })
    }

    /// The step that it goes on from.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The run that it goes on from.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What the run was asked for.
    pub fn plan(&self) -> &Plan {
        &self.parent.plan
    }

    /// What a plan says of it.
    pub(super) fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Makes a plan one that goes on from the step: with the run's picture and mask, if it began from one.
    ///
    /// # Errors
    /// When something is another in it than the steps before were made with.
    pub fn apply(&self, plan: &mut Plan) -> Result<()> {
        let ours = &self.parent.plan;
        if ours.looks_into_picture() {
            return Err(Error::invalid(
                format!("`{}` looks into a picture: no run that draws goes on from it", self.parent.run),
                "begin a run with the latents of an inversion: `--start RUN` or `--start RUN@STEP`",
            ));
        }
        plan.start = ours.start.clone();
        (plan.strength, plan.init_image, plan.mask) = (ours.strength, ours.init_image.clone(), ours.mask.clone());
        (plan.resize, plan.paste) = (ours.resize, ours.paste);
        if let Some((flag, asked, was)) = other(plan, ours, &[&["--seed"], OF_STEPS.as_slice()].concat()) {
            return Err(Error::invalid(
                format!("`{flag} {asked}`, but the steps up to {} were made with {was}", self.step),
                format!(
                    "a branch may have other prompts, another guidance scale, clip skip or eta; leave out `{flag}`, or \
                     draw anew with `--like`"
                ),
            ));
        }
        let second = self.run.record().hires.as_ref().filter(|second| self.step >= second.first_step);
        if second.is_some() && plan.hires != ours.hires {
            return Err(Error::invalid(
                format!("step {} belongs to the second pass, which has begun with other settings", self.step),
                "leave out `--hires`, or go on from a step of the first pass",
            ));
        }
        plan.branch = Some(Box::new(self.parent.clone()));
        Ok(())
    }

    /// The picture and the mask that the run begins from, if they are kept with it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn input(&self) -> Result<Option<Input>> {
        let Some(dir) = self.run.dir().filter(|_| self.parent.plan.init_image.is_some()) else { return Ok(None) };
        let open = |name: &str| pictures::open(&dir.join(name), "picture");
        // A program may have given one that its plan says nothing of.
        let masked = self.parent.plan.mask.is_some() || dir.join(MASK_FILE).is_file();
        let mask = masked.then(|| open(MASK_FILE)).transpose()?;
        let picture = open(INIT_FILE)?.into_rgb8();
        Ok(Some(Input { picture, mask: mask.map(|mask| mask.into_luma8()) }))
    }

    /// Resolves a plan that goes on from the step with a model, whose weights have these hashes.
    ///
    /// # Errors
    /// When it is another model than the run was made with, when something that is needed is not recorded, or when the plan
    /// cannot be carried out.
    pub fn resolve(&self, pipeline: &Pipeline, plan: &Plan, hashes: &[String]) -> Result<Resolved> {
        let record = self.run.record();
        let pictures = self.check_model(pipeline.model(), hashes)?;
        let resolved = pipeline.resolve(plan)?;
        self.check_scheduler(&resolved)?;
        let pictures = pictures
            && record.plan.vae_tile == resolved.record.plan.vae_tile
            && record.model.preview == resolved.record.model.preview;
        let run: Box<dyn Recorded> = Box::new(self.run.clone());
        resolved.going_on(Past { run, until: self.step, pictures })
    }

    /// Refuses a plan whose scheduler has other settings.
    pub(super) fn check_scheduler(&self, resolved: &Resolved) -> Result<()> {
        let (were, are) = (&self.parent.plan.scheduler_config, &resolved.record.plan.scheduler_config);
        match other_setting(were, are) {
            None => Ok(()),
            Some(setting) => Err(Error::invalid(
                format!("the scheduler's `{setting}` is another than `{}` was made with", self.parent.run),
                "take the model as it was: its scheduler_config.json has changed",
            )),
        }
    }

    /// Whether the model's autoencoder is the run's.
    ///
    /// # Errors
    /// When another part of it is not.
    pub fn check_model(&self, ours: &ModelRecord, hashes: &[String]) -> Result<bool> {
        let theirs = &self.run.record().model;
        let refused = |what: String| {
            let hint = format!("it was made with {}", model_flags(theirs));
            Err(Error::invalid(format!("`{}` was made with {what}", self.parent.run), hint))
        };
        let mut same_vae = true;
        for (was, hash) in theirs.components.iter().zip(hashes) {
            let Some(is) = ours.components.iter().find(|c| c.name == was.name) else { continue };
            // The hashes of a run that was cut short are not known.
            let unknown = was.sha256.is_empty() && (was.parameters, &was.file_dtype) == (is.parameters, &is.file_dtype);
            let same = unknown || was.sha256 == *hash;
            if was.name == "vae" {
                same_vae = same;
            } else if !same {
                return refused(format!("other weights: its `{}` is not that of `{}`", was.name, ours.id));
            }
        }
        let loras = |model: &ModelRecord| -> Vec<_> {
            model.loras.iter().map(|lora| (lora.sha256.clone(), lora.weight.to_string())).collect()
        };
        if loras(theirs) != loras(ours) {
            return refused("other LoRAs".into());
        }
        let words = |model: &ModelRecord| -> Vec<_> {
            model.embeddings.iter().map(|word| (word.name.clone(), word.sha256.clone())).collect()
        };
        if words(theirs) != words(ours) {
            return refused("other embeddings".into());
        }
        Ok(same_vae)
    }
}

/// The first of some flags that is another in a plan than in an earlier one, with what each says.
pub(super) fn other(plan: &Plan, earlier: &Plan, flags: &[&'static str]) -> Option<(&'static str, String, String)> {
    let said = |flag: &str, plan: &Plan| match flag {
        "--seed" => plan.seed.to_string(),
        "--steps" => plan.steps.to_string(),
        "--width" => plan.width.to_string(),
        "--height" => plan.height.to_string(),
        "--scheduler" => plan.scheduler.clone(),
        _ => plan.batch_size.to_string(),
    };
    let pairs = flags.iter().map(|flag| (*flag, said(flag, plan), said(flag, earlier)));
    pairs.into_iter().find(|(_, asked, was)| asked != was)
}

/// The flags that name a model.
fn model_flags(model: &ModelRecord) -> String {
    let vae = model.components.iter().find_map(|c| c.from.as_ref()).map(|from| format!(" --vae {from}"));
    let loras = model.loras.iter().map(|lora| format!(" --lora {}:{}", lora.file, lora.weight));
    let words = model.embeddings.iter().map(|word| format!(" --embedding {}={}", word.name, word.file));
    let more: String = vae.into_iter().chain(loras).chain(words).collect();
    format!("`--model {}{more}`", model.id)
}

/// The name of a setting in which two configurations differ. Numbers may differ in the last digit, for one was read from
/// text.
fn other_setting(a: &Value, b: &Value) -> Option<String> {
    let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
        _ => a == b,
    };
    let (a, b) = (a.as_object()?, b.as_object()?);
    let differs = |key: &&String| !same(&a[*key], b.get(*key).unwrap_or(&Value::Null));
    a.keys().find(differs).cloned()
}
