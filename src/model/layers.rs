//! The layers all components are built of. Each takes its tensors by name and checks their shapes when it is built, so a
//! forward pass cannot meet a tensor that does not fit.

use super::packed::Kernel;
use super::weights::Weights;
use crate::error::Result;
use tch::{Device, Kind, Tensor};

/// A 2-D convolution, as `torch.nn.Conv2d`.
#[derive(Debug)]
pub struct Conv2d {
    weight: Kernel,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// A square kernel, stride 1, padded so that the size stays.
    pub fn new(at: Weights, input: i64, output: i64, kernel: i64) -> Result<Conv2d> {
        Conv2d::strided(at, input, output, kernel, 1, kernel / 2)
    }

    /// Any stride and padding.
    pub fn strided(at: Weights, input: i64, output: i64, kernel: i64, stride: i64, padding: i64) -> Result<Conv2d> {
        let weight = Conv2d::weight(&at, [output, input, kernel, kernel])?;
        Ok(Conv2d { weight, bias: Some(at.tensor("bias", &[output])?), stride, padding })
    }

    /// A square kernel without bias, padded so that the size stays but for the stride.
    pub fn without_bias(at: Weights, input: i64, output: i64, kernel: i64, stride: i64) -> Result<Conv2d> {
        let weight = Conv2d::weight(&at, [output, input, kernel, kernel])?;
        Ok(Conv2d { weight, bias: None, stride, padding: kernel / 2 })
    }

    /// What a file holds stays as it is; what somebody makes is being trained.
    fn weight(at: &Weights, shape: [i64; 4]) -> Result<Kernel> {
        Ok(Kernel::new(at.tensor("weight", &shape)?, at.file()))
    }

    /// `[batch, input, h, w]` to `[batch, output, h/stride, w/stride]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.weight.convolve(x, self.bias.as_ref(), self.stride, self.padding)
    }
}

/// A linear layer, as `torch.nn.Linear`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// With bias.
    pub fn new(at: Weights, input: i64, output: i64) -> Result<Linear> {
        let bias = Some(at.tensor("bias", &[output])?);
        Ok(Linear { weight: at.tensor("weight", &[output, input])?, bias })
    }

    /// Without bias.
    pub fn without_bias(at: Weights, input: i64, output: i64) -> Result<Linear> {
        Ok(Linear { weight: at.tensor("weight", &[output, input])?, bias: None })
    }

    /// The numbers it takes.
    pub fn input(&self) -> i64 {
        self.weight.size().last().copied().unwrap_or_default()
    }

    /// `[…, input]` to `[…, output]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// Group normalisation, as `torch.nn.GroupNorm`.
#[derive(Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
    eps: f64,
}

impl GroupNorm {
    /// Over `channels` channels in `groups` groups.
    pub fn new(at: Weights, groups: i64, channels: i64, eps: f64) -> Result<GroupNorm> {
        let (weight, bias) = (at.tensor("weight", &[channels])?, at.tensor("bias", &[channels])?);
        Ok(GroupNorm { weight, bias, groups, eps })
    }

    /// `[batch, channels, …]`, same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// Layer normalisation over the last dimension, as `torch.nn.LayerNorm`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
    eps: f64,
}

impl LayerNorm {
    /// Over the last `width` numbers.
    pub fn new(at: Weights, width: i64, eps: f64) -> Result<LayerNorm> {
        let (weight, bias) = (at.tensor("weight", &[width])?, at.tensor("bias", &[width])?);
        Ok(LayerNorm { weight, bias, width, eps })
    }

    /// `[…, width]`, same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm([self.width], Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// x · sigmoid(x), overwriting its input when no gradient needs it.
pub fn silu(mut x: Tensor) -> Tensor {
    if x.requires_grad() { x.silu() } else { x.silu_() }
}

/// Nearest-neighbour enlargement to `[…, height, width]`.
pub fn upsample_nearest(x: &Tensor, height: i64, width: i64) -> Tensor {
    x.upsample_nearest2d([height, width], None, None)
}

/// The sinusoidal embedding of timesteps `[batch]` (f32), `[batch, width]` in f32: Vaswani et al. 2017, as
/// `get_timestep_embedding` of diffusers computes it.
pub fn timestep_embedding(timesteps: &Tensor, width: i64, flip_sin_to_cos: bool, freq_shift: i64) -> Tensor {
    let half = width / 2;
    let exponent: Tensor =
        Tensor::arange(half, (Kind::Float, timesteps.device())) * -(10000f64.ln()) / (half - freq_shift) as f64;
    let angles = timesteps.to_kind(Kind::Float).unsqueeze(1) * exponent.exp().unsqueeze(0);
    let (sin, cos) = (angles.sin(), angles.cos());
    let embedding = if flip_sin_to_cos { Tensor::cat(&[cos, sin], -1) } else { Tensor::cat(&[sin, cos], -1) };
    if width % 2 == 1 { embedding.constant_pad_nd([0, 1]) } else { embedding }
}

/// The embedding of a guidance scale for a distilled model, `[1, width]` in f32: sine and cosine of `1000 (scale − 1)` times
/// falling frequencies, as `get_guidance_scale_embedding` of diffusers computes it.
pub fn guidance_embedding(scale: f64, width: i64, device: Device) -> Tensor {
    let half = width / 2;
    let exponent: Tensor = Tensor::arange(half, (Kind::Float, device)) * -(10000f64.ln()) / (half - 1) as f64;
    let angles = (exponent.exp() * ((scale - 1.0) * 1000.0)).unsqueeze(0);
    let embedding = Tensor::cat(&[angles.sin(), angles.cos()], -1);
    if width % 2 == 1 { embedding.constant_pad_nd([0, 1]) } else { embedding }
}
