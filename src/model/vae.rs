//! The autoencoder, diffusers' `AutoencoderKL` or `AutoencoderTiny`: pictures to latents and back.
//!
//! Enters: a picture in −1..1, or latents. Leaves: the moments of the latents' distribution, or a picture. Every norm has
//! epsilon 1e-6. Scaling by the configuration's factor is the pipeline's business.

use super::attention::ImageAttention;
use super::layers::{Conv2d, GroupNorm, silu};
use super::resnet::{Downsample, ResnetBlock, ResnetShape, Upsample};
use super::tiling::{Tiles, Tiling, of_tile};
use super::tiny_vae::{TinyVae, no_encoder};
use super::weights::{WeightFile, Weights};
use crate::error::Result;
use crate::model::config::VaeConfig;
use crate::watch::probe::{Probe, Through};
use crate::watch::site::Axes;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// diffusers' `UNetMidBlock2D`: ResNet, attention (unless switched off), ResNet.
#[derive(Debug)]
struct MidBlock {
    site: String,
    first: ResnetBlock,
    attention: Option<ImageAttention>,
    last: ResnetBlock,
}

impl MidBlock {
    fn new(at: Weights, channels: i64, config: &VaeConfig, shape: &ResnetShape) -> Result<MidBlock> {
        let attention = || ImageAttention::new(&at / "attentions" / 0, channels, shape.groups);
        Ok(MidBlock {
            site: at.site(),
            first: ResnetBlock::new(&at / "resnets" / 0, channels, channels, shape)?,
            attention: config.mid_block_add_attention.then(attention).transpose()?,
            last: ResnetBlock::new(&at / "resnets" / 1, channels, channels, shape)?,
        })
    }

    fn forward(&self, x: &Tensor, probe: &Probe) -> Result<Tensor> {
        let mut x = self.first.forward(x, None, probe)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x, probe)?;
        }
        probe.pass(&self.site, Axes::Image, self.last.forward(&x, None, probe)?)
    }
}

/// A block of either half: ResNet blocks.
#[derive(Debug)]
struct Block {
    site: String,
    resnets: Vec<ResnetBlock>,
}

impl Block {
    fn new(at: &Weights, input: i64, output: i64, layers: i64, shape: &ResnetShape) -> Result<Block> {
        let resnet = |j| ResnetBlock::new(at / "resnets" / j, if j == 0 { input } else { output }, output, shape);
        Ok(Block { site: at.site(), resnets: (0..layers as usize).map(resnet).collect::<Result<_>>()? })
    }

    fn forward(&self, mut x: Tensor, probe: &Probe) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, None, probe)?;
        }
        Ok(x)
    }
}

#[derive(Debug)]
struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<(Block, Option<Downsample>)>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<(Block, Option<Upsample>)>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// The least logarithm of a posterior's variance.
const LEAST_LOGVAR: f64 = -30.0;

/// The distribution of a picture's latents, each `[batch, latent_channels, height/8, width/8]`.
#[derive(Debug)]
pub struct Posterior {
    /// Mean.
    pub mean: Tensor,
    /// Logarithm of the variance, clamped to −30..20.
    pub logvar: Tensor,
}

impl Posterior {
    /// A sample: mean + standard deviation · `noise`, which is standard normal of the mean's shape.
    pub fn sample(&self, noise: &Tensor) -> Tensor {
        &self.mean + (&self.logvar * 0.5).exp() * noise
    }
}

/// The networks of an `AutoencoderKL`.
#[derive(Debug)]
struct Kl {
    /// None where the file holds the decoder alone.
    encoder: Option<Encoder>,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
}

/// Those of either class.
#[derive(Debug)]
enum Networks {
    Kl(Box<Kl>),
    Tiny(TinyVae),
}

/// The autoencoder.
#[derive(Debug)]
pub struct Vae {
    config: VaeConfig,
    kind: Kind,
    networks: Networks,
    tiling: Tiling,
    _file: Option<Arc<WeightFile>>,
}

impl Vae {
    /// Builds the network that `config` describes from the root of its weights.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or is left over.
    pub fn new(at: &Weights, config: VaeConfig) -> Result<Vae> {
        let networks = match &config.tiny {
            Some(tiny) => Networks::Tiny(TinyVae::new(at, tiny)?),
            None => Networks::Kl(Box::new(Kl::new(at, &config)?)),
        };
        at.finish()?;
        Ok(Vae { kind: at.kind(), networks, tiling: Tiling::default(), config, _file: at.file() })
    }

    /// The same, decoding in tiles where `tiling` says so.
    pub fn with_tiling(self, tiling: Tiling) -> Vae {
        Vae { tiling, ..self }
    }

    /// The tiles in which latents of this height and width are decoded; none when they are decoded whole.
    pub fn tiles(&self, height: i64, width: i64) -> Option<Tiles> {
        Tiles::of(&self.config, self.tiling, height, width)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// The dtype it computes in.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it can encode: its file may hold the decoder alone.
    pub fn encodes(&self) -> bool {
        match &self.networks {
            Networks::Kl(networks) => networks.encoder.is_some(),
            Networks::Tiny(tiny) => tiny.encodes(),
        }
    }

    /// A picture `[batch, 3, height, width]` in −1..1 to its posterior, not yet multiplied by the scaling factor. A
    /// deterministic autoencoder's is all but a point.
    ///
    /// # Errors
    /// When its file holds the decoder alone; an observer's.
    pub fn encode(&self, image: &Tensor, probe: &Probe) -> Result<Posterior> {
        match &self.networks {
            Networks::Kl(networks) => networks.encode(&image.to_kind(self.kind), probe),
            Networks::Tiny(networks) => {
                let mean = networks.encode(image, self.kind, probe)?;
                let logvar = mean.full_like(LEAST_LOGVAR);
                Ok(Posterior { mean, logvar })
            }
        }
    }

    /// Latents `[batch, latent_channels, h, w]`, already divided by the scaling factor, to a picture
    /// `[batch, 3, 8·h, 8·w]`, about −1..1. In tiles above a size, see [`Tiling`]; the decoder's sites are then seen
    /// once for each tile.
    pub fn decode(&self, latents: &Tensor, probe: &Probe) -> Result<Tensor> {
        let (_, _, height, width) = latents.size4()?;
        match self.tiles(height, width) {
            None => self.decode_whole(latents, probe),
            Some(tiles) => {
                let through = Through::new(probe, of_tile);
                let decode = |probe: &Probe| tiles.decode(latents, |tile| self.decode_whole(tile, probe));
                through.with(&mut through.clone(), decode)
            }
        }
    }

    fn decode_whole(&self, latents: &Tensor, probe: &Probe) -> Result<Tensor> {
        match &self.networks {
            Networks::Kl(networks) => networks.decode(latents.to_kind(self.kind), probe),
            Networks::Tiny(networks) => networks.decode(latents, self.kind, probe),
        }
    }
}

impl Kl {
    fn new(at: &Weights, config: &VaeConfig) -> Result<Kl> {
        let shape =
            ResnetShape { groups: config.norm_num_groups, eps: 1e-6, time_embedding: None, output_scale_factor: 1.0 };
        let (latent, moments) = (config.latent_channels, 2 * config.latent_channels);
        let quant = |name: &str, width| Conv2d::new(at / name, width, width, 1);
        let place = at / "encoder";
        let encoder = place.holds_any().then(|| encoder(place, config, &shape)).transpose()?;
        let moments_conv = config.use_quant_conv && (encoder.is_some() || (at / "quant_conv").holds_any());
        Ok(Kl {
            quant_conv: moments_conv.then(|| quant("quant_conv", moments)).transpose()?,
            encoder,
            post_quant_conv: config.use_post_quant_conv.then(|| quant("post_quant_conv", latent)).transpose()?,
            decoder: decoder(at / "decoder", config, &shape)?,
        })
    }

    fn encode(&self, image: &Tensor, probe: &Probe) -> Result<Posterior> {
        let encoder = self.encoder.as_ref().ok_or_else(no_encoder)?;
        let mut x = encoder.conv_in.forward(image);
        x = probe.pass("vae.encoder.conv_in", Axes::Image, x)?;
        for (block, down) in &encoder.down_blocks {
            x = block.forward(x, probe)?;
            if let Some(down) = down {
                x = down.forward(&x, probe)?;
            }
            x = probe.pass(&block.site, Axes::Image, x)?;
        }
        x = encoder.mid_block.forward(&x, probe)?;
        x = encoder.conv_out.forward(&silu(encoder.conv_norm_out.forward(&x)));
        x = probe.pass("vae.encoder.conv_out", Axes::Image, x)?;
        if let Some(quant) = &self.quant_conv {
            x = quant.forward(&x);
            x = probe.pass("vae.quant_conv", Axes::Image, x)?;
        }
        let halves = x.chunk(2, 1);
        Ok(Posterior { mean: halves[0].shallow_clone(), logvar: halves[1].clamp(LEAST_LOGVAR, 20.0) })
    }

    fn decode(&self, mut x: Tensor, probe: &Probe) -> Result<Tensor> {
        let decoder = &self.decoder;
        if let Some(conv) = &self.post_quant_conv {
            x = conv.forward(&x);
            x = probe.pass("vae.post_quant_conv", Axes::Image, x)?;
        }
        x = decoder.conv_in.forward(&x);
        x = probe.pass("vae.decoder.conv_in", Axes::Image, x)?;
        x = decoder.mid_block.forward(&x, probe)?;
        for (block, up) in &decoder.up_blocks {
            x = block.forward(x, probe)?;
            if let Some(up) = up {
                let (_, _, h, w) = x.size4()?;
                x = up.forward(&x, (2 * h, 2 * w), probe)?;
            }
            x = probe.pass(&block.site, Axes::Image, x)?;
        }
        x = silu(decoder.conv_norm_out.forward(&x));
        x = probe.pass("vae.decoder.conv_norm_out", Axes::Image, x)?;
        x = decoder.conv_out.forward(&x);
        probe.pass("vae.decoder.conv_out", Axes::Image, x)
    }
}

fn encoder(at: Weights, config: &VaeConfig, shape: &ResnetShape) -> Result<Encoder> {
    let channels = &config.block_out_channels;
    let last = channels[channels.len() - 1];
    let mut down_blocks = vec![];
    let mut input = channels[0];
    for (i, &output) in channels.iter().enumerate() {
        let at = &at / "down_blocks" / i;
        let block = Block::new(&at, input, output, config.layers_per_block, shape)?;
        let down =
            (i + 1 < channels.len()).then(|| Downsample::new(&at / "downsamplers" / 0, output, 0)).transpose()?;
        down_blocks.push((block, down));
        input = output;
    }
    Ok(Encoder {
        conv_in: Conv2d::new(&at / "conv_in", config.in_channels, channels[0], 3)?,
        down_blocks,
        mid_block: MidBlock::new(&at / "mid_block", last, config, shape)?,
        conv_norm_out: GroupNorm::new(&at / "conv_norm_out", shape.groups, last, shape.eps)?,
        conv_out: Conv2d::new(&at / "conv_out", last, 2 * config.latent_channels, 3)?,
    })
}

fn decoder(at: Weights, config: &VaeConfig, shape: &ResnetShape) -> Result<Decoder> {
    let channels: Vec<i64> = config.block_out_channels.iter().rev().copied().collect();
    let mut up_blocks = vec![];
    let mut input = channels[0];
    for (i, &output) in channels.iter().enumerate() {
        let at = &at / "up_blocks" / i;
        let block = Block::new(&at, input, output, config.layers_per_block + 1, shape)?;
        let up = (i + 1 < channels.len()).then(|| Upsample::new(&at / "upsamplers" / 0, output)).transpose()?;
        up_blocks.push((block, up));
        input = output;
    }
    Ok(Decoder {
        conv_in: Conv2d::new(&at / "conv_in", config.latent_channels, channels[0], 3)?,
        mid_block: MidBlock::new(&at / "mid_block", channels[0], config, shape)?,
        up_blocks,
        conv_norm_out: GroupNorm::new(&at / "conv_norm_out", shape.groups, input, shape.eps)?,
        conv_out: Conv2d::new(&at / "conv_out", input, config.out_channels, 3)?,
    })
}
