//! How LoRA files call the layers of a model, and the way from their names to diffusers' key paths.
//!
//! Enters: a key of the file. Leaves: component, layer and part. Three kinds of names are about:
//! kohya's, `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, whose dots are underscores and which may also name the
//! blocks as the CompVis code does, `lora_unet_input_blocks_1_1_…`; diffusers' of today, `unet.….to_q.lora_A.weight`, with
//! `lora.down`, `lora_linear_layer.down` as variants; and diffusers' old, `unet.….processor.to_q_lora.down.weight`.
//! Follows diffusers' `loaders/lora_conversion_utils.py` and `utils/state_dict_utils.py`.

use crate::model::compvis_names::{self, Depth};
use crate::model::config::UNetConfig;
use crate::model::weights::WeightFile;
use std::collections::{BTreeMap, HashMap};

/// The components that a LoRA changes.
pub const COMPONENTS: [&str; 2] = ["text_encoder", "unet"];

/// What a tensor of a LoRA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraFactor {
    /// Into the few dimensions between, `[rank, in, …]`.
    Down,
    /// Out of them, `[out, rank, …]`.
    Up,
    /// A convolution between, `[rank, rank, height, width]`.
    Mid,
    /// The number that, over the rank, scales the product.
    Alpha,
}

const ENDINGS: [(&str, LoraFactor); 14] = [
    (".lora_down.weight", LoraFactor::Down),
    (".lora_up.weight", LoraFactor::Up),
    (".lora_mid.weight", LoraFactor::Mid),
    (".lora_A.weight", LoraFactor::Down),
    (".lora_B.weight", LoraFactor::Up),
    (".lora_A.default.weight", LoraFactor::Down),
    (".lora_B.default.weight", LoraFactor::Up),
    (".lora_linear_layer.down.weight", LoraFactor::Down),
    (".lora_linear_layer.up.weight", LoraFactor::Up),
    (".lora.down.weight", LoraFactor::Down),
    (".lora.up.weight", LoraFactor::Up),
    ("_lora.down.weight", LoraFactor::Down),
    ("_lora.up.weight", LoraFactor::Up),
    (".alpha", LoraFactor::Alpha),
];

/// The name of the layer, as the file has it, and the part; `None` for a key of something else.
pub fn split(key: &str) -> Option<(&str, LoraFactor)> {
    let (stem, part) = ENDINGS.iter().find_map(|(ending, part)| Some((key.strip_suffix(ending)?, *part)))?;
    let tail = [".lora_linear_layer", ".lora", "_lora"].iter().find_map(|tail| stem.strip_suffix(tail));
    Some((tail.filter(|_| part == LoraFactor::Alpha).unwrap_or(stem), part))
}

/// The layers of a component that can carry a LoRA, by diffusers' key path, with the shape of their weight:
/// `[out, in]`, or `[out, in, height, width]` for a convolution.
pub fn carriers(weights: &WeightFile) -> BTreeMap<String, Vec<i64>> {
    let fits = |key: &str, shape: &[i64]| [2, 4].contains(&shape.len()) && !key.contains(".embeddings.");
    let layer = |(key, entry): (&String, &crate::model::weights::Entry)| {
        let layer = key.strip_suffix(".weight").filter(|layer| fits(layer, &entry.shape))?;
        Some((layer.to_string(), entry.shape.clone()))
    };
    weights.entries().iter().filter_map(layer).collect()
}

/// The layers of a model by all their names.
#[derive(Debug)]
pub struct Names {
    /// By component, as [`carriers`] has them.
    layers: BTreeMap<&'static str, BTreeMap<String, Vec<i64>>>,
    /// By kohya's name.
    flat: HashMap<String, (&'static str, String)>,
}

impl Names {
    /// The names of a model's layers.
    pub fn new(text_encoder: &WeightFile, unet: &WeightFile, config: &UNetConfig) -> Names {
        let depth = depth(config);
        let layers = BTreeMap::from([(COMPONENTS[0], carriers(text_encoder)), (COMPONENTS[1], carriers(unet))]);
        let mut flat = HashMap::new();
        for layer in layers["text_encoder"].keys() {
            for prefix in ["lora_te_", "lora_te1_"] {
                flat.insert(flattened(prefix, layer), ("text_encoder", layer.clone()));
            }
        }
        for layer in layers["unet"].keys() {
            let ldm = compvis_names::unet_back(&format!("{layer}.weight"), &depth);
            for name in ldm.iter().map(|key| key.trim_end_matches(".weight")).chain([layer.as_str()]) {
                flat.insert(flattened("lora_unet_", name), ("unet", layer.clone()));
            }
        }
        Names { layers, flat }
    }

    /// The layer that a file calls `stem`.
    pub fn find(&self, stem: &str) -> Option<(&'static str, String)> {
        if let Some(found) = self.flat.get(stem) {
            return Some(found.clone());
        }
        // Files with the UNet alone may leave its name away.
        let named = COMPONENTS.iter().find_map(|c| Some((*c, stem.strip_prefix(c)?.strip_prefix('.')?)));
        let (component, layer) = named.unwrap_or(("unet", stem));
        let layer = layer.replace(".processor.", ".");
        let layers = &self.layers[component];
        let candidates = [Some(layer.clone()), old(component, &layer), Some(format!("text_model.{layer}"))];
        let text = old(component, &format!("text_model.{layer}"));
        let found = candidates.into_iter().chain([text]).flatten().find(|layer| layers.contains_key(layer))?;
        Some((component, found))
    }

    /// The shape of a layer's weight.
    pub fn shape(&self, component: &str, layer: &str) -> &[i64] {
        self.layers.get(component).and_then(|layers| layers.get(layer)).map_or(&[], Vec::as_slice)
    }
}

/// Today's name of an attention projection that older versions called the same in both components.
fn old(component: &str, layer: &str) -> Option<String> {
    let (front, part) = layer.rsplit_once('.')?;
    let part = match (component, part) {
        ("unet", "to_out") => "to_out.0",
        ("text_encoder", "to_q") => "q_proj",
        ("text_encoder", "to_k") => "k_proj",
        ("text_encoder", "to_v") => "v_proj",
        ("text_encoder", "to_out") => "out_proj",
        _ => return None,
    };
    Some(format!("{front}.{part}"))
}

fn flattened(prefix: &str, layer: &str) -> String {
    format!("{prefix}{}", layer.replace('.', "_"))
}

/// What the CompVis names of the UNet's layers depend on.
fn depth(config: &UNetConfig) -> Depth {
    let up = config.up_block_types.iter().enumerate().filter(|(_, kind)| kind.starts_with("CrossAttn"));
    Depth {
        unet_layers: config.layers_per_block as usize,
        vae_levels: 0,
        up_attention: up.map(|(index, _)| index).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_endings_of_all_namings_are_known() {
        for (key, stem, part) in [
            ("lora_unet_mid_block_x.lora_down.weight", "lora_unet_mid_block_x", LoraFactor::Down),
            ("lora_unet_mid_block_x.lora_mid.weight", "lora_unet_mid_block_x", LoraFactor::Mid),
            ("lora_te_text_model_x.alpha", "lora_te_text_model_x", LoraFactor::Alpha),
            ("unet.x.to_q.lora_A.weight", "unet.x.to_q", LoraFactor::Down),
            ("unet.x.to_q.lora.up.weight", "unet.x.to_q", LoraFactor::Up),
            ("unet.x.processor.to_q_lora.up.weight", "unet.x.processor.to_q", LoraFactor::Up),
            ("unet.x.to_q_lora.alpha", "unet.x.to_q", LoraFactor::Alpha),
            ("text_encoder.x.q_proj.lora_linear_layer.down.weight", "text_encoder.x.q_proj", LoraFactor::Down),
        ] {
            assert_eq!(split(key), Some((stem, part)));
        }
        assert_eq!(split("unet.down_blocks.0.to_q.weight"), None);
    }
}
