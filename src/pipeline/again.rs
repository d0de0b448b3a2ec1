//! The steps of an earlier run once more, without the model, up to the one that a run goes on from.
//!
//! Enters: the loop and the recorded steps. Leaves: the loop's state as it was then. The latents are the recorded ones. A
//! scheduler that remembers is told again what it was told at each step. Random numbers are drawn and passed over, so that
//! the next step has those that it had. Whoever watches is told of every step.

use super::denoise::Denoise;
use super::hires::Enlarge;
use super::noise::NoiseStream;
use super::past::Past;
use super::start;
use super::step_reporter::StepReporter;
use crate::error::{Error, Result};
use crate::scheduler::Scheduler;
use crate::watch::observer::Flow;
use tch::Tensor;

impl Enlarge<'_, '_> {
    /// The second pass's beginning as it was recorded, and the noise that is left for its steps.
    ///
    /// # Errors
    /// As [`Past::start`].
    pub fn again(&self, past: &Past, first: &Tensor, scheduler: &dyn Scheduler) -> Result<(Tensor, NoiseStream)> {
        let (device, step) = (self.encoder.device, self.second.first_step);
        self.encoder.probe.set_step(step);
        let mut noise = self.noise(first, scheduler);
        (0..self.draws_before()).for_each(|_| drop(noise.next_draw()));
        past.begun_with(step, device, self.encoder.probe)?;
        Ok((past.latents(step)?.to_device(device), noise))
    }
}

impl Denoise<'_, '_> {
    /// A step that the earlier run has made: from the latents that entered it to those that it left, and whether to go on.
    ///
    /// # Errors
    /// When something of it is not recorded; an observer's.
    pub(super) fn again(
        &mut self,
        past: &Past,
        (step, call): (usize, usize),
        latents: &Tensor,
        reporter: &mut StepReporter,
    ) -> Result<(Tensor, Flow)> {
        let device = latents.device();
        if past.is_replayed(self.scheduler, self.first_call, self.first_step) {
            let guided = past.guided(step)?.ok_or_else(|| Error::NotRecorded {
                message: format!("`{}` does not have `noise_guided` of step {step}", past.run.name()),
                hint: "record it: `--record latents,noise_guided`".into(),
            })?;
            let draw = &mut || start::next(self.noise, device);
            self.scheduler.step(&guided.to_device(device), call, latents, draw)?;
        } else if self.scheduler.draws(call) {
            drop(self.noise.next_draw());
        }
        let timestep = self.scheduler.timesteps().get(call).copied();
        let (latents, flow) = past.tell(step, timestep, device, self.probe, reporter)?;
        Ok((latents, flow))
    }
}
