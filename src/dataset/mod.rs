//! Training data: drawings of everyday things on plain backgrounds, with captions made by rule.
//!
//! Enters: icon packages in Iconify's JSON form, and a list of what to draw ([`config`]). Leaves: a folder in Hugging Face's
//! imagefolder layout with a manifest ([`manifest`]), the same bytes from the same seed, and contact sheets of it.

pub mod build;
pub mod caption;
pub mod config;
pub mod drawing;
pub mod icons;
pub mod manifest;
pub mod sheet;
pub mod styling;
