//! Schedulers: the noise levels of a run, and the arithmetic that takes the latents from one level to the next.
//!
//! Enters: a scheduler's name, the model's `scheduler_config.json` and a number of steps. Leaves: a [`Scheduler`], which
//! knows no model. This file is the only registry; each algorithm stands in a file of its own.

mod betas;
mod config;
mod ddim;
mod ddpm;
mod dpmpp_2m;
mod euler;
mod euler_a;
mod heun;
mod lms;
mod pndm;
mod prediction;
mod resolved;
mod unipc;

pub use config::SchedulerConfig;
pub use prediction::Prediction;
pub use resolved::{BetaSchedule, FinalSigma, Resolved, Solver, Spacing, Variance};

use crate::error::{Error, Result};
use crate::record::schema::Level;
use tch::Tensor;

/// What one scheduler step gives.
#[derive(Debug)]
pub struct StepOutput {
    /// The latents at the next noise level, shape of the sample.
    pub prev_sample: Tensor,
    /// The clean latents (x0) that the model's output implies at this call, shape of the sample.
    pub pred_original: Tensor,
}

/// A noise level of the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseLevel {
    /// ᾱ, the share of the signal's variance that is left, in 0..=1.
    pub alpha_cumprod: f64,
    /// σ = sqrt((1 − ᾱ) / ᾱ), the noise's standard deviation beside a signal of unit scale.
    pub sigma: f64,
    /// What the latents of this scheduler are divided by to have the variance the model and a viewer expect: 1 for the
    /// variance-preserving schedulers (PNDM, DDIM, DDPM, DPM-Solver++, UniPC), sqrt(σ² + 1) for the k-diffusion ones
    /// (LMS, Euler, Heun).
    pub latent_scale: f64,
}

/// Where a stochastic scheduler gets its noise from: a standard normal tensor of the sample's shape, drawn in the
/// pipeline's order.
pub type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// A sampling algorithm over a fixed list of model calls.
pub trait Scheduler {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// The timestep of each model call, in order, as the model is given it (fractional for some schedulers). PNDM
    /// calls the model once more than the number of steps (nine times more with its Runge-Kutta start, and for a single
    /// step just once), Heun twice as often less one.
    fn timesteps(&self) -> &[f64];

    /// What standard normal noise is multiplied by to become the starting latents.
    fn init_noise_sigma(&self) -> f64;

    /// Model calls per step, as diffusers counts them for image to image: 2 for Heun, else 1.
    fn order(&self) -> usize {
        1
    }

    /// Whether [`Scheduler::step`] draws noise: then exactly one draw per call.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// The noise level of the latents that enter model call `call`; `call == timesteps().len()` gives the level of the
    /// finished latents.
    fn level(&self, call: usize) -> NoiseLevel;

    /// The latents as the model wants to see them at call `call`, shape of the sample.
    fn scale_model_input(&self, sample: &Tensor, call: usize) -> Tensor;

    /// One step: from the model's output at call `call` and the latents that entered it to the next latents. Calls come
    /// in order from the first one used, which for image to image is not 0.
    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput>;

    /// Clean latents noised to the level at which call `call` begins (image to image).
    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Tensor;
}

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

    /// The scheduler that a model's own configuration names in `_class_name`.
    ///
    /// Errors: [`Error::Unknown`] for a diffusers class that is not implemented.
    pub fn from_class_name(class_name: &str, config: &SchedulerConfig) -> Result<Self> {
        let entry = REGISTRY.iter().find(|entry| entry.class_name == class_name);
        match entry.map(|entry| entry.kind) {
            Some(SchedulerKind::Dpmpp2m) if config.use_karras_sigmas == Some(true) => Ok(SchedulerKind::Dpmpp2mKarras),
            Some(kind) => Ok(kind),
            None => {
                let mut known: Vec<&str> = REGISTRY.iter().map(|entry| entry.class_name).collect();
                known.dedup();
                Err(Error::unknown("scheduler class", class_name, known))
            }
        }
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

/// Makes a scheduler for one run.
///
/// `steps` is what the user asks for; `eta` in 0..=1 is the share of fresh noise in DDIM's steps and must be 0 for every
/// other scheduler.
///
/// Errors: what [`SchedulerConfig::resolve`] refuses; `steps` that is 0, larger than the number of training timesteps
/// or, for some schedulers, impossible with the configuration's timestep spacing; `eta` out of range.
pub fn build(kind: SchedulerKind, config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Box<dyn Scheduler>> {
    let resolved = config.resolve(kind)?;
    config.alphas(&resolved)?;
    let config = resolved;
    if steps == 0 {
        return Err(Error::invalid("the number of steps is 0", "ask for at least one step"));
    }
    if steps > config.num_train_timesteps {
        let train = config.num_train_timesteps;
        let message = format!("{steps} steps are more than the {train} timesteps the model was trained on");
        return Err(Error::invalid(message, format!("ask for {train} steps or fewer")));
    }
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::invalid(format!("`eta` is {eta}"), "give a value from 0 (no fresh noise) to 1 (as DDPM)"));
    }
    if eta > 0.0 && kind != SchedulerKind::Ddim {
        return Err(Error::invalid(format!("`eta` means nothing to scheduler `{kind}`"), "use it with `ddim`"));
    }
    Ok(match kind {
        SchedulerKind::Pndm => Box::new(pndm::Pndm::new(&config, steps)?),
        SchedulerKind::Ddim => Box::new(ddim::Ddim::new(&config, steps, eta)?),
        SchedulerKind::Ddpm => Box::new(ddpm::Ddpm::new(&config, steps)?),
        SchedulerKind::Lms => Box::new(lms::Lms::new(&config, steps)?),
        SchedulerKind::Euler => Box::new(euler::Euler::new(&config, steps)?),
        SchedulerKind::EulerA => Box::new(euler_a::EulerA::new(&config, steps)?),
        SchedulerKind::Heun => Box::new(heun::Heun::new(&config, steps)?),
        SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mKarras => Box::new(dpmpp_2m::Dpmpp2m::new(&config, steps)?),
        SchedulerKind::Unipc => Box::new(unipc::Unipc::new(&config, steps)?),
    })
}

/// The noise levels before each model call from `first_call` on, and after the last.
pub fn levels(scheduler: &dyn Scheduler, first_call: usize) -> Vec<Level> {
    let timesteps = scheduler.timesteps();
    let level = |call| {
        let NoiseLevel { sigma, alpha_cumprod, latent_scale } = scheduler.level(call);
        Level { timestep: timesteps.get(call).copied(), sigma, alpha_cumprod, latent_scale }
    };
    (first_call..=timesteps.len()).map(level).collect()
}

/// Refuses a step beyond the last model call, and tensors of different shapes, which libtorch would broadcast.
fn check_step(call: usize, timesteps: &[f64], model_output: &Tensor, sample: &Tensor) -> Result<()> {
    let message = if call >= timesteps.len() {
        format!("there is no model call {call}: the run has {}", timesteps.len())
    } else if model_output.size() != sample.size() {
        let (output, sample) = (model_output.size(), sample.size());
        format!("the model's output has shape {output:?}, the latents have {sample:?}")
    } else {
        return Ok(());
    };
    Err(Error::Invalid { message, hint: None })
}

/// The value at `call`, or the last one.
fn at<T: Copy + Default>(values: &[T], call: usize) -> T {
    values.get(call).or(values.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
