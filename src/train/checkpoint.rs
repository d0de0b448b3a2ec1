//! Where a training stands, on disk: what a killed one goes on from, to the same numbers.
//!
//! Enters: weights, the optimiser's memory, the step. Leaves: one safetensors file with the settings in its header. Random
//! numbers need no place in it: each step seeds them anew.

use super::optimizer::Memory;
use super::parameters::Layout;
use crate::error::{Error, IoContext, Result};
use crate::model::weights::{Bytes, WeightFile};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The file's name in the folder of a stage.
pub const FILE: &str = "checkpoint.safetensors";

/// A training that was interrupted.
#[derive(Debug)]
pub struct Checkpoint {
    /// The last step it made.
    pub step: u64,
    /// The weights, `[total]` in f32 on the CPU.
    pub weights: Tensor,
    /// What the optimiser remembers, on the CPU.
    pub memory: Memory,
}

/// Writes a checkpoint; the one before stays until it is whole.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, step: u64, settings: &Value, weights: &Tensor, memory: &Memory) -> Result<()> {
    let header =
        HashMap::from([("sdviz".to_string(), serde_json::json!({"step": step, "settings": settings}).to_string())]);
    let tensors =
        [("averaged", &memory.averaged), ("mean", &memory.mean), ("square", &memory.square), ("weights", weights)];
    let bytes = tensors.map(|(name, tensor)| (name, bytes_of(tensor)));
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
    let temporary = path.with_extension("part");
    let written = views.and_then(|views| safetensors::serialize_to_file(views, Some(header), &temporary));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(refused(error));
    }
    std::fs::rename(&temporary, path).at("write", path)
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut bytes = vec![0; tensor.numel() * 4];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
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
    let (_, header) = SafeTensors::read_metadata(bytes.as_ref()).map_err(|e| bad(e.to_string()))?;
    let text =
        header.metadata().as_ref().and_then(|m| m.get("sdviz")).ok_or_else(|| bad("it has no settings".into()))?;
    let header: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
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
        Ok(file.tensor(name, entry)?.copy())
    };
    let memory = Memory { mean: tensor("mean")?, square: tensor("square")?, averaged: tensor("averaged")? };
    let step = header["step"].as_u64().ok_or_else(|| bad("it has no step".into()))?;
    Ok(Some(Checkpoint { step, weights: tensor("weights")?, memory }))
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
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named() {
        let (a, b) = (json!({"a": 1, "b": {"c": [1, 2]}}), json!({"a": 1, "b": {"c": [1, 3]}}));
        assert_eq!(difference("", &a, &b).as_deref(), Some("`b.c` is [1,3], it was [1,2]"));
        assert_eq!(difference("", &a, &a), None);
        assert_eq!(difference("", &json!({}), &json!({"x": 2})).as_deref(), Some("`x` is 2, it was null"));
    }
}
