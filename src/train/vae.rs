//! Training the autoencoder.
//!
//! Enters: pictures. Leaves: `vae/` of the model folder. Random crops are enough: the network is made of convolutions, and
//! crops cost less. At the end its latents are given mean 0 and the deviation of Stable Diffusion's own.

use super::config::VaeTraining;
use super::data::Data;
use super::parameters::Parameters;
use super::save;
use super::trainer::{Lesson, Task, samples_file};
use super::workers::{self, Seen};
use crate::error::{Error, Result};
use crate::eval::reconstruct::{as_input, reconstruct};
use crate::export::diff::psnr;
use crate::files::atomic::write_atomically;
use crate::model::components::VAE;
use crate::model::config::VaeConfig;
use crate::model::vae::Vae;
use crate::viz::pixels::{WHITE, side_by_side, stacked};
use crate::watch::probe::Probe;
use image::RgbImage;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The deviation that latents get, so that the scaling factor is that of Stable Diffusion 1.x.
const SCALING_FACTOR: f64 = 0.18215;

/// What is known when the learning begins.
pub struct Setting<'a> {
    /// Pictures.
    pub data: &'a Data,
    /// How it is learned.
    pub training: &'a VaeTraining,
    /// The configuration, as it is read and as it is written.
    pub config: (&'a VaeConfig, &'a Map<String, Value>),
    /// All weights, if only some of them learn.
    pub frozen: Option<Parameters>,
    /// Where the model goes.
    pub model: PathBuf,
}

/// Learning to encode and decode.
pub struct VaeTask<'a> {
    setting: Setting<'a>,
    seen: Seen,
    workers: Vec<Worker<'a>>,
    /// The pictures where it computes, if they fit there, else on the host.
    pictures: Tensor,
    device: Device,
}

/// One of the threads that share a batch.
struct Worker<'a> {
    vae: Vae,
    /// The weights that learn, in the layout's order; shared with the other workers.
    weights: Vec<Tensor>,
    training: &'a VaeTraining,
}

/// Crops of pictures, `[batch, 3, crop, crop]` in −1..1, and the noise that their latents are sampled with.
struct Crops {
    pictures: Tensor,
    noise: Tensor,
}

impl Crops {
    fn count(&self) -> i64 {
        self.pictures.size()[0]
    }

    fn split(self, parts: usize) -> Vec<Crops> {
        let pictures = self.pictures.chunk(parts as i64, 0);
        let both = pictures.into_iter().zip(self.noise.chunk(parts as i64, 0));
        both.map(|(pictures, noise)| Crops { pictures, noise }).collect()
    }
}

impl Worker<'_> {
    fn learn(&self, Crops { pictures, noise }: &Crops) -> Result<Lesson> {
        let silent = Probe::silent();
        let posterior = self.vae.encode(pictures, &silent)?;
        let error = self.vae.decode(&posterior.sample(noise), &silent)? - pictures;
        let s = self.training;
        let Weighed { loss, absolute, squared } = picture_loss(&error, (s.absolute, s.squared, s.edges));
        let (mean, logvar) = (&posterior.mean, &posterior.logvar);
        let kl = ((mean.square() + logvar.exp() - 1.0 - logvar) * 0.5).mean(Kind::Float);
        let loss = loss + &kl * s.kl;
        let parts = vec![("absolute", absolute.detach()), ("squared", squared.detach()), ("kl", kl.detach())];
        Lesson::of((loss, parts), &self.weights)
    }
}

/// All weights, of which these learn.
fn all(frozen: Option<&Parameters>, learned: &Parameters) -> Parameters {
    frozen.map_or_else(|| learned.shared(), |frozen| frozen.with(learned))
}

impl<'a> VaeTask<'a> {
    /// From the weights that learn.
    ///
    /// # Errors
    /// When the crop is no size the network can halve, or larger than the pictures, or no picture is left to learn from.
    pub fn new(parameters: &Parameters, setting: Setting<'a>) -> Result<VaeTask<'a>> {
        let Setting { data, training, config: (config, _), .. } = &setting;
        let factor = config.scale_factor() as i64;
        let (count, side) = (data.captions.len(), data.pictures.size()[1]);
        if training.crop % factor != 0 || training.crop < factor || training.crop > side {
            return Err(Error::invalid(
                format!("`vae.crop` is {}: no crop of pictures of {side} pixels", training.crop),
                format!("give a multiple of {factor}, {side} at the most"),
            ));
        }
        if training.held_back >= count {
            return Err(Error::invalid(
                format!("`vae.held_back` is {} of {count} pictures: none is left to learn from", training.held_back),
                "set it lower, or give more pictures",
            ));
        }
        let device = parameters.flat().device();
        let kind = training.dtype.kind();
        let seen = Seen::of(parameters, kind);
        let parameters = seen.weights();
        let frozen = setting.frozen.as_ref().map(|frozen| frozen.in_kind(kind, false));
        let worker = |_| {
            let weights = parameters.views().into_iter().map(Tensor::shallow_clone).collect();
            let vae = Vae::new(&all(frozen.as_ref(), parameters).component("vae"), (*config).clone())?;
            Ok(Worker { vae, weights, training: setting.training })
        };
        let workers = workers::count(training.workers, training.course.batch, device);
        let workers = (0..workers).map(worker).collect::<Result<_>>()?;
        let pictures = data.pictures.f_to_device(device).unwrap_or_else(|_| data.pictures.shallow_clone());
        Ok(VaeTask { setting, seen, workers, pictures, device })
    }

    /// Random crops of random pictures, and noise.
    fn batch(&self) -> Result<Crops> {
        let Setting { data, training, config: (config, _), .. } = &self.setting;
        let (side, crop, batch) = (data.pictures.size()[1], training.crop, training.course.batch);
        let count = (data.captions.len() - training.held_back) as i64;
        let crops = if self.pictures.device().is_cuda() {
            // Drawn and cut there, so that nobody waits.
            crops(&self.pictures, count, batch, crop)?
        } else {
            let draw = |below: i64| -> Result<Vec<i64>> {
                Ok(Vec::try_from(Tensor::randint(below, [batch], (Kind::Int64, Device::Cpu)))?)
            };
            let (which, tops, lefts) = (draw(count)?, draw(side - crop + 1)?, draw(side - crop + 1)?);
            let crops: Vec<Tensor> = (0..batch as usize)
                .map(|i| data.pictures.get(which[i]).narrow(0, tops[i], crop).narrow(1, lefts[i], crop))
                .collect();
            Tensor::stack(&crops, 0)
        };
        let latent = crop / config.scale_factor() as i64;
        let noise = Tensor::f_randn([batch, config.latent_channels, latent, latent], (Kind::Float, self.device))?;
        Ok(Crops { pictures: as_input(&crops, self.device), noise })
    }
}

impl Task for VaeTask<'_> {
    fn learn(&mut self, _: &[&Tensor]) -> Result<Lesson> {
        self.seen.follow();
        let parts = self.batch()?.split(self.workers.len());
        workers::share(&mut self.workers, parts, Crops::count, Worker::learn)
    }

    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>> {
        let Setting { data, training, config: (config, json), frozen, model } = &self.setting;
        let averaged = all(frozen.as_ref(), averaged);
        let vae = Vae::new(&averaged.component("vae"), (*config).clone())?;
        let count = data.captions.len() as i64;
        let held = (training.held_back as i64).max(8.min(count));
        let pictures = data.pictures.narrow(0, count - held, held);
        let (pairs, posteriors) = reconstruct(&vae, &pictures, self.device)?;
        let decibels: Vec<f64> = pairs.iter().filter_map(|(a, b)| psnr(a, b)).collect();
        let columns: Vec<RgbImage> =
            pairs.iter().take(8).map(|(a, b)| stacked(&[a.clone(), b.clone()], 4, WHITE)).collect();
        let sheet = side_by_side(&columns, 4, WHITE);
        let path = folder.join(samples_file(step));
        write_atomically(&path, &crate::trace::metadata::png_bytes(&sheet)?)?;

        let mut weights = averaged.tensors("vae", Kind::Float);
        let mut json = (*json).clone();
        if frozen.is_none() {
            json.insert("scaling_factor".into(), standardise(&mut weights, &posteriors, config)?.into());
        }
        save::component(model, &VAE, &json, &weights)?;
        Ok(vec![("psnr", decibels.iter().sum::<f64>() / decibels.len().max(1) as f64)])
    }
}

/// `batch` random squares of the first `count` pictures, `[batch, crop, crop, 3]`, drawn where the pictures are.
fn crops(pictures: &Tensor, count: i64, batch: i64, crop: i64) -> Result<Tensor> {
    let whole = (Kind::Int64, pictures.device());
    let draw = |below: i64| Tensor::f_randint(below, [batch, 1, 1], whole);
    let (high, wide) = (pictures.size()[1], pictures.size()[2]);
    let along = Tensor::f_arange(crop, whole)?;
    let rows = draw(high - crop + 1)? + along.view([1, crop, 1]);
    let columns = draw(wide - crop + 1)? + along.view([1, 1, crop]);
    Ok(pictures.f_index(&[Some(draw(count)?), Some(rows), Some(columns)])?)
}

/// How far off a picture is.
pub(super) struct Weighed {
    /// What is learned from.
    pub loss: Tensor,
    /// The mean absolute error.
    pub absolute: Tensor,
    /// The mean squared error.
    pub squared: Tensor,
}

/// `absolute`·|e| + `squared`·e² + `edges`·(|∂e| in both directions), each the mean over all numbers of an error
/// `[batch, 3, height, width]`.
pub(super) fn picture_loss(error: &Tensor, (absolute, squared, edges): (f64, f64, f64)) -> Weighed {
    let size = error.size();
    let difference = |axis: i64| {
        let last = size[axis as usize] - 1;
        (error.narrow(axis, 1, last) - error.narrow(axis, 0, last)).abs().mean(Kind::Float)
    };
    let (mean, square) = (error.abs().mean(Kind::Float), error.square().mean(Kind::Float));
    let loss = &mean * absolute + &square * squared + (difference(2) + difference(3)) * edges;
    Weighed { loss, absolute: mean, squared: square }
}

/// Changes the two 1×1 convolutions around the latents so that each channel has mean 0 and the deviation 1 / scaling
/// factor, and what is decoded stays the same. Gives the scaling factor. Without those convolutions the factor alone is
/// chosen.
fn standardise(
    weights: &mut [(String, Tensor)],
    (means, variances): &(Tensor, Tensor),
    config: &VaeConfig,
) -> Result<f64> {
    let over = [0i64, 2, 3].as_slice();
    let channels = config.latent_channels;
    let mean = means.mean_dim(over, false, Kind::Float).to_device(Device::Cpu);
    let spread = means.var_dim(over, false, false).to_device(Device::Cpu);
    let deviation = (spread + variances.mean_dim(over, false, Kind::Float).to_device(Device::Cpu)).sqrt();
    if !(config.use_quant_conv && config.use_post_quant_conv) {
        return Ok(1.0 / f64::try_from(deviation.mean(Kind::Float))?);
    }
    let stretch = (deviation * SCALING_FACTOR).reciprocal();
    let mut change = |name: &str, change: &dyn Fn(&Tensor) -> Tensor| {
        weights.iter_mut().filter(|(key, _)| key == name).for_each(|(_, tensor)| *tensor = change(tensor));
    };
    // Both halves of the moments: means are stretched, logarithms of variances shifted by twice the logarithm.
    let both = Tensor::cat(&[stretch.shallow_clone(), stretch.ones_like()], 0);
    change("quant_conv.weight", &|w| w * both.view([2 * channels, 1, 1, 1]));
    change("quant_conv.bias", &|b| {
        let halves = b.chunk(2, 0);
        Tensor::cat(&[(&halves[0] - &mean) * &stretch, &halves[1] + stretch.log() * 2.0], 0)
    });
    let mut first = None;
    change("post_quant_conv.weight", &|w| w / stretch.view([1, channels, 1, 1]));
    weights
        .iter()
        .filter(|(key, _)| key == "post_quant_conv.weight")
        .for_each(|(_, w)| first = Some(w.shallow_clone()));
    if let Some(weight) = first {
        // The weight is the changed one: undo the stretch to apply it to the mean that was taken off.
        let shift = (weight * (&stretch * &mean).view([1, channels, 1, 1])).sum_dim_intlist(
            [1, 2, 3].as_slice(),
            false,
            Kind::Float,
        );
        weights.iter_mut().filter(|(key, _)| key == "post_quant_conv.bias").for_each(|(_, b)| *b = &*b + &shift);
    }
    Ok(SCALING_FACTOR)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::parameters::Layout;
    use std::rc::Rc;

    /// Each number of the pictures tells its own place: what is cut out of them is a square of one picture.
    #[test]
    fn a_crop_is_a_square_of_one_picture() {
        tch::manual_seed(1);
        let along = |axis: usize| {
            let mut shape = [1, 1, 1];
            shape[axis] = [5, 20, 30][axis];
            Tensor::arange(shape[axis], (Kind::Int64, Device::Cpu)).view(shape).expand([5, 20, 30], false)
        };
        let pictures = Tensor::stack(&[along(0), along(1), along(2)], -1).to_kind(Kind::Uint8);
        let cut = crops(&pictures, 4, 64, 8).unwrap().to_kind(Kind::Int64);
        assert_eq!(cut.size(), [64, 8, 8, 3]);
        let least = |channel: i64| i64::try_from(cut.select(3, channel).min()).unwrap();
        let most = |channel: i64| i64::try_from(cut.select(3, channel).max()).unwrap();
        assert_eq!([least(0), most(0), least(1), most(1), least(2), most(2)], [0, 3, 0, 19, 0, 29]);
        let first = cut.slice(1, 0, 1, 1).slice(2, 0, 1, 1);
        let moved = (&cut - first).select(0, 5);
        for (row, column) in [(0, 0), (3, 7), (7, 2)] {
            assert_eq!(Vec::<i64>::try_from(moved.get(row).get(column)).unwrap(), [0, row, column]);
        }
    }

    /// The latents get mean 0 and the deviation of Stable Diffusion's, and what is decoded stays the same.
    #[test]
    fn standardising_changes_latents_and_not_pictures() {
        let config = VaeConfig {
            block_out_channels: vec![8, 8],
            down_block_types: vec!["DownEncoderBlock2D".into(); 2],
            up_block_types: vec!["UpDecoderBlock2D".into(); 2],
            norm_num_groups: 4,
            sample_size: 16,
            ..VaeConfig::default()
        };
        let layout = Rc::new(Layout::of(|at| Vae::new(&at("vae"), config.clone()).map(drop)).unwrap());
        tch::manual_seed(3);
        let flat = layout.fresh() + Tensor::randn([layout.total()], (Kind::Float, Device::Cpu)) * 0.1;
        let parameters = Parameters::new(layout, flat, false);
        let vae = Vae::new(&parameters.component("vae"), config.clone()).unwrap();
        let pictures = Tensor::randint(256, [16, 16, 16, 3], (Kind::Int64, Device::Cpu)).to_kind(Kind::Uint8);
        let (before, posteriors) = reconstruct(&vae, &pictures, Device::Cpu).unwrap();

        let mut weights = parameters.tensors("vae", Kind::Float);
        assert_eq!(standardise(&mut weights, &posteriors, &config).unwrap(), SCALING_FACTOR);
        let changed: std::collections::BTreeMap<String, Tensor> = weights.into_iter().collect();
        let make = move |key: &str, _: &[i64]| Ok(changed[key].shallow_clone());
        let vae =
            Vae::new(&crate::model::weights::Weights::made("vae", (Device::Cpu, Kind::Float), Rc::new(make)), config)
                .unwrap();
        let (after, (means, variances)) = reconstruct(&vae, &pictures, Device::Cpu).unwrap();
        for ((_, a), (_, b)) in before.iter().zip(&after) {
            assert!(a.as_raw().iter().zip(b.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 1));
        }
        let over = [0i64, 2, 3].as_slice();
        let mean = Vec::<f64>::try_from(means.mean_dim(over, false, Kind::Float).to_kind(Kind::Double)).unwrap();
        let total = means.var_dim(over, false, false) + variances.mean_dim(over, false, Kind::Float);
        let deviation = Vec::<f64>::try_from((total.sqrt() * SCALING_FACTOR).to_kind(Kind::Double)).unwrap();
        assert!(mean.iter().all(|m| m.abs() < 1e-3), "{mean:?}");
        assert!(deviation.iter().all(|d| (d - 1.0).abs() < 1e-3), "{deviation:?}");
    }
}
