//! The ResNet block that UNet and VAE share, and the blocks that halve and double the size.

use super::layers::{Conv2d, GroupNorm, Linear, silu, upsample_nearest};
use super::weights::Weights;
use crate::error::Result;
use crate::watch::probe::Probe;
use crate::watch::site::Axes;
use tch::Tensor;

/// What a [`ResnetBlock`] needs to know beside its channels.
#[derive(Debug, Clone, Copy)]
pub struct ResnetShape {
    /// Groups of its norms.
    pub groups: i64,
    /// Epsilon of its norms: 1e-5 in the UNet, 1e-6 in the VAE.
    pub eps: f64,
    /// Channels of the time embedding, if it has one.
    pub time_embedding: Option<i64>,
    /// Divisor of the residual sum.
    pub output_scale_factor: f64,
}

/// diffusers' `ResnetBlock2D`: two normed convolutions around the time embedding, and a residual.
#[derive(Debug)]
pub struct ResnetBlock {
    site: String,
    in_site: String,
    residual_site: String,
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    output_scale_factor: f64,
}

impl ResnetBlock {
    /// From `input` to `output` channels.
    pub fn new(at: Weights, input: i64, output: i64, shape: &ResnetShape) -> Result<ResnetBlock> {
        let project = |width| Linear::new(&at / "time_emb_proj", width, output);
        Ok(ResnetBlock {
            site: at.site(),
            in_site: format!("{}.in", at.site()),
            residual_site: format!("{}.conv2", at.site()),
            norm1: GroupNorm::new(&at / "norm1", shape.groups, input, shape.eps)?,
            conv1: Conv2d::new(&at / "conv1", input, output, 3)?,
            time_emb_proj: shape.time_embedding.map(project).transpose()?,
            norm2: GroupNorm::new(&at / "norm2", shape.groups, output, shape.eps)?,
            conv2: Conv2d::new(&at / "conv2", output, output, 3)?,
            conv_shortcut: (input != output)
                .then(|| Conv2d::new(&at / "conv_shortcut", input, output, 1))
                .transpose()?,
            output_scale_factor: shape.output_scale_factor,
        })
    }

    /// `x` `[batch, input, h, w]` and the time embedding after SiLU, `[batch, width]`, to `[batch, output, h, w]`.
    pub fn forward(&self, x: &Tensor, time: Option<&Tensor>, probe: &Probe) -> Result<Tensor> {
        let x = &probe.pass(&self.in_site, Axes::Image, x.shallow_clone())?;
        let mut h = self.conv1.forward(&silu(self.norm1.forward(x)));
        if let (Some(project), Some(time)) = (&self.time_emb_proj, time) {
            h += project.forward(time).unsqueeze(-1).unsqueeze(-1);
        }
        let h = self.conv2.forward(&silu(self.norm2.forward(&h)));
        let h = probe.pass(&self.residual_site, Axes::Image, h)?;
        let mut out = match &self.conv_shortcut {
            Some(shortcut) => h + shortcut.forward(x),
            None => h + x,
        };
        if self.output_scale_factor != 1.0 {
            out /= self.output_scale_factor;
        }
        probe.pass(&self.site, Axes::Image, out)
    }
}

/// diffusers' `Downsample2D`: a convolution with stride 2.
#[derive(Debug)]
pub struct Downsample {
    site: String,
    conv: Conv2d,
    pad_right_bottom: bool,
}

impl Downsample {
    /// Keeps the channels. With `padding` 0 one row and column of zeros are added at the right and the bottom, as the
    /// VAE's encoder does.
    pub fn new(at: Weights, channels: i64, padding: i64) -> Result<Downsample> {
        let conv = Conv2d::strided(&at / "conv", channels, channels, 3, 2, padding)?;
        Ok(Downsample { site: at.site(), conv, pad_right_bottom: padding == 0 })
    }

    /// `[batch, channels, h, w]` to `[batch, channels, ⌈h/2⌉, ⌈w/2⌉]` (rounded down by the VAE's padding).
    pub fn forward(&self, x: &Tensor, probe: &Probe) -> Result<Tensor> {
        let out = match self.pad_right_bottom {
            true => self.conv.forward(&x.constant_pad_nd([0, 1, 0, 1])),
            false => self.conv.forward(x),
        };
        probe.pass(&self.site, Axes::Image, out)
    }
}

/// diffusers' `Upsample2D`: nearest neighbours, then a convolution.
#[derive(Debug)]
pub struct Upsample {
    site: String,
    conv: Conv2d,
}

impl Upsample {
    /// Keeps the channels.
    pub fn new(at: Weights, channels: i64) -> Result<Upsample> {
        Ok(Upsample { site: at.site(), conv: Conv2d::new(&at / "conv", channels, channels, 3)? })
    }

    /// `[batch, channels, h, w]` to `[batch, channels, height, width]`.
    pub fn forward(&self, x: &Tensor, (height, width): (i64, i64), probe: &Probe) -> Result<Tensor> {
        let out = self.conv.forward(&upsample_nearest(x, height, width));
        probe.pass(&self.site, Axes::Image, out)
    }
}
