//! Which schedulers there are, and what they are called: the only registry. Of the room `scheduler` this is what a program
//! without libtorch has.

use crate::error::{Error, Result};

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
    Unipc,
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
        kind: SchedulerKind::Unipc,
        name: "unipc",
        class_name: "UniPCMultistepScheduler",
        a1111: "UniPC",
        aliases: &["uni_pc"],
        about: "predictor and corrector of matching order; good pictures in 10 to 20 steps",
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

    /// The diffusers class of the same algorithm.
    pub fn class_name(self) -> &'static str {
        self.entry().class_name
    }

    /// The sampler's name in AUTOMATIC1111's web UI, for the PNG's `parameters`.
    pub fn a1111_name(self) -> &'static str {
        self.entry().a1111
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
