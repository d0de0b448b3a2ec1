//! The model: text encoder, UNet and autoencoder, built from configuration files and weights in diffusers' layout.

pub mod attention;
pub mod bundled;
pub mod files;
pub mod fingerprint;
pub mod layers;
pub mod resnet;
pub mod resolve;
pub mod swap;
pub mod text_encoder;
pub mod unet;
pub mod vae;
pub mod weights;
