//! Training: how a small Stable Diffusion is made from captioned pictures, and an existing one is taught more.
//!
//! Enters: a folder of pictures with captions and a configuration. Leaves: a model folder in diffusers' layout, a log, a
//! loss curve and sample grids. The modules that learn are the pipeline's own; only their tensors come from elsewhere.

pub mod adapters;
pub mod checkpoint;
pub mod config;
pub mod curve;
pub mod data;
pub mod diffusion;
pub mod embedding;
mod folder;
pub mod judge;
pub mod log;
pub mod lora;
pub mod noise;
pub mod optimizer;
pub mod parameters;
pub mod preview_pool;
pub mod preview_vae;
pub mod save;
pub mod stages;
pub mod tokenizer;
pub mod trainer;
pub mod vae;
mod workers;
