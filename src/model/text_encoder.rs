//! The text encoder, transformers' `CLIPTextModel`: token ids to embeddings.
//!
//! Enters: ids, `[batch, 77]`. Leaves: the last hidden state after the final layer norm, `[batch, 77, width]`. Attention
//! is causal and has no padding mask: the model was trained so.

use super::attend::{Attend, Names};
use super::layers::{LayerNorm, Linear};
use super::weights::{WeightFile, Weights};
use crate::error::{Error, Result};
use crate::model::config::TextConfig;
use crate::watch::probe::Probe;
use crate::watch::site::Axes;
use std::sync::Arc;
use tch::Tensor;

#[derive(Debug)]
struct Layer {
    site: String,
    attention_site: String,
    attention_names: Names,
    mlp_site: String,
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(at: Weights, config: &TextConfig) -> Result<Layer> {
        let width = config.hidden_size;
        let norm = |name| LayerNorm::new(&at / name, width, config.layer_norm_eps);
        let attention = |name| Linear::new(&at / "self_attn" / name, width, width);
        let attention_site = format!("{}.self_attn", at.site());
        Ok(Layer {
            site: at.site(),
            attention_names: Names::of(&attention_site),
            attention_site,
            mlp_site: format!("{}.mlp", at.site()),
            layer_norm1: norm("layer_norm1")?,
            q_proj: attention("q_proj")?,
            k_proj: attention("k_proj")?,
            v_proj: attention("v_proj")?,
            out_proj: attention("out_proj")?,
            layer_norm2: norm("layer_norm2")?,
            fc1: Linear::new(&at / "mlp" / "fc1", width, config.intermediate_size)?,
            fc2: Linear::new(&at / "mlp" / "fc2", config.intermediate_size, width)?,
        })
    }

    fn attend(&self, x: &Tensor, heads: i64, probe: &Probe) -> Result<Tensor> {
        let (batch, tokens, width) = x.size3()?;
        let split = |t: Tensor| t.view([batch, tokens, heads, width / heads]).transpose(1, 2);
        let (q, k, v) = (split(self.q_proj.forward(x)), split(self.k_proj.forward(x)), split(self.v_proj.forward(x)));
        let (names, axes) = (&self.attention_names, (Axes::Prompts, Axes::Prompts));
        let out = Attend { q: &q, k: &k, v: &v, causal: true, names, axes, probe }.forward()?;
        let out = self.out_proj.forward(&out.transpose(1, 2).reshape([batch, tokens, width]));
        probe.pass(&self.attention_site, Axes::Prompts, out)
    }
}

/// The text encoder.
#[derive(Debug)]
pub struct TextEncoder {
    config: TextConfig,
    token_embedding: Tensor,
    position_embedding: Tensor,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    _file: Option<Arc<WeightFile>>,
}

impl TextEncoder {
    /// Builds the network that `config` describes from the root of its weights.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or is left over.
    pub fn new(root: &Weights, config: TextConfig) -> Result<TextEncoder> {
        let at = root / "text_model";
        let width = config.hidden_size;
        let embeddings = &at / "embeddings";
        let layer = |i| Layer::new(&at / "encoder" / "layers" / i, &config);
        let encoder = TextEncoder {
            token_embedding: (&embeddings / "token_embedding").tensor("weight", &[config.vocab_size, width])?,
            position_embedding: (&embeddings / "position_embedding")
                .tensor("weight", &[config.max_position_embeddings, width])?,
            layers: (0..config.num_hidden_layers as usize).map(layer).collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::new(&at / "final_layer_norm", width, config.layer_norm_eps)?,
            config,
            _file: root.file(),
        };
        root.finish()?;
        Ok(encoder)
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Gives the ids from `first` on these vectors, `[n, width]`: in place of rows that the table has beyond the
    /// vocabulary, then behind it.
    pub fn add_embedding(&mut self, first: i64, vectors: &Tensor) {
        let table = &self.token_embedding;
        let (rows, end) = (table.size()[0], first + vectors.size()[0]);
        let vectors = vectors.to_device(table.device()).to_kind(table.kind());
        let rest = table.narrow(0, end.min(rows), rows - end.min(rows));
        self.token_embedding = Tensor::cat(&[table.narrow(0, 0, first.min(rows)), vectors, rest], 0);
    }

    /// Ids `[batch, tokens]` (i64) to embeddings `[batch, tokens, width]` in the model's dtype.
    ///
    /// # Errors
    /// An observer's.
    pub fn forward(&self, ids: &Tensor, probe: &Probe) -> Result<Tensor> {
        self.forward_skipping(ids, 1, probe)
    }

    /// As [`TextEncoder::forward`], leaving out the last `clip_skip - 1` layers: 1 takes the last layer's output, 2 that
    /// of the layer before, as AUTOMATIC1111's web UI counts (diffusers' `clip_skip` is one less). The final layer norm
    /// follows in any case.
    ///
    /// # Errors
    /// When there are not so many layers; an observer's.
    pub fn forward_skipping(&self, ids: &Tensor, clip_skip: usize, probe: &Probe) -> Result<Tensor> {
        self.check_clip_skip(clip_skip)?;
        let tokens = ids.size()[1];
        let embedded = Tensor::embedding(&self.token_embedding, ids, -1, false, false)
            + self.position_embedding.narrow(0, 0, tokens);
        let mut x = probe.pass("text_encoder.text_model.embeddings", Axes::Prompts, embedded)?;
        for layer in &self.layers[..=self.layers.len() - clip_skip] {
            x = layer.attend(&layer.layer_norm1.forward(&x), self.config.num_attention_heads, probe)? + x;
            let hidden = self.activate(layer.fc1.forward(&layer.layer_norm2.forward(&x)));
            x = probe.pass(&layer.mlp_site, Axes::Prompts, layer.fc2.forward(&hidden))? + x;
            x = probe.pass(&layer.site, Axes::Prompts, x)?;
        }
        probe.pass("text_encoder.text_model.final_layer_norm", Axes::Prompts, self.final_layer_norm.forward(&x))
    }

    /// Whether `clip_skip` names one of the layers, counted from the last, which is 1.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_clip_skip(&self, clip_skip: usize) -> Result<()> {
        let layers = self.layers.len();
        if (1..=layers).contains(&clip_skip) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("clip skip {clip_skip} names no layer of the text encoder, which has {layers}"),
            format!("1 is the last layer, {layers} the first; most models are drawn with 1, some with 2"),
        ))
    }

    /// OpenAI's models use x · sigmoid(1.702 x), OpenCLIP's the exact GELU.
    fn activate(&self, x: Tensor) -> Tensor {
        if self.config.hidden_act == "quick_gelu" { &x * (&x * 1.702).sigmoid() } else { x.gelu("none") }
    }
}
