//! Another autoencoder for a model: whether it fits, and the model with it.
//!
//! Enters: two models' files. Leaves: one that reads `vae/…` from the other. What must agree is the shape of the latents:
//! as many channels, and as many pixels to one latent. That they mean the same cannot be seen from outside, but another
//! scaling factor is a sign that they do not.

use super::components::{UNET, VAE};
use super::files::ModelFiles;
use crate::error::{Error, Result};
use crate::model::config::{UNetConfig, VaeConfig};

/// The model with another autoencoder, which `name` names. The model need not have one of its own.
///
/// # Errors
/// When its latents have another number of channels, or another number of pixels to each, than the model's own; of a
/// model that has none, another number of channels than its UNet takes.
pub fn with_vae(model: ModelFiles, name: &str, vae: ModelFiles) -> Result<ModelFiles> {
    let other: VaeConfig = vae.config(&VAE)?;
    let own = match model.has(VAE.config) {
        true => model.config(&VAE)?,
        // How many pixels a latent stood for is not written in the UNet.
        false => VaeConfig {
            latent_channels: model.config::<UNetConfig>(&UNET)?.in_channels,
            block_out_channels: other.block_out_channels.clone(),
            ..VaeConfig::default()
        },
    };
    check_fit(&own, &other, (name, "--vae"))?;
    Ok(ModelFiles::WithVae { model: Box::new(model), name: name.into(), vae: Box::new(vae) })
}

/// Refuses an autoencoder for latents of another shape than the model's own; it was named with `flag`.
///
/// # Errors
/// Then.
pub fn check_fit(own: &VaeConfig, other: &VaeConfig, (name, flag): (&str, &str)) -> Result<()> {
    let refused = |reason: String| {
        Err(Error::invalid(
            format!("the autoencoder `{name}` does not fit: {reason}"),
            format!("take an autoencoder that was made for this kind of model, or leave `{flag}` away"),
        ))
    };
    if own.latent_channels != other.latent_channels {
        let (own, other) = (own.latent_channels, other.latent_channels);
        return refused(format!("its latents have {other} channels, the model's have {own}"));
    }
    if own.scale_factor() != other.scale_factor() {
        let (own, other) = (own.scale_factor(), other.scale_factor());
        return refused(format!("its latents stand for {other}×{other} pixels each, the model's for {own}×{own}"));
    }
    Ok(())
}

/// A word of warning where the exchanged autoencoder fits in shape but scales its latents otherwise.
///
/// # Errors
/// When a configuration cannot be read.
pub fn warning(files: &ModelFiles) -> Result<Option<String>> {
    let ModelFiles::WithVae { model, name, vae } = files else { return Ok(None) };
    if !model.has(VAE.config) {
        return Ok(None);
    }
    let scaling = |files: &ModelFiles| Ok::<_, Error>(files.config::<VaeConfig>(&VAE)?.scaling_factor);
    let (own, other) = (scaling(model)?, scaling(vae)?);
    // A tiny one takes the latents of the UNet as they are: its factor is 1.
    let scaled = vae.config::<VaeConfig>(&VAE)?.tiny.is_none() && model.config::<VaeConfig>(&VAE)?.tiny.is_none();
    let differ = scaled && (own - other).abs() > 1e-6 * own;
    Ok(differ.then(|| {
        format!(
            "the autoencoder `{name}` scales its latents by {other}, the model's own by {own}: \
             it was trained for other latents than this model draws, and its pictures will look wrong"
        )
    }))
}
