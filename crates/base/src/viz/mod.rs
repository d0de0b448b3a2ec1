//! Pictures of what happens inside: pure functions from arrays and pictures to pictures.
//!
//! Enters: `ndarray` arrays (latents, decoded pictures, differences) and the words that belong to them. Leaves:
//! [`image::RgbImage`]s. Nothing here reads a run, knows a model or needs libtorch; the same input gives the same pixels
//! on every machine, but for characters that no shipped font has.

pub mod caption;
pub mod colour;
pub mod distance;
pub mod fonts;
pub mod grid;
pub mod heatmap;
pub mod latents;
pub mod linear_map;
pub mod normalise;
pub mod pixels;
pub mod text;
pub mod upsample;
