//! The names of the text encoder in single-file checkpoints of Stable Diffusion 2.x, as OpenCLIP calls its modules.
//!
//! Enters: a key. Leaves: diffusers' name. OpenCLIP has query, key and value of a layer in one tensor, which is parted.
//! Follows diffusers' `convert_open_clip_checkpoint`.

/// What all keys begin with.
pub const PREFIX: &str = "cond_stage_model.model.";

/// How many layers are kept: Stable Diffusion 2.x takes the output of the last but one of 24, and diffusers' text encoder
/// ends there.
pub const MOST_LAYERS: usize = 23;

/// Beginnings of keys that have no use: the last layer, and what CLIP compares pictures by.
pub const UNUSED: &[&str] = &["transformer.resblocks.23.", "text_projection", "logit_scale", "attn_mask"];

const ENDS: [(&str, &str); 4] = [
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
    ("ln_final.weight", "final_layer_norm.weight"),
    ("ln_final.bias", "final_layer_norm.bias"),
];

const LAYER: [(&str, &str); 6] = [
    ("attn.in_proj_", "self_attn.in_proj."),
    ("attn.out_proj.", "self_attn.out_proj."),
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
];

/// diffusers' name of the tensor that is called `key` behind the prefix; the projections of an attention in one are called
/// `in_proj`.
pub fn to_diffusers(key: &str) -> Option<String> {
    if let Some((_, name)) = ENDS.iter().find(|(from, _)| *from == key) {
        return Some(format!("text_model.{name}"));
    }
    let (layer, rest) = key.strip_prefix("transformer.resblocks.")?.split_once('.')?;
    let layer = layer.parse::<usize>().ok().filter(|layer| *layer < MOST_LAYERS)?;
    let inside = LAYER.iter().find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)))?;
    Some(format!("text_model.encoder.layers.{layer}.{inside}"))
}

/// diffusers' names of the three tensors that lie in one, by what [`to_diffusers`] calls it.
pub fn thirds(name: &str) -> Option<[String; 3]> {
    let (front, end) = name.split_once(".self_attn.in_proj.")?;
    Some(["q", "k", "v"].map(|part| format!("{front}.self_attn.{part}_proj.{end}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Names from the published 2.1 checkpoint and what diffusers' converter makes of them.
    #[test]
    fn published_names_are_read() {
        let layer = "text_model.encoder.layers.22";
        for (theirs, diffusers) in [
            ("positional_embedding", "text_model.embeddings.position_embedding.weight".to_string()),
            ("ln_final.bias", "text_model.final_layer_norm.bias".into()),
            ("transformer.resblocks.22.ln_2.weight", format!("{layer}.layer_norm2.weight")),
            ("transformer.resblocks.22.mlp.c_proj.bias", format!("{layer}.mlp.fc2.bias")),
            ("transformer.resblocks.22.attn.out_proj.weight", format!("{layer}.self_attn.out_proj.weight")),
            ("transformer.resblocks.22.attn.in_proj_bias", format!("{layer}.self_attn.in_proj.bias")),
        ] {
            assert_eq!(to_diffusers(theirs), Some(diffusers));
        }
        let parted = thirds(&format!("{layer}.self_attn.in_proj.bias")).unwrap();
        assert_eq!(parted[1], format!("{layer}.self_attn.k_proj.bias"));
        assert_eq!(thirds(&format!("{layer}.self_attn.out_proj.bias")), None);
        for unused in ["transformer.resblocks.23.ln_1.bias", "text_projection", "logit_scale"] {
            assert_eq!(to_diffusers(unused), None);
            assert!(UNUSED.iter().any(|begin| unused.starts_with(begin)));
        }
    }
}
