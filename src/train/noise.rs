//! What text encoder and UNet learn from: noise is added to latents, and they are to tell it, given the caption.
//!
//! Enters: pictures with captions, an autoencoder, a tokenizer. Leaves: the loss of a random batch. The pictures' latents
//! are computed once; each batch draws samples of them, timesteps and noise anew.

use super::config::DiffusionTraining;
use super::data::Data;
use super::save;
use super::trainer::Loss;
use crate::error::{Error, Result};
use crate::eval::reconstruct::as_input;
use crate::model::fingerprint;
use crate::model::text_encoder::TextEncoder;
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{Bytes, WeightFile};
use crate::scheduler::SchedulerConfig;
use crate::watch::probe::Probe;
use rayon::prelude::*;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The file in the folder of a stage that keeps the pictures' latents.
pub const LATENTS_FILE: &str = "latents.safetensors";

/// The distribution of the pictures' latents, already multiplied by the scaling factor; `[count, 4, h, w]` each.
#[derive(Debug)]
pub struct Latents {
    /// Mean.
    pub mean: Tensor,
    /// Standard deviation.
    pub deviation: Tensor,
}

impl Latents {
    /// Encodes all pictures, or takes what `cache` has of the same pictures and the same autoencoder.
    ///
    /// # Errors
    /// When libtorch refuses, or the cache cannot be written.
    pub fn of(data: &Data, vae: &Vae, vae_hash: &str, cache: &Path, device: Device) -> Result<Latents> {
        let key = key(data, vae_hash);
        // A cache that is damaged is none: it is made anew.
        let fits = |found: &Latents| found.fit(data, vae.config().latent_channels);
        if let Some(found) = read_cache(cache, &key).filter(fits) {
            return Ok(found);
        }
        let _no_gradients = tch::no_grad_guard();
        let (mut means, mut deviations) = (vec![], vec![]);
        let factor = vae.config().scaling_factor;
        let at_once = if device.is_cuda() { 256 } else { 16 };
        for some in data.pictures.split(at_once, 0) {
            let posterior = vae.encode(&as_input(&some, device), &Probe::silent())?;
            means.push((posterior.mean * factor).to_device(Device::Cpu).contiguous());
            deviations.push(((posterior.logvar * 0.5).exp() * factor).to_device(Device::Cpu).contiguous());
        }
        let latents = Latents { mean: Tensor::cat(&means, 0), deviation: Tensor::cat(&deviations, 0) };
        let tensors = [("deviation", &latents.deviation), ("mean", &latents.mean)];
        let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()));
        save::tensors(cache, &tensors, false, ("key", key))?;
        Ok(latents)
    }

    /// Whether these can be the latents of so many pictures: finite numbers, and deviations for all means.
    fn fit(&self, data: &Data, channels: i64) -> bool {
        let finite = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.isfinite().all().int64_value(&[]) == 1;
        let shape = self.mean.size();
        let expected = shape.len() == 4 && shape[0] == data.pictures.size()[0] && shape[1] == channels;
        expected && self.deviation.size() == shape && finite(&self.mean) && finite(&self.deviation)
    }
}

/// What latents depend on: the pictures and the autoencoder.
fn key(data: &Data, vae_hash: &str) -> String {
    let hash = |some: Tensor| {
        let mut bytes = vec![0; some.numel()];
        some.contiguous().copy_data_u8(&mut bytes, some.numel());
        fingerprint::of_bytes(&bytes).into_bytes()
    };
    let pictures: Vec<Vec<u8>> = data.pictures.split(256, 0).into_par_iter().map(hash).collect();
    fingerprint::of_parts([vae_hash.as_bytes().to_vec()].into_iter().chain(pictures))
}

fn read_cache(path: &Path, key: &str) -> Option<Latents> {
    let bytes = Bytes::map(path).ok()?;
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes.as_ref()).ok()?;
    if header.metadata().as_ref()?.get("key")? != key {
        return None;
    }
    let file = WeightFile::new(path, bytes).ok()?;
    let tensor = |name: &str| Some(file.tensor(name, file.entries().get(name)?).ok()?.copy());
    Some(Latents { mean: tensor("mean")?, deviation: tensor("deviation")? })
}

/// The captions' ids, `[count, window]`, those of no caption, `[window]`, and how many captions were cut.
///
/// # Errors
/// When the tokenizer refuses a caption.
pub fn token_ids(tokenizer: &Tokenizer, captions: &[String]) -> Result<(Tensor, Tensor, usize)> {
    let mut cut = 0;
    let mut ids = vec![];
    for caption in captions {
        let encoded = tokenizer.encode(caption)?;
        cut += usize::from(encoded.cut.is_some());
        ids.extend(encoded.ids);
    }
    let window = tokenizer.window() as i64;
    let none = Tensor::from_slice(&tokenizer.encode("")?.ids);
    Ok((Tensor::from_slice(&ids).view([captions.len() as i64, window]), none, cut))
}

/// What a loss is computed from.
#[derive(Debug)]
pub struct NoiseLoss<'a> {
    /// The pictures' latents.
    latents: Latents,
    /// The captions' ids, `[count, window]`.
    ids: Tensor,
    /// The ids of no caption, `[window]`.
    none: Tensor,
    training: &'a DiffusionTraining,
    /// ᾱ of each training timestep, and the weight of its loss.
    alphas: Tensor,
    weights: Tensor,
    predicts_v: bool,
    device: Device,
}

impl<'a> NoiseLoss<'a> {
    /// From latents and the ids that [`token_ids`] gives.
    ///
    /// # Errors
    /// When the scheduler's configuration names something that is not implemented here.
    pub fn new(
        latents: Latents,
        (ids, none): (Tensor, Tensor),
        training: &'a DiffusionTraining,
        scheduler: &SchedulerConfig,
        device: Device,
    ) -> Result<NoiseLoss<'a>> {
        let alphas = scheduler.training_alphas()?;
        let predicts_v = match scheduler.prediction_type.as_deref() {
            None | Some("epsilon") => false,
            Some("v_prediction") => true,
            Some(other) => {
                return Err(Error::Unsupported {
                    field: "prediction_type".into(),
                    found: other.into(),
                    place: "the scheduler's configuration".into(),
                    supported: "epsilon, v_prediction".into(),
                });
            }
        };
        let weights: Vec<f32> = alphas.iter().map(|alpha| loss_weight(*alpha, training, predicts_v)).collect();
        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers).to_device(device);
        let (alphas, weights) = (tensor(&alphas), tensor(&weights));
        // Where they are learned from, so that no batch has to be carried there.
        let latents =
            Latents { mean: latents.mean.f_to_device(device)?, deviation: latents.deviation.f_to_device(device)? };
        let (ids, none) = (ids.f_to_device(device)?, none.f_to_device(device)?);
        Ok(NoiseLoss { latents, ids, none, training, alphas, weights, predicts_v, device })
    }

    /// The loss of a random batch, as [`Batch::loss`].
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of(&self, text_encoder: &TextEncoder, unet: &UNet) -> Result<Loss> {
        self.batch()?.loss(text_encoder, unet)
    }

    /// How it is learned.
    pub fn training(&self) -> &DiffusionTraining {
        self.training
    }

    /// A random batch. All that is random is drawn where it computes: nothing is copied, and nobody waits.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn batch(&self) -> Result<Batch> {
        let training = self.training;
        let batch = training.course.batch;
        let count = self.latents.mean.size()[0];
        let here = |kind| (kind, self.device);
        let which = Tensor::randint(count, [batch], here(Kind::Int64));
        let mean = self.latents.mean.index_select(0, &which);
        let clean = mean.randn_like() * self.latents.deviation.index_select(0, &which) + mean;
        let mut noise = clean.randn_like();
        if training.offset_noise > 0.0 {
            noise += Tensor::randn([batch, clean.size()[1], 1, 1], here(Kind::Float)) * training.offset_noise;
        }
        // One timestep from each of `batch` equal parts of the schedule: the loss scatters less.
        let steps = self.alphas.size()[0];
        let part = (Tensor::arange(batch, here(Kind::Float)) + Tensor::rand([batch], here(Kind::Float))) / batch as f64;
        let timesteps = (part * steps as f64).floor().clamp(0.0, (steps - 1) as f64);
        let dropped = Tensor::rand([batch, 1], here(Kind::Float)).lt(training.drop_captions);
        let ids = self.none.where_self(&dropped, &self.ids.index_select(0, &which));

        let index = timesteps.to_kind(Kind::Int64);
        let alpha = self.alphas.index_select(0, &index).view([batch, 1, 1, 1]);
        let (signal, rest) = (alpha.sqrt(), (&alpha.ones_like() - &alpha).sqrt());
        let noisy = &signal * &clean + &rest * &noise;
        let target = if self.predicts_v { &signal * &noise - &rest * &clean } else { noise };
        let weights = self.weights.index_select(0, &index);
        Ok(Batch { noisy, timesteps, ids, target, weights })
    }
}

/// What is asked and what should be answered.
#[derive(Debug)]
pub struct Batch {
    /// Latents with noise, `[batch, 4, h, w]`.
    noisy: Tensor,
    /// How much of it, `[batch]`.
    timesteps: Tensor,
    /// The captions' ids, `[batch, window]`.
    ids: Tensor,
    /// What the UNet should say, shaped like `noisy`.
    target: Tensor,
    /// What each picture's error counts, `[batch]`.
    weights: Tensor,
}

impl Batch {
    /// The loss, a number with gradients; and without the weights of the noise levels, for the log.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn loss(&self, text_encoder: &TextEncoder, unet: &UNet) -> Result<Loss> {
        let silent = Probe::silent();
        let context = text_encoder.forward(&self.ids, &silent)?;
        let error = unet.forward(&self.noisy, &self.timesteps, &context, &silent)? - &self.target;
        let per_picture = error.square().mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float);
        let plain = per_picture.mean(Kind::Float).detach();
        Ok(((per_picture * &self.weights).mean(Kind::Float), vec![("unweighted", plain)]))
    }

    /// How many pictures it has.
    pub fn pictures(&self) -> i64 {
        self.ids.size()[0]
    }

    /// The same in `parts` about equal parts. Neighbouring pictures, of like timesteps, go to different ones.
    pub fn split(&self, parts: i64) -> Vec<Batch> {
        let parts = parts.clamp(1, self.pictures());
        let one = |part: i64| {
            let own = |t: &Tensor| t.slice(0, part, None, parts).contiguous();
            Batch {
                noisy: own(&self.noisy),
                timesteps: own(&self.timesteps),
                ids: own(&self.ids),
                target: own(&self.target),
                weights: own(&self.weights),
            }
        };
        (0..parts).map(one).collect()
    }
}

/// The weight of a noise level's loss: its signal-to-noise ratio, held between two bounds, over what the loss would weigh
/// on the predicted picture anyway: the ratio for noise prediction, one more for v (Hang et al. 2023, section 3.4).
fn loss_weight(alpha: f32, training: &DiffusionTraining, predicts_v: bool) -> f32 {
    let snr = f64::from(alpha) / (1.0 - f64::from(alpha));
    let bounded = snr.min(training.snr_most).max(training.snr_least);
    (bounded / if predicts_v { snr + 1.0 } else { snr }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_snr_weights_lie_between_their_bounds() {
        let training = DiffusionTraining::default();
        for (alpha, expected) in [(0.5, 1.0), (0.99, 5.0 / 99.0), (0.01, 0.2 * 99.0)] {
            let weight = f64::from(loss_weight(alpha, &training, false));
            assert!((weight / expected - 1.0).abs() < 1e-3, "{alpha}: {weight}, expected {expected}");
        }
    }
}
