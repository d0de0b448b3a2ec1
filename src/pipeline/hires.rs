//! High resolution: a second pass over the enlarged result of the first, so that a picture may be larger than those the
//! model was trained on and still be one picture.
//!
//! Enters: the first pass's clean latents. Leaves: the second pass's starting latents, noised as those of a run from a
//! picture. The loop is the same. The noise goes on where the first pass's ended: a generator with the picture's seed
//! draws all of the first pass's numbers, then the second's, of the larger shape.

use super::noise::NoiseStream;
use super::start::{self, Encoder};
use super::step_reporter::StepReporter;
use crate::error::{Error, Result};
use crate::record::hires::{Hires, SecondPass, Upscaler};
use crate::record::plan::Plan;
use crate::scheduler::{self, Scheduler, SchedulerConfig, SchedulerKind};
use crate::viz::pixels;
use crate::watch::site::Axes;
use image::RgbImage;
use image::imageops::FilterType;
use tch::Tensor;

/// Whether a second pass means anything, whatever the model.
///
/// # Errors
/// When scale, strength or steps cannot be, or when the run also begins from a picture.
pub fn check(asked: &Hires, from_picture: bool) -> Result<()> {
    if from_picture {
        return Err(Error::invalid(
            "a run from a picture has no second pass: `--hires` and `--init-image` do not go together",
            "make two runs of it: the second with `--init-image FIRST/final.png`, `--width` and `--height`",
        ));
    }
    asked.check_scale()?;
    start::check_strength(asked.strength)?;
    if asked.steps == 0 {
        return Err(Error::invalid("a second pass of 0 steps", "ask for at least one with `--hires-steps`"));
    }
    Ok(())
}

/// The second pass of a plan, if it has one, and its scheduler. The first pass ends at step `first_calls`.
///
/// # Errors
/// As [`check`]; also when the result would not be larger, or no step is left to make.
pub fn plan(
    plan: &Plan,
    config: &SchedulerConfig,
    factor: usize,
    first_calls: usize,
) -> Result<Option<(SecondPass, Box<dyn Scheduler>)>> {
    let Some(asked) = plan.hires else { return Ok(None) };
    check(&asked, plan.strength.is_some())?;
    let (width, height) = asked.size(plan.width, plan.height, factor)?;
    let kind = SchedulerKind::parse(&plan.scheduler)?;
    let scheduler = scheduler::build(kind, config, asked.steps, plan.eta)?;
    let begin = start::begin(scheduler.as_ref(), asked.steps, asked.strength)?;
    Ok(Some((SecondPass { asked, width, height, first_step: first_calls + 1, begin }, scheduler)))
}

/// What the first pass's result is enlarged with.
pub struct Enlarge<'a, 'p> {
    /// What encodes the enlarged picture.
    pub encoder: Encoder<'a, 'p>,
    /// The second pass.
    pub second: &'a SecondPass,
    /// The autoencoder's pixels per latent.
    pub factor: usize,
    /// The seed of each picture of the batch.
    pub seeds: &'a [u64],
    /// How often the first pass drew noise for each of them.
    pub drawn: usize,
}

impl Enlarge<'_, '_> {
    /// From the first pass's clean latents `[batch, 4, height/8, width/8]` to those that the second pass begins with, of
    /// its size, and the noise that is left for its steps.
    ///
    /// # Errors
    /// When a picture or its encoding is not finite; an observer's.
    pub fn start(
        &self,
        latents: &Tensor,
        scheduler: &dyn Scheduler,
        reporter: &mut StepReporter,
    ) -> Result<(Tensor, NoiseStream)> {
        let (second, device, probe) = (self.second, self.encoder.device, self.encoder.probe);
        probe.set_step(second.first_step);
        let (height, width) = self.places();
        let mut noise = self.noise(latents, scheduler);
        let encoded = match second.asked.upscaler {
            Upscaler::Latent => enlarged_latents(latents, height, width),
            Upscaler::Lanczos => {
                let pictures = reporter.pictures(latents, second.first_step - 1)?;
                let enlarge = |picture: &RgbImage| start::to_tensor(&enlarged_picture(picture, second));
                let pictures = Tensor::cat(&pictures.iter().map(enlarge).collect::<Vec<_>>(), 0).to_device(device);
                probe.see("enlarged", Axes::Image, &pictures)?;
                self.encoder.encode(&pictures, second.first_step, &mut noise)?
            }
        };
        probe.see("encoded", Axes::Image, &encoded)?;
        let level = second.begin.first_call;
        let noised = scheduler.add_noise(&encoded, &start::next(&mut noise, device)?, level)?;
        Ok((noised, noise))
    }

    /// All the noise of the second pass, which follows that of the first pass with its latents `first`.
    pub(super) fn noise(&self, first: &Tensor, scheduler: &dyn Scheduler) -> NoiseStream {
        let begin = &self.second.begin;
        let calls = scheduler::draws(scheduler, begin.first_call);
        let ((height, width), before) = (self.places(), first.size()[1..].to_vec());
        let (shape, count) = ([before[0], height, width], self.draws_before() + calls);
        NoiseStream::after(self.seeds, (&before, self.drawn), &shape, count)
    }

    /// How often the second pass draws noise before its first step: for the posterior where a picture is encoded, and for
    /// the start.
    pub(super) fn draws_before(&self) -> usize {
        let encodes = self.second.asked.upscaler == Upscaler::Lanczos;
        1 + usize::from(encodes && !self.encoder.vae.config().is_deterministic())
    }

    /// Height and width of its latents.
    fn places(&self) -> (i64, i64) {
        ((self.second.height / self.factor) as i64, (self.second.width / self.factor) as i64)
    }
}

/// Latents with `height`×`width` places, bilinear between the centres of the old ones, the outermost kept beyond them:
/// `torch.nn.functional.interpolate(latents, size=(height, width), mode="bilinear", align_corners=False)`.
pub fn enlarged_latents(latents: &Tensor, height: i64, width: i64) -> Tensor {
    latents.upsample_bilinear2d([height, width], false, None, None)
}

/// A picture of the second pass's size, by Lanczos' kernel with three lobes.
pub fn enlarged_picture(picture: &RgbImage, second: &SecondPass) -> RgbImage {
    pixels::resized(picture, (second.width as u32, second.height as u32), FilterType::Lanczos3)
}
