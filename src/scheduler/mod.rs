//! Schedulers: the noise levels of a run, and the arithmetic that takes the latents from one level to the next.
//!
//! Enters: a scheduler's name, the model's `scheduler_config.json` and a number of steps. Leaves: a [`Scheduler`], which
//! knows no model. `kinds` is the only registry; each algorithm stands in a file of its own.

mod beta_quantile;
mod betas;
mod checked;
mod config;
mod ddim;
mod ddim_inverse;
mod ddpm;
mod deis;
mod dpm2;
mod dpmpp_2m;
mod dpmpp_2s_a;
mod dpmpp_sde;
mod euler;
mod euler_a;
mod heun;
mod kinds;
mod lcm;
mod levels;
mod lms;
mod pndm;
mod prediction;
mod resolved;
mod singlestep;
mod tcd;
mod unipc;

pub use config::SchedulerConfig;
pub use kinds::SchedulerKind;
pub use prediction::Prediction;
pub use resolved::{BetaSchedule, FinalSigma, Resolved, Solver, Spacing, Variance};

use crate::error::{Error, Result};
use crate::record::schema::Level;
use singlestep::Singlestep;
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
    /// variance-preserving schedulers (PNDM, DDIM, DDPM, DPM-Solver++ 2M, UniPC, DEIS, LCM, TCD), sqrt(σ² + 1) for the
    /// k-diffusion ones (LMS, Euler, Heun, DPM2, DPM++ 2S a, DPM++ SDE).
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

    /// What standard normal noise is multiplied by to become the starting latents: 1 unless the latents keep a scale of
    /// their own.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// Model calls per step, as diffusers counts them for image to image: 2 for Heun, DPM2, DPM++ 2S a and DPM++ SDE,
    /// else 1.
    fn order(&self) -> usize {
        1
    }

    /// Whether [`Scheduler::step`] draws noise at call `call`: then exactly once.
    fn draws(&self, _call: usize) -> bool {
        false
    }

    /// Whether [`Scheduler::step`] draws noise at some of its calls.
    fn is_stochastic(&self) -> bool {
        (0..self.timesteps().len()).any(|call| self.draws(call))
    }

    /// Whether the step at call `call` depends on those before it, beyond the latents that they left.
    fn remembers(&self, _call: usize) -> bool {
        true
    }

    /// The noise level of the latents that enter model call `call`; `call == timesteps().len()` gives the level of the
    /// finished latents.
    fn level(&self, call: usize) -> NoiseLevel;

    /// The latents as the model wants to see them at call `call`, shape of the sample: as they are, unless said otherwise.
    ///
    /// # Errors
    /// When libtorch refuses.
    fn scale_model_input(&self, sample: &Tensor, _call: usize) -> Result<Tensor> {
        Ok(sample.shallow_clone())
    }

    /// One step: from the model's output at call `call` and the latents that entered it to the next latents. Calls come
    /// in order from the first one used, which for image to image is not 0.
    ///
    /// # Errors
    /// For a call beyond the last, and for shapes that do not fit each other.
    fn step(&mut self, model_output: &Tensor, call: usize, sample: &Tensor, noise: &mut Noise) -> Result<StepOutput>;

    /// Clean latents noised to the level at which call `call` begins (image to image).
    ///
    /// # Errors
    /// When the noise has another shape than the latents.
    fn add_noise(&self, original: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor>;
}

impl SchedulerKind {
    /// The scheduler that a model's own configuration names in `_class_name`.
    ///
    /// Errors: [`Error::Unknown`] for a diffusers class that is not implemented.
    pub fn from_class_name(class_name: &str, config: &SchedulerConfig) -> Result<Self> {
        match Self::all().find(|kind| kind.class_name() == class_name) {
            Some(SchedulerKind::Dpmpp2m) if config.algorithm_type.as_deref() == Some("sde-dpmsolver++") => {
                Ok(SchedulerKind::Dpmpp2mSde)
            }
            Some(SchedulerKind::Dpmpp2m) if config.use_karras_sigmas == Some(true) => Ok(SchedulerKind::Dpmpp2mKarras),
            Some(kind) => Ok(kind),
            None => {
                let mut known: Vec<&str> = Self::all().map(Self::class_name).collect();
                known.dedup();
                Err(Error::unknown("scheduler class", class_name, known))
            }
        }
    }
}

/// Makes a scheduler for one run.
///
/// `steps` is what the user asks for; `eta` in 0..=1 is the share of fresh noise in DDIM's steps and TCD's, and must be 0 for
/// every other scheduler.
///
/// Errors: what [`SchedulerConfig::resolve`] refuses; `steps` that is 0, larger than the number of training timesteps
/// or, for some schedulers, impossible with the configuration's timestep spacing; `eta` out of range.
pub fn build(kind: SchedulerKind, config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Box<dyn Scheduler>> {
    let config = resolved(kind, config, steps)?;
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::invalid(format!("`eta` is {eta}"), "give a value from 0 (no fresh noise) to 1 (as DDPM)"));
    }
    if eta > 0.0 && !kind.takes_eta() {
        return Err(Error::invalid(
            format!("`eta` means nothing to scheduler `{kind}`"),
            "use it with `ddim` or `tcd`",
        ));
    }
    let scheduler: Box<dyn Scheduler> = match kind {
        SchedulerKind::Pndm => Box::new(pndm::Pndm::new(&config, steps)?),
        SchedulerKind::Ddim => Box::new(ddim::Ddim::new(&config, steps, eta)?),
        SchedulerKind::Ddpm => Box::new(ddpm::Ddpm::new(&config, steps)?),
        SchedulerKind::Lms => Box::new(lms::Lms::new(&config, steps)?),
        SchedulerKind::Euler => Box::new(euler::Euler::new(&config, steps)?),
        SchedulerKind::EulerA => Box::new(euler_a::EulerA::new(&config, steps)?),
        SchedulerKind::Heun => Box::new(heun::Heun::new(&config, steps)?),
        SchedulerKind::Dpm2 => Box::new(Singlestep::<dpm2::Dpm2>::new(&config, steps)?),
        SchedulerKind::Dpm2A => Box::new(Singlestep::<dpm2::Ancestral>::new(&config, steps)?),
        SchedulerKind::Dpmpp2sA => Box::new(Singlestep::<dpmpp_2s_a::Dpmpp2sA>::new(&config, steps)?),
        SchedulerKind::DpmppSde => Box::new(Singlestep::<dpmpp_sde::DpmppSde>::new(&config, steps)?),
        SchedulerKind::Dpmpp2m | SchedulerKind::Dpmpp2mKarras | SchedulerKind::Dpmpp2mSde => {
            Box::new(dpmpp_2m::Dpmpp2m::new(&config, steps)?)
        }
        SchedulerKind::Unipc => Box::new(unipc::Unipc::new(&config, steps)?),
        SchedulerKind::Deis => Box::new(deis::Deis::new(&config, steps)?),
        SchedulerKind::Lcm => Box::new(lcm::Lcm::new(&config, steps)?),
        SchedulerKind::Tcd => Box::new(tcd::Tcd::new(&config, steps, eta)?),
    };
    Ok(Box::new(checked::Checked(scheduler)))
}

/// A configuration as a scheduler of so many steps takes it.
fn resolved(kind: SchedulerKind, config: &SchedulerConfig, steps: usize) -> Result<Resolved> {
    let resolved = config.resolve(kind)?;
    config.alphas(&resolved)?;
    if steps == 0 {
        return Err(Error::invalid("the number of steps is 0", "ask for at least one step"));
    }
    let train = resolved.num_train_timesteps;
    if steps > train {
        let message = format!("{steps} steps are more than the {train} timesteps the model was trained on");
        return Err(Error::invalid(message, format!("ask for {train} steps or fewer")));
    }
    Ok(resolved)
}

/// The inverse of `steps` steps of a scheduler: from a picture to noise, in diffusers' convention. `settled` says that the
/// model is asked at the latents that a step leaves, instead of those that enter it.
///
/// # Errors
/// As [`build`]; for every scheduler but DDIM, and for a configuration that clips the prediction.
pub fn inverse(
    kind: SchedulerKind,
    config: &SchedulerConfig,
    steps: usize,
    settled: bool,
) -> Result<Box<dyn Scheduler>> {
    if kind != SchedulerKind::Ddim {
        return Err(Error::invalid(
            format!(
                "scheduler `{kind}` has no inverse here: its steps remember others, draw noise or have another scale"
            ),
            "use `ddim`, each of whose steps is a formula that can be read both ways",
        ));
    }
    let config = resolved(kind, config, steps)?;
    if config.clip_sample {
        let hint = "set `clip_sample` to false in the model's scheduler_config.json";
        return Err(Error::invalid(
            "`clip_sample` is true: a prediction that is clipped cannot be gone back from",
            hint,
        ));
    }
    let ddim = ddim::Ddim::new(&config, steps, 0.0)?;
    Ok(Box::new(checked::Checked(Box::new(ddim_inverse::DdimInverse::of(ddim, settled)))))
}

/// A scheduler that visits the noise levels `at`, shares of the training timesteps in 0..=1, in this order.
///
/// # Errors
/// As [`SchedulerConfig::resolve`]; when there is none, or one is no such share.
pub fn visiting(config: &SchedulerConfig, at: &[f64]) -> Result<Box<dyn Scheduler>> {
    let config = resolved(SchedulerKind::Ddim, config, at.len())?;
    if let Some(share) = at.iter().find(|share| !(0.0..=1.0).contains(*share)) {
        return Err(Error::invalid(
            format!("`{share}` is no noise level"),
            "give shares from 0, the picture as it is, to 1, nothing but noise: `--at 0.2,0.4,0.6`",
        ));
    }
    let last = (config.num_train_timesteps - 1) as f64;
    let timesteps: Vec<usize> = at.iter().map(|share| (share * last).round() as usize).collect();
    Ok(Box::new(checked::Checked(Box::new(ddim::Ddim::visiting(&config, &timesteps)?))))
}

/// How often a run draws noise in its steps from `first_call` on, for each picture of the batch.
pub fn draws(scheduler: &dyn Scheduler, first_call: usize) -> usize {
    (first_call..scheduler.timesteps().len()).filter(|call| scheduler.draws(*call)).count()
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

/// The value at `call`, or the last one.
fn at<T: Copy + Default>(values: &[T], call: usize) -> T {
    values.get(call).or(values.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
