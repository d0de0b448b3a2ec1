//! Where a training stands, on disk: what a killed one goes on from, to the same numbers.
//!
//! Enters: weights, the optimiser's memory, the step. Leaves: one safetensors file with the settings in its header. Random
//! numbers need no place in it: each step seeds them anew.

use super::optimizer::Memory;
use super::parameters::Layout;
use crate::error::{Error, Result};
use crate::files::atomic::write_with;
use crate::model::weights::{Bytes, WeightFile};
use crate::numbers;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// The file's name in the folder of a stage.
pub const FILE: &str = "checkpoint.safetensors";

/// A training that was interrupted.
#[derive(Debug)]
pub struct Checkpoint {
    /// The last step it made.
    pub step: u64,
    /// The seconds it took, where they count: in a training that ends after some minutes.
    pub seconds: f64,
    /// The weights, `[total]` in f32 on the CPU.
    pub weights: Tensor,
    /// What the optimiser remembers, on the CPU.
    pub memory: Memory,
    /// What has come together since the last line of the log.
    pub sums: Sums,
}

/// What a line of the log is the mean of, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// The steps.
    pub steps: u64,
    /// The sum of their losses.
    pub loss: f64,
    /// The sums of what else has a column in the log.
    pub parts: Vec<(String, f64)>,
}

impl Sums {
    /// Adds a step.
    pub fn add(&mut self, loss: f64, parts: Vec<(&'static str, f64)>) {
        self.steps += 1;
        self.loss += loss;
        for (name, value) in parts {
            match self.parts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => self.parts.push((name.to_string(), value)),
            }
        }
    }

    /// As JSON, the sums by their bits: as decimals they could come back a little different.
    fn json(&self) -> Value {
        let parts: Vec<Value> = self.parts.iter().map(|(name, sum)| json!([name, sum.to_bits()])).collect();
        json!({"steps": self.steps, "loss": self.loss.to_bits(), "parts": parts})
    }

    /// From JSON; nothing, where there is nothing.
    fn of(json: &Value) -> Sums {
        let number = |bits: &Value| f64::from_bits(bits.as_u64().unwrap_or_default());
        let parts = json["parts"].as_array().into_iter().flatten();
        Sums {
            steps: json["steps"].as_u64().unwrap_or_default(),
            loss: number(&json["loss"]),
            parts: parts.map(|part| (part[0].as_str().unwrap_or_default().to_string(), number(&part[1]))).collect(),
        }
    }
}

/// What a checkpoint says beside the numbers.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The last step.
    pub step: u64,
    /// The seconds it took, where they count.
    pub seconds: Option<f64>,
    /// What the training was begun with.
    pub settings: &'a Value,
    /// What has come together since the last line of the log.
    pub sums: &'a Sums,
}

/// Writes a checkpoint; the one before stays until it is whole.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, about: About, weights: &Tensor, memory: &Memory) -> Result<()> {
    let About { step, seconds, settings, sums } = about;
    let mut about = json!({"step": step, "settings": settings, "sums": sums.json()});
    if let Some(seconds) = seconds {
        about["seconds"] = seconds.into();
    }
    let header = HashMap::from([("sdviz".to_string(), about.to_string())]);
    let tensors =
        [("averaged", &memory.averaged), ("mean", &memory.mean), ("square", &memory.square), ("weights", weights)];
    let bytes = tensors.map(|(name, tensor)| Ok((name, numbers::of_tensor(tensor, Kind::Float)?)));
    let bytes = bytes.into_iter().collect::<Result<Vec<_>>>()?;
    let views = bytes
        .iter()
        .map(|(name, bytes)| {
            let shape = vec![bytes.len() / 4];
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).map(|view| (*name, view))
        })
        .collect::<Result<Vec<_>, _>>();
    let refused = |e: safetensors::SafeTensorError| match e {
        safetensors::SafeTensorError::IoError(source) => {
            Error::Io { action: "write", path: path.to_path_buf(), source }
        }
        other => Error::Invalid { message: format!("cannot write `{}`: {other}", path.display()), hint: None },
    };
    let views = views.map_err(refused)?;
    write_with(path, |temporary| safetensors::serialize_to_file(views, Some(header), temporary).map_err(refused))
}

/// Whether a file is a checkpoint of a training of `stage`.
pub fn is_of(path: &Path, stage: &str) -> bool {
    let header = Bytes::map(path).and_then(|bytes| header(path, &bytes));
    header.is_ok_and(|header| header["settings"]["stage"] == stage)
}

/// The step and the settings of a checkpoint.
fn header(path: &Path, bytes: &Bytes) -> Result<Value> {
    let bad = |reason: String| Error::bad_file(path, "checkpoint", reason);
    let (_, header) = SafeTensors::read_metadata(bytes.as_ref()).map_err(|e| bad(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|m| m.get("sdviz"));
    serde_json::from_str(text.ok_or_else(|| bad("it has no settings".into()))?).map_err(|e| bad(e.to_string()))
}

/// Reads the checkpoint of a training with these settings; none if there is no file.
///
/// # Errors
/// When it is damaged, or of another configuration: names the first setting that differs.
pub fn read(path: &Path, settings: &Value, layout: &Layout) -> Result<Option<Checkpoint>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = Bytes::map(path)?;
    let bad = |reason: String| Error::bad_file(path, "checkpoint", reason);
    let header = header(path, &bytes)?;
    if let Some(what) = difference("", &header["settings"], settings) {
        return Err(Error::invalid(
            format!("`{}` is a checkpoint of another configuration: {what}", path.display()),
            "go on with the configuration it was begun with, or begin anew with another `--out` or `--force`",
        ));
    }
    let file = WeightFile::new(path, bytes)?;
    let tensor = |name: &str| -> Result<Tensor> {
        let entry = file.entries().get(name).ok_or_else(|| bad(format!("it has no `{name}`")))?;
        if entry.shape != [layout.total()] {
            return Err(bad(format!("`{name}` has shape {:?}, expected [{}]", entry.shape, layout.total())));
        }
        let tensor = file.tensor(name, entry)?.to_kind(Kind::Float).copy();
        if tensor.isfinite().all().int64_value(&[]) == 0 {
            return Err(bad(format!("`{name}` holds numbers that are not finite")));
        }
        Ok(tensor)
    };
    let memory = Memory { mean: tensor("mean")?, square: tensor("square")?, averaged: tensor("averaged")? };
    let step = header["step"].as_u64().ok_or_else(|| bad("it has no step".into()))?;
    let seconds = header["seconds"].as_f64().unwrap_or_default();
    Ok(Some(Checkpoint { step, seconds, weights: tensor("weights")?, memory, sums: Sums::of(&header["sums"]) }))
}

/// The first place where two settings differ, in words.
fn difference(place: &str, there: &Value, here: &Value) -> Option<String> {
    if let (Some(a), Some(b)) = (there.as_object(), here.as_object()) {
        let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
        return keys.into_iter().find_map(|key| {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            difference(&place, &there[key], &here[key])
        });
    }
    (there != here).then(|| format!("`{place}` is {here}, it was {there}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back_to_the_last_bit() {
        let mut sums = Sums::default();
        (0..10).for_each(|i| sums.add(0.1 * f64::from(i), vec![("kl", 1.0 / 3.0), ("psnr", 1e-300)]));
        let text = sums.json().to_string();
        assert_eq!(Sums::of(&serde_json::from_str(&text).unwrap_or_default()), sums);
        assert_eq!(Sums::of(&Value::Null), Sums::default());
    }

    #[test]
    fn the_first_difference_is_named() {
        let (a, b) = (json!({"a": 1, "b": {"c": [1, 2]}}), json!({"a": 1, "b": {"c": [1, 3]}}));
        assert_eq!(difference("", &a, &b).as_deref(), Some("`b.c` is [1,3], it was [1,2]"));
        assert_eq!(difference("", &a, &a), None);
        assert_eq!(difference("", &json!({}), &json!({"x": 2})).as_deref(), Some("`x` is 2, it was null"));
    }
}
