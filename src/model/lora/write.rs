//! A LoRA file, written as diffusers' `save_lora_weights` does: peft's names, alpha in the header.
//!
//! Enters: trained `down` and `up` of layers. Leaves: a safetensors file in f32.

use super::METADATA_KEY;
use crate::error::Result;
use crate::model::convert::{self, Numbers};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tch::Tensor;

/// What was trained for a layer.
#[derive(Debug)]
pub struct Trained {
    /// `text_encoder` or `unet`.
    pub component: &'static str,
    /// The layer, as [`crate::model::lora_names::carriers`] has it.
    pub layer: String,
    /// `[rank, in]`, or `[rank, in, height, width]` for a convolution.
    pub down: Tensor,
    /// `[out, rank]`, or `[out, rank, 1, 1]`.
    pub up: Tensor,
}

/// Writes a LoRA file: the product of each layer's `up` and `down` counts alpha / rank.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, layers: &[Trained], alpha: f64) -> Result<()> {
    let mut tensors = vec![];
    for Trained { component, layer, down, up } in layers {
        for (part, tensor) in [("lora_A", down), ("lora_B", up)] {
            tensors.push((format!("{component}.{layer}.{part}.weight"), Numbers::of(tensor, false)?));
        }
    }
    convert::write(path, tensors, (METADATA_KEY, Value::Object(settings(layers, alpha)).to_string()))
}

/// What peft's `LoraConfig` needs to know, for each component.
fn settings(layers: &[Trained], alpha: f64) -> Map<String, Value> {
    let mut ranks: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for Trained { component, layer, down, .. } in layers {
        // diffusers knows the text encoder's layers without this, however the file calls them.
        let layer = layer.strip_prefix("text_model.").unwrap_or(layer);
        ranks.entry(component).or_default().insert(layer, down.size()[0]);
    }
    let mut settings = Map::new();
    for (component, ranks) in ranks {
        let rank = ranks.values().copied().max().unwrap_or(1);
        let others: BTreeMap<&&str, &i64> = ranks.iter().filter(|(_, r)| **r != rank).collect();
        let names: Vec<&&str> = ranks.keys().collect();
        for (name, value) in [
            ("r", json!(rank)),
            // peft asks for a whole number where it is one.
            ("lora_alpha", if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) }),
            ("rank_pattern", json!(others)),
            ("target_modules", json!(names)),
        ] {
            settings.insert(format!("{component}.{name}"), value);
        }
    }
    settings
}
