//! What a record says of a run that begins from a picture: which picture and mask, how they were made to fit, and at
//! which call of the schedule the loop begins.
//!
//! Enters and leaves: parts of `run.json`. A run that begins from noise has none of it.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The picture that the run begins from, as it was encoded, inside the run directory.
pub const INIT_FILE: &str = "init.png";
/// The mask, at the size of the picture, inside the run directory.
pub const MASK_FILE: &str = "mask.png";

/// The strength of a run from a picture, where none is asked for: enough to change everything but the layout.
pub const USUAL_STRENGTH: f64 = 0.75;

/// A picture that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputFile {
    /// Its file name, without the folder.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Its width in pixels, as it is looked at (after EXIF's turn).
    pub width: usize,
    /// Its height in pixels.
    pub height: usize,
}

/// How a picture of other proportions is made to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Its sides are scaled each for itself.
    #[default]
    Stretch,
    /// It is scaled to cover the size, and what stands over is cut off on both sides alike.
    Crop,
    /// It is scaled to fit inside, and its outermost pixels are repeated to the edge.
    Pad,
}

impl Resize {
    /// All of them.
    pub const ALL: [Resize; 3] = [Resize::Stretch, Resize::Crop, Resize::Pad];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Resize::Stretch => "stretch",
            Resize::Crop => "crop",
            Resize::Pad => "pad",
        }
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Resize::ALL.into_iter().find(|r| r.name() == name);
        found.ok_or_else(|| Error::unknown("way to resize", name, Resize::ALL.map(Resize::name)))
    }
}

/// Where in the schedule a run that begins from a picture enters the loop, and why there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Begin {
    /// The first model call that is made, counted from 0 over the whole schedule.
    pub first_call: usize,
    /// Model calls in the whole schedule.
    pub scheduled_calls: usize,
    /// The timestep of that call: the level to which the picture is noised.
    pub timestep: f64,
    /// The arithmetic, in words.
    pub why: String,
}
