//! Where the loop begins: pure noise, or a picture that is encoded and noised part of the way.
//!
//! Enters: the run's picture, its scheduler, its random numbers. Leaves: the starting latents, and for a run with a mask
//! what is put back after each step. The arithmetic is that of diffusers' image-to-image and inpainting pipelines, its
//! order of random draws included: the posterior's first, then the starting noise, and with a mask one more.

use super::clock::Clock;
use super::init_image::Input;
use super::noise::NoiseStream;
use super::sentinel;
use crate::error::{Error, Result};
use crate::model::vae::{Posterior, Vae};
use crate::record::inputs::Begin;
use crate::record::plan::{Parent, Plan};
use crate::scheduler::Scheduler;
use crate::viz::pixels;
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Rows};
use image::RgbImage;
use tch::{Device, Kind, Tensor};

/// Where in a schedule of `steps` steps the loop begins for this strength: after the first `steps − int(steps · strength)`
/// steps.
///
/// # Errors
/// When the strength is not above 0 and up to 1, or so small that no step is left.
pub fn begin(scheduler: &dyn Scheduler, steps: usize, strength: f64) -> Result<Begin> {
    check_strength(strength)?;
    let made = ((steps as f64 * strength) as usize).min(steps);
    if made == 0 {
        let least = (1000.0 / steps as f64).ceil() / 1000.0;
        return Err(Error::invalid(
            format!("strength {strength} of {steps} steps leaves none to make"),
            format!("ask for more steps, or a strength of at least {least}"),
        ));
    }
    let (left_out, calls) = (steps - made, scheduler.timesteps().len());
    let first_call = left_out * scheduler.order();
    let timestep = scheduler.timesteps().get(first_call).copied().unwrap_or_default();
    let sigma = scheduler.level(first_call).sigma;
    let why = format!(
        "strength {strength} makes int({steps} × {strength}) = {made} of {steps} steps: the picture is noised to timestep \
         {timestep:.0} (σ {sigma:.2}) and the loop begins at call {first_call} of {calls}, counted from 0"
    );
    Ok(Begin { first_call, scheduled_calls: calls, timestep, why })
}

/// The same for a run with a mask. At strength 1 the part to repaint begins from pure noise, as diffusers' inpainting
/// pipeline has it, and not from a picture that is noised as far as it goes.
///
/// # Errors
/// As [`begin`].
pub fn begin_behind_mask(scheduler: &dyn Scheduler, steps: usize, strength: f64) -> Result<Begin> {
    let begin = begin(scheduler, steps, strength)?;
    if strength < 1.0 {
        return Ok(begin);
    }
    let why = format!(
        "strength 1 makes all {steps} steps: what is to be repainted begins from pure noise, at timestep {:.0} (σ {:.2})",
        begin.timestep,
        scheduler.level(begin.first_call).sigma
    );
    Ok(Begin { why, ..begin })
}

/// Where in the schedule the loop of a plan begins, and why: of one that begins from a picture or from an inversion.
///
/// # Errors
/// As [`begin`] and [`begin_from`].
pub fn beginning(plan: &Plan, scheduler: &dyn Scheduler) -> Result<Option<Begin>> {
    let from_picture = if plan.mask.is_some() { begin_behind_mask } else { begin };
    match (plan.strength, &plan.start) {
        (Some(strength), _) => from_picture(scheduler, plan.steps, strength).map(Some),
        (None, Some(parent)) => begin_from(scheduler, parent).map(Some),
        (None, None) => Ok(None),
    }
}

/// Where the loop begins with the latents that step `parent.step` of an inversion left: with all calls behind its last step,
/// with one less behind each step before.
///
/// # Errors
/// When an inversion of so many steps has no such step, or no call is left.
pub fn begin_from(scheduler: &dyn Scheduler, parent: &Parent) -> Result<Begin> {
    let (calls, step) = (scheduler.timesteps().len(), parent.step);
    let Some(first_call) = calls.checked_sub(step).filter(|_| step > 0) else {
        return Err(Error::invalid(
            format!("step {step} of an inversion of {calls} steps leaves none to make"),
            format!("begin with a step from 1 to {calls}, its noise: `--start RUN@{calls}`"),
        ));
    };
    let timestep = scheduler.timesteps().get(first_call).copied().unwrap_or_default();
    let sigma = scheduler.level(first_call).sigma;
    let why = format!(
        "step {step} of {calls} of the inversion `{}` is at timestep {timestep:.0} (σ {sigma:.2}): the loop begins there, at \
         call {first_call} of {calls}, counted from 0",
        parent.run
    );
    Ok(Begin { first_call, scheduled_calls: calls, timestep, why })
}

/// How often a run draws noise before its first step, for each picture of the batch: `masked` where its picture has a mask.
/// A run that goes on from an earlier one may lack the picture that the plan speaks of; its draws count all the same. A
/// deterministic autoencoder takes none, as in diffusers.
pub fn draws(plan: &Plan, masked: bool, vae: &Vae) -> usize {
    match (plan.strength, masked || plan.mask.is_some()) {
        (None, _) if plan.inversion.is_some() || plan.start.is_some() => 0,
        (None, _) => 1,
        (Some(_), _) if vae.config().is_deterministic() => 1,
        (Some(_), false) => 2,
        (Some(_), true) => 3,
    }
}

/// Which of those draws is the starting noise.
pub fn starting_draw(vae: &Vae) -> usize {
    usize::from(!vae.config().is_deterministic())
}

/// Whether a strength means anything.
///
/// # Errors
/// When it is not above 0 and up to 1.
pub fn check_strength(strength: f64) -> Result<()> {
    if strength > 0.0 && strength <= 1.0 {
        return Ok(());
    }
    Err(Error::invalid(
        format!("strength {strength} is not above 0 and up to 1"),
        "0.3 keeps most of the picture, 0.75 its layout, 1 little more than its brightness",
    ))
}

/// What the loop begins with.
#[derive(Debug)]
pub struct Start {
    /// The starting latents, `[batch, 4, height/8, width/8]`.
    pub latents: Tensor,
    /// What is kept of the picture, for a run with a mask.
    pub kept: Option<Preserved>,
}

/// The part of a picture that stays: put back after each step at the noise level then reached (blended latent diffusion,
/// Avrahami et al. 2022, arXiv 2206.02779).
#[derive(Debug)]
pub struct Preserved {
    /// 1 where to repaint, 0 where to keep, `[1, 1, height/8, width/8]`.
    pub(super) mask: Tensor,
    /// The encoded picture, `[batch, 4, height/8, width/8]`.
    pub(super) encoded: Tensor,
    /// The starting noise, of the same shape: the same at each step, so that the kept part does not flicker.
    pub(super) noise: Tensor,
}

impl Preserved {
    /// Latents that enter call `call`, with the kept part put back: noised to that level, or clean after the last call.
    ///
    /// # Errors
    /// The scheduler's.
    pub fn put_back(&self, latents: &Tensor, scheduler: &dyn Scheduler, call: usize) -> Result<Tensor> {
        let original = match call < scheduler.timesteps().len() {
            true => scheduler.add_noise(&self.encoded, &self.noise, call)?,
            false => self.encoded.shallow_clone(),
        };
        Ok(&self.mask * latents + (1.0 - &self.mask) * original)
    }
}

/// Pure noise of the scheduler's starting level.
///
/// # Errors
/// An observer's.
pub fn from_noise(scheduler: &dyn Scheduler, noise: &mut NoiseStream, device: Device, probe: &Probe) -> Result<Start> {
    let noise = next(noise, device)?;
    probe.see("noise", Axes::Image, &noise)?;
    Ok(Start { latents: noise * scheduler.init_noise_sigma(), kept: None })
}

/// What turns pictures into latents.
#[derive(Clone, Copy)]
pub struct Encoder<'a, 'p> {
    /// The autoencoder.
    pub vae: &'a Vae,
    /// Where it computes.
    pub device: Device,
    /// Who watches.
    pub probe: &'a Probe<'p>,
    /// Where the time goes.
    pub clock: &'a Clock,
}

impl Encoder<'_, '_> {
    /// What the loop of a plan begins with, from its picture: noised as far as its strength says; as it is, for an inversion;
    /// noised to the first of the levels that are looked at, and put back at each of them with the same noise.
    ///
    /// # Errors
    /// As [`Encoder::start`].
    pub fn begin(
        &self,
        plan: &Plan,
        input: &Input,
        scheduler: &dyn Scheduler,
        first_call: usize,
        noise: &mut NoiseStream,
    ) -> Result<Start> {
        if !plan.looks_into_picture() {
            return self.start(input, scheduler, first_call, noise);
        }
        let encoded = self.mean(input)?;
        if plan.inversion.is_some() {
            return Ok(Start { latents: encoded, kept: None });
        }
        let noise = next(noise, self.device)?;
        self.probe.see("noise", Axes::Image, &noise)?;
        let latents = scheduler.add_noise(&encoded, &noise, first_call)?;
        let (_, _, height, width) = encoded.size4()?;
        // Nothing of what is predicted goes on.
        let mask = Tensor::zeros([1, 1, height, width], (Kind::Float, self.device));
        Ok(Start { latents, kept: Some(Preserved { mask, encoded, noise }) })
    }

    /// A picture as the mean of its posterior, times the scaling factor.
    fn mean(&self, input: &Input) -> Result<Tensor> {
        let picture = to_tensor(&input.picture).to_device(self.device);
        self.probe.see("init_image", Axes::Image, &picture)?;
        let encoded = self.posterior(&picture, 0)?.mean * self.vae.config().scaling_factor;
        self.probe.see("encoded", Axes::Image, &encoded)?;
        Ok(encoded)
    }

    /// A picture, encoded with a sample of the posterior and noised to the level at which call `first_call` begins; with a
    /// mask and all calls to be made (`first_call` 0), pure noise. Each picture of the batch has a sample of its own.
    ///
    /// # Errors
    /// When the encoded picture is not finite; an observer's.
    pub fn start(
        &self,
        input: &Input,
        scheduler: &dyn Scheduler,
        first_call: usize,
        noise: &mut NoiseStream,
    ) -> Result<Start> {
        let picture = to_tensor(&input.picture).to_device(self.device);
        self.probe.see("init_image", Axes::Image, &picture)?;
        let encoded = self.encode(&picture, 0, noise)?;
        self.probe.see("encoded", Axes::Image, &encoded)?;

        let mask = input.mask.as_ref().map(|mask| {
            let (height, width) = (encoded.size()[2], encoded.size()[3]);
            let all = Tensor::from_slice(mask.as_raw()).view([1, 1, mask.height() as i64, mask.width() as i64]);
            // A latent is repainted as soon as one of its pixels is.
            (all.to_kind(Kind::Float) / 255.0).adaptive_max_pool2d([height, width]).0.to_device(self.device)
        });
        let drawn = next(noise, self.device)?;
        let Some(mask) = mask else {
            self.probe.see("noise", Axes::Image, &drawn)?;
            return Ok(Start { latents: scheduler.add_noise(&encoded, &drawn, first_call)?, kept: None });
        };
        self.probe.see("mask", Axes::Image, &mask)?;
        self.probe.see("noise", Axes::Image, &drawn)?;
        // diffusers encodes the picture without its repainted part too, for models that are told of it, whatever the model.
        // Here that is of no use, but its sample is drawn before the steps' noise.
        if !self.vae.config().is_deterministic() {
            drop(next(noise, self.device)?);
        }
        let latents = match first_call {
            0 => &drawn * scheduler.init_noise_sigma(),
            _ => scheduler.add_noise(&encoded, &drawn, first_call)?,
        };
        Ok(Start { latents, kept: Some(Preserved { mask, encoded, noise: drawn }) })
    }

    /// Pictures `[n, 3, height, width]` in −1..1 as latents: a sample of each one's posterior, times the scaling factor. One
    /// picture for a whole batch has a sample for each of the batch. `step` is what an error names.
    ///
    /// # Errors
    /// When the posterior is not finite; an observer's.
    pub fn encode(&self, pictures: &Tensor, step: usize, noise: &mut NoiseStream) -> Result<Tensor> {
        let posterior = self.posterior(pictures, step)?;
        if self.vae.config().is_deterministic() {
            let each = if pictures.size()[0] == 1 { noise.pictures() as i64 } else { 1 };
            return Ok(posterior.mean.repeat([each, 1, 1, 1]) * self.vae.config().scaling_factor);
        }
        // A sample: the mean, and for each picture of the batch its own grain of the posterior's width.
        let grain = next(noise, self.device)?;
        self.probe.see("posterior.noise", Axes::Image, &grain)?;
        Ok(posterior.sample(&grain) * self.vae.config().scaling_factor)
    }

    /// The posterior of pictures `[n, 3, height, width]` in −1..1, f32.
    fn posterior(&self, pictures: &Tensor, step: usize) -> Result<Posterior> {
        let (mut means, mut logvars) = (vec![], vec![]);
        // One by one: a picture does not depend on its batch, and memory stays that of one.
        for (index, picture) in pictures.split(1, 0).iter().enumerate() {
            self.probe.set_rows(Rows::one(index as i64));
            let posterior = self.clock.time("encode", || self.vae.encode(picture, self.probe))?;
            let (mean, logvar) = (posterior.mean.to_kind(Kind::Float), posterior.logvar.to_kind(Kind::Float));
            if !sentinel::is_finite(&mean) || !sentinel::is_finite(&logvar) {
                return Err(sentinel::first_bad_site(step, self.probe, |probe| {
                    self.vae.encode(picture, probe).map(|p| p.mean)
                }));
            }
            means.push(mean);
            logvars.push(logvar);
        }
        let (mean, logvar) = (Tensor::cat(&means, 0), Tensor::cat(&logvars, 0));
        self.probe.set_rows(Rows::plain(mean.size()[0]));
        self.probe.see("posterior.mean", Axes::Image, &mean)?;
        self.probe.see("posterior.std", Axes::Image, &(&logvar * 0.5).exp())?;
        Ok(Posterior { mean, logvar })
    }
}

/// The next draw, on the device.
///
/// # Errors
/// When all are used up.
pub fn next(noise: &mut NoiseStream, device: Device) -> Result<Tensor> {
    noise.next_draw_on(device).ok_or_else(|| Error::Torch("less noise was drawn than the start needs".into()))
}

/// A picture as the autoencoder takes it: `[1, 3, height, width]`, f32 in −1..1, on the CPU.
pub fn to_tensor(picture: &RgbImage) -> Tensor {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let bytes = Tensor::from_slice(picture.as_raw()).view([1, height, width, 3]);
    bytes.permute([0, 3, 1, 2]).to_kind(Kind::Float).contiguous() / 255.0 * 2.0 - 1.0
}

/// A picture `[1, 3, height, width]` in 0..1 as 8-bit RGB, rounded.
///
/// # Errors
/// When it has another shape.
pub fn to_picture(image: &Tensor) -> Result<RgbImage> {
    let (_, _, height, width) = image.size4()?;
    // Put in order where it is: a GPU is quicker at that.
    let flat = image.permute([0, 2, 3, 1]).to_kind(Kind::Float).contiguous().to_device(Device::Cpu).view(-1);
    let values: Vec<f32> = Vec::try_from(&flat)?;
    let bytes = values.into_iter().map(|v| pixels::unit_to_u8(v.into())).collect();
    Ok(RgbImage::from_raw(width as u32, height as u32, bytes).unwrap_or_default())
}
