//! The models' configuration: serde mirrors of the `config.json` files of a diffusers folder, with diffusers' defaults.
//!
//! Enters: a JSON file. Leaves: a struct whose every value this program implements. A value that it does not implement is
//! refused by name, an unknown field unless it is null, false or a private one (`_…`); what training leaves in the file
//! is passed over. `read.rs` has how.

mod read;
mod text;
mod tiny;
mod vae;

pub use read::Config;
pub use text::TextConfig;
pub use tiny::{TINY_CLASS, TinyConfig};
pub use vae::VaeConfig;

use crate::error::Result;
use read::{Check, MOST_LAYERS};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The pipelines whose models this program runs, as model_index.json names them (`_class_name`).
pub const PIPELINES: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "LatentConsistencyModelPipeline",
];

/// Pipelines that do something else with the same networks: they draw here as `StableDiffusionPipeline` does, which is
/// said.
pub const SAME_NETWORKS: [&str; 18] = [
    "CycleDiffusionPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
    "SemanticStableDiffusionPipeline",
    "StableDiffusionAdapterPipeline",
    "StableDiffusionAttendAndExcitePipeline",
    "StableDiffusionControlNetImg2ImgPipeline",
    "StableDiffusionControlNetPipeline",
    "StableDiffusionDiffEditPipeline",
    "StableDiffusionKDiffusionPipeline",
    "StableDiffusionModelEditingPipeline",
    "StableDiffusionPAGImg2ImgPipeline",
    "StableDiffusionPAGPipeline",
    "StableDiffusionPanoramaPipeline",
    "StableDiffusionParadigmsPipeline",
    "StableDiffusionPipelineSafe",
    "StableDiffusionPix2PixZeroPipeline",
    "StableDiffusionSAGPipeline",
    "TextToVideoZeroPipeline",
];

/// Whether this program draws with the networks of a pipeline of this class.
pub fn draws(class: &str) -> bool {
    PIPELINES.contains(&class) || SAME_NETWORKS.contains(&class)
}

/// The size of latents that models written before diffusers 0.9 mean: a picture of 512 pixels.
const MODEL_OF_OLD: i64 = 64;
/// No model is trained on larger latents.
const MOST_LATENTS: i64 = 1 << 13;

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
    /// Width of the embedding of the guidance scale, for a model that is told it (latent consistency models).
    pub time_cond_proj_dim: Option<i64>,
    /// Kernel of the first convolution.
    pub conv_in_kernel: i64,
    /// Kernel of the last convolution.
    pub conv_out_kernel: i64,
    /// The sample size that the file has, where it was set right.
    #[serde(skip)]
    pub corrected: Option<i64>,
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
            time_cond_proj_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            corrected: None,
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
        check.silu(&self.act_fn)?;
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
        check.within("transformer_layers_per_block", self.transformer_layers_per_block.values(), 1, MOST_LAYERS)?;
        check.within("layers_per_block", &[self.layers_per_block], 1, MOST_LAYERS)?;
        check.positive("cross_attention_dim", &[self.cross_attention_dim])?;
        self.check_numbers(check)?;
        check.fixed(
            &self.other,
            &[
                ("addition_embed_type_num_heads", Value::Null),
                ("attention_type", "default".into()),
                ("dropout", Value::Null),
                ("resnet_out_scale_factor", 1.0.into()),
                ("resnet_time_scale_shift", "default".into()),
                ("time_embedding_type", "positional".into()),
            ],
        )
    }
}

impl UNetConfig {
    fn check_numbers(&self, check: &Check) -> Result<()> {
        check.within("sample_size", &[self.sample_size], 1, MOST_LATENTS)?;
        let kernels = [self.conv_in_kernel, self.conv_out_kernel];
        if let Some(kernel) = kernels.iter().find(|k| **k % 2 != 1 || !(1..=31).contains(*k)) {
            return Err(check.refused(
                "conv_in_kernel or conv_out_kernel",
                &kernel.to_string(),
                "odd numbers up to 31",
            ));
        }
        check.positive("in_channels", &[self.in_channels])?;
        // Half of it less one is divided by.
        check.within(
            "time_cond_proj_dim",
            &self.time_cond_proj_dim.map_or(vec![], |width| vec![width]),
            4,
            MOST_LATENTS,
        )?;
        check.positive("out_channels", &[self.out_channels])?;
        check.within("downsample_padding", &[self.downsample_padding], 0, 1)?;
        // The first width is the timestep embedding's, whose half less the shift is divided by.
        check.within("freq_shift", &[self.freq_shift], 0, self.block_out_channels[0] / 2 - 1)?;
        check.above_zero("mid_block_scale_factor", self.mid_block_scale_factor)?;
        check.above_zero("norm_eps", self.norm_eps)
    }

    /// diffusers before 0.9 wrote a sample size that it did not read.
    fn correct_size(&mut self) {
        let version = self.other.get("_diffusers_version").and_then(Value::as_str);
        if self.sample_size < MODEL_OF_OLD && version.is_some_and(before_0_9) {
            self.corrected = Some(std::mem::replace(&mut self.sample_size, MODEL_OF_OLD));
        }
    }

    /// What there is to tell of the file: what was set right, and what was passed over.
    pub fn notes(&self) -> Vec<String> {
        let size = self.corrected.map(|size| {
            format!(
                "`sample_size` is {size}, written before diffusers 0.9: read as {MODEL_OF_OLD}, as diffusers reads it"
            )
        });
        size.into_iter().chain(passed_over(&self.other)).collect()
    }
}

/// Whether a version's first two numbers are below 0.9; a development version counts as what it becomes.
fn before_0_9(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().ok());
    matches!((numbers.next(), numbers.next()), (Some(Some(0)), Some(Some(minor))) if minor < 9)
}

/// What training has left in a configuration, in words.
fn passed_over(other: &Map<String, Value>) -> Option<String> {
    let names: Vec<String> = read::of_training(other).iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("{} of training: passed over, no network reads them", names.join(", ")))
}

macro_rules! config {
    ($type:ty, $kind:literal, $class:literal, $lists:expr $(, $correct:ident)?) => {
        impl Config for $type {
            const KIND: &'static str = $kind;
            const CLASSES: &'static [&'static str] = &[$class];
            const LISTS: &'static [&'static str] = $lists;

            fn validate(&self, place: &str) -> Result<()> {
                self.check(&Check { place: place.to_string() })
            }

            $(fn correct(&mut self) {
                self.$correct();
            })?
        }
    };
}
config!(
    UNetConfig,
    "UNet configuration",
    "UNet2DConditionModel",
    &[
        "attention_head_dim",
        "block_out_channels",
        "down_block_types",
        "num_attention_heads",
        "transformer_layers_per_block",
        "up_block_types"
    ],
    correct_size
);
config!(
    TinyConfig,
    "tiny autoencoder's configuration",
    "AutoencoderTiny",
    &[
        "block_out_channels",
        "decoder_block_out_channels",
        "encoder_block_out_channels",
        "num_decoder_blocks",
        "num_encoder_blocks"
    ]
);

impl Config for VaeConfig {
    const KIND: &'static str = "VAE configuration";
    const CLASSES: &'static [&'static str] = &["AutoencoderKL", TINY_CLASS];
    const LISTS: &'static [&'static str] = &["block_out_channels", "down_block_types", "up_block_types"];

    fn validate(&self, place: &str) -> Result<()> {
        self.check(&Check { place: place.to_string() })
    }

    /// That of either class, by the name that it gives itself.
    fn parse(text: &str, path: &Path) -> Result<VaeConfig> {
        match read::class(text).as_deref() {
            Some(TINY_CLASS) => TinyConfig::parse(text, path).map(TinyConfig::as_vae),
            _ => read::parse(text, path),
        }
    }
}

impl Config for TextConfig {
    const KIND: &'static str = "text encoder configuration";
    const CLASSES: &'static [&'static str] = &["CLIPTextModel"];
    const LISTS: &'static [&'static str] = &[];

    fn validate(&self, place: &str) -> Result<()> {
        self.check(&Check { place: place.to_string() })
    }

    /// Of a whole CLIP's configuration the part that is the text encoder's, as transformers takes it.
    fn parse(text: &str, path: &Path) -> Result<TextConfig> {
        match read::of_text(text) {
            Some(part) => read::parse(&part, path),
            None => read::parse(text, path),
        }
    }
}

#[cfg(test)]
mod tests;
