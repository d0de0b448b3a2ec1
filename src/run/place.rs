//! Where a run is recorded: a run directory, or memory.

use crate::error::Result;
use crate::pipeline::init_image::Input;
use crate::record::answers::OnStepRecord;
use crate::record::inversion::Found;
use crate::record::schema::{Status, Timings};
use crate::trace::reservoir::Reservoir;
use crate::trace::writer::{Recorded, Recorder};
use crate::watch::observer::Observer;

/// How a run ended, for its record.
#[derive(Debug)]
pub struct Ending<'a> {
    /// Whether it came to its end.
    pub status: Status,
    /// Why not.
    pub failure: Option<String>,
    /// The weights' hashes, in the order of the model's components.
    pub hashes: &'a [String],
    /// Where the time went.
    pub timings: &'a Timings,
    /// What the command answered that was handed the steps.
    pub answers: Option<&'a OnStepRecord>,
    /// How often each edit of its plan changed a tensor.
    pub edits_fired: &'a [usize],
    /// What an inversion found.
    pub inversion: Option<&'a Found>,
}

/// Keeps the record of a run.
pub trait Place: Observer {
    /// Keeps the picture that the run begins from, and its mask.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn keep_input(&mut self, input: &Input) -> Result<()>;

    /// Ends the record. A run that never began has none.
    ///
    /// # Errors
    /// When it cannot be written.
    fn finish(&mut self, ending: &Ending) -> Result<Recorded>;
}

impl Place for Recorder {
    fn keep_input(&mut self, input: &Input) -> Result<()> {
        input.files().into_iter().try_for_each(|(name, picture)| self.write_input(name, &picture))
    }

    fn finish(&mut self, ending: &Ending) -> Result<Recorded> {
        if let Some(answers) = ending.answers {
            self.note_on_step(answers.clone());
        }
        self.note_edits(ending.edits_fired);
        self.note_inversion(ending.inversion);
        Recorder::finish(self, ending.status, ending.failure.clone(), ending.hashes, ending.timings.clone())
    }
}

impl Place for Reservoir {
    fn keep_input(&mut self, _: &Input) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, ending: &Ending) -> Result<Recorded> {
        let last_step = self.latents_reservoir.len().checked_sub(1);
        if let Some(run) = &mut self.run {
            (run.status, run.failure, run.timings) = (ending.status, ending.failure.clone(), ending.timings.clone());
            run.on_step = ending.answers.cloned();
            run.edits_fired = ending.edits_fired.to_vec();
            if let (Some(inversion), Some(found)) = (&mut run.inversion, ending.inversion) {
                inversion.found = found.clone();
            }
            for (component, hash) in run.model.components.iter_mut().zip(ending.hashes) {
                component.sha256.clone_from(hash);
            }
        }
        self.end_attention()?;
        Ok(Recorded { last_step, finished: self.images.len() })
    }
}
