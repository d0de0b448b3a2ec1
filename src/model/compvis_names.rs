//! The names of tensors in single-file checkpoints of Stable Diffusion, as the CompVis code calls its modules, and
//! the way to diffusers' names and back.
//!
//! Enters: a key, and how deep the model is. Leaves: component and key on the other side. The two differ in that the
//! CompVis code counts all blocks of a side in one row, `input_blocks.4`, where diffusers counts levels and layers,
//! `down_blocks.1.resnets.0`, and in the autoencoder's decoder counts levels from the bottom.
//! Follows diffusers' `loaders/single_file_utils.py`.

use super::config::UNetConfig;
use std::collections::BTreeSet;

/// How deep a model is: what the names of its tensors depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depth {
    /// ResNet blocks in each of the UNet's down blocks.
    pub unet_layers: usize,
    /// Levels of the autoencoder.
    pub vae_levels: usize,
    /// The UNet's up blocks that have attention.
    pub up_attention: BTreeSet<usize>,
    /// Whether the autoencoder has diffusers' names already, as one that was saved alone.
    pub vae_in_diffusers: bool,
    /// Whether the text encoder is OpenCLIP's, of Stable Diffusion 2.x.
    pub open_clip: bool,
}

impl Depth {
    /// Of a model with this UNet; the autoencoder's levels are left at 0.
    pub fn of_unet(config: &UNetConfig) -> Depth {
        let up = config.up_block_types.iter().enumerate().filter(|(_, kind)| kind.starts_with("CrossAttn"));
        Depth {
            unet_layers: config.layers_per_block as usize,
            up_attention: up.map(|(index, _)| index).collect(),
            ..Depth::default()
        }
    }
}

/// A part's name in the CompVis code and in diffusers.
type Pair = (&'static str, &'static str);

const RESNET: &[Pair] = &[
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "time_emb_proj."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "conv_shortcut."),
];

const UNET_ENDS: &[Pair] = &[
    ("time_embed.0.", "time_embedding.linear_1."),
    ("time_embed.2.", "time_embedding.linear_2."),
    ("input_blocks.0.0.", "conv_in."),
    ("out.0.", "conv_norm_out."),
    ("out.2.", "conv_out."),
];

const VAE_RESNET: &[Pair] = &[
    ("norm1.", "norm1."),
    ("conv1.", "conv1."),
    ("norm2.", "norm2."),
    ("conv2.", "conv2."),
    ("nin_shortcut.", "conv_shortcut."),
];

const VAE_ATTENTION: &[Pair] = &[
    ("norm.", "group_norm."),
    ("q.", "to_q."),
    ("k.", "to_k."),
    ("v.", "to_v."),
    ("proj_out.", "to_out.0."),
    // Half converted, as some tools leave it. It is never written so: the pairs above are found first.
    ("to_q.", "to_q."),
    ("to_k.", "to_k."),
    ("to_v.", "to_v."),
    ("to_out.0.", "to_out.0."),
];

const VAE_ENDS: &[Pair] = &[("conv_in.", "conv_in."), ("norm_out.", "conv_norm_out."), ("conv_out.", "conv_out.")];

/// `key` with its beginning exchanged, by the first pair that begins it.
fn there(pairs: &[Pair], key: &str) -> Option<String> {
    pairs.iter().find_map(|(from, to)| Some(format!("{to}{}", key.strip_prefix(from)?)))
}

fn back(pairs: &[Pair], key: &str) -> Option<String> {
    pairs.iter().find_map(|(to, from)| Some(format!("{to}{}", key.strip_prefix(from)?)))
}

/// The number that begins `text`, and what follows its dot.
fn number(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// diffusers' name of the UNet's tensor that is called `key` behind the prefix.
pub fn unet(key: &str, depth: &Depth) -> Option<String> {
    if let Some(name) = there(UNET_ENDS, key) {
        return Some(name);
    }
    let row = depth.unet_layers + 1;
    if let Some(rest) = key.strip_prefix("input_blocks.") {
        let (block, rest) = number(rest)?;
        let (part, rest) = number(rest)?;
        let (level, layer) = (block.checked_sub(1)? / row, (block - 1) % row);
        let inside = match (part, layer == depth.unet_layers) {
            (0, true) => format!("downsamplers.0.conv.{}", rest.strip_prefix("op.")?),
            (0, false) => format!("resnets.{layer}.{}", there(RESNET, rest)?),
            (1, false) => format!("attentions.{layer}.{rest}"),
            _ => return None,
        };
        return Some(format!("down_blocks.{level}.{inside}"));
    }
    if let Some(rest) = key.strip_prefix("middle_block.") {
        return Some(match number(rest)? {
            (0, rest) => format!("mid_block.resnets.0.{}", there(RESNET, rest)?),
            (1, rest) => format!("mid_block.attentions.0.{rest}"),
            (2, rest) => format!("mid_block.resnets.1.{}", there(RESNET, rest)?),
            _ => return None,
        });
    }
    let (block, rest) = number(key.strip_prefix("output_blocks.")?)?;
    let (part, rest) = number(rest)?;
    let (level, layer) = (block / row, block % row);
    // The upsampling convolution follows the attention where there is one: it is the only part that begins so.
    let inside = match (part, rest.strip_prefix("conv.")) {
        (0, None) => format!("resnets.{layer}.{}", there(RESNET, rest)?),
        (1 | 2, Some(rest)) if layer == depth.unet_layers => format!("upsamplers.0.conv.{rest}"),
        (1, None) => format!("attentions.{layer}.{rest}"),
        _ => return None,
    };
    Some(format!("up_blocks.{level}.{inside}"))
}

/// The CompVis name, without the prefix, of the UNet's tensor that diffusers calls `key`.
pub fn unet_back(key: &str, depth: &Depth) -> Option<String> {
    if let Some(name) = back(UNET_ENDS, key) {
        return Some(name);
    }
    let row = depth.unet_layers + 1;
    if let Some(rest) = key.strip_prefix("mid_block.") {
        return Some(match rest.split_once('.')? {
            ("attentions", rest) => format!("middle_block.1.{}", number(rest)?.1),
            ("resnets", rest) => {
                let (layer, rest) = number(rest)?;
                format!("middle_block.{}.{}", 2 * layer, back(RESNET, rest)?)
            }
            _ => return None,
        });
    }
    let (down, rest) = match key.strip_prefix("down_blocks.") {
        Some(rest) => (true, rest),
        None => (false, key.strip_prefix("up_blocks.")?),
    };
    let (level, rest) = number(rest)?;
    let (kind, rest) = rest.split_once('.')?;
    let (layer, rest) = number(rest)?;
    let block = |layer: usize| match down {
        true => format!("input_blocks.{}", level * row + layer + 1),
        false => format!("output_blocks.{}", level * row + layer),
    };
    Some(match kind {
        "resnets" => format!("{}.0.{}", block(layer), back(RESNET, rest)?),
        "attentions" => format!("{}.1.{rest}", block(layer)),
        "downsamplers" if down => format!("{}.0.op.{}", block(depth.unet_layers), rest.strip_prefix("conv.")?),
        "upsamplers" if !down => {
            let part = if depth.up_attention.contains(&level) { 2 } else { 1 };
            format!("{}.{part}.{rest}", block(depth.unet_layers))
        }
        _ => return None,
    })
}

/// diffusers' name of the autoencoder's tensor that is called `key` behind the prefix.
pub fn vae(key: &str, depth: &Depth) -> Option<String> {
    if key.starts_with("quant_conv.") || key.starts_with("post_quant_conv.") {
        return Some(key.into());
    }
    let (side, rest) = key.split_once('.')?;
    if !["encoder", "decoder"].contains(&side) {
        return None;
    }
    if depth.vae_in_diffusers {
        return Some(key.into());
    }
    if let Some(end) = there(VAE_ENDS, rest) {
        return Some(format!("{side}.{end}"));
    }
    let (place, rest) = rest.split_once('.')?;
    let inside = match (side, place) {
        (_, "mid") => match rest.split_once('.')? {
            ("block_1", rest) => format!("mid_block.resnets.0.{}", there(VAE_RESNET, rest)?),
            ("block_2", rest) => format!("mid_block.resnets.1.{}", there(VAE_RESNET, rest)?),
            ("attn_1", rest) => format!("mid_block.attentions.0.{}", there(VAE_ATTENTION, rest)?),
            _ => return None,
        },
        ("encoder", "down") | ("decoder", "up") => {
            let (level, rest) = number(rest)?;
            let level = if place == "down" { level } else { depth.vae_levels.checked_sub(level + 1)? };
            match rest.split_once('.')? {
                ("block", rest) => {
                    let (layer, rest) = number(rest)?;
                    format!("{place}_blocks.{level}.resnets.{layer}.{}", there(VAE_RESNET, rest)?)
                }
                ("downsample", rest) if place == "down" => format!("down_blocks.{level}.downsamplers.0.{rest}"),
                ("upsample", rest) if place == "up" => format!("up_blocks.{level}.upsamplers.0.{rest}"),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(format!("{side}.{inside}"))
}

/// The CompVis name, without the prefix, of the autoencoder's tensor that diffusers calls `key`.
pub fn vae_back(key: &str, depth: &Depth) -> Option<String> {
    if key.starts_with("quant_conv.") || key.starts_with("post_quant_conv.") {
        return Some(key.into());
    }
    let (side, rest) = key.split_once('.')?;
    if let Some(end) = back(VAE_ENDS, rest) {
        return Some(format!("{side}.{end}"));
    }
    let (place, rest) = rest.split_once('.')?;
    if place == "mid_block" {
        let (kind, rest) = rest.split_once('.')?;
        let (layer, rest) = number(rest)?;
        let inside = match kind {
            "resnets" => format!("block_{}.{}", layer + 1, back(VAE_RESNET, rest)?),
            "attentions" => format!("attn_1.{}", back(VAE_ATTENTION, rest)?),
            _ => return None,
        };
        return Some(format!("{side}.mid.{inside}"));
    }
    let (level, rest) = number(rest)?;
    let (kind, rest) = rest.split_once('.')?;
    let (layer, rest) = number(rest)?;
    let (place, level) = match place {
        "down_blocks" => ("down", level),
        "up_blocks" => ("up", depth.vae_levels.checked_sub(level + 1)?),
        _ => return None,
    };
    let inside = match kind {
        "resnets" => format!("block.{layer}.{}", back(VAE_RESNET, rest)?),
        "downsamplers" => format!("downsample.{rest}"),
        "upsamplers" => format!("upsample.{rest}"),
        _ => return None,
    };
    Some(format!("{side}.{place}.{level}.{inside}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Names from the published v1 checkpoint and what diffusers' converter makes of them.
    #[test]
    fn published_names_go_both_ways() {
        let depth = Depth { unet_layers: 2, vae_levels: 4, up_attention: [1, 2, 3].into(), ..Depth::default() };
        for (ldm, diffusers) in [
            ("time_embed.2.bias", "time_embedding.linear_2.bias"),
            ("input_blocks.0.0.weight", "conv_in.weight"),
            ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
            ("input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"),
            ("input_blocks.8.1.proj_in.weight", "down_blocks.2.attentions.1.proj_in.weight"),
            ("input_blocks.11.0.emb_layers.1.bias", "down_blocks.3.resnets.1.time_emb_proj.bias"),
            ("middle_block.2.out_layers.3.weight", "mid_block.resnets.1.conv2.weight"),
            ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
            ("output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"),
            (
                "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.bias",
                "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.bias",
            ),
            ("out.2.weight", "conv_out.weight"),
        ] {
            assert_eq!(unet(ldm, &depth).as_deref(), Some(diffusers));
            assert_eq!(unet_back(diffusers, &depth).as_deref(), Some(ldm));
        }
        for (ldm, diffusers) in [
            ("encoder.down.1.block.0.nin_shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
            ("encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias"),
            ("decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight"),
            ("decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"),
            ("decoder.mid.block_2.conv1.weight", "decoder.mid_block.resnets.1.conv1.weight"),
            ("decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"),
            ("decoder.mid.attn_1.q.bias", "decoder.mid_block.attentions.0.to_q.bias"),
            ("encoder.norm_out.bias", "encoder.conv_norm_out.bias"),
            ("post_quant_conv.weight", "post_quant_conv.weight"),
        ] {
            assert_eq!(vae(ldm, &depth).as_deref(), Some(diffusers));
            assert_eq!(vae_back(diffusers, &depth).as_deref(), Some(ldm));
        }
        for foreign in ["input_blocks.4.2.weight", "label_emb.0.0.weight", "double_blocks.0.img_attn.proj.weight"] {
            assert_eq!(unet(foreign, &depth), None, "{foreign}");
        }
    }
}
