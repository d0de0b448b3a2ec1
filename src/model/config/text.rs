//! The text encoder's configuration.

use super::read::{Check, MOST_LAYERS};
use crate::error::Result;
use serde::Deserialize;

/// No text encoder has more places; CLIP's has 77.
const MOST_PLACES: i64 = 1 << 14;

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
    pub(super) fn check(&self, check: &Check) -> Result<()> {
        check.one_of("hidden_act", &self.hidden_act, &["quick_gelu", "gelu"])?;
        for (field, count) in [
            ("num_attention_heads", self.num_attention_heads),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
        ] {
            check.positive(field, &[count])?;
        }
        check.within("num_hidden_layers", &[self.num_hidden_layers], 1, MOST_LAYERS)?;
        check.within("max_position_embeddings", &[self.max_position_embeddings], 3, MOST_PLACES)?;
        check.above_zero("layer_norm_eps", self.layer_norm_eps)?;
        if self.hidden_size % self.num_attention_heads != 0 {
            let found = self.num_attention_heads.to_string();
            return Err(check.refused("num_attention_heads", &found, "a divisor of hidden_size"));
        }
        Ok(())
    }
}
