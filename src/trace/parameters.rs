//! The settings that a picture carries: our own `sdviz` chunk, or the `parameters` text of AUTOMATIC1111's web UI, which
//! stable-diffusion.cpp and others write too.
//!
//! Enters: a PNG, JPEG or WebP file. Leaves: [`PictureSettings`], what of it this program understands beside everything that was
//! there. The text is read by the web UI's own rules (`parse_generation_parameters`).

use super::samplers::Sampler;
use super::texts::{PARAMETERS, SDVIZ, Texts};
use crate::error::{Error, Result};
use crate::record::conditions::PromptSyntax;
use crate::record::edits::PlannedEdit;
use crate::record::hires::{Hires, Upscaler};
use crate::record::model::ModelRecord;
use crate::record::plan::Plan;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use regex::Regex;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::OnceLock;

/// `Name: value`, the value plain, a JSON string, or a list of objects or an object as Civitai writes them.
const PAIR: &str = r#"\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|\[\{.*?\}\]|\{".*?\}|[^,]*)(?:,|$)"#;

/// Names that only a line of settings has, and how many of them make one, whatever stands between them.
const NAMES: [&str; 5] = ["Steps:", "Sampler:", "CFG scale:", "Seed:", "Size:"];
const FEWEST: usize = 3;

/// What a picture says about its making.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PictureSettings {
    /// Where it stood: `sdviz` or `parameters`.
    pub source: &'static str,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt; empty when there is none.
    pub negative_prompt: String,
    /// How the prompts are to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_syntax: Option<PromptSyntax>,
    /// Which layer of the text encoder was taken, 1 the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_skip: Option<usize>,
    /// Steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The sampler as the picture names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
    /// The scheduler of that name here, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Where its noise levels lie, if that is a choice of its own here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<Sigmas>,
    /// Guidance scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// Seed of this picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// DDIM's eta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// The second pass over the enlarged result, where its upscaler is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// What was changed on the way, as it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<String>,
    /// How far it went from the picture that it began from, if it began from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// The model as the picture names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the noise was drawn on the CPU, as it is here: then the seed means the same noise.
    pub cpu_noise: bool,
    /// All pairs of the `parameters` text, in their order.
    pub parameters: Map<String, Value>,
    /// What stands behind the pairs: no prompt and no setting.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub behind: String,
    /// The whole of what a picture of ours says.
    #[serde(skip)]
    pub own: Option<Box<Own>>,
}

/// What a picture of ours says about its making.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Own {
    /// What was asked for.
    pub plan: Plan,
    /// The model and what was added to it.
    pub model: ModelRecord,
    /// What it was computed in.
    pub dtype: String,
}

impl PictureSettings {
    /// Reads the settings of a picture: our own chunk if it is there, else the `parameters` text.
    ///
    /// # Errors
    /// When it is not a picture, or carries no settings.
    pub fn read(path: &Path) -> Result<PictureSettings> {
        let texts = Texts::read(path)?;
        // Fooocus and others have JSON under the same keyword.
        let plain = |text: &&str| !serde_json::from_str::<Value>(text).is_ok_and(|json| json.is_object());
        let text = texts.get(PARAMETERS).filter(plain);
        let said = text.map(PictureSettings::parse);
        match (texts.get(SDVIZ).and_then(PictureSettings::of_sdviz), said) {
            (Some(own), said) => {
                Ok(PictureSettings { parameters: said.map(|s| s.parameters).unwrap_or_default(), ..own })
            }
            (None, Some(said)) => match text.and_then(odd_line).filter(|_| said.parameters.is_empty()) {
                Some(line) => Err(Error::invalid(
                    format!("`{}` says how it was made in a form that is not known here", path.display()),
                    format!("its settings are `{line}`: type them here"),
                )),
                None => Ok(said),
            },
            (None, None) => Err(texts.without_settings(path)),
        }
    }

    /// Reads a `parameters` text: prompt, `Negative prompt: …`, and a line of three pairs or more, which is the last that
    /// begins with `Steps:` or else the very last. Both prompts may have several lines. What other programs write behind
    /// the line of pairs is neither.
    pub fn parse(text: &str) -> PictureSettings {
        let lines: Vec<&str> = text.trim().split('\n').collect();
        let (at, parameters) = line_of_pairs(&lines);
        let behind = lines.get(at + 1..).unwrap_or_default().join("\n");
        let (mut prompt, mut negative, mut in_negative) = (vec![], vec![], false);
        for line in &lines[..at] {
            let line = line.trim();
            match line.strip_prefix("Negative prompt:") {
                Some(rest) => {
                    in_negative = true;
                    negative.push(rest.trim());
                }
                None if in_negative => negative.push(line),
                None => prompt.push(line),
            }
        }
        let mut settings = PictureSettings {
            source: "parameters",
            prompt: prompt.join("\n"),
            negative_prompt: negative.join("\n").trim_start_matches('\n').into(),
            parameters: parameters.into_iter().map(|(name, value)| (name, value.into())).collect(),
            behind: behind.trim().into(),
            ..PictureSettings::default()
        };
        settings.understand();
        settings
    }

    fn said(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    fn understand(&mut self) {
        // Web UIs read brackets in every prompt; we say so where we did, and wrote them as they are where not.
        let ours = self.said("Version").is_some_and(|v| v.starts_with("sdviz"));
        let written = self.said("Prompt syntax").and_then(|v| v.parse().ok());
        self.prompt_syntax = written.or((!ours && !self.parameters.is_empty()).then_some(PromptSyntax::A1111));
        self.clip_skip = self.said("Clip skip").and_then(|v| v.parse().ok());
        self.steps = self.said("Steps").and_then(|v| v.parse().ok());
        self.guidance_scale = self.said("CFG scale").and_then(|v| v.parse().ok());
        self.seed = self.said("Seed").and_then(|v| v.parse().ok());
        // Web UIs have another name for DDIM's eta than for that of the other samplers.
        self.eta = ["Eta DDIM", "Eta"].iter().find_map(|name| self.said(name)?.parse().ok());
        self.model = self.said("Model").map(String::from);
        // A web UI says nothing where it drew on the GPU, its default.
        self.cpu_noise = self.said("RNG").is_some_and(|v| v.eq_ignore_ascii_case("cpu"));
        let size = self.said("Size").and_then(|v| v.split_once('x'));
        (self.width, self.height) = (size.and_then(|s| s.0.parse().ok()), size.and_then(|s| s.1.parse().ok()));
        self.sampler = self.said("Sampler").map(String::from);
        let sampler = self.like_sampler().unwrap_or_default();
        (self.scheduler, self.sigmas) = (sampler.scheduler, sampler.sigmas);
        self.hires = self.hires();
        let edits = self.said("Edits").filter(|_| ours).map(PlannedEdit::of_text).unwrap_or_default();
        self.edits = edits.into_iter().map(|edit| edit.edit).collect();
        let enlarged = self.parameters.keys().any(|name| name.starts_with("Hires "));
        self.strength = self.said("Denoising strength").filter(|_| !enlarged).and_then(|v| v.parse().ok());
    }

    /// What the picture's sampler is here.
    pub fn like_sampler(&self) -> Option<Sampler> {
        self.sampler.as_deref().map(|name| Sampler::find(name, self.said("Schedule type")))
    }

    /// The second pass, if the text tells of one that is known here. Web UIs say no steps where they are the first pass's.
    fn hires(&self) -> Option<Hires> {
        let upscaler = self.said("Hires upscaler")?;
        let upscaler = Upscaler::ALL.into_iter().find(|known| known.a1111_name().eq_ignore_ascii_case(upscaler))?;
        let number = |name| self.said(name).and_then(|v| v.parse::<f64>().ok());
        let steps = self.said("Hires steps").and_then(|v| v.parse().ok()).filter(|steps| *steps > 0);
        // A size may stand in the place of the scale.
        let resized = || {
            let (width, height) = self.said("Hires resize")?.split_once('x')?;
            let across = width.parse::<f64>().ok()? / self.width? as f64;
            (across == height.parse::<f64>().ok()? / self.height? as f64).then_some(across)
        };
        Some(Hires {
            scale: number("Hires upscale").or_else(resized)?,
            strength: number("Denoising strength")?,
            upscaler,
            steps: steps.or(self.steps)?,
        })
    }

    /// Our own chunk, unless something else is in it.
    fn of_sdviz(text: &str) -> Option<PictureSettings> {
        let json: Value = serde_json::from_str(text).ok()?;
        let plan: Plan = serde_json::from_value(json.get("plan")?.clone()).ok()?;
        let own = Own {
            plan: plan.clone(),
            model: serde_json::from_value(json["model"].clone()).unwrap_or_default(),
            dtype: json["environment"]["dtype"].as_str().unwrap_or_default().into(),
        };
        Some(PictureSettings {
            source: "sdviz",
            prompt: plan.prompt,
            negative_prompt: plan.negative_prompt,
            prompt_syntax: (!plan.prompt_syntax.is_plain()).then_some(plan.prompt_syntax),
            clip_skip: (plan.clip_skip != 1).then_some(plan.clip_skip),
            steps: Some(plan.steps),
            sampler: Some(plan.scheduler.clone()),
            scheduler: SchedulerKind::parse(&plan.scheduler).ok().map(|kind| kind.name().to_string()),
            sigmas: plan.sigmas,
            guidance_scale: Some(plan.guidance_scale),
            seed: Some(plan.seed.wrapping_add(json["batch_item"].as_u64().unwrap_or(0))),
            width: Some(plan.width),
            height: Some(plan.height),
            eta: (plan.eta != 0.0).then_some(plan.eta),
            hires: plan.hires,
            edits: plan.edits.into_iter().map(|edit| edit.edit).collect(),
            strength: plan.strength,
            model: json["model"]["id"].as_str().map(String::from),
            cpu_noise: true,
            own: Some(Box::new(own)),
            ..PictureSettings::default()
        })
    }
}

/// The pairs of a line, the values unquoted.
fn pairs(line: &str) -> Vec<(String, String)> {
    static PAIRS: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(pattern) = PAIRS.get_or_init(|| Regex::new(PAIR).ok()) else { return vec![] };
    let unquoted = |value: &str| serde_json::from_str::<String>(value).unwrap_or_else(|_| value.trim().to_string());
    pattern.captures_iter(line).map(|pair| (pair[1].to_string(), unquoted(&pair[2]))).collect()
}

/// Where the line of pairs stands, and the pairs; behind the last line, without pairs, where there is none.
fn line_of_pairs(lines: &[&str]) -> (usize, Vec<(String, String)>) {
    let begins = |at: &usize| lines[*at].trim_start().starts_with("Steps:");
    let last = lines.len() - 1;
    let places = (0..lines.len()).rev().filter(begins).chain([last]);
    let found = places.map(|at| (at, pairs(lines[at]))).find(|(_, pairs)| pairs.len() >= FEWEST);
    found.unwrap_or((lines.len(), vec![]))
}

/// A line that has the names of settings, in whatever form.
fn odd_line(text: &str) -> Option<&str> {
    text.lines().find(|line| NAMES.iter().filter(|name| line.contains(**name)).count() >= FEWEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_web_uis_text_is_read() {
        let settings = PictureSettings::parse(
            "a cat, (sitting:1.2)\non a mat: red\nNegative prompt: blurry\nugly, Steps: 3\n\
             Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, \
             Model hash: cc6cb27103, Model: v1-5-pruned-emaonly, Lora hashes: \"a: 12, b: 34\", Version: v1.9.4",
        );
        assert_eq!(settings.prompt, "a cat, (sitting:1.2)\non a mat: red");
        assert_eq!(settings.negative_prompt, "blurry\nugly, Steps: 3");
        assert_eq!((settings.steps, settings.guidance_scale, settings.seed), (Some(20), Some(7.0), Some(965400086)));
        assert_eq!((settings.width, settings.height), (Some(512), Some(768)));
        assert_eq!(settings.scheduler.as_deref(), Some("dpmpp_2m_karras"));
        assert_eq!(settings.parameters["Lora hashes"], "a: 12, b: 34");
        assert_eq!(settings.model.as_deref(), Some("v1-5-pruned-emaonly"));
        assert!(!settings.cpu_noise);
    }

    #[test]
    fn older_and_other_programs_are_read() {
        let older = PictureSettings::parse("a cat\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, RNG: CPU");
        assert_eq!((older.scheduler.as_deref(), older.cpu_noise), (Some("dpmpp_2m_karras"), true));
        let cpp = PictureSettings::parse(
            "a lovely cat\nNegative prompt: dog\nSteps: 20, CFG scale: 7.000000, Guidance: 3.500000, Eta: 0.000000, \
             Seed: 42, Size: 512x512, Model: sd-v1-4.ckpt, RNG: cuda, Sampler: euler_a, Version: stable-diffusion.cpp",
        );
        assert_eq!((cpp.scheduler.as_deref(), cpp.guidance_scale, cpp.cpu_noise), (Some("euler_a"), Some(7.0), false));
        for (name, ours) in [("dpm++2m", "dpmpp_2m"), ("dpm++2m karras", "dpmpp_2m_karras"), ("heun", "heun")] {
            let said = PictureSettings::parse(&format!("x\nSteps: 20, Seed: 1, Sampler: {name}"));
            assert_eq!(said.scheduler.as_deref(), Some(ours), "{name}");
        }
    }

    #[test]
    fn a_last_line_with_fewer_than_three_pairs_belongs_to_the_prompt() {
        let settings = PictureSettings::parse("a sign that says\nSteps: 3, Seed: none");
        assert_eq!(settings.prompt, "a sign that says\nSteps: 3, Seed: none");
        assert_eq!((settings.steps, settings.parameters.len()), (None, 0));
        let no_prompt = PictureSettings::parse("\nNegative prompt: \nSteps: 3, Seed: 5, Sampler: unheard of");
        assert_eq!((no_prompt.prompt.as_str(), no_prompt.negative_prompt.as_str()), ("", ""));
        assert_eq!(
            (no_prompt.seed, no_prompt.scheduler, no_prompt.sampler.as_deref()),
            (Some(5), None, Some("unheard of"))
        );
    }
}
