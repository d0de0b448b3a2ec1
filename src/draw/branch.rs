//! A drawing that goes on from a step of a recorded run.

use crate::draw::drawing::Drawing;
use crate::draw::model::Model;
use crate::error::Result;
use crate::run::branch::Fork;
use crate::trace::reader::Run;

impl Model {
    /// A drawing that goes on from a step of a run, in a folder or in memory, with everything as it was: unchanged it makes
    /// the rest of that run once more. Prompts, guidance scale, clip skip and eta can be said anew, and hold from there on.
    /// The last whole step of a run that was cut short takes it to its end.
    ///
    /// # Errors
    /// When the run has no such step, or its latents were not recorded. That it was made with this model is checked when it
    /// is drawn.
    pub fn branch(&self, run: &Run, step: usize) -> Result<Drawing> {
        Fork::of(run.clone(), Some(step)).map(|fork| self.draw("").forked(fork))
    }
}
