//! The heart of Stable Diffusion: the loop that turns noise into latents of a picture, one step at a time.
//!
//! Enters: noisy latents and the embeddings of the prompts. Leaves: clean latents. Each pass of the loop does five things:
//! scale the input, predict the noise twice in one batch, combine the two with guidance, step, tell the observers. (A prompt
//! joined by `AND` has a prediction for each of its parts.) Image
//! to image is the same loop, entered later.

use super::clock::Clock;
use super::conditioning::Conditioning;
use super::donors::{self, Beside};
use super::guidance;
use super::noise::NoiseStream;
use super::past::Past;
use super::sentinel;
use super::settle::{Asking, Settle};
use super::start::Preserved;
use super::step_reporter::StepReporter;
use crate::error::{Error, Result};
use crate::model::unet::UNet;
use crate::record::plan::Quantity;
use crate::scheduler::{Scheduler, StepOutput};
use crate::watch::observer::Flow;
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, GUIDANCE_SCALE, Rows};
use tch::{Kind, Tensor};

/// What the loop works with.
pub struct Denoise<'a, 'p> {
    /// The model.
    pub unet: &'a UNet,
    /// The sampling algorithm.
    pub scheduler: &'a mut dyn Scheduler,
    /// What the model is told at each step, and how far to follow it.
    pub conditioning: &'a Conditioning,
    /// Where a stochastic scheduler gets its noise from.
    pub noise: &'a mut NoiseStream,
    /// The call at which the loop begins: 0 from pure noise, later from a picture.
    pub first_call: usize,
    /// The number of the step that the loop begins with: its starting latents.
    pub first_step: usize,
    /// What of a picture is put back after each step, where a mask says so.
    pub kept: Option<&'a Preserved>,
    /// Of an inversion, where its steps predict.
    pub settle: Option<&'a mut Settle>,
    /// The steps that an earlier run has made.
    pub past: Option<&'a Past>,
    /// The runs that run beside it.
    pub donors: &'a [Beside],
    /// Who watches the tensors.
    pub probe: &'a Probe<'p>,
    /// Where the time goes.
    pub clock: &'a Clock,
}

/// How the loop ended.
#[derive(Debug)]
pub struct Denoised {
    /// The latents, `[batch, 4, height/8, width/8]`.
    pub latents: Tensor,
    /// Whether an observer stopped the run before its last step.
    pub stopped: bool,
}

impl Denoise<'_, '_> {
    /// Runs the loop from `latents`, `[batch, 4, height/8, width/8]` at the level of the first call.
    ///
    /// # Errors
    /// When a number is not finite, or an observer fails.
    pub fn run(&mut self, mut latents: Tensor, reporter: &mut StepReporter) -> Result<Denoised> {
        let pictures = Rows::plain(latents.size()[0]);
        let predictions = Rows { branches: self.conditioning.branches(), ..pictures.clone() };
        self.probe.set_step(self.first_step);
        self.probe.set_rows(pictures.clone());
        let begins = if self.first_step == 0 { "starting_latents" } else { "hires.starting_latents" };
        let past = |step| self.past.filter(|past| past.covers(step));
        let begun = match past(self.first_step) {
            Some(past) => {
                self.probe.see(begins, Axes::Image, &latents)?;
                past.tell(self.first_step, None, latents.device(), self.probe, reporter)?.1
            }
            None => {
                latents = self.probe.pass(begins, Axes::Image, latents)?;
                sentinel::check(self.first_step, &[("the starting latents", &latents)])?;
                reporter.tell(self.first_step, None, &[(Quantity::Latents, &latents)])?
            }
        };
        if begun == Flow::Stop {
            return Ok(Denoised { latents, stopped: true });
        }
        let timesteps = self.scheduler.timesteps().to_vec();
        for (call, &timestep) in timesteps.iter().enumerate().skip(self.first_call) {
            let step = self.first_step + call + 1 - self.first_call;
            self.probe.set_step(step);
            if let Some(past) = self.past.filter(|past| past.covers(step)) {
                self.probe.set_rows(pictures.clone());
                let (made, flow) = self.again(past, (step, call), &latents, reporter)?;
                latents = made;
                if flow == Flow::Stop && !reporter.is_last(step) {
                    return Ok(Denoised { latents, stopped: true });
                }
                continue;
            }

            // An inversion may predict where the step arrives. Every other run predicts where it is.
            let place = self.place(&latents, (step, call), timestep)?;

            // 1. The latents at the variance the model was trained on; twice, for the two predictions.
            let input = self.scheduler.scale_model_input(&place, call)?;
            let times = predictions.branches.len();
            let input = if times > 1 { Tensor::cat(&vec![&input; times], 0) } else { input };
            let text = self.conditioning.at(step).shallow_clone();
            let own = donors::Input { latents: input, text, rows: predictions.clone() };
            let donors::Input { latents: input, text: told, rows } =
                donors::put_beside(self.donors, own, self.scheduler, (step, call))?;
            self.probe.set_rows(rows.clone());
            let input = self.probe.pass("unet.sample", Axes::Image, input)?;

            // 2. Predict the noise, without and with the prompt.
            let t = Tensor::full([input.size()[0]], timestep, (Kind::Float, input.device()));
            let embedded = self.conditioning.embedded;
            let predict = |probe: &Probe| self.unet.forward_guided(&input, &t, &told, embedded, probe);
            let noise = self.clock.queue("unet", || predict(self.probe))?;
            let predicted = self.probe.pass("noise_pred", Axes::Image, noise.to_kind(Kind::Float))?;

            // What is predicted for donors' rows is of no use.
            let noise = predicted.narrow(0, 0, predictions.count());

            // 3. Guidance: beyond the one, towards the other (Ho & Salimans 2022).
            self.probe.set_rows(pictures.clone());
            let pass = |what: Quantity, tensor| self.probe.pass(what.key(), Axes::Image, tensor);
            let (uncond, text, guided) = match self.conditioning.guidance_scale() {
                Some(scale) => {
                    let mut parts = noise.chunk(times as i64, 0);
                    let uncond = pass(Quantity::NoiseUncond, parts.remove(0))?;
                    let text = pass(Quantity::NoiseText, self.conditioning.joined(&uncond, &parts))?;
                    let scale = self.guidance_scale(scale)?;
                    let guided = guidance::guided(&uncond, &text, scale);
                    let guided = guidance::rescaled(guided, &text, self.conditioning.rescale);
                    (Some(uncond), text, guided)
                }
                None => {
                    let text = pass(Quantity::NoiseText, noise)?;
                    (None, text.shallow_clone(), text)
                }
            };
            let guided = pass(Quantity::NoiseGuided, guided)?;

            // 4. One step of the sampler: a little less noise.
            let draw = &mut || {
                let drawn = self.noise.next_draw_on(latents.device());
                drawn.ok_or_else(|| Error::Torch("the scheduler drew more noise than it announced".into()))
            };
            let StepOutput { prev_sample, pred_original } =
                self.clock.queue("scheduler", || self.scheduler.step(&guided, call, &latents, draw))?;
            latents = prev_sample;
            self.settle.iter_mut().for_each(|settle| settle.note(&latents, &place));
            if let Some(kept) = self.kept {
                latents = kept.put_back(&latents, self.scheduler, call + 1)?;
            }
            self.probe.see(Quantity::PredictedOriginal.key(), Axes::Image, &pred_original)?;
            latents = self.probe.pass(Quantity::Latents.key(), Axes::Image, latents)?;

            // The one look at numbers in a step: until here a GPU is only handed its work.
            let computed = [
                ("noise_pred", &predicted),
                (Quantity::NoiseGuided.key(), &guided),
                (Quantity::PredictedOriginal.key(), &pred_original),
                (Quantity::Latents.key(), &latents),
            ];
            if !self.clock.wait("unet", || sentinel::are_finite(&computed))? {
                if sentinel::is_finite(&predicted) {
                    sentinel::check(step, &computed)?;
                }
                self.probe.set_rows(rows);
                return Err(sentinel::first_bad_site(step, self.probe, predict));
            }

            // 5. Tell whoever watches.
            let uncond = uncond.as_ref().map(|uncond| (Quantity::NoiseUncond, uncond));
            let quantities: Vec<(Quantity, &Tensor)> = uncond
                .into_iter()
                .chain([
                    (Quantity::NoiseText, &text),
                    (Quantity::NoiseGuided, &guided),
                    (Quantity::PredictedOriginal, &pred_original),
                    (Quantity::Latents, &latents),
                ])
                .collect();
            if reporter.tell(step, Some(timestep), &quantities)? == Flow::Stop && !reporter.is_last(step) {
                return Ok(Denoised { latents, stopped: true });
            }
        }
        Ok(Denoised { latents, stopped: false })
    }

    /// The latents at which the model is asked in a step that begins with `latents`.
    fn place(&mut self, latents: &Tensor, at: (usize, usize), timestep: f64) -> Result<Tensor> {
        let Some(settle) = &mut self.settle else { return Ok(latents.shallow_clone()) };
        let (unet, conditioning) = (self.unet, self.conditioning);
        let asking = Asking { unet, conditioning, scheduler: &mut *self.scheduler, at, timestep, clock: self.clock };
        settle.place(latents, asking)
    }

    /// The guidance scale of this step: an editor may have another one than was asked for.
    fn guidance_scale(&self, asked: f64) -> Result<f64> {
        if !self.probe.edits(GUIDANCE_SCALE) && !self.probe.wants_site(GUIDANCE_SCALE) {
            return Ok(asked);
        }
        Ok(self.probe.pass(GUIDANCE_SCALE, Axes::Text, Tensor::from(asked))?.double_value(&[]))
    }
}
