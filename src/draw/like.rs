//! A drawing like a picture that carries its settings.

use crate::draw::drawing::Drawing;
use crate::draw::model::Model;
use crate::error::{Error, Result};
use crate::trace::parameters::PictureSettings;
use std::path::Path;

impl Model {
    /// A drawing with the settings that a PNG, JPEG or WebP file carries, as web UIs and sdviz write them: prompts, seed,
    /// steps, guidance scale, scheduler, size, second pass. What it does not say is the model's own. Each can be said anew.
    ///
    /// # Errors
    /// When the file carries no settings, or a sampler that is not known here.
    pub fn like(&self, picture: impl AsRef<Path>) -> Result<Drawing> {
        let said = PictureSettings::read(picture.as_ref())?;
        if let Some(sampler) = said.like_sampler().filter(|sampler| sampler.scheduler.is_none()) {
            return Err(Error::invalid(
                format!("the picture's sampler `{}` is not known here", sampler.name),
                "`scheduler_names` lists those that are: draw with one of them",
            ));
        }
        Ok(self.draw("").filled(said))
    }
}
