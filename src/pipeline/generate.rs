//! Carrying out a plan with a loaded model: conditions, start, the loop once or twice, the finished pictures.

use super::clock::Clock;
use super::conditioning::{Conditioning, TextRequest};
use super::denoise::Denoise;
use super::edited::check_carried;
use super::init_image::Input;
use super::load::Pipeline;
use super::past::Past;
use super::resolve::Resolved;
use super::settle::Settle;
use super::shared::Shared;
use super::start::{Encoder, Start};
use super::step_reporter::StepReporter;
use super::{hires, start};
use crate::error::{Error, Result};
use crate::record::inversion::Found;
use crate::record::plan::{Decode, Plan};
use crate::record::schema::{RunRecord, Stage};
use crate::scheduler;
use crate::viz::distance::psnr;
use crate::watch::observer::{Event, Flow};
use crate::watch::probe::Probe;
use image::RgbImage;
use tch::Tensor;

/// What a run gives back.
#[derive(Debug)]
pub struct Outcome {
    /// The finished latents, `[batch, 4, height/8, width/8]`.
    pub latents: Tensor,
    /// The finished pictures, one per batch item; empty when nothing was decoded or the run was stopped.
    pub images: Vec<RgbImage>,
    /// Whether an observer stopped it before its last step.
    pub stopped: bool,
    /// Of an inversion, what was found on the way.
    pub inversion: Option<Found>,
    /// Where the time went.
    pub stages: Vec<Stage>,
}

impl Pipeline {
    /// Carries out a plan, shown to the observers behind `probe`.
    ///
    /// # Errors
    /// When the plan cannot be carried out, a tensor is not finite, or an observer fails.
    pub fn generate(&self, plan: &Plan, probe: &Probe) -> Result<Outcome> {
        self.generate_resolved(self.resolve(plan)?, None, &Shared::nothing(), None, probe)
    }

    /// Carries out a plan with a strength, from a picture of the plan's size and with its mask if it has one.
    ///
    /// # Errors
    /// As [`Pipeline::generate`]; also when the picture does not fit the plan.
    pub fn generate_from(&self, plan: &Plan, input: &Input, probe: &Probe) -> Result<Outcome> {
        self.generate_resolved(self.resolve(plan)?, None, &Shared::nothing(), Some(input), probe)
    }

    /// Carries out a plan with one seed per picture of the batch, whatever they are (`plan.seed` is not used), taking
    /// from `shared` what an earlier run has left there, and leaving there what a later one can use. It begins from the
    /// picture `input`, if the plan has a strength, else from noise.
    ///
    /// # Errors
    /// As [`Pipeline::generate_from`]; also when there are not as many seeds as pictures in the batch.
    pub fn generate_shared(
        &self,
        plan: &Plan,
        seeds: &[u64],
        shared: &Shared,
        input: Option<&Input>,
        probe: &Probe,
    ) -> Result<Outcome> {
        self.generate_resolved(self.resolve(plan)?, Some(seeds), shared, input, probe)
    }

    /// The same for a plan that was resolved with this pipeline; without seeds, with those that the plan means.
    ///
    /// # Errors
    /// As [`Pipeline::generate_shared`].
    pub fn generate_resolved(
        &self,
        resolved: Resolved,
        seeds: Option<&[u64]>,
        shared: &Shared,
        input: Option<&Input>,
        probe: &Probe,
    ) -> Result<Outcome> {
        let _no_gradients = tch::no_grad_guard();
        let Resolved { record, mut scheduler, second_scheduler, edits: _, past, start: begun, donors } = resolved;
        check_carried(&record, probe)?;
        let past = past.as_ref();
        let planned = record.plan.seeds();
        let seeds = seeds.unwrap_or(&planned);
        if seeds.len() != record.plan.batch_size {
            let message = format!("{} seeds for a batch of {}", seeds.len(), record.plan.batch_size);
            return Err(Error::invalid(message, "give each picture its seed"));
        }
        let plan = &record.plan;
        check_input(plan, input, past.is_some() || begun.is_some())?;
        check_begun(plan, begun.is_some() || past.is_some())?;
        let clock = Clock::new(self.options.device);
        if probe.tell(&Event::Begin(&record))? == Flow::Stop {
            return Err(Error::Cancelled);
        }

        let conditioning = &clock.time("text", || self.condition(&record, shared, probe))?;

        let donors = &clock.time("text", || self.beside(donors, plan.batch_size))?;

        let masked = input.is_some_and(|input| input.mask.is_some()) || past.map_or(Ok(false), Past::is_masked)?;
        let first_call = record.begin.as_ref().map_or(0, |begin| begin.first_call);
        let draws = start::draws(plan, masked, &self.vae) + scheduler::draws(scheduler.as_ref(), first_call);
        let mut noise = shared.noise(seeds, &self.latent_shape(plan), draws);
        let encoder = Encoder { vae: &self.vae, device: self.options.device, probe, clock: &clock };
        let start = match (past, begun, input) {
            (Some(past), ..) => past.start(plan, &mut noise, &encoder),
            (None, Some(latents), _) => Ok(Start { latents: latents.to_device(encoder.device), kept: None }),
            (None, None, None) => start::from_noise(scheduler.as_ref(), &mut noise, encoder.device, probe),
            (None, None, Some(input)) => encoder.begin(plan, input, scheduler.as_ref(), first_call, &mut noise),
        }?;

        let mut reporter = StepReporter::new(&self.vae, probe, &clock, &record).previewing(self.preview.as_ref());
        let mut settle = plan.inversion.as_ref().map(Settle::new);
        let mut psnr_vae = None;
        if let Some(input) = input.filter(|_| settle.is_some() && plan.decode != Decode::Nothing) {
            psnr_vae = reporter.decode_ahead(&start.latents, 0)?.first().and_then(|kept| psnr(&input.picture, kept));
        }
        let (unet, factor, clock) = (&self.unet, self.model.vae_scale_factor, &clock);
        let (kept, scheduler, noise) = (start.kept.as_ref(), scheduler.as_mut(), &mut noise);
        let mut denoise = Denoise {
            unet,
            scheduler,
            conditioning,
            noise,
            first_call,
            first_step: 0,
            kept,
            settle: settle.as_mut(),
            past,
            donors,
            probe,
            clock,
        };
        let mut denoised = denoise.run(start.latents, &mut reporter)?;
        let second = record.hires.as_ref().zip(second_scheduler).filter(|_| !denoised.stopped);
        if let Some((second, mut scheduler)) = second {
            let enlarge = hires::Enlarge { encoder, second, factor, seeds, drawn: draws };
            let (start, mut noise) = match past.filter(|past| past.covers(second.first_step)) {
                Some(past) => enlarge.again(past, &denoised.latents, scheduler.as_ref()),
                None => enlarge.start(&denoised.latents, scheduler.as_ref(), &mut reporter),
            }?;
            let (first_call, first_step) = (second.begin.first_call, second.first_step);
            let (scheduler, noise) = (scheduler.as_mut(), &mut noise);
            let mut denoise = Denoise { scheduler, noise, first_call, first_step, kept: None, ..denoise };
            denoised = denoise.run(start, &mut reporter)?;
        }
        let wanted = !denoised.stopped && plan.decode != Decode::Nothing;
        let last_step = record.last_step();
        let mut images = if wanted { reporter.pictures(&denoised.latents, last_step)? } else { vec![] };
        if let Some(input) = input.filter(|_| plan.paste) {
            images.iter_mut().for_each(|image| *image = input.pasted_over(image));
        }
        if !denoised.stopped {
            probe.tell(&Event::Finished(&images))?;
        }
        let residuals = settle.as_ref().map(Settle::residuals).transpose()?;
        let inversion = residuals.map(|residuals| Found { residuals, psnr_vae, psnr_reconstructed: None });
        Ok(Outcome { latents: denoised.latents, images, stopped: denoised.stopped, inversion, stages: clock.stages() })
    }

    /// What the model is told at each step of a run.
    fn condition(&self, record: &RunRecord, shared: &Shared, probe: &Probe) -> Result<Conditioning> {
        let request = TextRequest::of(record, &self.tokenizer)?;
        let encode = |probe: &Probe| request.encode(&self.text_encoder, self.options.device, probe);
        let texts = shared.text(&request.key, probe, encode)?;
        Ok(request.arrange(&texts, record.plan.batch_size, probe)?.told_by(record))
    }

    /// The shape of one picture's latents, `[4, height/8, width/8]`.
    pub(super) fn latent_shape(&self, plan: &Plan) -> [i64; 3] {
        let factor = self.model.vae_scale_factor;
        [self.unet.config().in_channels, (plan.height / factor) as i64, (plan.width / factor) as i64]
    }
}

/// The picture is there if and only if the plan has a strength, and fits it. A run that goes on from an earlier one needs it
/// only to put its pixels back.
fn check_input(plan: &Plan, input: Option<&Input>, goes_on: bool) -> Result<()> {
    match (plan.takes_picture(), input) {
        (false, None) => Ok(()),
        (true, None) if goes_on && !plan.paste => Ok(()),
        (true, None) if plan.looks_into_picture() => {
            Err(Error::invalid("no picture to look into", "give the run its picture"))
        }
        (true, None) => Err(Error::invalid("a strength, but no picture to begin from", "name one with `--init-image`")),
        (false, Some(_)) => Err(Error::invalid("a picture to begin from, but no strength", "give the plan a strength")),
        (true, Some(input)) => {
            let planned = (plan.width as u32, plan.height as u32);
            let sizes =
                [Some(input.picture.dimensions()), input.mask.as_ref().map(image::GenericImageView::dimensions)];
            match sizes.into_iter().flatten().find(|size| *size != planned) {
                None => Ok(()),
                Some((width, height)) => Err(Error::invalid(
                    format!(
                        "the initial picture is {width}×{height}, the plan asks for {}×{}",
                        plan.width, plan.height
                    ),
                    "make it fit with `InitImage::fit`",
                )),
            }
        }
    }
}

/// A plan that begins from an inversion has its latents.
fn check_begun(plan: &Plan, has_latents: bool) -> Result<()> {
    match &plan.start {
        Some(parent) if !has_latents => {
            let message = format!("the latents of the inversion `{}` were not given", parent.run);
            Err(Error::invalid(message, "a run that begins from an inversion is resolved by `run::start`"))
        }
        _ => Ok(()),
    }
}
