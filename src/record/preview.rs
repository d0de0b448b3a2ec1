//! What made the pictures of the steps, where that was not the model's own decoder.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A preview decoder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreviewRecord {
    /// What was asked for: `tiny`, `linear`, or what names an autoencoder.
    pub name: String,
    /// `AutoencoderTiny`, `AutoencoderKL`, or `linear`.
    pub class_name: String,
    /// The name of the file with its weights; none of a linear map.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// Parameters in the file.
    pub parameters: u64,
    /// The linear map, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<MapRecord>,
}

/// A linear map from four latents to a colour in 0..=1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapRecord {
    /// What each channel adds to red, green and blue.
    pub weights: [[f64; 3]; 4],
    /// The colour of latents that are 0.
    pub bias: [f64; 3],
}

impl fmt::Display for PreviewRecord {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.map {
            Some(_) => write!(f, "a linear map from latents to colours"),
            None => write!(f, "{} ({}, {} parameters)", self.name, self.class_name, self.parameters),
        }
    }
}
