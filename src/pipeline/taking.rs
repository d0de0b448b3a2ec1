//! A plan that takes from recorded runs, resolved: steps that it goes on from, latents that it begins with, and what its edits
//! copy.
//!
//! Enters: a resolved plan and recorded runs. Leaves: the same with them, checked: what has to be recorded is.

use super::donors::Donor;
use super::past::Past;
use super::resolve::Resolved;
use crate::error::{Error, Result};
use crate::record::schema::RunRecord;
use crate::watch::recorded::Recorded;
use std::sync::Arc;
use tch::Tensor;

impl Resolved {
    /// The same, going on from steps that are made.
    ///
    /// # Errors
    /// When no step is left to make, or something of those steps is not recorded.
    pub fn going_on(self, past: Past) -> Result<Resolved> {
        let (record, last) = (&self.record, self.record.last_step());
        if past.until >= last {
            return Err(Error::invalid(
                format!("nothing is left to make after step {} of {last}", past.until),
                "go on from an earlier step: `--branch RUN@STEP`",
            ));
        }
        let factor = record.model.vae_scale_factor.max(1);
        let side = |pixels: usize| (pixels / factor) as i64;
        for step in 0..=past.until {
            let found = past.shape(step)?;
            let (width, height) = match record.hires.as_ref().filter(|second| step >= second.first_step) {
                Some(second) => (second.width, second.height),
                None => (record.plan.width, record.plan.height),
            };
            let (batch, channels) = (record.plan.batch_size as i64, record.model.latent_channels as i64);
            let shape = [batch, channels, side(height), side(width)];
            if found != shape {
                return Err(Error::invalid(
                    format!("the latents of step {step} of `{}` have shape {found:?}", past.run.name()),
                    format!("the run's record asks for {shape:?}"),
                ));
            }
        }
        let (scheduler, steps) = self.replayed(&past);
        if steps.clone().any(|step| !past.has_guided(step)) {
            return Err(Error::NotRecorded {
                message: format!(
                    "`{}` does not have `noise_guided` of each step, which the scheduler `{scheduler}` goes on from",
                    past.run.name()
                ),
                hint: "record it: `--record latents,noise_guided`; ddim, ddpm, euler and euler_a go on without".into(),
            });
        }
        let mut edits = self.edits;
        edits.iter_mut().for_each(|edits| edits.begin_after(past.until));
        Ok(Resolved { past: Some(past), edits, ..self })
    }

    /// The same, beginning with these latents, f32: those of an inversion.
    ///
    /// # Errors
    /// When they have another shape than the run's.
    pub fn starting(self, latents: Tensor) -> Result<Resolved> {
        let (plan, model) = (&self.record.plan, &self.record.model);
        let side = |pixels: usize| (pixels / model.vae_scale_factor.max(1)) as i64;
        let shape = [plan.batch_size as i64, model.latent_channels as i64, side(plan.height), side(plan.width)];
        if latents.size() != shape {
            let message = format!("the latents to begin with have shape {:?}, the run's {shape:?}", latents.size());
            return Err(Error::invalid(message, "take an inversion of the same size with a model of the same kind"));
        }
        Ok(Resolved { start: Some(latents), ..self })
    }

    /// The steps that the scheduler has to be told again, and its name.
    fn replayed(&self, past: &Past) -> (&'static str, std::ops::Range<usize>) {
        let second = self.record.hires.as_ref().zip(self.second_scheduler.as_ref());
        let begin = self.record.begin.as_ref().map_or(0, |begin| begin.first_call);
        let (scheduler, first_call, first_step) = match second.filter(|(second, _)| past.until >= second.first_step) {
            Some((second, scheduler)) => (scheduler, second.begin.first_call, second.first_step),
            None => (&self.scheduler, begin, 0),
        };
        let again = past.is_replayed(scheduler.as_ref(), first_call, first_step);
        let count = if again { past.until - first_step } else { 0 };
        (scheduler.name(), first_step + 1..first_step + 1 + count)
    }

    /// The same with donors: those of the plan, in its order, each with its record. Where no edit copies from one, its rows
    /// are there at every step, for a program's own editor.
    ///
    /// # Errors
    /// When one has another size, other noise levels where something is copied, or has not recorded what is needed.
    pub fn with_donors(mut self, donors: Vec<(Arc<dyn Recorded>, RunRecord)>) -> Result<Resolved> {
        let wanted = self.edits.as_ref().map(|edits| edits.lenders()).unwrap_or_default();
        for (index, (run, record)) in donors.into_iter().enumerate() {
            let donor = Donor::new(run, record, &self.record, wanted.get(&index))?;
            if let Some(edits) = &mut self.edits {
                for (_, what, steps) in edits.recorded().into_iter().filter(|(from, ..)| *from == index) {
                    donor.check_quantity(what, &steps)?;
                }
                edits.lend(index, donor.lender());
            }
            self.donors.push(donor);
        }
        Ok(self)
    }
}
