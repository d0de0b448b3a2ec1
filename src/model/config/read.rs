//! From JSON to a configuration: what may be written in more than one way is made plain first, and what is left is checked.
//!
//! Enters: the text of a `config.json`. Leaves: a struct, or an error that names file and field. Null is a field's default,
//! a list of equal numbers is that number where one number is meant (diffusers takes both), and what training leaves in
//! the file is passed over.

use crate::error::{Error, IoContext, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

/// What diffusers' `EMAModel` saves into the configuration of a network; no network reads it.
const OF_TRAINING: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// No width, height or number of channels is larger.
const LARGEST: i64 = 1 << 24;
/// Nothing is repeated more often: layers, blocks.
pub(super) const MOST_LAYERS: i64 = 1 << 10;

/// A configuration read from JSON and checked.
pub trait Config: DeserializeOwned {
    /// What the file is called in messages.
    const KIND: &'static str;
    /// The classes this configuration may name.
    const CLASSES: &'static [&'static str];
    /// The fields that are lists, as they stand in the file.
    const LISTS: &'static [&'static str];

    /// Refuses what is not implemented.
    ///
    /// # Errors
    /// Names the field, what was found and what is supported.
    fn validate(&self, place: &str) -> Result<()>;

    /// Sets right what diffusers' pipelines set right in old files.
    fn correct(&mut self) {}

    /// Reads JSON text; `path` is for messages.
    ///
    /// # Errors
    /// When it is not JSON of this shape, or holds an unsupported value.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        parse(text, path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Config::parse`]; also when the file cannot be read.
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).at("read", path)?, path)
    }
}

/// What [`Config::parse`] does where a configuration has no way of its own.
pub(super) fn parse<C: Config>(text: &str, path: &Path) -> Result<C> {
    let bad = |reason: String| Error::bad_file(path, C::KIND, reason);
    let json: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let Value::Object(fields) = json else { return Err(bad("it is no JSON object".into())) };
    let check = Check { place: path.display().to_string() };
    if let Some(class) = fields.get("_class_name").and_then(Value::as_str) {
        check.one_of("_class_name", class, C::CLASSES)?;
    }
    let fields = plain(fields, C::LISTS);
    let mut config: C =
        serde_json::from_value(Value::Object(fields.clone())).map_err(|e| blame::<C>(fields, &check, path, &e))?;
    config.validate(&check.place)?;
    config.correct();
    Ok(config)
}

/// The class that a configuration says it is of.
pub(super) fn class(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).ok()?.get("_class_name")?.as_str().map(String::from)
}

/// The text encoder's part of a whole CLIP's configuration, if it is one.
pub(super) fn of_text(text: &str) -> Option<String> {
    let json: Value = serde_json::from_str(text).ok()?;
    let part = json.get("text_config").filter(|part| json["model_type"] == "clip" && part.is_object())?;
    Some(part.to_string())
}

/// The fields without nulls, and with one number in place of a list of equal ones: one for each block, or height and width.
fn plain(fields: Map<String, Value>, lists: &[&str]) -> Map<String, Value> {
    let blocks = fields.get("block_out_channels").and_then(Value::as_array).map(Vec::len);
    let one = |name: &str, value: Value| -> Value {
        let Value::Array(all) = &value else { return value };
        let meant = if name == "sample_size" { all.len() == 2 } else { blocks.is_none_or(|n| n == all.len()) };
        match all.split_first() {
            Some((first, rest)) if meant && !lists.contains(&name) && rest.iter().all(|v| v == first) => first.clone(),
            _ => value,
        }
    };
    // No middle block is a network of another shape.
    let counts = |(name, value): &(String, Value)| !value.is_null() || name == "mid_block_type";
    fields.into_iter().filter(counts).map(|(name, value)| (name.clone(), one(&name, value))).collect()
}

/// Finds the field whose value has no place in the struct.
fn blame<C: Config>(fields: Map<String, Value>, check: &Check, path: &Path, whole: &serde_json::Error) -> Error {
    for (name, value) in fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        let Err(error) = serde_json::from_value::<C>(Value::Object(alone)) else { continue };
        if value.is_array() {
            return check.refused(&name, &value.to_string(), "one value for all");
        }
        return Error::bad_file(path, C::KIND, format!("`{name}` is {value}: {error}"));
    }
    Error::bad_file(path, C::KIND, whole)
}

/// The checks the configurations share, with the file they speak of.
pub(super) struct Check {
    pub(super) place: String,
}

impl Check {
    pub(super) fn refused(&self, field: &str, found: &str, supported: &str) -> Error {
        Error::Unsupported {
            field: field.into(),
            found: found.into(),
            place: format!("`{}`", self.place),
            supported: supported.into(),
        }
    }

    pub(super) fn one_of(&self, field: &str, value: &str, supported: &[&str]) -> Result<()> {
        if supported.contains(&value) {
            return Ok(());
        }
        Err(self.refused(field, &format!("`{value}`"), &supported.join(", ")))
    }

    /// The activation of UNet and autoencoder, in either of its names and, as in diffusers, in any case.
    pub(super) fn silu(&self, act_fn: &str) -> Result<()> {
        if ["silu", "swish"].contains(&act_fn.to_lowercase().as_str()) {
            return Ok(());
        }
        self.one_of("act_fn", act_fn, &["silu", "swish"])
    }

    /// Numbers of something: at least one, and not absurdly many.
    pub(super) fn positive(&self, field: &str, values: &[i64]) -> Result<()> {
        self.within(field, values, 1, LARGEST)
    }

    pub(super) fn within(&self, field: &str, values: &[i64], least: i64, most: i64) -> Result<()> {
        match values.iter().find(|v| !(least..=most).contains(*v)) {
            Some(v) if *v < least => Err(self.refused(field, &v.to_string(), &format!("{least} and above"))),
            Some(v) => Err(self.refused(field, &v.to_string(), &format!("up to {most}"))),
            None => Ok(()),
        }
    }

    /// A number that something is divided by, or that is added so that nothing is divided by zero.
    pub(super) fn above_zero(&self, field: &str, value: f64) -> Result<()> {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(self.refused(field, &value.to_string(), "a number above 0"))
    }

    pub(super) fn groups(&self, field: &str, channels: &[i64], groups: i64) -> Result<()> {
        self.positive("norm_num_groups", &[groups])?;
        if channels.is_empty() || channels.len() > 16 {
            let found =
                if channels.is_empty() { "an empty list".into() } else { format!("a list of {}", channels.len()) };
            return Err(self.refused(field, &found, "1 to 16 blocks"));
        }
        self.positive(field, channels)?;
        match channels.iter().find(|c| *c % groups != 0) {
            Some(c) => Err(self.refused(field, &c.to_string(), &format!("multiples of norm_num_groups, {groups}"))),
            None => Ok(()),
        }
    }

    /// Fields outside the struct: each must be null, false, private, of training, or hold the one value given here.
    pub(super) fn fixed(&self, other: &Map<String, Value>, known: &[(&str, Value)]) -> Result<()> {
        for (field, value) in other {
            let same = |expected: &Value| match (expected.as_f64(), value.as_f64()) {
                (Some(a), Some(b)) => a == b,
                _ => expected == value,
            };
            let accepted = match known.iter().find(|(name, _)| name == field) {
                Some((_, Value::Null)) => true,
                Some((_, expected)) => value.is_null() || same(expected),
                None => {
                    let unused = field.starts_with('_') || OF_TRAINING.contains(&field.as_str());
                    value.is_null() || value == &Value::Bool(false) || unused
                }
            };
            if !accepted {
                let expected = known.iter().find(|(name, _)| name == field).map(|(_, v)| v.to_string());
                return Err(self.refused(field, &value.to_string(), &expected.unwrap_or_else(|| "null".into())));
            }
        }
        Ok(())
    }
}

/// The fields that training has left in a configuration and that no network reads.
pub(super) fn of_training(other: &Map<String, Value>) -> Vec<&str> {
    other.keys().map(String::as_str).filter(|name| OF_TRAINING.contains(name)).collect()
}
