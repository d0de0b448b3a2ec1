//! How good an autoencoder is, and how good the judge.
//!
//! Enters: pictures of a data set with their labels. Leaves: decibels, and how often the judge is right.

use super::judge::Judge;
use super::reconstruct::reconstruct;
use super::report::Tally;
use crate::dataset::manifest::Row;
use crate::error::{Error, Result};
use crate::export::diff::psnr;
use crate::model::components::VAE;
use crate::model::config::VaeConfig;
use crate::model::resolve::ModelChoice;
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::pipeline::LoadOptions;
use image::RgbImage;
use serde::Serialize;
use tch::Tensor;

/// How close pictures come to themselves through an autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fidelity {
    /// Pictures.
    pub pictures: usize,
    /// Mean of their peak signal-to-noise ratios, in dB.
    pub psnr_mean: f64,
    /// The least.
    pub psnr_least: f64,
    /// The greatest.
    pub psnr_greatest: f64,
}

/// A model's autoencoder, in f32 where half precision overflows.
///
/// # Errors
/// When it cannot be loaded.
pub fn load_vae(choice: &ModelChoice, options: &LoadOptions) -> Result<Vae> {
    let config: VaeConfig = choice.files.config(&VAE)?;
    let (_, file) = choice.files.weights(&VAE, options.variant.as_deref())?;
    Vae::new(&Weights::new(VAE.name, file, options.device, config.kind(options.kind)), config)
}

/// Pictures of one size with what encoding (to the mean) and decoding makes of them. `done` hears of every few.
///
/// # Errors
/// When the autoencoder cannot take their size.
pub fn through(vae: &Vae, pictures: &[RgbImage], options: &LoadOptions, done: impl Fn(usize)) -> Result<Vec<RgbImage>> {
    let _no_gradients = tch::no_grad_guard();
    let factor = vae.config().scale_factor() as u32;
    if let Some(odd) = pictures.iter().find(|p| p.width() % factor != 0 || p.height() % factor != 0) {
        return Err(Error::invalid(
            format!("the autoencoder takes no pictures of {}×{}", odd.width(), odd.height()),
            format!("give pictures whose sides are multiples of {factor}"),
        ));
    }
    let mut all = vec![];
    for some in pictures.chunks(8) {
        let bytes = |picture: &RgbImage| {
            let size = [i64::from(picture.height()), i64::from(picture.width()), 3];
            Tensor::from_slice(picture.as_raw()).view(size)
        };
        let bytes: Vec<Tensor> = some.iter().map(bytes).collect();
        let (pairs, _) = reconstruct(vae, &Tensor::f_stack(&bytes, 0)?, options.device)?;
        all.extend(pairs.into_iter().map(|(_, decoded)| decoded));
        done(some.len());
    }
    Ok(all)
}

/// How close `decoded` come to `pictures`.
pub fn fidelity(pictures: &[RgbImage], decoded: &[RgbImage]) -> Fidelity {
    // The same to the last bit would be infinitely many decibels; a hundred is more than 8 bits can tell.
    let decibels: Vec<f64> = pictures.iter().zip(decoded).map(|(a, b)| psnr(a, b).unwrap_or(100.0)).collect();
    Fidelity {
        pictures: decibels.len(),
        psnr_mean: decibels.iter().sum::<f64>() / decibels.len().max(1) as f64,
        psnr_least: decibels.iter().copied().fold(f64::INFINITY, f64::min),
        psnr_greatest: decibels.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

/// How often the judge says of pictures what their rows say.
///
/// # Errors
/// When a row names what the judge does not know.
pub fn accuracy(judge: &Judge, pictures: &[RgbImage], rows: &[Row]) -> Result<Tally> {
    let classes = judge.classes();
    let mut tally = Tally::default();
    for (verdict, row) in judge.judge(pictures)?.iter().zip(rows) {
        let unknown = |name: &str| {
            let message = format!("the judge does not know `{name}`");
            Error::invalid(message, "name a judge that was taught this data set's things with `--judge`")
        };
        let name = classes.of.label(row);
        let object = classes.object(name).ok_or_else(|| unknown(name))?;
        let background = classes.background(&row.background).ok_or_else(|| unknown(&row.background))?;
        let (object, background) = (verdict.object == object, verdict.background == background);
        tally.pictures += 1;
        tally.object_right += usize::from(object);
        tally.background_right += usize::from(background);
        tally.both_right += usize::from(object && background);
    }
    Ok(tally)
}
