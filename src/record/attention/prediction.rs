//! Which of a step's predictions a map belongs to.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of the predictions of a step. Its name is the first part of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Prediction {
    /// With the negative prompt, or with nothing: `uncond`.
    Uncond,
    /// With a part of the prompt, counted from 0: `text`, then `part1`, `part2`, … where `AND` joins several.
    Part(usize),
}

impl Prediction {
    /// With the prompt, or its first part.
    pub const TEXT: Prediction = Prediction::Part(0);
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Prediction::Uncond => f.pad("uncond"),
            Prediction::Part(0) => f.pad("text"),
            Prediction::Part(part) => f.pad(&format!("part{part}")),
        }
    }
}

impl FromStr for Prediction {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let part = || name.strip_prefix("part")?.parse().ok().filter(|part| *part > 0).map(Prediction::Part);
        match name {
            "uncond" => Ok(Prediction::Uncond),
            "text" => Ok(Prediction::TEXT),
            _ => part().ok_or_else(|| Error::unknown("prediction", name, ["uncond", "text", "part1"])),
        }
    }
}

impl Serialize for Prediction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prediction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
