//! Attention and the transformer blocks of the UNet.
//!
//! Enters: an image's places in a row, `[batch, height·width, channels]`, and the text embeddings they look at. Leaves: the
//! same shape.

use super::attend::{Attend, Names};
use super::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use super::text_memory::TextMemory;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Grid};
use tch::{Kind, Tensor};

/// Multi-head attention, diffusers' `Attention`: self-attention, or cross-attention to a context.
#[derive(Debug)]
pub struct Attention {
    site: String,
    names: Names,
    context_site: String,
    to_q: (String, Linear),
    to_k: (String, Linear),
    to_v: (String, Linear),
    to_out: Linear,
    heads: i64,
    upcast: bool,
    memory: TextMemory,
}

impl Attention {
    /// Attention of `width` channels in `heads` heads to a context of `context` channels. `upcast` computes the scores in
    /// f32; `bias` gives the q, k and v projections a bias.
    pub fn new(at: Weights, width: i64, context: i64, heads: i64, upcast: bool, bias: bool) -> Result<Attention> {
        let linear = if bias { Linear::new } else { Linear::without_bias };
        let project = |name, input| {
            let at = &at / name;
            Ok::<_, Error>((at.site(), linear(at, input, width)?))
        };
        Ok(Attention {
            site: at.site(),
            names: Names::of(&at.site()),
            context_site: format!("{}.context", at.site()),
            to_q: project("to_q", width)?,
            to_k: project("to_k", context)?,
            to_v: project("to_v", context)?,
            to_out: Linear::new(&at / "to_out" / 0, width, width)?,
            heads,
            upcast,
            memory: TextMemory::new(at.file().is_some()),
        })
    }

    /// `x` `[batch, places, width]`, places on `grid`, looks at itself, or at `context` `[batch, keys, context width]`;
    /// gives the shape of `x`.
    ///
    /// # Errors
    /// An editor's or an observer's.
    pub fn forward(&self, x: &Tensor, context: Option<&Tensor>, grid: Grid, probe: &Probe) -> Result<Tensor> {
        let (batch, places, width) = x.size3()?;
        let split = |site: &str, axes, projected: Tensor| -> Result<Tensor> {
            let projected = probe.pass(site, axes, projected)?;
            let heads = projected.view([batch, -1, self.heads, width / self.heads]).transpose(1, 2);
            Ok(if self.upcast { heads.to_kind(Kind::Float) } else { heads })
        };
        let text = context.map(|text| probe.pass(&self.context_site, Axes::Text, text.shallow_clone())).transpose()?;
        let q = split(&self.to_q.0, Axes::Places(grid), self.to_q.1.forward(x))?;
        let (looked_at, axes) = text.as_ref().map_or((x, Axes::Places(grid)), |text| (text, Axes::Text));
        let made = || (self.to_k.1.forward(looked_at), self.to_v.1.forward(looked_at));
        // An editor may write into what it is shown.
        let edited = probe.edits(&self.to_k.0) || probe.edits(&self.to_v.0);
        let (k, v) = if text.is_some() && !edited { self.memory.of(looked_at, made) } else { made() };
        let (k, v) = (split(&self.to_k.0, axes, k)?, split(&self.to_v.0, axes, v)?);
        let axes = (Axes::Attention(grid), Axes::Heads(grid));
        let out = Attend { q: &q, k: &k, v: &v, causal: false, names: &self.names, axes, probe }.forward()?;
        let out = self.to_out.forward(&out.transpose(1, 2).reshape([batch, places, width]).to_kind(x.kind()));
        probe.pass(&self.site, Axes::Places(grid), out)
    }
}

/// The feed-forward part: GEGLU (Shazeer 2020) with the exact, erf form of GELU, then back to the width.
#[derive(Debug)]
struct FeedForward {
    site: String,
    proj: Linear,
    out: Linear,
}

impl FeedForward {
    fn new(at: Weights, width: i64) -> Result<FeedForward> {
        Ok(FeedForward {
            site: at.site(),
            proj: Linear::new(&at / "net" / 0 / "proj", width, 8 * width)?,
            out: Linear::new(&at / "net" / 2, 4 * width, width)?,
        })
    }

    fn forward(&self, x: &Tensor, grid: Grid, probe: &Probe) -> Result<Tensor> {
        let both = self.proj.forward(x).chunk(2, -1);
        let out = self.out.forward(&(&both[0] * both[1].gelu("none")));
        probe.pass(&self.site, Axes::Places(grid), out)
    }
}

/// Self-attention, cross-attention, feed-forward: diffusers' `BasicTransformerBlock`.
#[derive(Debug)]
struct TransformerBlock {
    site: String,
    in_site: String,
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
}

impl TransformerBlock {
    fn new(at: Weights, width: i64, shape: &TransformerShape) -> Result<TransformerBlock> {
        let norm = |name| LayerNorm::new(&at / name, width, 1e-5);
        let attention =
            |name, context| Attention::new(&at / name, width, context, shape.heads, shape.upcast_attention, false);
        Ok(TransformerBlock {
            site: at.site(),
            in_site: format!("{}.in", at.site()),
            norm1: norm("norm1")?,
            attn1: attention("attn1", width)?,
            norm2: norm("norm2")?,
            attn2: attention("attn2", shape.context)?,
            norm3: norm("norm3")?,
            ff: FeedForward::new(&at / "ff", width)?,
        })
    }

    fn forward(&self, x: Tensor, context: &Tensor, grid: Grid, probe: &Probe) -> Result<Tensor> {
        let x = probe.pass(&self.in_site, Axes::Places(grid), x)?;
        let y = self.norm1.forward(&x);
        let x = x + self.attn1.forward(&y, None, grid, probe)?;
        let x = self.attn2.forward(&self.norm2.forward(&x), Some(context), grid, probe)? + x;
        let x = self.ff.forward(&self.norm3.forward(&x), grid, probe)? + x;
        probe.pass(&self.site, Axes::Places(grid), x)
    }
}

/// A transformer block's two attentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionLayer {
    /// The site of that to the image itself.
    pub own: String,
    /// The site of that to the text.
    pub cross: String,
    /// Heads of each.
    pub heads: usize,
    /// How often its image is halved, as a power of two.
    pub factor: usize,
}

/// What a [`Transformer2D`] needs to know beside its channels.
#[derive(Debug, Clone, Copy)]
pub struct TransformerShape {
    /// Attention heads.
    pub heads: i64,
    /// Transformer blocks.
    pub layers: i64,
    /// Channels of the text embeddings.
    pub context: i64,
    /// Groups of its group norm.
    pub groups: i64,
    /// Whether it projects with linear layers (2.x) in place of 1×1 convolutions (1.x).
    pub linear_projection: bool,
    /// Whether scores are computed in f32.
    pub upcast_attention: bool,
}

/// The projection at the door of a transformer: a 1×1 convolution on the image or a linear layer on its places.
#[derive(Debug)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(at: Weights, channels: i64, linear: bool) -> Result<Projection> {
        Ok(if linear {
            Projection::Linear(Linear::new(at, channels, channels)?)
        } else {
            Projection::Conv(Conv2d::new(at, channels, channels, 1)?)
        })
    }
}

/// diffusers' `Transformer2DModel`: the image's places attend to each other and to the text. Its norm has epsilon 1e-6.
#[derive(Debug)]
pub struct Transformer2D {
    site: String,
    in_site: String,
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl Transformer2D {
    /// Over images of `channels` channels.
    pub fn new(at: Weights, channels: i64, shape: &TransformerShape) -> Result<Transformer2D> {
        let block = |i| TransformerBlock::new(&at / "transformer_blocks" / i, channels, shape);
        Ok(Transformer2D {
            site: at.site(),
            in_site: format!("{}.in", at.site()),
            norm: GroupNorm::new(&at / "norm", shape.groups, channels, 1e-6)?,
            proj_in: Projection::new(&at / "proj_in", channels, shape.linear_projection)?,
            blocks: (0..shape.layers as usize).map(block).collect::<Result<_>>()?,
            proj_out: Projection::new(&at / "proj_out", channels, shape.linear_projection)?,
        })
    }

    /// Its attentions, on an image of this factor.
    pub fn attention_layers(&self, factor: usize) -> impl Iterator<Item = AttentionLayer> + '_ {
        self.blocks.iter().map(move |block| AttentionLayer {
            own: block.attn1.site.clone(),
            cross: block.attn2.site.clone(),
            heads: block.attn2.heads as usize,
            factor,
        })
    }

    /// `x` `[batch, channels, h, w]`, `context` `[batch, tokens, context]`; gives the shape of `x`.
    pub fn forward(&self, x: &Tensor, context: &Tensor, probe: &Probe) -> Result<Tensor> {
        let (batch, channels, h, w) = x.size4()?;
        let x = &probe.pass(&self.in_site, Axes::Image, x.shallow_clone())?;
        let to_places = |t: &Tensor| t.permute([0, 2, 3, 1]).reshape([batch, h * w, channels]);
        // Back in the layout it came in: a permuted view would have every later convolution run in another one.
        let to_image = |t: &Tensor| t.reshape([batch, h, w, channels]).permute([0, 3, 1, 2]).contiguous();
        let normed = self.norm.forward(x);
        let mut places = match &self.proj_in {
            Projection::Conv(conv) => to_places(&conv.forward(&normed)),
            Projection::Linear(linear) => linear.forward(&to_places(&normed)),
        };
        for block in &self.blocks {
            places = block.forward(places, context, (h, w), probe)?;
        }
        let out = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(&to_image(&places)),
            Projection::Linear(linear) => to_image(&linear.forward(&places)),
        } + x;
        probe.pass(&self.site, Axes::Image, out)
    }
}

/// The VAE's attention: one head over all places, with a group norm before and a residual around it.
#[derive(Debug)]
pub struct ImageAttention {
    site: String,
    group_norm: GroupNorm,
    attention: Attention,
}

impl ImageAttention {
    /// Over images of `channels` channels; the norm's epsilon is 1e-6.
    pub fn new(at: Weights, channels: i64, groups: i64) -> Result<ImageAttention> {
        Ok(ImageAttention {
            site: at.site(),
            group_norm: GroupNorm::new(&at / "group_norm", groups, channels, 1e-6)?,
            attention: Attention {
                site: format!("{}.to_out", at.site()),
                ..Attention::new(at, channels, channels, 1, false, true)?
            },
        })
    }

    /// `[batch, channels, h, w]`, same shape.
    pub fn forward(&self, x: &Tensor, probe: &Probe) -> Result<Tensor> {
        let (batch, channels, h, w) = x.size4()?;
        let places = self.group_norm.forward(x).permute([0, 2, 3, 1]).reshape([batch, h * w, channels]);
        let out = self.attention.forward(&places, None, (h, w), probe)?;
        let out = out.transpose(1, 2).reshape([batch, channels, h, w]) + x;
        probe.pass(&self.site, Axes::Image, out)
    }
}
