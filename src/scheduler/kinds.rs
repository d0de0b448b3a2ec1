//! Which schedulers there are, and what they are called: the only registry. Of the room `scheduler` this is what a program
//! without libtorch has.

use crate::error::{Error, Result};
use crate::record::sigmas::Sigmas;

/// The schedulers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described by SchedulerKind::about")]
pub enum SchedulerKind {
    Pndm,
    Ddim,
    Ddpm,
    Lms,
    Euler,
    EulerA,
    Heun,
    Dpmpp2m,
    Dpmpp2mKarras,
    Dpmpp2mSde,
    Unipc,
    Dpm2,
    Dpm2A,
    Dpmpp2sA,
    DpmppSde,
    Deis,
    Lcm,
    Tcd,
}

/// A line of the registry.
struct Entry {
    kind: SchedulerKind,
    name: &'static str,
    class_name: &'static str,
    a1111: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
}

/// The registry, in the order in which schedulers are listed. Aliases are compared by [`folded`].
const REGISTRY: &[Entry] = &[
    Entry {
        kind: SchedulerKind::Pndm,
        name: "pndm",
        class_name: "PNDMScheduler",
        a1111: "PLMS",
        aliases: &["plms"],
        about: "pseudo linear multistep over the last four noise predictions; Stable Diffusion 1.x's own choice",
    },
    Entry {
        kind: SchedulerKind::Ddim,
        name: "ddim",
        class_name: "DDIMScheduler",
        a1111: "DDIM",
        aliases: &[],
        about: "predicts the clean image, then re-noises it with the same noise; `eta` mixes in fresh noise",
    },
    Entry {
        kind: SchedulerKind::Ddpm,
        name: "ddpm",
        class_name: "DDPMScheduler",
        a1111: "DDPM",
        aliases: &[],
        about: "the original sampler: fresh noise at every step, good only with many steps",
    },
    Entry {
        kind: SchedulerKind::Lms,
        name: "lms",
        class_name: "LMSDiscreteScheduler",
        a1111: "LMS",
        aliases: &["k_lms"],
        about: "linear multistep over sigma with up to four past derivatives",
    },
    Entry {
        kind: SchedulerKind::Euler,
        name: "euler",
        class_name: "EulerDiscreteScheduler",
        a1111: "Euler",
        aliases: &["k_euler"],
        about: "one straight line per step along the predicted direction",
    },
    Entry {
        kind: SchedulerKind::EulerA,
        name: "euler_a",
        class_name: "EulerAncestralDiscreteScheduler",
        a1111: "Euler a",
        aliases: &["k_euler_a", "euler_ancestral", "k_euler_ancestral"],
        about: "Euler to a lower noise level, then fresh noise back up; never settles as steps grow",
    },
    Entry {
        kind: SchedulerKind::Heun,
        name: "heun",
        class_name: "HeunDiscreteScheduler",
        a1111: "Heun",
        aliases: &["k_heun"],
        about: "Euler's line corrected by the slope at its end; two model calls per step",
    },
    Entry {
        kind: SchedulerKind::Dpmpp2m,
        name: "dpmpp_2m",
        class_name: "DPMSolverMultistepScheduler",
        a1111: "DPM++ 2M",
        aliases: &["k_dpmpp_2m", "dpmsolver++"],
        about: "second-order multistep on the predicted clean image; good pictures in 20 to 30 steps",
    },
    Entry {
        kind: SchedulerKind::Dpmpp2mKarras,
        name: "dpmpp_2m_karras",
        class_name: "DPMSolverMultistepScheduler",
        a1111: "DPM++ 2M Karras",
        aliases: &["k_dpmpp_2m_karras"],
        about: "the same, with Karras' noise levels, which spend more steps near the clean image",
    },
    Entry {
        kind: SchedulerKind::Dpmpp2mSde,
        name: "dpmpp_2m_sde",
        class_name: "DPMSolverMultistepScheduler",
        a1111: "DPM++ 2M SDE",
        aliases: &["k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "sde-dpmsolver++"],
        about: "DPM++ 2M with fresh noise at every step; never settles as steps grow",
    },
    Entry {
        kind: SchedulerKind::Unipc,
        name: "unipc",
        class_name: "UniPCMultistepScheduler",
        a1111: "UniPC",
        aliases: &["uni_pc"],
        about: "predictor and corrector of matching order; good pictures in 10 to 20 steps",
    },
    Entry {
        kind: SchedulerKind::Dpm2,
        name: "dpm2",
        class_name: "KDPM2DiscreteScheduler",
        a1111: "DPM2",
        aliases: &["k_dpm_2"],
        about: "the slope half way down in log sigma takes the whole step; two model calls per step",
    },
    Entry {
        kind: SchedulerKind::Dpm2A,
        name: "dpm2_a",
        class_name: "KDPM2AncestralDiscreteScheduler",
        a1111: "DPM2 a",
        aliases: &["k_dpm_2_a", "dpm_2_ancestral", "k_dpm_2_ancestral"],
        about: "the same to a lower noise level, then fresh noise back up",
    },
    Entry {
        kind: SchedulerKind::Dpmpp2sA,
        name: "dpmpp_2s_a",
        class_name: "sample_dpmpp_2s_ancestral",
        a1111: "DPM++ 2S a",
        aliases: &["k_dpmpp_2s_a", "dpmpp_2s_ancestral", "k_dpmpp_2s_ancestral"],
        about: "single-step DPM-Solver++ to a lower noise level, then fresh noise back up; two model calls per step",
    },
    Entry {
        kind: SchedulerKind::DpmppSde,
        name: "dpmpp_sde",
        class_name: "DPMSolverSDEScheduler",
        a1111: "DPM++ SDE",
        aliases: &["k_dpmpp_sde", "dpmpp_sde_gpu"],
        about: "fresh noise half way and at the end of every step, on one Brownian path; two model calls per step",
    },
    Entry {
        kind: SchedulerKind::Deis,
        name: "deis",
        class_name: "DEISMultistepScheduler",
        a1111: "DEIS",
        aliases: &[],
        about: "exponential integrator: polynomials of past noise predictions, integrated exactly in log sigma",
    },
    Entry {
        kind: SchedulerKind::Lcm,
        name: "lcm",
        class_name: "LCMScheduler",
        a1111: "LCM",
        aliases: &["k_lcm"],
        about: "predicts the clean image, then noises it anew; for latent consistency models and LCM-LoRAs, 1 to 8 steps",
    },
    Entry {
        kind: SchedulerKind::Tcd,
        name: "tcd",
        class_name: "TCDScheduler",
        a1111: "TCD",
        aliases: &[],
        about: "steps along the trajectory, `eta` back into noise; for models and LoRAs of trajectory consistency",
    },
];

/// Names are compared in lower case and without `-`, `_` and spaces.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

impl SchedulerKind {
    /// All schedulers, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = SchedulerKind> {
        REGISTRY.iter().map(|entry| entry.kind)
    }

    /// The scheduler of this name: `euler_a`, a diffusers class name such as `EulerAncestralDiscreteScheduler`, or a
    /// name of AUTOMATIC1111's web UI such as `Euler a`. Case, `-`, `_` and spaces make no difference.
    ///
    /// Errors: [`Error::Unknown`], with the nearest name.
    pub fn parse(name: &str) -> Result<Self> {
        let wanted = folded(name);
        let matches = |known: &&'static str| folded(known) == wanted;
        let entry = REGISTRY
            .iter()
            .find(|entry| [entry.name, entry.a1111, entry.class_name].iter().chain(entry.aliases).any(matches));
        entry.map(|entry| entry.kind).ok_or_else(|| Error::unknown("scheduler", name, Self::all().map(Self::name)))
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The diffusers class of the same algorithm; of `dpmpp_2s_a`, which diffusers has not, k-diffusion's function.
    pub fn class_name(self) -> &'static str {
        self.entry().class_name
    }

    /// The sampler's name in AUTOMATIC1111's web UI, for the PNG's `parameters`.
    pub fn a1111_name(self) -> &'static str {
        self.entry().a1111
    }

    /// Whether its noise levels can be placed apart from its timesteps (`--sigmas`).
    pub fn takes_sigmas(self) -> bool {
        use SchedulerKind::{Ddim, Ddpm, Lcm, Pndm, Tcd};
        !matches!(self, Pndm | Ddim | Ddpm | Lcm | Tcd)
    }

    /// The ways to place its noise levels, for who is to choose one: none where it takes none, or has its own by its name.
    pub fn sigmas(self) -> Vec<Sigmas> {
        let chosen = self.takes_sigmas() && self != SchedulerKind::Dpmpp2mKarras;
        if chosen { Sigmas::ALL.to_vec() } else { vec![] }
    }

    /// Refuses noise levels that it cannot have.
    ///
    /// # Errors
    /// When it takes none, or has its own by its name.
    pub fn check_sigmas(self, sigmas: Sigmas) -> Result<()> {
        if self == SchedulerKind::Dpmpp2mKarras && sigmas != Sigmas::Karras {
            return Err(Error::invalid(
                format!("scheduler `{self}` has Karras' sigmas by its name, not `{sigmas}`"),
                format!("use `--scheduler {} --sigmas {sigmas}`", SchedulerKind::Dpmpp2m),
            ));
        }
        if self.takes_sigmas() {
            return Ok(());
        }
        let known = Self::all().filter(|kind| kind.takes_sigmas()).map(|kind| format!("`{kind}`"));
        Err(Error::invalid(
            format!("scheduler `{self}` has its noise levels where its timesteps are: `{sigmas}` cannot place them"),
            format!("these take `--sigmas`: {}", known.collect::<Vec<_>>().join(", ")),
        ))
    }

    /// Whether `eta` means something to it: the share of fresh noise in a step.
    pub fn takes_eta(self) -> bool {
        matches!(self, SchedulerKind::Ddim | SchedulerKind::Tcd)
    }

    /// The eta of a run that names none: 0, but for TCD diffusers' 0.3.
    pub fn usual_eta(self) -> f64 {
        if self == SchedulerKind::Tcd { 0.3 } else { 0.0 }
    }

    /// The eta of a run with the scheduler of this name, if it names none.
    pub fn usual_eta_of(name: &str) -> f64 {
        Self::parse(name).map_or(0.0, Self::usual_eta)
    }

    /// One line that says what is special about it.
    pub fn about(self) -> &'static str {
        self.entry().about
    }

    fn entry(self) -> &'static Entry {
        // The enum lists the schedulers in the registry's order, which a test checks.
        &REGISTRY[self as usize]
    }
}

impl std::fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
