//! The configuration of a single-file checkpoint, read off the shapes of its tensors.
//!
//! Enters: keys and shapes in the CompVis naming. Leaves: how deep the model is, and the files of a diffusers folder that
//! describe it. What shapes do not show is as in Stable Diffusion 1.x: 8 heads in the UNet (in 2.x 64 channels to a
//! head), 64 channels to a head in the text encoder, 32 groups, the noise schedule, a scaling factor of 0.18215.

use super::compvis_names::Depth;
use super::open_clip_names;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What a checkpoint is called in messages.
pub const KIND: &str = "Stable Diffusion checkpoint";

/// Shapes by key.
pub type Shapes = BTreeMap<String, Vec<i64>>;

/// The shapes of one component, its keys without their prefix.
#[derive(Debug)]
pub struct ComponentShapes<'a> {
    /// The file, for messages.
    pub path: &'a Path,
    /// What its keys begin with in the file.
    pub prefix: &'a str,
    /// Shapes by key without the prefix.
    pub shapes: Shapes,
    /// Height and width of the latents that the model was trained on, which no shape shows.
    pub sample_size: i64,
}

impl ComponentShapes<'_> {
    /// Size `axis` of the tensor `key`.
    fn size(&self, key: &str, axis: usize) -> Result<i64> {
        self.shapes.get(key).and_then(|shape| shape.get(axis)).copied().ok_or_else(|| {
            let reason = format!("it has no tensor `{}{key}` with {} or more axes", self.prefix, axis + 1);
            Error::bad_file(self.path, KIND, reason)
        })
    }

    fn has(&self, begin: &str) -> bool {
        self.shapes.range(begin.to_string()..).next().is_some_and(|(key, _)| key.starts_with(begin))
    }

    /// How many numbers from 0 up stand between `begin` and a dot.
    fn count(&self, begin: &str) -> usize {
        (0..).take_while(|i| self.has(&format!("{begin}{i}."))).count()
    }
}

/// How many layers each of the UNet's down blocks has: between them stand their downsampling convolutions.
///
/// # Errors
/// When its blocks make no even rows.
pub fn unet_layers(part: &ComponentShapes) -> Result<usize> {
    let blocks = part.count("input_blocks.");
    let downs = (0..blocks).filter(|i| part.has(&format!("input_blocks.{i}.0.op."))).count();
    // The first block is the first convolution, and the last level has no downsampling after it.
    if blocks == 0 || !blocks.is_multiple_of(downs + 1) || blocks / (downs + 1) < 2 {
        let reason = format!("its {blocks} `{}input_blocks` make no {} even levels", part.prefix, downs + 1);
        return Err(Error::bad_file(part.path, KIND, reason));
    }
    Ok(blocks / (downs + 1) - 1)
}

/// The UNet's depth and `config.json`.
///
/// # Errors
/// When a tensor that shows a size is missing.
pub fn unet(part: &ComponentShapes, depth: &mut Depth) -> Result<Value> {
    depth.unet_layers = unet_layers(part)?;
    let row = depth.unet_layers + 1;
    let levels = part.count("input_blocks.") / row;
    let first = |level: usize| format!("input_blocks.{}", level * row + 1);
    let widths = (0..levels)
        .map(|i| part.size(&format!("{}.0.out_layers.3.weight", first(i)), 0))
        .collect::<Result<Vec<_>>>()?;
    let attended: Vec<bool> = (0..levels).map(|i| part.has(&format!("{}.1.", first(i)))).collect();
    depth.up_attention = (0..levels).filter(|i| part.has(&format!("output_blocks.{}.1.proj_in.", i * row))).collect();
    let transformers: Vec<usize> =
        (0..levels).map(|i| part.count(&format!("{}.1.transformer_blocks.", first(i))).max(1)).collect();
    let down = |a: &bool| if *a { "CrossAttnDownBlock2D" } else { "DownBlock2D" };
    let up = |i| if depth.up_attention.contains(&i) { "CrossAttnUpBlock2D" } else { "UpBlock2D" };
    let transformers =
        if transformers.iter().all(|n| *n == transformers[0]) { json!(transformers[0]) } else { json!(transformers) };
    // 2.x has linear layers around its transformers, where 1.x has convolutions, and heads of 64 channels, where 1.x has 8.
    let linear = part.shapes.get("middle_block.1.proj_in.weight").is_some_and(|shape| shape.len() == 2);
    let heads: Vec<i64> = widths.iter().map(|width| (width / 64).max(1)).collect();
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": if linear { json!(heads) } else { json!(8) },
        "block_out_channels": widths,
        "center_input_sample": false,
        "cross_attention_dim": part.size("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1)?,
        "down_block_types": attended.iter().map(down).collect::<Vec<_>>(),
        "downsample_padding": 1,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": part.size("input_blocks.0.0.weight", 1)?,
        "layers_per_block": depth.unet_layers,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": part.size("out.2.weight", 0)?,
        "sample_size": part.sample_size,
        "transformer_layers_per_block": transformers,
        "up_block_types": (0..levels).map(up).collect::<Vec<_>>(),
    });
    if linear {
        config["use_linear_projection"] = true.into();
        // 2.1 overflows in half precision without, and nothing else changes.
        config["upcast_attention"] = true.into();
    }
    Ok(config)
}

/// The autoencoder's depth and `config.json`.
///
/// # Errors
/// When a tensor that shows a size is missing.
pub fn vae(part: &ComponentShapes, depth: &mut Depth) -> Result<Value> {
    depth.vae_in_diffusers = part.has("decoder.mid_block.");
    let (down, up, block) = match depth.vae_in_diffusers {
        true => ("encoder.down_blocks.", "decoder.up_blocks.", "resnets"),
        false => ("encoder.down.", "decoder.up.", "block"),
    };
    // A file may hold the decoder alone, whose blocks have one layer more.
    let encodes = part.has("encoder.");
    let (side, more) = if encodes { (down, 0) } else { (up, 1) };
    let levels = part.count(side).max(1);
    depth.vae_levels = levels;
    let mut widths =
        (0..levels).map(|i| part.size(&format!("{side}{i}.{block}.0.conv1.weight"), 0)).collect::<Result<Vec<_>>>()?;
    if !encodes && depth.vae_in_diffusers {
        widths.reverse();
    }
    let picture = match encodes {
        true => part.size("encoder.conv_in.weight", 1)?,
        false => part.size("decoder.conv_out.weight", 0)?,
    };
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": widths,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "in_channels": picture,
        "latent_channels": part.size("decoder.conv_in.weight", 1)?,
        "layers_per_block": part.count(&format!("{side}0.{block}.")).saturating_sub(more),
        "norm_num_groups": 32,
        "out_channels": part.size("decoder.conv_out.weight", 0)?,
        "sample_size": 8 * part.sample_size,
        "scaling_factor": 0.18215,
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
    }))
}

/// The text encoder's `config.json`: CLIP's, whose keys stand with `text_model.` before them, or OpenCLIP's.
///
/// # Errors
/// When a tensor that shows a size is missing.
pub fn text(part: &ComponentShapes, depth: &mut Depth) -> Result<Value> {
    depth.open_clip = part.prefix == open_clip_names::PREFIX;
    let [tokens, places, inner, layers] = match depth.open_clip {
        true => [
            "token_embedding.weight",
            "positional_embedding",
            "transformer.resblocks.0.mlp.c_fc.weight",
            "transformer.resblocks.",
        ],
        false => [
            "text_model.embeddings.token_embedding.weight",
            "text_model.embeddings.position_embedding.weight",
            "text_model.encoder.layers.0.mlp.fc1.weight",
            "text_model.encoder.layers.",
        ],
    };
    let width = part.size(tokens, 1)?;
    let layers = part.count(layers);
    Ok(json!({
        "architectures": ["CLIPTextModel"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": if depth.open_clip { "gelu" } else { "quick_gelu" },
        "hidden_size": width,
        "intermediate_size": part.size(inner, 0)?,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": part.size(places, 0)?,
        "model_type": "clip_text_model",
        "num_attention_heads": (width / 64).max(1),
        "num_hidden_layers": if depth.open_clip { layers.min(open_clip_names::MOST_LAYERS) } else { layers },
        "pad_token_id": 1,
        "vocab_size": part.size(tokens, 0)?,
    }))
}

/// `scheduler_config.json` of Stable Diffusion 1.x; that of 2.x differs in the prediction type alone.
pub fn scheduler() -> Value {
    json!({
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": false,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
    })
}
