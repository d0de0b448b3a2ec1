//! The models' configuration: serde mirrors of the `config.json` files of a diffusers folder, with diffusers' defaults.
//!
//! Enters: a JSON file. Leaves: a struct whose every value this program implements. A value that it does not implement is
//! refused by name, an unknown field unless it is null, false or a private one (`_…`).

use crate::error::{Error, IoContext, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

/// The pipelines whose models this program runs, as model_index.json names them (`_class_name`).
pub const PIPELINES: [&str; 3] =
    ["StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipelineLegacy"];

/// A number for all blocks, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same everywhere.
    One(i64),
    /// One per down block, in order.
    Each(Vec<i64>),
}

impl PerBlock {
    /// The value of down block `i`.
    pub fn at(&self, i: usize) -> i64 {
        match self {
            PerBlock::One(n) => *n,
            PerBlock::Each(all) => all.get(i).copied().unwrap_or_default(),
        }
    }

    fn len(&self) -> Option<usize> {
        match self {
            PerBlock::One(_) => None,
            PerBlock::Each(all) => Some(all.len()),
        }
    }

    fn values(&self) -> &[i64] {
        match self {
            PerBlock::One(n) => std::slice::from_ref(n),
            PerBlock::Each(all) => all,
        }
    }
}

/// `unet/config.json` of a `UNet2DConditionModel`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// Height and width of the latents it was trained on.
    pub sample_size: i64,
    /// Channels of its input.
    pub in_channels: i64,
    /// Channels of its output.
    pub out_channels: i64,
    /// Whether the input is mapped from 0..1 to −1..1 first.
    pub center_input_sample: bool,
    /// Order of sine and cosine in the timestep embedding: true puts the cosines first.
    pub flip_sin_to_cos: bool,
    /// Shift of the frequencies of the timestep embedding.
    pub freq_shift: i64,
    /// The encoder's blocks, first to last.
    pub down_block_types: Vec<String>,
    /// The middle block.
    pub mid_block_type: Option<String>,
    /// The decoder's blocks, first to last.
    pub up_block_types: Vec<String>,
    /// Channels of each down block.
    pub block_out_channels: Vec<i64>,
    /// ResNet blocks of each down block.
    pub layers_per_block: i64,
    /// Padding of the downsampling convolutions.
    pub downsample_padding: i64,
    /// Divisor of the middle block's residual sums.
    pub mid_block_scale_factor: f64,
    /// The activation.
    pub act_fn: String,
    /// Groups of the group norms.
    pub norm_num_groups: i64,
    /// Epsilon of the group norms in ResNet blocks and at the output.
    pub norm_eps: f64,
    /// Width of the text embeddings.
    pub cross_attention_dim: i64,
    /// Transformer blocks of each attention.
    pub transformer_layers_per_block: PerBlock,
    /// Number of attention heads, in spite of its name, unless `num_attention_heads` is given.
    pub attention_head_dim: PerBlock,
    /// Number of attention heads.
    pub num_attention_heads: Option<PerBlock>,
    /// Whether attention projects with linear layers (2.x) in place of 1×1 convolutions (1.x).
    pub use_linear_projection: bool,
    /// Whether attention scores are computed in f32.
    pub upcast_attention: bool,
    /// Kernel of the first convolution.
    pub conv_in_kernel: i64,
    /// Kernel of the last convolution.
    pub conv_out_kernel: i64,
    /// Everything else in the file.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        UNetConfig {
            sample_size: 64,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0,
            down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
                .map(String::from)
                .to_vec(),
            mid_block_type: Some("UNetMidBlock2DCrossAttn".into()),
            up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
                .map(String::from)
                .to_vec(),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            act_fn: "silu".into(),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 1280,
            transformer_layers_per_block: PerBlock::One(1),
            attention_head_dim: PerBlock::One(8),
            num_attention_heads: None,
            use_linear_projection: false,
            upcast_attention: false,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            other: Map::new(),
        }
    }
}

impl UNetConfig {
    /// Attention heads of down block `i`.
    pub fn heads(&self, i: usize) -> i64 {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).at(i)
    }

    fn check(&self, check: &Check) -> Result<()> {
        check.one_of("act_fn", &self.act_fn, &["silu", "swish"])?;
        let mid = self.mid_block_type.as_deref().unwrap_or("null");
        check.one_of("mid_block_type", mid, &["UNetMidBlock2DCrossAttn"])?;
        for kind in &self.down_block_types {
            check.one_of("down_block_types", kind, &["CrossAttnDownBlock2D", "DownBlock2D"])?;
        }
        for kind in &self.up_block_types {
            check.one_of("up_block_types", kind, &["CrossAttnUpBlock2D", "UpBlock2D"])?;
        }
        let blocks = self.block_out_channels.len();
        let heads = self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim);
        for (field, length) in [
            ("down_block_types", Some(self.down_block_types.len())),
            ("up_block_types", Some(self.up_block_types.len())),
            ("attention_head_dim", heads.len()),
            ("transformer_layers_per_block", self.transformer_layers_per_block.len()),
        ] {
            if length.is_some_and(|n| n != blocks) {
                let found = format!("a list of {}", length.unwrap_or_default());
                return Err(check.refused(field, &found, &format!("one entry for each of the {blocks} blocks")));
            }
        }
        check.groups("block_out_channels", &self.block_out_channels, self.norm_num_groups)?;
        check.positive("attention_head_dim", heads.values())?;
        for (i, channels) in self.block_out_channels.iter().enumerate() {
            if channels % self.heads(i) != 0 {
                return Err(check.refused(
                    "attention_head_dim",
                    &self.heads(i).to_string(),
                    "a divisor of the channels",
                ));
            }
        }
        check.positive("transformer_layers_per_block", self.transformer_layers_per_block.values())?;
        check.positive("layers_per_block", &[self.layers_per_block])?;
        check.positive("cross_attention_dim", &[self.cross_attention_dim])?;
        check.fixed(
            &self.other,
            &[
                ("addition_embed_type_num_heads", Value::Null),
                ("attention_type", "default".into()),
                ("dropout", 0.0.into()),
                ("resnet_out_scale_factor", 1.0.into()),
                ("resnet_time_scale_shift", "default".into()),
                ("time_embedding_type", "positional".into()),
            ],
        )
    }
}

/// `vae/config.json` of an `AutoencoderKL`.
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
            other: Map::new(),
        }
    }
}

impl VaeConfig {
    /// Pixels per latent in each direction.
    pub fn scale_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    fn check(&self, check: &Check) -> Result<()> {
        check.one_of("act_fn", &self.act_fn, &["silu", "swish"])?;
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
        if self.scaling_factor <= 0.0 {
            return Err(check.refused("scaling_factor", &self.scaling_factor.to_string(), "a number above 0"));
        }
        check.groups("block_out_channels", &self.block_out_channels, self.norm_num_groups)?;
        check.positive("layers_per_block", &[self.layers_per_block])?;
        check.fixed(&self.other, &[])
    }
}

/// `text_encoder/config.json` of a `CLIPTextModel`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of the embeddings.
    pub hidden_size: i64,
    /// Width of the feed-forward layers.
    pub intermediate_size: i64,
    /// Transformer layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Places in the window.
    pub max_position_embeddings: i64,
    /// The activation.
    pub hidden_act: String,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for TextConfig {
    fn default() -> Self {
        TextConfig {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

impl TextConfig {
    fn check(&self, check: &Check) -> Result<()> {
        check.one_of("hidden_act", &self.hidden_act, &["quick_gelu", "gelu"])?;
        check.positive("num_attention_heads", &[self.num_attention_heads])?;
        check.positive("hidden_size", &[self.hidden_size])?;
        if self.hidden_size % self.num_attention_heads != 0 {
            let found = self.num_attention_heads.to_string();
            return Err(check.refused("num_attention_heads", &found, "a divisor of hidden_size"));
        }
        Ok(())
    }
}

/// A configuration read from JSON and checked.
pub trait Config: DeserializeOwned {
    /// What the file is called in messages.
    const KIND: &'static str;
    /// The classes this configuration may name.
    const CLASSES: &'static [&'static str];

    /// Refuses what is not implemented.
    ///
    /// # Errors
    /// Names the field, what was found and what is supported.
    fn validate(&self, place: &str) -> Result<()>;

    /// Reads JSON text; `path` is for messages.
    ///
    /// # Errors
    /// When it is not JSON of this shape, or holds an unsupported value.
    fn parse(text: &str, path: &Path) -> Result<Self> {
        let bad = |e: serde_json::Error| Error::bad_file(path, Self::KIND, e);
        let json: Value = serde_json::from_str(text).map_err(bad)?;
        let check = Check { place: path.display().to_string() };
        if let Some(class) = json["_class_name"].as_str() {
            check.one_of("_class_name", class, Self::CLASSES)?;
        }
        let config: Self = serde_json::from_value(json).map_err(bad)?;
        config.validate(&check.place)?;
        Ok(config)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Config::parse`]; also when the file cannot be read.
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).at("read", path)?, path)
    }
}

macro_rules! config {
    ($type:ty, $kind:literal, $classes:expr) => {
        impl Config for $type {
            const KIND: &'static str = $kind;
            const CLASSES: &'static [&'static str] = &$classes;
            fn validate(&self, place: &str) -> Result<()> {
                self.check(&Check { place: place.to_string() })
            }
        }
    };
}
config!(UNetConfig, "UNet configuration", ["UNet2DConditionModel"]);
config!(VaeConfig, "VAE configuration", ["AutoencoderKL"]);
config!(TextConfig, "text encoder configuration", ["CLIPTextModel"]);

/// The checks the configurations share, with the file they speak of.
struct Check {
    place: String,
}

impl Check {
    fn refused(&self, field: &str, found: &str, supported: &str) -> Error {
        Error::Unsupported {
            field: field.into(),
            found: found.into(),
            place: format!("`{}`", self.place),
            supported: supported.into(),
        }
    }

    fn one_of(&self, field: &str, value: &str, supported: &[&str]) -> Result<()> {
        if supported.contains(&value) {
            return Ok(());
        }
        Err(self.refused(field, &format!("`{value}`"), &supported.join(", ")))
    }

    fn positive(&self, field: &str, values: &[i64]) -> Result<()> {
        match values.iter().find(|v| **v < 1) {
            Some(v) => Err(self.refused(field, &v.to_string(), "1 and above")),
            None => Ok(()),
        }
    }

    fn groups(&self, field: &str, channels: &[i64], groups: i64) -> Result<()> {
        self.positive("norm_num_groups", &[groups])?;
        if channels.is_empty() {
            return Err(self.refused(field, "an empty list", "at least one block"));
        }
        match channels.iter().find(|c| **c < 1 || *c % groups != 0) {
            Some(c) => Err(self.refused(field, &c.to_string(), &format!("multiples of norm_num_groups, {groups}"))),
            None => Ok(()),
        }
    }

    /// Fields outside the struct: each must be null, false, private, or hold the one value given here.
    fn fixed(&self, other: &Map<String, Value>, known: &[(&str, Value)]) -> Result<()> {
        for (field, value) in other {
            let same = |expected: &Value| match (expected.as_f64(), value.as_f64()) {
                (Some(a), Some(b)) => a == b,
                _ => expected == value,
            };
            let accepted = match known.iter().find(|(name, _)| name == field) {
                Some((_, Value::Null)) => true,
                Some((_, expected)) => value.is_null() || same(expected),
                None => value.is_null() || value == &Value::Bool(false) || field.starts_with('_'),
            };
            if !accepted {
                let expected = known.iter().find(|(name, _)| name == field).map(|(_, v)| v.to_string());
                return Err(self.refused(field, &value.to_string(), &expected.unwrap_or_else(|| "null".into())));
            }
        }
        Ok(())
    }
}
