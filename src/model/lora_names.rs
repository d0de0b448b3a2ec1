//! How LoRA files call the layers of a model, and the way from their names to diffusers' key paths.
//!
//! Enters: a key of the file. Leaves: component, layer and part. Three kinds of names are about:
//! kohya's, `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, whose dots are underscores and which may also name the
//! blocks as the CompVis code does, `lora_unet_input_blocks_1_1_…`; diffusers' of today, `unet.….to_q.lora_A.weight`, with
//! `lora.down`, `lora_linear_layer.down` as variants; and diffusers' old, `unet.….processor.to_q_lora.down.weight`.
//! Follows diffusers' `loaders/lora_conversion_utils.py` and `utils/state_dict_utils.py`.

use super::components::{COMPONENTS, Component, LoraNames, UNET};
use super::compvis_names::Depth;
use super::config::UNetConfig;
use super::weights::{Entry, WeightFile};
use crate::error::Result;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The components that a LoRA changes, with how it calls them.
fn carrying() -> impl Iterator<Item = (&'static Component, &'static LoraNames)> {
    COMPONENTS.into_iter().filter_map(|component| Some((component, component.lora.as_ref()?)))
}

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
    let layer = |(key, entry): (&String, &Entry)| {
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
    ///
    /// # Errors
    /// When `weights` cannot open a component.
    pub fn new(config: &UNetConfig, weights: impl Fn(&'static Component) -> Result<Arc<WeightFile>>) -> Result<Names> {
        let depth = Depth::of_unet(config);
        let (mut layers, mut flat) = (BTreeMap::new(), HashMap::new());
        for (component, lora) in carrying() {
            let own = carriers(&*weights(component)?);
            for layer in own.keys() {
                let compvis = (component.single_file.to_compvis)(&format!("{layer}.weight"), &depth);
                for name in compvis.iter().map(|key| key.trim_end_matches(".weight")).chain([layer.as_str()]) {
                    for prefix in lora.prefixes {
                        flat.insert(flattened(prefix, name), (component.name, layer.clone()));
                    }
                }
            }
            layers.insert(component.name, own);
        }
        Ok(Names { layers, flat })
    }

    /// The layer that a file calls `stem`.
    pub fn find(&self, stem: &str) -> Option<(&'static str, String)> {
        if let Some(found) = self.flat.get(stem) {
            return Some(found.clone());
        }
        // Files with the UNet alone may leave its name away.
        let named = carrying().find_map(|(c, _)| Some((c, stem.strip_prefix(c.name)?.strip_prefix('.')?)));
        let (component, layer) = named.unwrap_or((&UNET, stem));
        let layer = layer.replace(".processor.", ".");
        let rooted = format!("{}{layer}", component.single_file.root);
        let layers = self.layers.get(component.name)?;
        let candidates = [today(component, &layer), today(component, &rooted), Some(layer), Some(rooted)];
        let found = candidates.into_iter().flatten().find(|layer| layers.contains_key(layer))?;
        Some((component.name, found))
    }

    /// The shape of a layer's weight.
    pub fn shape(&self, component: &str, layer: &str) -> &[i64] {
        self.layers.get(component).and_then(|layers| layers.get(layer)).map_or(&[], Vec::as_slice)
    }
}

/// Today's name of an attention projection that older versions called the same in both components.
fn today(component: &Component, layer: &str) -> Option<String> {
    let (front, part) = layer.rsplit_once('.')?;
    let (_, today) = component.lora.as_ref()?.projections.iter().find(|(old, _)| *old == part)?;
    Some(format!("{front}.{today}"))
}

fn flattened(prefix: &str, layer: &str) -> String {
    format!("{prefix}{}", layer.replace('.', "_"))
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
