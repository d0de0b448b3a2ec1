//! What scales the layers of a file by peft, whose tensors do not say it: alpha, for all layers or by patterns.
//!
//! Enters: a file. Leaves: [`PeftSettings`]: those that diffusers wrote into the header, or for a file that peft's
//! `save_pretrained` wrote those of `adapter_config.json` beside it.

use super::{KIND, METADATA_KEY};
use crate::error::{Error, IoContext, Result};
use crate::model::lora_names::{self, is_saved_by_peft};
use crate::model::weights::WeightFile;
use regex::Regex;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";

/// peft's settings of a file; of most files there are none.
#[derive(Debug)]
pub enum PeftSettings {
    /// By component.
    Found(BTreeMap<&'static str, Scaling>),
    /// They should stand beside the file, and do not.
    Missing,
}

/// What scales the layers of a component.
#[derive(Debug, Default)]
pub struct Scaling {
    alpha: Option<f64>,
    /// The alpha of layers that a pattern fits.
    patterns: Vec<(Regex, f64)>,
    /// Rank-stabilised: alpha is divided by the root of the rank.
    is_stabilised: bool,
}

impl PeftSettings {
    /// Reads them.
    ///
    /// # Errors
    /// When they are not as peft writes them, or say that the file is something else than a LoRA.
    pub fn read(file: &WeightFile) -> Result<PeftSettings> {
        let bad = |reason: String| Error::bad_file(file.path(), KIND, reason);
        let (_, header) = SafeTensors::read_metadata(file.bytes()).map_err(|e| bad(e.to_string()))?;
        if let Some(text) = header.metadata().as_ref().and_then(|all| all.get(METADATA_KEY)) {
            // diffusers has one list for all components, whose names begin the settings'.
            let all: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
            return by_component(|component, name| &all[format!("{component}.{name}")]).map_err(bad);
        }
        if file.entries().keys().any(|key| is_saved_by_peft(key)) {
            return PeftSettings::beside(file.path());
        }
        Ok(PeftSettings::Found(BTreeMap::new()))
    }

    fn beside(file: &Path) -> Result<PeftSettings> {
        let path = file.with_file_name(CONFIG);
        if !path.is_file() {
            return Ok(PeftSettings::Missing);
        }
        let bad = |reason: String| Error::bad_file(&path, "adapter's configuration", reason);
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let settings: Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match (settings["peft_type"].as_str(), &settings["lora_alpha"]) {
            (None | Some("LORA"), Value::Number(_)) => by_component(|_, name| &settings[name]).map_err(bad),
            (None | Some("LORA"), _) => Err(bad("it has no number `lora_alpha`".into())),
            (Some(other), _) => Err(bad(format!("`peft_type` is `{other}`, and of peft's adapters LORA is read here"))),
        }
    }

    /// alpha / rank for a layer: alpha of the pattern that fits it, else the one for all; without any alpha 1.
    ///
    /// # Errors
    /// When nobody says what a file of peft's is scaled by: its alpha may be any number.
    pub fn scale(&self, file: &Path, component: &str, layer: &str, rank: f64) -> Result<f64> {
        let PeftSettings::Found(all) = self else {
            let file = file.display();
            return Err(Error::invalid(
                format!("the LoRA `{file}` is of peft, which keeps its alpha in `{CONFIG}`: there is none beside it"),
                format!("copy the folder's `{CONFIG}` to where the file is, or save the LoRA with diffusers"),
            ));
        };
        let Some(scaling) = all.get(component) else { return Ok(1.0) };
        let of_pattern = scaling.patterns.iter().find(|(pattern, _)| pattern.is_match(layer));
        let alpha = of_pattern.map(|(_, alpha)| *alpha).or(scaling.alpha);
        let rank = if scaling.is_stabilised { rank.sqrt() } else { rank };
        Ok(alpha.map_or(1.0, |alpha| alpha / rank))
    }
}

/// The settings of all components, each got by its name; what is wrong with them, in words.
fn by_component<'a>(get: impl Fn(&str, &str) -> &'a Value) -> std::result::Result<PeftSettings, String> {
    let scaling = |component: &'static str| {
        let number = |name: &str, value: &Value| match value {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| format!("`{name}` is {value}, not a number")),
        };
        let mut patterns = vec![];
        for (pattern, alpha) in get(component, "alpha_pattern").as_object().into_iter().flatten() {
            // As peft's `get_pattern_key` has it.
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .map_err(|_| format!("`alpha_pattern` has `{pattern}`, which is no pattern that is understood here"))?;
            patterns.extend(number("alpha_pattern", alpha)?.map(|alpha| (regex, alpha)));
        }
        let is_stabilised = get(component, "use_rslora").as_bool().unwrap_or(false);
        let alpha = number("lora_alpha", get(component, "lora_alpha"))?;
        Ok((component, Scaling { alpha, patterns, is_stabilised }))
    };
    Ok(PeftSettings::Found(lora_names::components().map(scaling).collect::<std::result::Result<_, String>>()?))
}
