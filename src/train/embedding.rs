//! Training an embedding (textual inversion, Gal et al. 2022): the model's weights stay, and a new word's vectors learn.
//!
//! Enters: a model, what the loss is computed from. Leaves: a file with the vectors, as AUTOMATIC1111's web UI and
//! diffusers read it.

use super::config::Samples;
use super::diffusion::draw_samples;
use super::noise::NoiseLoss;
use super::parameters::{Layout, Parameters};
use super::save;
use super::trainer::{Lesson, Task, samples_file};
use crate::error::{Error, Result};
use crate::model::config::{TextConfig, UNetConfig};
use crate::model::embedding::EmbeddingChoice;
use crate::model::resolve::ModelChoice;
use crate::model::text_encoder::TextEncoder;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::UNet;
use crate::pipeline::LoadOptions;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The name of the vectors, here and in the file.
const VECTORS: &str = "emb_params";

/// What learns: `vectors` vectors of `width` numbers.
pub fn layout(vectors: i64, width: i64) -> Layout {
    let mut layout = Layout::default();
    layout.push(VECTORS.into(), &[vectors, width]);
    layout
}

/// The first numbers: the mean vector of the tokens of `like`, else normal with the deviation of the table; `[vectors ·
/// width]`.
///
/// # Errors
/// When the tokenizer refuses `like`, or it is no word at all.
pub fn begin(tokenizer: &Tokenizer, base: &Parameters, like: Option<&str>, vectors: i64, seed: u64) -> Result<Tensor> {
    let _no_gradients = tch::no_grad_guard();
    let name = "text_encoder.text_model.embeddings.token_embedding.weight";
    let table = base.find(name).ok_or_else(|| Error::Torch(format!("there is no `{name}`")))?.to_device(Device::Cpu);
    let width = table.size()[1];
    let Some(like) = like else {
        tch::manual_seed(seed as i64);
        let deviation = f64::try_from(table.std(true))?;
        return Ok(Tensor::randn([vectors * width], (Kind::Float, Device::Cpu)) * deviation);
    };
    let tokens = tokenizer.encode(like)?.tokens;
    let own: Vec<i64> = tokens[1..tokens.len().max(2) - 1].iter().map(|token| i64::from(token.id)).collect();
    if own.is_empty() {
        return Err(Error::invalid(format!("`{like}` is no word to begin with"), "name one that the model knows"));
    }
    let mean = table.index_select(0, &Tensor::from_slice(&own)).mean_dim([0i64].as_slice(), false, Kind::Float);
    Ok(mean.repeat([vectors]))
}

/// What is known when the learning begins.
pub struct Setting<'a> {
    /// What the loss is computed from.
    pub noise: NoiseLoss<'a>,
    /// What is drawn on the way.
    pub samples: &'a Samples,
    /// The model, for the samples.
    pub choice: &'a ModelChoice,
    /// Its weights.
    pub base: Parameters,
    /// The configurations.
    pub text_encoder: TextConfig,
    /// The UNet's.
    pub unet: UNetConfig,
    /// The word.
    pub word: String,
    /// The id of its first token.
    pub first: i64,
    /// Where the vectors go.
    pub file: PathBuf,
}

/// Learning a word.
pub struct EmbeddingTask<'a> {
    setting: Setting<'a>,
    learned: Parameters,
    unet: UNet,
}

impl<'a> EmbeddingTask<'a> {
    /// From the vectors that learn.
    ///
    /// # Errors
    /// When the configuration asks for other weights than there are.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> Result<EmbeddingTask<'a>> {
        let unet = UNet::new(&setting.base.component("unet"), setting.unet.clone())?;
        Ok(EmbeddingTask { setting, learned: parameters.shared(), unet })
    }
}

impl Task for EmbeddingTask<'_> {
    fn learn(&mut self, weights: &[&Tensor]) -> Result<Lesson> {
        let setting = &self.setting;
        let mut text_encoder = TextEncoder::new(&setting.base.component("text_encoder"), setting.text_encoder.clone())?;
        if let Some(vectors) = self.learned.find(VECTORS) {
            text_encoder.add_embedding(setting.first, &vectors);
        }
        Lesson::of(setting.noise.of(&text_encoder, &self.unet)?, weights)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let setting = &self.setting;
        let vectors: Vec<_> =
            averaged.find(VECTORS).map(|vectors| (VECTORS.to_string(), vectors)).into_iter().collect();
        save::tensors(&setting.file, &vectors, false, ("format", "pt".into()))?;
        let embeddings = vec![EmbeddingChoice { name: setting.word.clone(), path: setting.file.clone() }];
        let options = LoadOptions { device: averaged.flat().device(), embeddings, ..LoadOptions::default() };
        draw_samples(setting.choice, options, setting.samples, &folder.join(samples_file(step)))?;
        Ok(vec![])
    }
}
