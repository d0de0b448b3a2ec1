//! What decodes the pictures of the steps in place of the model's own decoder, when pictures on the way shall cost little.
//!
//! Enters: clean latents. Leaves: a picture of the full size. Either a small network has learned to do what the decoder
//! does, or a linear map gives each latent a colour, in a square of as many pixels as the latent stands for. The finished
//! picture is never made here.

use super::start::{to_picture, to_tensor};
use crate::error::{Error, Result};
use crate::model::components::{PREVIEW_VAE, VAE};
use crate::model::config::VaeConfig;
use crate::model::files::ModelFiles;
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::model::{fingerprint, resolve, vae_override};
use crate::record::preview::{MapRecord, PreviewRecord};
use crate::viz::linear_map::{LinearFit, LinearMap};
use crate::viz::pixels::{magnify, to_unit};
use crate::watch::probe::Probe;
use image::{Rgb, RgbImage};
use ndarray::Array3;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tch::{Device, Kind, Tensor};

/// The name of the decoder that lies beside a model, if one does.
pub const TINY: &str = "tiny";
/// The name of the linear map.
pub const LINEAR: &str = "linear";

/// Patches of a side, and latents of a patch's side.
const PATCHES: (u32, u32) = (6, 6);

/// A loaded preview decoder.
#[derive(Debug)]
pub struct Preview {
    decoder: Decoder,
    record: PreviewRecord,
}

#[derive(Debug)]
enum Decoder {
    Network(Box<Vae>),
    /// With the pixels of a latent's side.
    Linear(LinearMap, u32),
}

impl Preview {
    /// What `name` names for a model with these files, whose own autoencoder is `own`: [`TINY`], [`LINEAR`], or an
    /// autoencoder.
    ///
    /// # Errors
    /// When there is no such decoder, it cannot be read, or its latents are not the model's.
    pub fn load(name: &str, files: &ModelFiles, own: &Vae, (device, kind): (Device, Kind)) -> Result<Preview> {
        if name == LINEAR {
            return Preview::linear(own, device);
        }
        let (files, component) = match name {
            TINY => (beside(files)?, &PREVIEW_VAE),
            other => (resolve::find_vae(other).map_err(|error| named(error, other))?, &VAE),
        };
        let files = files.of(component.name).clone();
        let config: VaeConfig = files.config(component)?;
        vae_override::check_fit(own.config(), &config, (name, "--preview-vae"))?;
        let (file, weights) = files.weights(component, None)?;
        let record = PreviewRecord {
            name: name.into(),
            class_name: if config.tiny.is_some() { "AutoencoderTiny" } else { "AutoencoderKL" }.into(),
            sha256: fingerprint::sum(&files, &file)?,
            file,
            parameters: weights.parameters(),
            map: None,
        };
        // As a component of the record it is called like the autoencoder: sites are not shown.
        let weights = Weights::new(VAE.name, weights, device, config.kind(kind));
        Ok(Preview { decoder: Decoder::Network(Box::new(Vae::new(&weights, config)?)), record })
    }

    fn linear(own: &Vae, device: Device) -> Result<Preview> {
        let (channels, factor) = (own.config().latent_channels, own.config().scale_factor() as u32);
        if channels != 4 || !own.encodes() {
            let why = if channels == 4 { "cannot encode".into() } else { format!("has {channels} channels") };
            return Err(Error::invalid(
                format!(
                    "no linear map for this model: its autoencoder {why}, and four channels are fitted on what it encodes"
                ),
                "name a tiny autoencoder with `--preview-vae FOLDER`, or leave it away",
            ));
        }
        let map = fitted(own, device)?.solve()?;
        let record = PreviewRecord {
            name: LINEAR.into(),
            class_name: LINEAR.into(),
            parameters: 15,
            map: Some(MapRecord { weights: map.weights, bias: map.bias }),
            ..PreviewRecord::default()
        };
        Ok(Preview { decoder: Decoder::Linear(map, factor), record })
    }

    /// What it is.
    pub fn record(&self) -> &PreviewRecord {
        &self.record
    }

    /// Clean latents of one picture, `[1, channels, h, w]` as the UNet has them, to the picture.
    ///
    /// # Errors
    /// When what it gives is not finite.
    pub fn decode(&self, latents: &Tensor) -> Result<RgbImage> {
        match &self.decoder {
            Decoder::Linear(map, factor) => Ok(magnify(&map.paint(numbers(latents)?.view())?, *factor)),
            Decoder::Network(vae) => {
                let image = vae.decode(&(latents / vae.config().scaling_factor), &Probe::silent())?;
                let image = (image.to_kind(Kind::Float) / 2.0 + 0.5).clamp(0.0, 1.0);
                if !super::sentinel::is_finite(&image) {
                    let message =
                        format!("the preview decoder `{}` gives numbers that are not finite", self.record.name);
                    return Err(Error::invalid(message, "compute in f32, `--dtype f32`, or name another"));
                }
                to_picture(&image)
            }
        }
    }
}

/// The model's files, if they have a preview decoder.
fn beside(files: &ModelFiles) -> Result<ModelFiles> {
    let own = files.of(PREVIEW_VAE.name);
    if own.has(PREVIEW_VAE.config) {
        return Ok(own.clone());
    }
    Err(Error::invalid(
        format!("no tiny decoder goes with this model: `{}` is missing", own.path(PREVIEW_VAE.config).display()),
        "name one, such as a folder of TAESD for Stable Diffusion 1.x and 2.x: `--preview-vae FOLDER`; \
         `--preview-vae linear` takes none",
    ))
}

/// Says which words there are, beside what no name was found for.
fn named(error: Error, name: &str) -> Error {
    match error {
        Error::Invalid { message, .. } if message.starts_with("no model") => Error::invalid(
            format!("no preview decoder `{name}`: there is no such folder or file"),
            "name `tiny`, `linear`, or an autoencoder: its folder or file, or a model whose autoencoder to take",
        ),
        other => other,
    }
}

/// The sums for a linear map of a model's latents, of a picture of flat patches as its autoencoder gives it back.
///
/// # Errors
/// When the autoencoder fails.
pub fn fitted(vae: &Vae, device: Device) -> Result<LinearFit> {
    let _no_gradients = tch::no_grad_guard();
    let picture = patches(vae.config().scale_factor() as u32);
    let latents = encoded(vae, &to_tensor(&picture).to_device(device))?;
    let image = vae.decode(&(&latents / vae.config().scaling_factor), &Probe::silent())?;
    let picture = to_picture(&(image.to_kind(Kind::Float) / 2.0 + 0.5).clamp(0.0, 1.0))?;
    let mut seen = LinearFit::default();
    seen.push(numbers(&latents)?.view(), to_unit(&picture).view())?;
    Ok(seen)
}

/// Flat patches of all colours.
fn patches(factor: u32) -> RgbImage {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (count, side) = (PATCHES.0, PATCHES.1 * factor);
    let colours: Vec<[u8; 3]> =
        (0..count * count).map(|_| std::array::from_fn(|_| (random.next_u32() >> 24) as u8)).collect();
    RgbImage::from_fn(count * side, count * side, |x, y| Rgb(colours[((y / side) * count + x / side) as usize]))
}

/// A picture in −1..1 as latents, the mean of its posterior.
///
/// # Errors
/// When the autoencoder fails.
pub fn encoded(vae: &Vae, picture: &Tensor) -> Result<Tensor> {
    let posterior = vae.encode(picture, &Probe::silent())?;
    Ok(posterior.mean.to_kind(Kind::Float) * vae.config().scaling_factor)
}

/// The first of a batch, `[channels, h, w]`.
///
/// # Errors
/// When it has another number of dimensions.
pub fn numbers(latents: &Tensor) -> Result<Array3<f32>> {
    let (_, channels, height, width) = latents.size4()?;
    let flat = latents.narrow(0, 0, 1).to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    let shape = (channels as usize, height as usize, width as usize);
    Array3::from_shape_vec(shape, Vec::try_from(&flat)?).map_err(|e| Error::Torch(e.to_string()))
}
