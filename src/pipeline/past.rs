//! The steps of an earlier run that a run goes on from.
//!
//! Enters: a recorded run and the step to go on from. Leaves: what the loop begins with, and what whoever watches is told of
//! the steps that are made already. `again` has the way through them.

use super::noise::NoiseStream;
use super::start::{self, Encoder, Preserved, Start};
use super::step_reporter::StepReporter;
use crate::error::{Error, Result};
use crate::record::plan::{Plan, Quantity};
use crate::record::schema::{MASK_SITE, RunRecord, START_SITES};
use crate::scheduler::Scheduler;
use crate::watch::observer::Flow;
use crate::watch::probe::Probe;
use crate::watch::recorded::Recorded;
use crate::watch::site::Axes;
use tch::{Device, Tensor};

/// The steps of an earlier run that a run goes on from.
#[derive(Debug)]
pub struct Past {
    /// The run.
    pub run: Box<dyn Recorded>,
    /// The last step that is that run's.
    pub until: usize,
    /// Whether its pictures are those that this run's autoencoder would decode.
    pub pictures: bool,
}

impl Past {
    /// Whether a step is the earlier run's.
    pub fn covers(&self, step: usize) -> bool {
        step <= self.until
    }

    /// The latents of a step, f32 on the CPU.
    ///
    /// # Errors
    /// When they were not recorded or cannot be read.
    pub fn latents(&self, step: usize) -> Result<Tensor> {
        let latents = self.run.tensor(step, Quantity::Latents.key())?;
        latents.ok_or_else(|| self.lacks_latents(step))
    }

    /// The shape of the latents of a step.
    ///
    /// # Errors
    /// As [`Past::latents`].
    pub(super) fn shape(&self, step: usize) -> Result<Vec<i64>> {
        let shape = self.run.shape(step, Quantity::Latents.key())?;
        shape.ok_or_else(|| self.lacks_latents(step))
    }

    fn lacks_latents(&self, step: usize) -> Error {
        Error::NotRecorded {
            message: format!("`{}` does not have the latents of step {step}", self.run.name()),
            hint: "record them: `--record latents` when it is made".into(),
        }
    }

    /// Whether the scheduler of a pass has to be told the steps again: where it goes on in this pass, from what it remembers.
    pub(super) fn is_replayed(&self, scheduler: &dyn Scheduler, first_call: usize, first_step: usize) -> bool {
        let next = first_call + self.until.saturating_sub(first_step);
        next < scheduler.timesteps().len() && scheduler.remembers(next)
    }

    /// Whether what the scheduler was given in a step is there. What cannot be read is told when it is.
    pub(super) fn has_guided(&self, step: usize) -> bool {
        self.run.shape(step, Quantity::NoiseGuided.key()).map_or(true, |shape| shape.is_some())
    }

    /// What the scheduler was given in a step, f32 on the CPU.
    pub(super) fn guided(&self, step: usize) -> Result<Option<Tensor>> {
        self.run.tensor(step, Quantity::NoiseGuided.key())
    }

    /// Whether the run had a mask: a program may give one that its plan says nothing of.
    ///
    /// # Errors
    /// When its first step cannot be read.
    pub fn is_masked(&self) -> Result<bool> {
        Ok(self.run.shape(0, MASK_SITE)?.is_some())
    }

    /// What the loop begins with, and what of a picture is put back after each step. As many random numbers are drawn as
    /// the earlier run drew.
    ///
    /// # Errors
    /// When something is not recorded; an observer's.
    pub fn start(&self, plan: &Plan, noise: &mut NoiseStream, encoder: &Encoder) -> Result<Start> {
        let (vae, device, probe) = (encoder.vae, encoder.device, encoder.probe);
        let draws = start::draws(plan, self.is_masked()?, vae);
        let drawn: Vec<Tensor> = (0..draws).map(|_| start::next(noise, device)).collect::<Result<_>>()?;
        let mut begun = self.begun_with(0, device, probe)?.into_iter();
        if plan.strength.is_none() {
            drawn.iter().try_for_each(|noise| probe.see("noise", Axes::Image, noise))?;
        }
        let (encoded, mask) = (begun.next().flatten(), begun.next().flatten());
        let kept = match (encoded, mask, drawn.get(start::starting_draw(vae))) {
            (Some(encoded), Some(mask), Some(noise)) => Some(Preserved { mask, encoded, noise: noise.shallow_clone() }),
            _ if plan.mask.is_some() => {
                return Err(Error::NotRecorded {
                    message: format!("`{}` does not have the encoded picture and the mask", self.run.name()),
                    hint: "they stand beside the latents of step 0: `--record latents`".into(),
                });
            }
            _ => None,
        };
        Ok(Start { latents: self.latents(0)?.to_device(device), kept })
    }

    /// What stands beside the latents that a pass begins with, in the order of [`START_SITES`].
    pub(super) fn begun_with(&self, step: usize, device: Device, probe: &Probe) -> Result<Vec<Option<Tensor>>> {
        let tensor = |key: &str| -> Result<Option<Tensor>> {
            let tensor = self.run.tensor(step, key)?.map(|tensor| tensor.to_device(device));
            tensor.iter().try_for_each(|tensor| probe.see(key, Axes::Image, tensor))?;
            Ok(tensor)
        };
        START_SITES.into_iter().map(tensor).collect()
    }

    /// Tells of a step what was recorded of it: its latents, and whether to go on.
    ///
    /// # Errors
    /// When its latents are not recorded; an observer's.
    pub(super) fn tell(
        &self,
        step: usize,
        timestep: Option<f64>,
        device: Device,
        probe: &Probe,
        reporter: &mut StepReporter,
    ) -> Result<(Tensor, Flow)> {
        let latents = self.latents(step)?.to_device(device);
        let mut all = vec![];
        for what in Quantity::ALL.into_iter().filter(|what| *what != Quantity::Latents) {
            all.extend(self.run.tensor(step, what.key())?.map(|tensor| (what, tensor.to_device(device))));
        }
        all.push((Quantity::Latents, latents.shallow_clone()));
        for (what, tensor) in all.iter().filter(|_| timestep.is_some()) {
            probe.see(what.key(), Axes::Image, tensor)?;
        }
        let quantities: Vec<(Quantity, &Tensor)> = all.iter().map(|(what, tensor)| (*what, tensor)).collect();
        let flow = reporter.tell_with(step, timestep, &quantities, |record: &RunRecord, what| {
            if self.pictures { self.run.pictures(step, what, record.plan.batch_size) } else { Ok(None) }
        })?;
        Ok((latents, flow))
    }
}
