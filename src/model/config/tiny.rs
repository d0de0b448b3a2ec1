//! The configuration of a tiny autoencoder.

use super::VaeConfig;
use super::read::{Check, MOST_LAYERS};
use super::vae::DEFAULT_SAMPLE_SIZE_OF_TINY;
use crate::error::Result;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The class that model_index.json and `config.json` call it.
pub const TINY_CLASS: &str = "AutoencoderTiny";

/// `config.json` of an `AutoencoderTiny`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct TinyConfig {
    /// Channels of the picture.
    pub in_channels: i64,
    /// Channels of the decoded picture.
    pub out_channels: i64,
    /// Channels of each of the encoder's stages.
    pub encoder_block_out_channels: Vec<i64>,
    /// Channels of each of the decoder's stages.
    pub decoder_block_out_channels: Vec<i64>,
    /// The activation.
    pub act_fn: String,
    /// How the decoder enlarges.
    pub upsample_fn: String,
    /// Channels of the latents.
    pub latent_channels: i64,
    /// How many times higher and wider each stage of the decoder makes what it is given.
    pub upsampling_scaling_factor: i64,
    /// Blocks of each of the encoder's stages.
    pub num_encoder_blocks: Vec<i64>,
    /// Blocks of each of the decoder's stages.
    pub num_decoder_blocks: Vec<i64>,
    /// For storing latents as bytes, which is not done here.
    pub latent_magnitude: f64,
    /// The same.
    pub latent_shift: f64,
    /// Whether half precision overflows in it.
    pub force_upcast: bool,
    /// Latents are multiplied by this after encoding and divided by it before decoding.
    pub scaling_factor: f64,
    /// Latents are moved by this.
    pub shift_factor: f64,
    /// The decoder's stages once more, as diffusers writes them.
    pub block_out_channels: Option<Vec<i64>>,
    /// Everything else in the file.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for TinyConfig {
    fn default() -> Self {
        TinyConfig {
            in_channels: 3,
            out_channels: 3,
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            act_fn: "relu".into(),
            upsample_fn: "nearest".into(),
            latent_channels: 4,
            upsampling_scaling_factor: 2,
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            force_upcast: false,
            scaling_factor: 1.0,
            shift_factor: 0.0,
            block_out_channels: None,
            other: Map::new(),
        }
    }
}

impl TinyConfig {
    pub(super) fn check(&self, check: &Check) -> Result<()> {
        check.one_of("act_fn", &self.act_fn, &["relu"])?;
        check.one_of("upsample_fn", &self.upsample_fn, &["nearest"])?;
        for (field, widths, blocks) in [
            ("encoder_block_out_channels", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("decoder_block_out_channels", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            check.groups(field, widths, 1)?;
            if blocks.len() != widths.len() {
                let found = format!("a list of {}", widths.len());
                let expected = format!("one entry for each of the {} stages", blocks.len());
                return Err(check.refused(field, &found, &expected));
            }
            // diffusers' convolution between two stages keeps the width of the first.
            if widths.iter().any(|width| *width != widths[0]) {
                return Err(check.refused(field, &format!("{widths:?}"), "one width for all stages"));
            }
            check.within("num_encoder_blocks or num_decoder_blocks", blocks, 0, MOST_LAYERS)?;
        }
        if self.encoder_block_out_channels.len() != self.decoder_block_out_channels.len() {
            let found = format!("a list of {}", self.encoder_block_out_channels.len());
            return Err(check.refused("encoder_block_out_channels", &found, "as many stages as in the decoder"));
        }
        check.within("upsampling_scaling_factor", &[self.upsampling_scaling_factor], 2, 2)?;
        check.within("in_channels", &[self.in_channels], 3, 3)?;
        check.within("out_channels", &[self.out_channels], 3, 3)?;
        check.positive("latent_channels", &[self.latent_channels])?;
        check.above_zero("scaling_factor", self.scaling_factor)?;
        if self.shift_factor != 0.0 {
            return Err(check.refused("shift_factor", &self.shift_factor.to_string(), "0"));
        }
        check.fixed(&self.other, &[])
    }

    /// The same as an autoencoder's.
    pub fn as_vae(self) -> VaeConfig {
        VaeConfig {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            block_out_channels: self.decoder_block_out_channels.clone(),
            latent_channels: self.latent_channels,
            scaling_factor: self.scaling_factor,
            force_upcast: self.force_upcast,
            sample_size: DEFAULT_SAMPLE_SIZE_OF_TINY,
            other: self.other.clone(),
            tiny: Some(self),
            ..VaeConfig::default()
        }
    }
}
