//! What the words of a recorded run cause, found out later: from its recorded latents, without drawing it again.

use crate::draw::model::Model;
use crate::error::{Error, Result};
use crate::pipeline::attribution::Attributed;
use crate::record::attribution::Asked;
use crate::record::plan::Quantity;
use crate::record::schema::Status;
use crate::run::branch::Fork;
use crate::trace::reader::Run;
use crate::trace::recorded::tensor;

impl Model {
    /// Finds out what the words of a run's prompt cause in the predictions of some of its steps, and hands on each step in
    /// turn. The latents that entered them are those that the run recorded.
    ///
    /// # Errors
    /// As [`Pipeline::attributor`](crate::pipeline::Pipeline::attributor); when the run is still going, was made with another
    /// model, or lacks the latents of the step before one; those of `found`.
    pub fn attribution(
        &self,
        run: &Run,
        asked: &Asked,
        mut found: impl FnMut(&Attributed) -> Result<()>,
    ) -> Result<()> {
        let (record, name) = (run.record(), run.name().display().to_string());
        if record.status == Status::Running {
            return Err(Error::invalid(format!("`{name}` is still going"), "wait for its end"));
        }
        let attributor = self.attributor(record, asked, 1)?;
        // All of it is there before any of it is made.
        let forks =
            attributor.steps().iter().map(|step| Ok::<_, Error>((*step, Fork::of(run.clone(), Some(step - 1))?)));
        let forks: Vec<(usize, Fork)> = forks.collect::<Result<_>>()?;
        if let Some((_, fork)) = forks.first() {
            fork.check_model(self.model(), self.loaded().hashes()?)?;
        }
        for (step, _) in forks {
            let (latents, level) = (run.tensors(step - 1, Quantity::Latents)?, record.schedule[step - 1]);
            let (Some(latents), Some(timestep)) = (latents, level.timestep) else {
                return Err(Error::Broken(format!("`{name}` lost the latents of step {}", step - 1)));
            };
            // As the scheduler scales them for the model.
            let sample = tensor(&latents).to_device(self.device()) / level.latent_scale;
            found(&attributor.attribute(step, timestep, &sample)?)?;
        }
        Ok(())
    }
}
