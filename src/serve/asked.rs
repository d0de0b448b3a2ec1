//! From a request to a plan: what was asked for, checked against the limits and the model before it is queued.

use super::settings::{Limits, Model};
use crate::error::{Error, Result};
use crate::pipeline::{hires, limits, noise, start};
use crate::record::attention::{AttentionPlan, Detail};
use crate::record::hires::Hires;
use crate::record::inputs::USUAL_STRENGTH;
use crate::record::plan::{Decode, Plan, Quantity};
use crate::scheduler::SchedulerKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest number that JavaScript has exactly: a seed must come back as it went.
const LARGEST_SEED: u64 = (1 << 53) - 1;

/// A run to be made. What is left out is as the model has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// What to draw.
    pub prompt: String,
    /// What to stay away from.
    pub negative_prompt: String,
    /// How the prompts are read: `plain` or `a1111`.
    pub prompt_syntax: Option<String>,
    /// Layer of the text encoder that the embeddings are taken from, 1 the last.
    pub clip_skip: Option<usize>,
    /// Seed of the first picture; left out or -1, one is drawn.
    pub seed: Option<i64>,
    /// Steps.
    pub steps: Option<usize>,
    /// How strongly to follow the prompt; 1 switches guidance off.
    pub guidance_scale: Option<f64>,
    /// Width in pixels.
    pub width: Option<usize>,
    /// Height in pixels.
    pub height: Option<usize>,
    /// Scheduler.
    pub scheduler: Option<String>,
    /// DDIM's eta, or TCD's.
    pub eta: Option<f64>,
    /// Where the noise levels lie: `karras` or another that `sdviz trace --help` names.
    pub sigmas: Option<String>,
    /// How far the guided prediction is brought back to the deviation of the one with the prompt, 0 to 1.
    pub guidance_rescale: Option<f64>,
    /// How many pictures, with seeds that follow each other.
    pub pictures: Option<usize>,
    /// Picture to begin from: PNG, JPEG or WebP in base64, with or without `data:…;base64,` before it.
    pub init_image: Option<String>,
    /// Mask of the picture's size: white is repainted.
    pub mask: Option<String>,
    /// How far to go from the picture.
    pub strength: Option<f64>,
    /// How the picture is made to fit: `stretch`, `crop` or `pad`.
    pub resize: Option<String>,
    /// Put the picture's own pixels back where the mask is black.
    pub paste: bool,
    /// A second pass over the enlarged result.
    pub hires: Option<AskedHires>,
    /// What to keep of each step; left out, as the model's size suggests.
    pub record: Option<Vec<String>>,
    /// Which steps to decode: `every`, `final`, `none` or a number.
    pub decode: Option<String>,
    /// Keep where each word of the prompt is looked at from, step by step.
    pub attention: bool,
}

/// A second pass.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskedHires {
    /// How many times larger.
    pub scale: Option<f64>,
    /// The share of its steps that is made.
    pub strength: Option<f64>,
    /// `latent` or another that `sdviz trace --help` names.
    pub upscaler: Option<String>,
    /// Its steps.
    pub steps: Option<usize>,
}

impl Asked {
    /// The plan that is meant.
    ///
    /// # Errors
    /// Names the first thing that cannot be had, with what could.
    pub fn plan(&self, model: &Model, limits: &Limits) -> Result<Plan> {
        let usual = model.usual_plan();
        let steps = self.steps.unwrap_or(usual.steps);
        let scheduler = self.scheduler.as_deref().map(SchedulerKind::parse).transpose()?;
        let strength = self.init_image.as_ref().map(|_| self.strength.unwrap_or(USUAL_STRENGTH));
        if self.mask.is_some() && self.init_image.is_none() {
            return Err(Error::invalid("a mask, but no picture to repaint", "give `init_image` too"));
        }
        let record = self.record.as_ref().map(|names| names.iter().map(|name| name.parse()).collect()).transpose()?;
        let plan = Plan {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            prompt_syntax: self.prompt_syntax.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            clip_skip: self.clip_skip.unwrap_or(usual.clip_skip),
            seed: seed(self.seed)?,
            batch_size: self.pictures.unwrap_or(1),
            steps,
            guidance_scale: self.guidance_scale.unwrap_or(usual.guidance_scale),
            width: self.width.unwrap_or(usual.width),
            height: self.height.unwrap_or(usual.height),
            scheduler: scheduler.map_or(usual.scheduler.clone(), |kind| kind.name().into()),
            eta: self.eta.unwrap_or_else(|| scheduler.map_or(0.0, SchedulerKind::usual_eta)),
            sigmas: self.sigmas.as_deref().map(str::parse).transpose()?,
            guidance_rescale: self.guidance_rescale.unwrap_or_default(),
            strength,
            resize: match strength {
                Some(_) => Some(self.resize.as_deref().map(str::parse).transpose()?.unwrap_or_default()),
                None => None,
            },
            paste: self.paste && self.mask.is_some(),
            hires: self.hires.as_ref().map(|asked| second_pass(asked, steps)).transpose()?,
            record: record.unwrap_or(usual.record.clone()),
            decode: self.decode.as_deref().map(str::parse).transpose()?.unwrap_or(usual.decode),
            attention: self.attention.then(word_maps),
            ..usual
        };
        check(&plan, model, limits)?;
        Ok(plan)
    }
}

/// What is kept of attention: what the page shows, whatever the model's size.
fn word_maps() -> AttentionPlan {
    AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() }
}

fn seed(asked: Option<i64>) -> Result<u64> {
    match asked {
        None | Some(-1) => Ok(noise::random_seed()),
        Some(seed) => u64::try_from(seed).ok().filter(|seed| *seed <= LARGEST_SEED).ok_or_else(|| {
            Error::invalid(format!("a seed of {seed}"), format!("give a whole number from 0 to {LARGEST_SEED}"))
        }),
    }
}

fn second_pass(asked: &AskedHires, steps: usize) -> Result<Hires> {
    let usual = Hires::default();
    Ok(Hires {
        scale: asked.scale.unwrap_or(usual.scale),
        strength: asked.strength.unwrap_or(usual.strength),
        upscaler: asked.upscaler.as_deref().map_or(Ok(usual.upscaler), str::parse)?,
        steps: asked.steps.unwrap_or(steps),
    })
}

/// What no model changes, and what this one does, as far as it can be told without carrying it out.
fn check(plan: &Plan, model: &Model, most: &Limits) -> Result<()> {
    for (name, text) in [("prompt", &plan.prompt), ("negative prompt", &plan.negative_prompt)] {
        at_most(&format!("the {name}'s length"), text.chars().count(), most.prompt)?;
    }
    if plan.steps == 0 || plan.hires.is_some_and(|second| second.steps == 0) {
        return Err(Error::invalid("0 steps make no picture", "ask for at least one; 25 are usual"));
    }
    at_most("steps", plan.steps, most.steps)?;
    at_most("width", plan.width, most.size)?;
    at_most("height", plan.height, most.size)?;
    at_most("pictures", plan.batch_size, most.pictures)?;
    limits::check_plan(plan, model.factor)?;
    plan.strength.map_or(Ok(()), start::check_strength)?;
    if plan.clip_skip == 0 || plan.clip_skip > model.text_layers {
        let layers = model.text_layers;
        return Err(Error::invalid(
            format!("the text encoder has no layer {}", plan.clip_skip),
            format!("give a number from 1, the last, to {layers}"),
        ));
    }
    let kind = SchedulerKind::parse(&plan.scheduler)?;
    plan.sigmas.map_or(Ok(()), |sigmas| kind.check_sigmas(sigmas))?;
    if !(0.0..=1.0).contains(&plan.eta) || plan.eta > 0.0 && !kind.takes_eta() {
        let hint = "0 to 1, with `ddim` or `tcd`";
        return Err(Error::invalid(format!("an eta of {} with `{}`", plan.eta, plan.scheduler), hint));
    }
    if let Some(second) = &plan.hires {
        hires::check(second, plan.strength.is_some())?;
        at_most("the second pass's steps", second.steps, most.steps)?;
        let (width, height) = second.size(plan.width, plan.height, model.factor)?;
        at_most("the width after the second pass", width, most.size)?;
        at_most("the height after the second pass", height, most.size)?;
    }
    if plan.decode == Decode::Nothing && !plan.record.contains(&Quantity::Latents) {
        return Err(Error::invalid("nothing would be kept of the run", "record `latents`, or decode the last step"));
    }
    Ok(())
}

fn at_most(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    Err(Error::invalid(format!("{what}: {found} is more than this server allows"), format!("ask for {most} at most")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn model() -> Model {
        Model {
            id: "pocket".into(),
            name: "pocket".into(),
            size: 128,
            factor: 8,
            guidance_scale: 5.0,
            steps: 25,
            scheduler: "ddim".into(),
            small: true,
            text_layers: 4,
        }
    }

    fn limits() -> Limits {
        Limits { steps: 150, size: 512, pictures: 4, queue_per_visitor: 9, queue: 99, seconds: 60, prompt: 200 }
    }

    fn planned(json: &str) -> Result<Plan, String> {
        let asked: Asked = serde_json::from_str(json).map_err(|e| e.to_string())?;
        asked.plan(&model(), &limits()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_the_model_has_it() {
        let plan = planned(r#"{"prompt": "a cat"}"#).unwrap();
        assert_eq!((plan.width, plan.guidance_scale, plan.scheduler.as_str()), (128, 5.0, "ddim"));
        assert_eq!((plan.record.len(), plan.decode), (5, Decode::Every(1)));
        assert_ne!(plan.seed, planned(r#"{"seed": -1}"#).unwrap().seed, "each is drawn");
        assert_eq!(plan.attention, None);
        let kept = planned(r#"{"attention": true}"#).unwrap().attention.unwrap();
        assert_eq!(kept, AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() });
        assert_eq!(planned(r#"{"seed": 7, "scheduler": "Euler a"}"#).unwrap().scheduler, "euler_a");
    }

    #[test]
    fn absurd_requests_are_refused_by_what_is_absurd() {
        for (json, word) in [
            (r#"{"steps": 0}"#, "0 steps"),
            (r#"{"steps": 151}"#, "steps: 151"),
            (r#"{"steps": -1}"#, "invalid value"),
            (r#"{"width": 520}"#, "width: 520"),
            (r#"{"width": 18446744073709551615}"#, "width: 18446744073709551615"),
            (r#"{"height": 0}"#, "height 0 is not"),
            (r#"{"height": 100}"#, "height 100 is not"),
            (r#"{"pictures": 5}"#, "pictures: 5"),
            (r#"{"pictures": 0}"#, "a batch of 0"),
            (r#"{"guidance_scale": -1}"#, "guidance scale -1"),
            (r#"{"guidance_scale": 1e999}"#, "out of range"),
            (r#"{"seed": -2}"#, "a seed of -2"),
            (r#"{"seed": 9007199254740992}"#, "a seed of 9007199254740992"),
            (r#"{"eta": 2}"#, "an eta of 2"),
            (r#"{"eta": 0.5, "scheduler": "euler"}"#, "an eta of 0.5 with `euler`"),
            (r#"{"scheduler": "../../etc/passwd"}"#, "unknown scheduler"),
            (r#"{"clip_skip": 5}"#, "no layer 5"),
            (r#"{"mask": "x"}"#, "a mask, but no picture"),
            (r#"{"init_image": "x", "strength": 2}"#, "strength"),
            (r#"{"hires": {"scale": 8}}"#, "the width after the second pass: 1024"),
            (r#"{"hires": {"steps": 100000}}"#, "the second pass's steps"),
            (r#"{"record": ["everything"]}"#, "unknown quantity"),
            (r#"{"out": "/etc"}"#, "unknown field `out`"),
        ] {
            let refusal = planned(json).unwrap_err();
            assert!(refusal.contains(word), "{json}: {refusal}");
        }
        let long = format!(r#"{{"prompt": "{}"}}"#, "é".repeat(201));
        assert!(planned(&long).unwrap_err().contains("the prompt's length: 201"));
    }
}
