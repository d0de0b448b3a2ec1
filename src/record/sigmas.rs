//! Where the noise levels of a run lie, as data: a choice of its own beside the sampler.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where the sigmas of a run lie between the largest and the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sigmas {
    /// Their 7th roots evenly spaced (Karras et al. 2022, arXiv 2206.00364): diffusers' `use_karras_sigmas`.
    Karras,
    /// Their logarithms evenly spaced: diffusers' `use_exponential_sigmas`.
    Exponential,
    /// At quantiles of the distribution Beta(0.6, 0.6), which is dense at both ends (Lee et al. 2024, arXiv 2407.12173):
    /// diffusers' `use_beta_sigmas`.
    Beta,
    /// At evenly spaced training timesteps, one more than there are steps, without the last: ComfyUI's `sgm_uniform`.
    SgmUniform,
    /// At every `T / n`th of the training timesteps, whole ones from the last down: ComfyUI's `simple`.
    Simple,
    /// At evenly spaced training timesteps from the last to the first: k-diffusion's `get_sigmas`, ComfyUI's `normal`.
    Normal,
}

impl Sigmas {
    /// All of them.
    pub const ALL: [Sigmas; 6] =
        [Sigmas::Karras, Sigmas::Exponential, Sigmas::Beta, Sigmas::SgmUniform, Sigmas::Simple, Sigmas::Normal];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Sigmas::Karras => "karras",
            Sigmas::Exponential => "exponential",
            Sigmas::Beta => "beta",
            Sigmas::SgmUniform => "sgm_uniform",
            Sigmas::Simple => "simple",
            Sigmas::Normal => "normal",
        }
    }

    /// The schedule's name in AUTOMATIC1111's web UI, for the PNG's `parameters`.
    pub fn a1111_name(self) -> &'static str {
        match self {
            Sigmas::Karras => "Karras",
            Sigmas::Exponential => "Exponential",
            Sigmas::Beta => "Beta",
            Sigmas::SgmUniform => "SGM Uniform",
            Sigmas::Simple => "Simple",
            Sigmas::Normal => "Normal",
        }
    }

    /// The field of a `scheduler_config.json` that switches it on, where diffusers has one.
    pub fn diffusers_field(self) -> Option<&'static str> {
        match self {
            Sigmas::Karras => Some("use_karras_sigmas"),
            Sigmas::Exponential => Some("use_exponential_sigmas"),
            Sigmas::Beta => Some("use_beta_sigmas"),
            Sigmas::SgmUniform | Sigmas::Simple | Sigmas::Normal => None,
        }
    }
}

impl fmt::Display for Sigmas {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sigmas {
    type Err = Error;

    /// Case, `-`, `_` and spaces make no difference.
    fn from_str(name: &str) -> Result<Self> {
        let folded = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
        let found = Sigmas::ALL.into_iter().find(|sigmas| folded(sigmas.name()) == folded(name));
        found.ok_or_else(|| Error::unknown("way to place sigmas", name, Sigmas::ALL.map(Sigmas::name)))
    }
}
