//! The model that made a run: its weight files, and what was merged into them or added to them.

use crate::record::preview::PreviewRecord;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The model of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelRecord {
    /// What names it: `pocket`, a folder, `owner/name`.
    pub id: String,
    /// Why this model: `--model`, `SDVIZ_MODEL`, or `embedded`.
    pub chosen_by: String,
    /// The `_class_name` of model_index.json.
    pub class_name: String,
    /// Its weight files: text_encoder, unet, vae.
    pub components: Vec<ComponentRecord>,
    /// Channels of the latents (4 for Stable Diffusion 1.x).
    pub latent_channels: usize,
    /// Pixels per latent in each direction (8 for Stable Diffusion 1.x).
    pub vae_scale_factor: usize,
    /// The VAE's scaling factor: latents = encoded × factor.
    pub scaling_factor: f64,
    /// What the model predicts: `epsilon` or `v_prediction`.
    pub prediction_type: String,
    /// Width of the embedding of the guidance scale, for a model that is told it instead of predicting twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_cond_proj_dim: Option<i64>,
    /// The LoRAs that were merged into its weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRecord>,
    /// The textual inversion embeddings that its tokenizer and text encoder were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<EmbeddingRecord>,
    /// What decodes the pictures of the steps, where it is not the autoencoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewRecord>,
}

impl ModelRecord {
    /// The same without the paths of LoRAs and embeddings, for what is handed on.
    pub fn without_paths(&self) -> ModelRecord {
        let mut model = self.clone();
        model.loras.iter_mut().for_each(|lora| lora.path.clear());
        model.embeddings.iter_mut().for_each(|word| word.path.clear());
        model
    }
}

/// A textual inversion embedding.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmbeddingRecord {
    /// The word that stands for it in a prompt.
    pub name: String,
    /// File name.
    pub file: String,
    /// Where it was found, as it was named. Pictures do not carry it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its vectors: the tokens that the word becomes.
    pub vectors: usize,
}

impl fmt::Display for EmbeddingRecord {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let plural = if self.vectors == 1 { "" } else { "s" };
        write!(f, "{}, {} token{plural} ({})", self.name, self.vectors, self.file)
    }
}

/// A LoRA that was merged into a model's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraRecord {
    /// File name.
    pub file: String,
    /// Where it was found, as it was named. Pictures do not carry it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// How strongly it counted; 1 is as it was trained.
    pub weight: f64,
    /// The layers that it changed.
    pub layers: usize,
}

impl LoraRecord {
    /// Its name in pictures and figures: the file's without the ending.
    pub fn name(&self) -> String {
        Path::new(&self.file).file_stem().map_or(self.file.clone(), |name| name.to_string_lossy().into_owned())
    }
}

impl fmt::Display for LoraRecord {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, weight {}, {} layers", self.file, self.weight, self.layers)
    }
}

/// A component's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentRecord {
    /// `text_encoder`, `unet`, `vae`.
    pub name: String,
    /// What names the model it was taken from, where that is not the run's: `--vae`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// File name inside the folder of the model it comes from.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Parameters.
    pub parameters: u64,
    /// Type of the numbers in the file.
    pub file_dtype: String,
}
