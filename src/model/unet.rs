//! The UNet, diffusers' `UNet2DConditionModel`: predicts the noise in latents, given a timestep and the text.
//!
//! Enters: latents, timesteps, text embeddings. Leaves: a tensor of the latents' shape. On the way down each block leaves
//! its outputs for the block of the same size on the way up.

use super::attention::{AttentionLayer, Transformer2D, TransformerShape};
use super::layers::{Conv2d, GroupNorm, Linear, guidance_embedding, silu, timestep_embedding};
use super::resnet::{Downsample, ResnetBlock, ResnetShape, Upsample};
use super::weights::{WeightFile, Weights};
use crate::error::Result;
use crate::model::config::UNetConfig;
use crate::watch::probe::Probe;
use crate::watch::site::Axes;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A block of either way: ResNet blocks, each followed by an attention in the cross-attention blocks.
#[derive(Debug)]
struct Block {
    site: String,
    in_site: String,
    /// On the way up, before each ResNet block: what comes from below, and what was left on the way down.
    joined_sites: Vec<(String, String)>,
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2D>,
}

impl Block {
    /// `channels`: input and output of each ResNet block.
    fn new(
        at: &Weights,
        channels: &[(i64, i64)],
        resnet: &ResnetShape,
        attention: Option<&TransformerShape>,
    ) -> Result<Block> {
        let (mut resnets, mut attentions) = (vec![], vec![]);
        for (i, (input, output)) in channels.iter().enumerate() {
            resnets.push(ResnetBlock::new(at / "resnets" / i, *input, *output, resnet)?);
            if let Some(shape) = attention {
                attentions.push(Transformer2D::new(at / "attentions" / i, *output, shape)?);
            }
        }
        let below = |i: usize, name| format!("{}.{name}", (at / "resnets" / i).site());
        let joined_sites = (0..channels.len()).map(|i| (below(i, "backbone"), below(i, "skip"))).collect();
        Ok(Block { site: at.site(), in_site: format!("{}.in", at.site()), joined_sites, resnets, attentions })
    }

    fn layer(&self, i: usize, x: &Tensor, time: &Tensor, context: &Tensor, probe: &Probe) -> Result<Tensor> {
        let x = self.resnets[i].forward(x, Some(time), probe)?;
        match self.attentions.get(i) {
            Some(attention) => attention.forward(&x, context, probe),
            None => Ok(x),
        }
    }
}

/// diffusers' `UNetMidBlock2DCrossAttn`: ResNet, attention, ResNet.
#[derive(Debug)]
struct MidBlock {
    site: String,
    in_site: String,
    first: ResnetBlock,
    attention: Transformer2D,
    last: ResnetBlock,
}

/// The UNet.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    kind: Kind,
    conv_in: Conv2d,
    time_linear_1: Linear,
    time_linear_2: Linear,
    /// Of a model that is told the guidance scale.
    guidance: Option<Linear>,
    down_blocks: Vec<(Block, Option<Downsample>)>,
    mid_block: MidBlock,
    up_blocks: Vec<(Block, Option<Upsample>)>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    _file: Option<Arc<WeightFile>>,
}

impl UNet {
    /// Builds the network that `config` describes from the root of its weights.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or is left over.
    pub fn new(at: &Weights, config: UNetConfig) -> Result<UNet> {
        let channels = &config.block_out_channels;
        let (first, last, count) = (channels[0], channels[channels.len() - 1], channels.len());
        let time_width = 4 * first;
        let resnet = ResnetShape {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            time_embedding: Some(time_width),
            output_scale_factor: 1.0,
        };
        let transformer = |i: usize| TransformerShape {
            heads: config.heads(i),
            layers: config.transformer_layers_per_block.at(i),
            context: config.cross_attention_dim,
            groups: config.norm_num_groups,
            linear_projection: config.use_linear_projection,
            upcast_attention: config.upcast_attention,
        };
        let attention = |kind: &str, i| kind.starts_with("CrossAttn").then(|| transformer(i));

        let mut down_blocks = vec![];
        let mut input = first;
        for (i, &output) in channels.iter().enumerate() {
            let at = at / "down_blocks" / i;
            let pairs: Vec<_> =
                (0..config.layers_per_block).map(|j| (if j == 0 { input } else { output }, output)).collect();
            let block = Block::new(&at, &pairs, &resnet, attention(&config.down_block_types[i], i).as_ref())?;
            let down = (i + 1 < count)
                .then(|| Downsample::new(&at / "downsamplers" / 0, output, config.downsample_padding))
                .transpose()?;
            down_blocks.push((block, down));
            input = output;
        }

        let mid = at / "mid_block";
        let mid_resnet = ResnetShape { output_scale_factor: config.mid_block_scale_factor, ..resnet };
        let mid_block = MidBlock {
            site: mid.site(),
            in_site: format!("{}.in", mid.site()),
            first: ResnetBlock::new(&mid / "resnets" / 0, last, last, &mid_resnet)?,
            attention: Transformer2D::new(&mid / "attentions" / 0, last, &transformer(count - 1))?,
            last: ResnetBlock::new(&mid / "resnets" / 1, last, last, &mid_resnet)?,
        };

        // On the way up block i has the width of down block count-1-i, and its ResNet blocks also take what that block
        // and the one before it left.
        let mut up_blocks = vec![];
        let mut previous = last;
        for i in 0..count {
            let at = at / "up_blocks" / i;
            let mirror = count - 1 - i;
            let (output, below) = (channels[mirror], channels[mirror.saturating_sub(1)]);
            let pairs: Vec<_> = (0..=config.layers_per_block)
                .map(|j| {
                    let skip = if j == config.layers_per_block { below } else { output };
                    (if j == 0 { previous } else { output } + skip, output)
                })
                .collect();
            let block = Block::new(&at, &pairs, &resnet, attention(&config.up_block_types[i], mirror).as_ref())?;
            let up = (i + 1 < count).then(|| Upsample::new(&at / "upsamplers" / 0, output)).transpose()?;
            up_blocks.push((block, up));
            previous = output;
        }

        let unet = UNet {
            kind: at.kind(),
            conv_in: Conv2d::new(at / "conv_in", config.in_channels, first, config.conv_in_kernel)?,
            time_linear_1: Linear::new(at / "time_embedding" / "linear_1", first, time_width)?,
            time_linear_2: Linear::new(at / "time_embedding" / "linear_2", time_width, time_width)?,
            guidance: config
                .time_cond_proj_dim
                .map(|width| Linear::without_bias(at / "time_embedding" / "cond_proj", width, first))
                .transpose()?,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(at / "conv_norm_out", config.norm_num_groups, first, config.norm_eps)?,
            conv_out: Conv2d::new(at / "conv_out", first, config.out_channels, config.conv_out_kernel)?,
            config,
            _file: at.file(),
        };
        at.finish()?;
        Ok(unet)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Its attentions, in the order of computation.
    pub fn attention_layers(&self) -> Vec<AttentionLayer> {
        let last = self.down_blocks.len() - 1;
        let down = self
            .down_blocks
            .iter()
            .enumerate()
            .flat_map(|(i, (block, _))| block.attentions.iter().map(move |a| (i, a)));
        let up = self.up_blocks.iter().enumerate();
        let up = up.flat_map(|(i, (block, _))| block.attentions.iter().map(move |a| (last - i, a)));
        let all = down.chain([(last, &self.mid_block.attention)]).chain(up);
        all.flat_map(|(level, transformer)| transformer.attention_layers(1 << level)).collect()
    }

    /// Predicts the noise (or v).
    ///
    /// `sample` `[batch, in_channels, h, w]`, `timesteps` `[batch]` in f32, `context` `[batch, tokens,
    /// cross_attention_dim]`; gives `[batch, out_channels, h, w]` in the model's dtype.
    pub fn forward(&self, sample: &Tensor, timesteps: &Tensor, context: &Tensor, probe: &Probe) -> Result<Tensor> {
        self.forward_guided(sample, timesteps, context, None, probe)
    }

    /// The same, with the guidance scale that a distilled model is told (`time_cond_proj_dim`). Without one, and with a model
    /// that takes none, nothing is added to the timestep.
    pub fn forward_guided(
        &self,
        sample: &Tensor,
        timesteps: &Tensor,
        context: &Tensor,
        guidance_scale: Option<f64>,
        probe: &Probe,
    ) -> Result<Tensor> {
        let time = self.time_embedding(timesteps, guidance_scale, probe)?;
        let sample = sample.to_kind(self.kind);
        let sample = if self.config.center_input_sample { sample * 2.0 - 1.0 } else { sample };
        let mut x = probe.pass("unet.conv_in", Axes::Image, self.conv_in.forward(&sample))?;

        let mut skips = vec![x.shallow_clone()];
        for (block, down) in &self.down_blocks {
            x = probe.pass(&block.in_site, Axes::Image, x)?;
            for i in 0..block.resnets.len() {
                x = block.layer(i, &x, &time, context, probe)?;
                skips.push(x.shallow_clone());
            }
            if let Some(down) = down {
                x = down.forward(&x, probe)?;
                skips.push(x.shallow_clone());
            }
            x = probe.pass(&block.site, Axes::Image, x)?;
        }

        let mid = &self.mid_block;
        x = probe.pass(&mid.in_site, Axes::Image, x)?;
        x = mid.first.forward(&x, Some(&time), probe)?;
        x = mid.attention.forward(&x, context, probe)?;
        x = mid.last.forward(&x, Some(&time), probe)?;
        x = probe.pass(&mid.site, Axes::Image, x)?;

        for (block, up) in &self.up_blocks {
            x = probe.pass(&block.in_site, Axes::Image, x)?;
            for i in 0..block.resnets.len() {
                // The construction pairs every ResNet block here with one tensor left on the way down.
                let skip = skips.pop().unwrap_or_else(|| x.shallow_clone());
                let (backbone_site, skip_site) = &block.joined_sites[i];
                let backbone = probe.pass(backbone_site, Axes::Image, x)?;
                let skip = probe.pass(skip_site, Axes::Image, skip)?;
                x = block.layer(i, &Tensor::cat(&[backbone, skip], 1), &time, context, probe)?;
            }
            if let Some(up) = up {
                // The size to return to is that of the next tensor left: sizes that are not powers of two round up.
                let (_, _, h, w) = skips.last().unwrap_or(&x).size4()?;
                x = up.forward(&x, (h, w), probe)?;
            }
            x = probe.pass(&block.site, Axes::Image, x)?;
        }

        let x = probe.pass("unet.conv_norm_out", Axes::Image, silu(self.conv_norm_out.forward(&x)))?;
        probe.pass("unet.conv_out", Axes::Image, self.conv_out.forward(&x))
    }

    /// The time embedding after the SiLU that every ResNet block applies to it, `[batch, 4·first width]`.
    fn time_embedding(&self, timesteps: &Tensor, guidance_scale: Option<f64>, probe: &Probe) -> Result<Tensor> {
        let width = self.config.block_out_channels[0];
        let sinusoid = timestep_embedding(timesteps, width, self.config.flip_sin_to_cos, self.config.freq_shift);
        let sinusoid = probe.pass("unet.time_proj", Axes::Text, sinusoid)?;
        let sinusoid = sinusoid.to_kind(self.kind);
        let hidden = match self.guidance.as_ref().zip(guidance_scale) {
            Some((projection, scale)) => {
                let told = guidance_embedding(scale, projection.input(), sinusoid.device()).to_kind(self.kind);
                sinusoid + probe.pass("unet.time_embedding.cond_proj", Axes::Text, projection.forward(&told))?
            }
            None => sinusoid,
        };
        let hidden = silu(self.time_linear_1.forward(&hidden));
        let embedding = probe.pass("unet.time_embedding", Axes::Text, self.time_linear_2.forward(&hidden))?;
        // Whoever was shown the embedding may still hold it: this must not overwrite it.
        Ok(embedding.silu())
    }
}
