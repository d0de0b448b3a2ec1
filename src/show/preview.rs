//! Latents as a picture without the decoder: a linear map to colours, fitted on the run's own decoded pictures.

use crate::error::Result;
use crate::export::preview::{fit_map, tensor};
use crate::export::{measures, words};
use crate::record::plan::Quantity;
use crate::show::display;
use crate::show::picture::{Picture, sheet_of};
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::linear_map::LinearMap;
use std::fmt;

/// How many steps a notebook shows.
const SHOWN: usize = 4;

/// A linear map from the four channels to red, green and blue, and the run it was fitted on.
#[derive(Debug, Clone)]
pub struct Preview {
    run: Run,
    map: LinearMap,
}

impl Preview {
    /// Fits the map on the decoded pictures of a run.
    ///
    /// # Errors
    /// When the run lacks the latents or the pictures, or its latents do not determine a map.
    pub(super) fn of(run: &Run) -> Result<Preview> {
        Ok(Preview { run: run.clone(), map: fit_map(run, Quantity::Latents, 0)?.0 })
    }

    /// The map.
    pub fn map(&self) -> &LinearMap {
        &self.map
    }

    /// The share of the colours' variance that the map explains; 1 is all of it.
    pub fn r2(&self) -> f64 {
        self.map.fit.r2
    }

    /// The latents of a step through the map, one pixel per latent.
    ///
    /// # Errors
    /// When the run has no latents of that step.
    pub fn picture(&self, step: usize) -> Result<Picture> {
        let latents = tensor(&self.run, step, Quantity::Latents, 0)?;
        let latents = latents.ok_or_else(|| measures::not_recorded(&self.run, &[Quantity::Latents]))?;
        self.map.paint(latents.view()).map(Picture::from)
    }

    /// Some steps: the map above, the decoder below.
    ///
    /// # Errors
    /// When a step cannot be read.
    pub fn sheet(&self) -> Result<Picture> {
        let steps = words::spread(&self.run.pictured_steps(Quantity::Latents, 0)?, SHOWN);
        let factor = self.run.record().model.vae_scale_factor as u32;
        let mut cells = vec![];
        for step in &steps {
            cells.push((format!("step {step}, map"), self.picture(*step)?.magnified(factor)));
        }
        for step in &steps {
            cells.push((format!("step {step}, decoder"), self.run.step_image(*step)?));
        }
        Ok(sheet_of(steps.len(), &cells))
    }

    /// Shows the sheet where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        let sheet = self.sheet().and_then(|sheet| png_bytes(&sheet));
        display::bytes("image/png", sheet, &self.to_string());
    }
}

/// The matrix, and how well it fits.
impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}\nR² = {:.3}", self.map, self.r2())
    }
}
