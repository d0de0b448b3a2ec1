//! What a safetensors file holds, told by its keys: a model, a LoRA and of which kind, an embedding, an autoencoder, or
//! something that this program has no use for.
//!
//! Enters: keys and shapes. Leaves: [`Contents`], with the words for a message and the flag that takes such a file, if one
//! does. What a file is that is no safetensors file is told in [`super::sniff`].

use super::components::COMPONENTS;
use super::lora_names::{self, LoraFactor};
use crate::error::Error;
use std::path::Path;

/// What takes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `--model`: a checkpoint in one file.
    Model,
    /// `--vae`: an autoencoder alone.
    Vae,
    /// `--lora`.
    Lora,
    /// `--embedding`.
    Embedding,
    /// One part of a model in a folder.
    LoraFactor,
    /// Nothing here: a model of another kind.
    OtherModel,
    /// Nothing here: an addition to a model of another kind, or in another form.
    OtherAddition,
    /// Nothing here.
    Other,
}

impl Role {
    /// The way to use such a file, or why there is none.
    pub fn hint(self) -> &'static str {
        match self {
            Role::Model => "a whole model goes with `--model`",
            Role::Vae => "an autoencoder goes with `--vae`, beside the model",
            Role::Lora => "name the model that it was made for, and the LoRA beside it with `--lora`",
            Role::Embedding => "an embedding goes with `--embedding NAME=FILE`, beside the model",
            Role::LoraFactor => {
                "name the model's whole folder, which holds model_index.json; for `--vae` the folder of the file"
            }
            Role::OtherModel | Role::Other => {
                "this program draws with Stable Diffusion 1.x and 2.x, from a single file or a folder in diffusers' layout"
            }
            Role::OtherAddition => {
                "of the additions to a model, LoRAs (LoCon, LoHa, LoKr, DoRA and whole differences too) and textual inversion \
                 embeddings for Stable Diffusion 1.x and 2.x are read here"
            }
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// In a sentence, after "is".
    pub what: &'static str,
    /// What takes it.
    pub role: Role,
    /// A key that tells.
    pub key: String,
}

impl Contents {
    /// The error that says so, where something else is wanted.
    pub fn refused(&self, path: &Path) -> Error {
        let message = format!("`{}` is {}: it has the key `{}`", path.display(), self.what, self.key);
        Error::invalid(message, self.role.hint())
    }
}

/// Marks of a kind: parts of a key, `^` stands for its beginning and `$` for its end.
type Marks = (&'static [&'static str], &'static str);

/// Additions in forms that are not read, whatever the model. They come first, for they may stand among a LoRA's keys.
const FORMS: &[Marks] = &[
    (&[".a1.weight$", ".b2.weight$"], "a GLoRA"),
    (&[".oft_", ".boft_", "oft_blocks", "oft_diag"], "an OFT"),
    (&[".vera_lambda_"], "a VeRA"),
    (&[".on_input$", ".ia3_l"], "an IA³"),
    (&[".lambda_layer$"], "a T-LoRA"),
    (&[".lora_E$", ".ranknum$"], "an AdaLoRA"),
    (&[".set_weight$"], "a set of weights to put in place of others"),
    (&[".reshape_weight$"], "a LoRA that gives weights another shape"),
    (&[".lora_B.bias$", ".lora_up.bias$"], "a LoRA with biases of its own (peft's `lora_bias`)"),
    (&["^unet:", "^text_encoder:"], "a LoRA of cloneofsimo's scripts, which number the layers"),
    (&[".base_layer."], "a whole model with a LoRA's layers in it, as peft keeps it while training"),
    (&["bundle_emb."], "a LoRA with embeddings bundled into it"),
    (&["lllite_"], "a ControlNet-LLLite"),
];

/// What is read of LoRAs and their kin. A DoRA comes first, for it has the keys of one of the others too.
const LORAS: &[Marks] = &[
    (&[".dora_scale$", ".lora_magnitude_vector"], "a DoRA, an addition to a model"),
    (&[".hada_w"], "a LoHa, an addition to a model"),
    (&[".lokr_w"], "a LoKr, an addition to a model"),
    (&[".lora", "_lora"], "a LoRA, an addition to a model"),
    (&[".diff$", ".diff_b$", ".w_norm$"], "differences of whole weights, an addition to a model"),
];

/// LoRAs for models of other kinds.
const FAMILIES: &[Marks] = &[
    (
        &[
            "lora_te2_",
            "^text_encoder_2.",
            "^text_encoders.clip_g.",
            "transformer_blocks_1_",
            ".transformer_blocks.1.",
            "_label_emb_",
            "^diffusion_model.label_emb.",
        ],
        "a LoRA for Stable Diffusion XL",
    ),
    (&["joint_blocks", "add_q_proj"], "a LoRA for Stable Diffusion 3"),
    (&["double_blocks", "single_blocks", "single_transformer_blocks"], "a LoRA for Flux"),
    (&["^transformer.", "lora_transformer_", "^diffusion_model.blocks."], "a LoRA for a model with a transformer"),
];

/// Models of other kinds.
const MODELS: &[Marks] = &[
    (&["conditioner.embedders.", "^add_embedding."], "a checkpoint of Stable Diffusion XL"),
    (&["cond_stage_model.model."], "a checkpoint of Stable Diffusion 2.x"),
    (&["joint_blocks."], "a checkpoint of Stable Diffusion 3"),
    (&["double_blocks.", "single_transformer_blocks."], "a checkpoint of Flux"),
];

/// What goes beside a model, and not here.
const ADDITIONS: &[Marks] = &[
    (
        &["control_model.", "controlnet_cond_embedding.", "controlnet_down_blocks.", "^input_hint_block."],
        "a ControlNet, not a whole model",
    ),
    (&["ip_adapter.", "^image_proj."], "an IP-Adapter"),
    (&["motion_modules."], "a motion module of AnimateDiff"),
    (&["^adapter.body.", "^body.0.block1."], "a T2I-Adapter"),
];

/// Networks of other uses.
const OTHERS: &[Marks] = &[
    (&[".rdb1.conv1.", ".RDB1.conv1.", "upsampling_blocks."], "a network that enlarges pictures"),
    (&["SelfAttention.relative_attention_bias"], "a T5 text encoder"),
    (&["vision_model.encoder."], "a CLIP with its vision model"),
];

fn has(key: &str, mark: &str) -> bool {
    match (mark.strip_prefix('^'), mark.strip_suffix('$')) {
        (Some(begin), _) => key.starts_with(begin),
        (_, Some(end)) => key.ends_with(end),
        _ => key.contains(mark),
    }
}

/// What a file with these tensors holds, as far as its keys tell; `None` for a stranger.
pub fn of<'a>(tensors: impl Iterator<Item = (&'a str, &'a [i64])> + Clone) -> Option<Contents> {
    let keys = || tensors.clone().map(|(key, _)| key);
    let told = |what, role, key: &str| Some(Contents { what, role, key: key.to_string() });
    let find = |marks: &[&str]| keys().find(|key| marks.iter().any(|mark| has(key, mark)));
    let listed = |table: &[Marks], role| {
        let found = table.iter().find_map(|(marks, what)| Some((*what, find(marks)?)));
        found.and_then(|(what, key)| told(what, role, key))
    };
    if let Some(other) = listed(FORMS, Role::OtherAddition) {
        return Some(other);
    }
    if let Some(key) = keys().find(|key| is_ia3(key)) {
        return told("an IA³", Role::OtherAddition, key);
    }
    if let Some(key) = keys().find(|key| is_lora(key)) {
        return listed(FAMILIES, Role::OtherAddition)
            .or_else(|| listed(LORAS, Role::Lora))
            .or_else(|| told("a LoRA, an addition to a model", Role::Lora, key));
    }
    let exactly = |name: &str| keys().find(|key| *key == name);
    if let Some(key) = exactly("clip_g") {
        return told("an embedding for Stable Diffusion XL or 3", Role::OtherAddition, key);
    }
    if let Some(key) = exactly("emb_params") {
        return told("a textual inversion embedding", Role::Embedding, key);
    }
    let other = listed(MODELS, Role::OtherModel).or_else(|| listed(ADDITIONS, Role::OtherAddition));
    if let Some(other) = other.or_else(|| listed(OTHERS, Role::Other)) {
        return Some(other);
    }
    if let Some(key) = keys().find(|key| COMPONENTS.iter().any(|c| key.starts_with(c.single_file.prefix))) {
        // Stable Diffusion XL's UNet without its text encoders is told by what it adds to the time embedding.
        return match find(&["label_emb."]).filter(|_| find(&["cond_stage_model."]).is_none()) {
            Some(key) => told("the UNet of Stable Diffusion XL or of another kind", Role::OtherModel, key),
            None => told("a checkpoint of Stable Diffusion 1.x", Role::Model, key),
        };
    }
    if let Some(key) = find(&["^decoder.mid.block_1."]) {
        return told("an autoencoder", Role::Vae, key);
    }
    if let Some(key) = find(&["^down_blocks.", "encoder.layers.", "^decoder.mid_block."]) {
        return told("one part of a model in diffusers' layout", Role::LoraFactor, key);
    }
    let mut all = tensors.clone();
    match (all.next(), all.next()) {
        (Some((key, [_] | [_, _])), None) => told("a single tensor, as of an embedding", Role::Embedding, key),
        _ => None,
    }
}

/// Whether a key is that of a LoRA's layer, in whichever naming.
fn is_lora(key: &str) -> bool {
    let layer = lora_names::split(key).is_some_and(|(_, part)| part != LoraFactor::Alpha);
    layer || ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_"].iter().any(|begin| key.starts_with(begin))
}

/// Whether a key is that of an IA³'s layer, which is named as kohya names them and has one `weight`.
fn is_ia3(key: &str) -> bool {
    let layer = key.strip_suffix(".weight").filter(|layer| !layer.contains('.'));
    layer.is_some_and(|layer| ["lora_unet_", "lora_te_", "lora_te1_"].iter().any(|begin| layer.starts_with(begin)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(keys: &[&str]) -> (String, Role) {
        let contents = of(keys.iter().map(|key| (*key, &[2i64, 3, 4][..]))).unwrap();
        assert!(keys.contains(&contents.key.as_str()));
        (contents.what.into(), contents.role)
    }

    #[test]
    fn files_are_told_by_their_keys() {
        use Role::*;
        let up = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight";
        for (keys, expected, role) in [
            (&[up][..], "a LoRA, an addition", Lora),
            (&["unet.mid_block.attentions.0.proj_in.lora_A.weight"], "a LoRA, an addition", Lora),
            (&[up, "lora_unet_mid_block_attentions_0_proj_in.dora_scale"], "a DoRA, an addition", Lora),
            (&["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"], "a LoHa, an addition", Lora),
            (&["lora_unet_mid_block_attentions_0_proj_in.lokr_w1"], "a LoKr, an addition", Lora),
            (&["lora_unet_mid_block_attentions_0_proj_in.diff"], "differences of whole weights, an addition", Lora),
            (
                &["lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "lora_te2_x.alpha"],
                "a LoRA for Stable Diffusion XL",
                OtherAddition,
            ),
            (&["diffusion_model.input_blocks.1.1.proj_in.lora_up.weight"], "a LoRA, an addition", Lora),
            (
                &["diffusion_model.x.lora_up.weight", "text_encoders.clip_g.transformer.x.lora_up.weight"],
                "a LoRA for Stable Diffusion XL",
                OtherAddition,
            ),
            (
                &["base_model.model.x.to_q.lora_A.weight", "base_model.model.x.to_q.lora_B.bias"],
                "a LoRA with biases",
                OtherAddition,
            ),
            (&["unet:0:up", "unet:0:down"], "a LoRA of cloneofsimo's", OtherAddition),
            (&["lora_unet_mid_block_attentions_0_proj_in.weight"], "an IA³", OtherAddition),
            (&["lora_unet_x.weight", "lora_unet_x.on_input"], "an IA³", OtherAddition),
            (&["lora_unet_x.oft_diag", "lora_unet_x.alpha"], "an OFT", OtherAddition),
            (&["lora_unet_mid_block_attentions_0_proj_in.a1.weight"], "a GLoRA", OtherAddition),
            (&["lora_unet_mid_block_attentions_0_proj_in.set_weight"], "a set of weights", OtherAddition),
            (&[up, "bundle_emb.x.string_to_param.*"], "a LoRA with embeddings", OtherAddition),
            (&[up, "lora_te2_text_model_x.lora_up.weight"], "a LoRA for Stable Diffusion XL", OtherAddition),
            (&["lora_unet_double_blocks_0_x.lora_up.weight"], "a LoRA for Flux", OtherAddition),
            (&["transformer.transformer_blocks.0.x.lora_A.weight"], "a LoRA for a model with", OtherAddition),
            (&["clip_g", "clip_l"], "an embedding for Stable Diffusion XL", OtherAddition),
            (&["emb_params"], "a textual inversion embedding", Embedding),
            (
                &["conditioner.embedders.0.x", "model.diffusion_model.x"],
                "a checkpoint of Stable Diffusion XL",
                OtherModel,
            ),
            (&["model.diffusion_model.joint_blocks.0.x"], "a checkpoint of Stable Diffusion 3", OtherModel),
            (&["model.diffusion_model.label_emb.0.0.bias"], "the UNet of Stable Diffusion XL", OtherModel),
            (
                &["model.diffusion_model.out.0.bias", "cond_stage_model.transformer.x"],
                "a checkpoint of Stable Diff",
                Model,
            ),
            (&["controlnet_cond_embedding.conv_in.bias"], "a ControlNet", OtherAddition),
            (&["decoder.mid.block_1.conv1.bias"], "an autoencoder", Vae),
            (&["down_blocks.0.resnets.0.conv1.bias"], "one part of a model", LoraFactor),
        ] {
            let (what, found) = told(keys);
            assert!(what.starts_with(expected) && found == role, "{keys:?}: {what} {found:?}");
        }
        assert_eq!(of([("layers.0.weight", &[2i64][..]), ("layers.1.weight", &[2])].into_iter()), None);
        assert_eq!(of([("<cat>", &[768i64][..])].into_iter()).map(|c| c.role), Some(Embedding));
        assert_eq!(of(std::iter::empty()), None);
    }
}
