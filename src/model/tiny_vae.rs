//! The tiny autoencoder, diffusers' `AutoencoderTiny` (TAESD, Ollin Boer Bohan): a distilled stand-in for a model's own,
//! many times quicker, for pictures on the way.
//!
//! Enters: latents as the UNet sees them, or a picture in −1..1. Leaves: a picture, or latents. No norms, no attention:
//! convolutions, and blocks of three of them beside which the input goes on. A file may hold the decoder alone.

use super::layers::{Conv2d, upsample_nearest};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::model::config::TinyConfig;
use crate::watch::probe::Probe;
use crate::watch::site::Axes;
use tch::{Kind, Tensor};

/// What latents are bent to before decoding: 3·tanh(x/3) stays within ±3.
const BOUND: f64 = 3.0;

/// The error where a picture is to be encoded and there is the decoder alone.
pub(super) fn no_encoder() -> Error {
    Error::invalid(
        "this autoencoder has no encoder: its file holds the decoder alone",
        "a run from a picture takes one with both: name another with `--vae`, or leave it to the model",
    )
}

/// One entry of diffusers' `layers`.
#[derive(Debug)]
enum Layer {
    Conv(Conv2d),
    Relu,
    Block(Block),
    Enlarge,
}

/// diffusers' `AutoencoderTinyBlock`: relu(x + three convolutions with relu between them).
#[derive(Debug)]
struct Block {
    convs: [Conv2d; 3],
}

impl Block {
    fn new(at: &Weights, width: i64) -> Result<Block> {
        let conv = |place: usize| Conv2d::new(at / "conv" / place, width, width, 3);
        Ok(Block { convs: [conv(0)?, conv(2)?, conv(4)?] })
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let [first, second, third] = &self.convs;
        (third.forward(&relu(second.forward(&relu(first.forward(x))))) + x).relu()
    }
}

/// max(x, 0), overwriting its input when no gradient needs it.
fn relu(mut x: Tensor) -> Tensor {
    if x.requires_grad() { x.relu() } else { x.relu_() }
}

/// A half of it: layers one after the other, each with its site.
#[derive(Debug)]
struct Half {
    layers: Vec<(String, Layer)>,
}

/// Numbers layers as diffusers' `nn.Sequential` does.
struct Builder<'a> {
    at: &'a Weights,
    layers: Vec<(String, Layer)>,
}

impl Builder<'_> {
    fn push(&mut self, layer: impl FnOnce(Weights) -> Result<Layer>) -> Result<()> {
        let at = self.at / "layers" / self.layers.len();
        self.layers.push((at.site(), layer(at)?));
        Ok(())
    }

    fn blocks(&mut self, count: i64, width: i64) -> Result<()> {
        (0..count).try_for_each(|_| self.push(|at| Ok(Layer::Block(Block::new(&at, width)?))))
    }
}

impl Half {
    fn encoder(at: &Weights, config: &TinyConfig) -> Result<Half> {
        let mut half = Builder { at, layers: vec![] };
        for (stage, (&width, &blocks)) in
            config.encoder_block_out_channels.iter().zip(&config.num_encoder_blocks).enumerate()
        {
            half.push(|at| {
                Ok(Layer::Conv(match stage {
                    0 => Conv2d::new(at, config.in_channels, width, 3)?,
                    _ => Conv2d::without_bias(at, width, width, 3, 2)?,
                }))
            })?;
            half.blocks(blocks, width)?;
        }
        let last = config.encoder_block_out_channels.last().copied().unwrap_or_default();
        half.push(|at| Ok(Layer::Conv(Conv2d::new(at, last, config.latent_channels, 3)?)))?;
        Ok(Half { layers: half.layers })
    }

    fn decoder(at: &Weights, config: &TinyConfig) -> Result<Half> {
        let mut half = Builder { at, layers: vec![] };
        let widths = &config.decoder_block_out_channels;
        let first = widths.first().copied().unwrap_or_default();
        half.push(|at| Ok(Layer::Conv(Conv2d::new(at, config.latent_channels, first, 3)?)))?;
        half.push(|_| Ok(Layer::Relu))?;
        for (stage, (&width, &blocks)) in widths.iter().zip(&config.num_decoder_blocks).enumerate() {
            half.blocks(blocks, width)?;
            if stage + 1 == widths.len() {
                half.push(|at| Ok(Layer::Conv(Conv2d::new(at, width, config.out_channels, 3)?)))?;
            } else {
                half.push(|_| Ok(Layer::Enlarge))?;
                half.push(|at| Ok(Layer::Conv(Conv2d::without_bias(at, width, width, 3, 1)?)))?;
            }
        }
        Ok(Half { layers: half.layers })
    }

    fn forward(&self, mut x: Tensor, probe: &Probe) -> Result<Tensor> {
        for (site, layer) in &self.layers {
            x = match layer {
                Layer::Conv(conv) => conv.forward(&x),
                // Somebody may have been shown what enters.
                Layer::Relu => x.relu(),
                Layer::Block(block) => block.forward(&x),
                Layer::Enlarge => {
                    let (_, _, height, width) = x.size4()?;
                    upsample_nearest(&x, 2 * height, 2 * width)
                }
            };
            x = probe.pass(site, Axes::Image, x)?;
        }
        Ok(x)
    }
}

/// The decoder alone.
#[derive(Debug)]
pub struct TinyDecoder(Half);

impl TinyDecoder {
    /// Builds it from the place of its weights, `decoder`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(at: &Weights, config: &TinyConfig) -> Result<TinyDecoder> {
        Half::decoder(at, config).map(TinyDecoder)
    }

    /// Latents `[batch, channels, h, w]`, divided by the scaling factor, to a picture `[batch, 3, 8·h, 8·w]`, about −1..1.
    ///
    /// # Errors
    /// An observer's.
    pub fn forward(&self, latents: &Tensor, probe: &Probe) -> Result<Tensor> {
        let bent = (latents / BOUND).tanh() * BOUND;
        // It was trained for pictures in 0..1.
        Ok(self.0.forward(bent, probe)? * 2.0 - 1.0)
    }
}

/// Both halves, or the decoder alone.
#[derive(Debug)]
pub struct TinyVae {
    encoder: Option<Half>,
    decoder: TinyDecoder,
}

impl TinyVae {
    /// Builds it from the root of its weights, without an encoder where the file has none.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(at: &Weights, config: &TinyConfig) -> Result<TinyVae> {
        let place = at / "encoder";
        let there = place.holds_any();
        let encoder = there.then(|| Half::encoder(&place, config)).transpose()?;
        Ok(TinyVae { encoder, decoder: TinyDecoder::new(&(at / "decoder"), config)? })
    }

    /// Whether it has an encoder.
    pub fn encodes(&self) -> bool {
        self.encoder.is_some()
    }

    /// A picture `[batch, 3, height, width]` in −1..1 to its latents, not yet multiplied by the scaling factor.
    ///
    /// # Errors
    /// When there is no encoder; an observer's.
    pub fn encode(&self, image: &Tensor, kind: Kind, probe: &Probe) -> Result<Tensor> {
        let encoder = self.encoder.as_ref().ok_or_else(no_encoder)?;
        encoder.forward((image.to_kind(kind) + 1.0) / 2.0, probe)
    }

    /// As [`TinyDecoder::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn decode(&self, latents: &Tensor, kind: Kind, probe: &Probe) -> Result<Tensor> {
        self.decoder.forward(&latents.to_kind(kind), probe)
    }
}
