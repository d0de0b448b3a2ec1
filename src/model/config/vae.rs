//! The autoencoder's configuration.

use super::passed_over;
use super::read::{Check, MOST_LAYERS};
use super::tiny::TinyConfig;
use crate::error::Result;
use serde::Deserialize;
use serde_json::{Map, Value};
use tch::Kind;

/// The side of a tile of a tiny autoencoder in pixels, as in diffusers: its configuration has none.
pub(super) const DEFAULT_SAMPLE_SIZE_OF_TINY: i64 = 512;

/// `vae/config.json` of an `AutoencoderKL`, or of an `AutoencoderTiny` as far as both have the same.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the picture.
    pub in_channels: i64,
    /// Channels of the decoded picture.
    pub out_channels: i64,
    /// The encoder's blocks.
    pub down_block_types: Vec<String>,
    /// The decoder's blocks.
    pub up_block_types: Vec<String>,
    /// Channels of each encoder block.
    pub block_out_channels: Vec<i64>,
    /// ResNet blocks of each encoder block; the decoder's have one more.
    pub layers_per_block: i64,
    /// The activation.
    pub act_fn: String,
    /// Channels of the latents.
    pub latent_channels: i64,
    /// Groups of the group norms.
    pub norm_num_groups: i64,
    /// Height and width it was trained on.
    pub sample_size: i64,
    /// Latents are multiplied by this after encoding and divided by it before decoding.
    pub scaling_factor: f64,
    /// Whether half precision overflows in this autoencoder.
    pub force_upcast: bool,
    /// Whether a 1×1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1×1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have attention.
    pub mid_block_add_attention: bool,
    /// The configuration of an `AutoencoderTiny`; none for an `AutoencoderKL`.
    #[serde(skip)]
    pub tiny: Option<TinyConfig>,
    /// Everything else in the file.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for VaeConfig {
    fn default() -> Self {
        VaeConfig {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            tiny: None,
            other: Map::new(),
        }
    }
}

impl VaeConfig {
    /// What the autoencoder computes in where `asked` is asked for: f32 where half precision overflows.
    pub fn kind(&self, asked: Kind) -> Kind {
        if asked == Kind::Half && self.force_upcast { Kind::Float } else { asked }
    }

    /// What there is to tell of the file: what was passed over.
    pub fn notes(&self) -> Vec<String> {
        passed_over(&self.other).into_iter().collect()
    }

    /// Pixels per latent in each direction.
    pub fn scale_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// Whether it encodes a picture to one set of latents, and not to a distribution of them.
    pub fn is_deterministic(&self) -> bool {
        self.tiny.is_some()
    }

    pub(super) fn check(&self, check: &Check) -> Result<()> {
        check.silu(&self.act_fn)?;
        for kind in &self.down_block_types {
            check.one_of("down_block_types", kind, &["DownEncoderBlock2D"])?;
        }
        for kind in &self.up_block_types {
            check.one_of("up_block_types", kind, &["UpDecoderBlock2D"])?;
        }
        let blocks = self.block_out_channels.len();
        for (field, types) in [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)] {
            if types.len() != blocks {
                let found = format!("a list of {}", types.len());
                return Err(check.refused(field, &found, &format!("one entry for each of the {blocks} blocks")));
            }
        }
        check.above_zero("scaling_factor", self.scaling_factor)?;
        check.groups("block_out_channels", &self.block_out_channels, self.norm_num_groups)?;
        check.within("layers_per_block", &[self.layers_per_block], 1, MOST_LAYERS)?;
        for (field, count) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("sample_size", self.sample_size),
        ] {
            check.positive(field, &[count])?;
        }
        check.fixed(&self.other, &[("shift_factor", 0.0.into())])
    }
}
