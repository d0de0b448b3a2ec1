//! A picture's noise, and drawings that begin with it.

use crate::draw::Source;
use crate::draw::drawing::Drawing;
use crate::draw::model::Model;
use crate::error::Result;
use crate::record::inversion::InversionPlan;
use crate::run::start::Origin;
use crate::trace::reader::Run;

impl Model {
    /// The way from a picture to the noise that it could have been drawn from, told this prompt: DDIM inversion, 50 steps and
    /// no guidance unless it is said. Its run has the picture's latents in step 0 and the noise in its last, and begins
    /// others: [`Model::start`].
    pub fn invert(&self, picture: impl Into<Source>, prompt: impl Into<String>) -> Drawing {
        let inversion = InversionPlan { refine: 0, way_back: true };
        self.draw(prompt).init_image(picture).steps(50).scheduler("ddim").guidance_scale(1.0).inverting(inversion)
    }

    /// A drawing that begins with the latents of an inversion, its noise or those of a step on the way, with its prompt, size,
    /// steps and scheduler. The prompt and the guidance scale can be said anew.
    ///
    /// # Errors
    /// When the run is no inversion, has no such step, or its latents were not recorded. That it was made with this model is
    /// checked when it is drawn.
    pub fn start(&self, run: &Run, step: Option<usize>) -> Result<Drawing> {
        Origin::of(run.clone(), step).map(|origin| self.draw("").starting(origin))
    }
}

impl Drawing {
    /// Of an inversion: predicts so many times more in each step, where it has arrived, so that the way back meets the same
    /// predictions. 5 is usual; another drawing takes no notice.
    #[must_use]
    pub fn refine(mut self, times: usize) -> Drawing {
        self.inversion.iter_mut().for_each(|inversion| inversion.refine = times);
        self
    }

    /// Of an inversion: without the way back that its record's `psnr_reconstructed` takes.
    #[must_use]
    pub fn no_way_back(mut self) -> Drawing {
        self.inversion.iter_mut().for_each(|inversion| inversion.way_back = false);
        self
    }
}
