//! The model: text encoder, UNet and autoencoder, built from configuration files and weights in diffusers' layout.

mod attend;
pub mod attention;
pub mod bundled;
pub mod convert;
pub mod embedding;
pub mod fetch;
pub mod files;
pub mod fingerprint;
pub mod infer;
pub mod layers;
pub mod ldm;
pub mod list;
pub mod lora;
pub mod merge;
pub mod resnet;
pub mod resolve;
pub mod single_file;
pub mod swap;
pub mod text_encoder;
pub mod tiling;
pub mod unet;
pub mod vae;
pub mod weights;
