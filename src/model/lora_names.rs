//! How LoRA files call the layers of a model, and the way from their names to diffusers' key paths.
//!
//! Enters: a key of the file. Leaves: component, layer and factor. Five kinds of names are about:
//! kohya's, `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, whose dots are underscores and which may also name the
//! blocks as the CompVis code does, `lora_unet_input_blocks_1_1_…`; ComfyUI's, the CompVis names with their dots,
//! `diffusion_model.input_blocks.1.1.….lora_down.weight`; diffusers' of today, `unet.….to_q.lora_A.weight`, with
//! `lora.down`, `lora_linear_layer.down` as variants; diffusers' old, `unet.….processor.to_q_lora.down.weight`; and peft's,
//! `base_model.model.….lora_A.weight`, or with the adapter's name, `….lora_A.default_0.weight`.
//! Follows diffusers' `loaders/lora_conversion_utils.py` and `utils/state_dict_utils.py`, peft's `utils/save_and_load.py`
//! and ComfyUI's `comfy/lora.py`.

use super::components::{COMPONENTS, Component, LoraNames};
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

/// Their names.
pub fn components() -> impl Iterator<Item = &'static str> {
    carrying().map(|(component, _)| component.name)
}

/// What a tensor of a LoRA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoraFactor {
    /// Into the few dimensions between, `[rank, in, …]`.
    Down,
    /// Out of them, `[out, rank, …]`.
    Up,
    /// A convolution between, `[rank, rank, height, width]`.
    Mid,
    /// The number that, over the rank, scales the product.
    Alpha,
    /// A DoRA's lengths of the weight's rows or columns.
    Magnitude,
    /// Of a LoHa: the left factor of its first (0) or second (1) matrix.
    HadaA(usize),
    /// The right one.
    HadaB(usize),
    /// The core between them, of a convolution.
    HadaCore(usize),
    /// Of a LoKr: its first (0) or second (1) matrix as it is.
    Lokr(usize),
    /// The left factor of that matrix.
    LokrA(usize),
    /// The right one.
    LokrB(usize),
    /// The core between them, of a convolution.
    LokrCore(usize),
    /// The whole difference of a weight.
    Diff,
    /// The whole difference of a bias.
    DiffBias,
}

const ENDINGS: [(&str, LoraFactor); 32] = [
    (".lora_down.weight", LoraFactor::Down),
    (".lora_up.weight", LoraFactor::Up),
    (".lora_mid.weight", LoraFactor::Mid),
    (".lora_A.weight", LoraFactor::Down),
    (".lora_B.weight", LoraFactor::Up),
    (".lora_linear_layer.down.weight", LoraFactor::Down),
    (".lora_linear_layer.up.weight", LoraFactor::Up),
    (".lora.down.weight", LoraFactor::Down),
    (".lora.up.weight", LoraFactor::Up),
    ("_lora.down.weight", LoraFactor::Down),
    ("_lora.up.weight", LoraFactor::Up),
    (".alpha", LoraFactor::Alpha),
    (".dora_scale", LoraFactor::Magnitude),
    (".lora_magnitude_vector", LoraFactor::Magnitude),
    (".lora_magnitude_vector.weight", LoraFactor::Magnitude),
    (".hada_w1_a", LoraFactor::HadaA(0)),
    (".hada_w1_b", LoraFactor::HadaB(0)),
    (".hada_t1", LoraFactor::HadaCore(0)),
    (".hada_w2_a", LoraFactor::HadaA(1)),
    (".hada_w2_b", LoraFactor::HadaB(1)),
    (".hada_t2", LoraFactor::HadaCore(1)),
    (".lokr_w1", LoraFactor::Lokr(0)),
    (".lokr_w1_a", LoraFactor::LokrA(0)),
    (".lokr_w1_b", LoraFactor::LokrB(0)),
    (".lokr_w2", LoraFactor::Lokr(1)),
    (".lokr_w2_a", LoraFactor::LokrA(1)),
    (".lokr_w2_b", LoraFactor::LokrB(1)),
    (".lokr_t2", LoraFactor::LokrCore(1)),
    // Of norms the same as of other layers, under a name of its own.
    (".diff", LoraFactor::Diff),
    (".w_norm", LoraFactor::Diff),
    (".diff_b", LoraFactor::DiffBias),
    (".b_norm", LoraFactor::DiffBias),
];

/// What stands before an adapter's name in the state of a model of peft's.
const BEFORE_ADAPTER: [(&str, LoraFactor); 3] =
    [(".lora_A", LoraFactor::Down), (".lora_B", LoraFactor::Up), (".lora_magnitude_vector", LoraFactor::Magnitude)];

/// What peft's `save_pretrained` writes before the names of a model.
const PEFT_ROOT: &str = "base_model.model.";

/// ComfyUI's roots, and what kohya's names begin with for the same component.
const COMFY_ROOTS: [(&str, &str); 3] = [
    ("diffusion_model.", "lora_unet_"),
    ("text_encoders.clip_l.transformer.", "lora_te_"),
    ("text_encoders.clip_h.transformer.", "lora_te_"),
];

/// The name of the layer, as the file has it, and the factor; `None` for a key of something else.
pub fn split(key: &str) -> Option<(&str, LoraFactor)> {
    if let Some((stem, factor, _)) = adapted(key) {
        return Some((stem, factor));
    }
    let (stem, factor) = ENDINGS.iter().find_map(|(ending, factor)| Some((key.strip_suffix(ending)?, *factor)))?;
    let tail = [".lora_linear_layer", ".lora", "_lora"].iter().find_map(|tail| stem.strip_suffix(tail));
    Some((tail.filter(|_| factor == LoraFactor::Alpha).unwrap_or(stem), factor))
}

/// The name of the adapter that a key is of, where it has one: `default_0` in `to_q.lora_A.default_0.weight`.
pub fn adapter(key: &str) -> Option<&str> {
    adapted(key).map(|(_, _, adapter)| adapter)
}

fn adapted(key: &str) -> Option<(&str, LoraFactor, &str)> {
    let (front, adapter) = key.strip_suffix(".weight")?.rsplit_once('.')?;
    BEFORE_ADAPTER.iter().find_map(|(ending, factor)| Some((front.strip_suffix(ending)?, *factor, adapter)))
}

/// Whether peft's `save_pretrained` wrote a file with this key.
pub fn is_saved_by_peft(key: &str) -> bool {
    key.starts_with(PEFT_ROOT)
}

/// Whether a layer is the text encoder's projection, which ComfyUI saves too and no drawing of Stable Diffusion 1.x or 2.x
/// uses.
pub fn is_unused(stem: &str) -> bool {
    stem.ends_with("text_projection")
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
    /// The shapes of weights and biases by component and key.
    tensors: BTreeMap<&'static str, BTreeMap<String, Vec<i64>>>,
    /// By kohya's name.
    flat: HashMap<String, (&'static str, String)>,
}

impl Names {
    /// The names of a model's layers: of those that [`carriers`] has, of norms and embeddings too.
    ///
    /// # Errors
    /// When `weights` cannot open a component.
    pub fn new(config: &UNetConfig, weights: impl Fn(&'static Component) -> Result<Arc<WeightFile>>) -> Result<Names> {
        let depth = Depth::of_unet(config);
        let (mut tensors, mut flat) = (BTreeMap::new(), HashMap::new());
        for (component, lora) in carrying() {
            let own: BTreeMap<String, Vec<i64>> =
                weights(component)?.entries().iter().map(|(key, entry)| (key.clone(), entry.shape.clone())).collect();
            for (key, layer) in own.keys().filter_map(|key| Some((key, key.strip_suffix(".weight")?))) {
                let compvis = (component.single_file.to_compvis)(key, &depth);
                for name in compvis.iter().map(|key| key.trim_end_matches(".weight")).chain([layer]) {
                    for prefix in lora.prefixes {
                        flat.insert(flattened(prefix, name), (component.name, layer.to_string()));
                    }
                }
            }
            tensors.insert(component.name, own);
        }
        Ok(Names { tensors, flat })
    }

    /// The layer that a file calls `stem`.
    pub fn find(&self, stem: &str) -> Option<(&'static str, String)> {
        let stem = stem.strip_prefix(PEFT_ROOT).unwrap_or(stem);
        let comfy = COMFY_ROOTS.iter().find_map(|(root, prefix)| Some(flattened(prefix, stem.strip_prefix(root)?)));
        if let Some(found) = self.flat.get(comfy.as_deref().unwrap_or(stem)) {
            return Some(found.clone());
        }
        let named = carrying().find_map(|(c, _)| Some((c, stem.strip_prefix(c.name)?.strip_prefix('.')?)));
        match named {
            Some((component, layer)) => self.find_in(component, layer),
            // A file for one component may leave its name away.
            None => carrying().find_map(|(component, _)| self.find_in(component, stem)),
        }
    }

    fn find_in(&self, component: &'static Component, layer: &str) -> Option<(&'static str, String)> {
        let layer = layer.replace(".processor.", ".");
        let rooted = format!("{}{layer}", component.single_file.root);
        let candidates = [today(component, &layer), today(component, &rooted), Some(layer), Some(rooted)];
        let has = |layer: &String| self.shape(component.name, &format!("{layer}.weight")).is_some();
        Some((component.name, candidates.into_iter().flatten().find(has)?))
    }

    /// The shape of a weight or bias.
    pub fn shape(&self, component: &str, key: &str) -> Option<&[i64]> {
        self.tensors.get(component)?.get(key).map(Vec::as_slice)
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
            ("unet.x.to_q.lora_A.default_0.weight", "unet.x.to_q", LoraFactor::Down),
            ("base_model.model.x.to_q.lora_magnitude_vector", "base_model.model.x.to_q", LoraFactor::Magnitude),
            ("x.to_q.lora_magnitude_vector.style.weight", "x.to_q", LoraFactor::Magnitude),
            ("lora_unet_x.dora_scale", "lora_unet_x", LoraFactor::Magnitude),
            ("lora_unet_x.hada_w2_b", "lora_unet_x", LoraFactor::HadaB(1)),
            ("lora_unet_x.lokr_w1", "lora_unet_x", LoraFactor::Lokr(0)),
            ("diffusion_model.x.diff_b", "diffusion_model.x", LoraFactor::DiffBias),
        ] {
            assert_eq!(split(key), Some((stem, part)));
        }
        for other in ["unet.down_blocks.0.to_q.weight", "unet.x.to_q.lora_B.bias", "lora_unet_x.weight"] {
            assert_eq!(split(other), None, "{other}");
        }
        assert_eq!(adapter("unet.x.to_q.lora_B.style.weight"), Some("style"));
        assert_eq!(adapter("unet.x.to_q.lora_B.weight"), None);
    }
}
