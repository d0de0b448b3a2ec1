//! What a run gives into the hand.

use crate::error::{Error, Result};
use crate::export::figure::Figure;
use crate::export::plots::Plot;
use crate::export::{filmstrip, measures, words};
use crate::record::plan::Quantity;
use crate::record::schema::Status;
use crate::show::animation::Animation;
use crate::show::display;
use crate::show::latents::Latents;
use crate::show::picture::{MadeBy, Picture};
use crate::show::pictures::Pictures;
use crate::show::preview::Preview;
use crate::show::shapes::Shapes;
use crate::trace::metadata::{parameters, png_bytes};
use crate::trace::reader::Run;
use image::RgbImage;
use ndarray::Array4;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

impl Run {
    /// The finished picture, of the batch's first item.
    ///
    /// # Errors
    /// When the run did not come that far or decoded nothing.
    pub fn image(&self) -> Result<Picture> {
        self.image_of(0)
    }

    /// The finished picture of an item of the batch, counted from 0.
    ///
    /// # Errors
    /// As [`Run::image`]; also when the batch has no such item.
    pub fn image_of(&self, batch: usize) -> Result<Picture> {
        words::check_batch(self, batch)?;
        let missing = || Error::NotRecorded {
            message: format!(
                "`{}` has no finished picture: the run is {}",
                self.name().display(),
                self.record().status
            ),
            hint: match self.record().status {
                Status::Complete => "draw again with `Decode::Final`, or decode more",
                _ => "`step_image` has the pictures of the steps it came to",
            }
            .into(),
        };
        let pixels = self.final_picture(batch)?.ok_or_else(missing)?;
        Ok(Picture::of_run(pixels, MadeBy { record: Arc::new(self.record().clone()), batch, step: None }))
    }

    /// Writes the finished picture: see [`Picture::save`].
    ///
    /// # Errors
    /// As [`Run::image`] and [`Picture::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.image()?.save(path)
    }

    /// The decoded pictures of the steps.
    ///
    /// # Errors
    /// When none was decoded.
    pub fn images(&self) -> Result<Pictures> {
        self.pictures(Quantity::Latents)
    }

    /// The decoded predicted originals: the clean picture as each step predicts it.
    ///
    /// # Errors
    /// When none was decoded.
    pub fn predicted(&self) -> Result<Pictures> {
        self.pictures(Quantity::PredictedOriginal)
    }

    fn pictures(&self, what: Quantity) -> Result<Pictures> {
        let steps = words::pictured(self, what, 0)?;
        steps.into_iter().map(|step| Ok((step, self.step_picture(step, what)?))).collect::<Result<_>>().map(Pictures)
    }

    /// The latents of a step, decoded; step 0 is the noise that the run begins with.
    ///
    /// # Errors
    /// When the step was not decoded.
    pub fn step_image(&self, step: usize) -> Result<Picture> {
        self.step_picture(step, Quantity::Latents)
    }

    /// The predicted original of a step, decoded; the first is of step 1.
    ///
    /// # Errors
    /// When it was not decoded.
    pub fn predicted_image(&self, step: usize) -> Result<Picture> {
        self.step_picture(step, Quantity::PredictedOriginal)
    }

    fn step_picture(&self, step: usize, what: Quantity) -> Result<Picture> {
        if let Some(pixels) = self.picture(step, what, 0)? {
            let record = Arc::new(self.record().clone());
            return Ok(Picture::of_run(pixels, MadeBy { record, batch: 0, step: Some((step, what)) }));
        }
        let steps = words::pictured(self, what, 0)?;
        let (first, last) = (steps.first().copied().unwrap_or(0), steps.last().copied().unwrap_or(0));
        Err(Error::NotRecorded {
            message: format!("`{}` has no decoded picture of step {step}", self.name().display()),
            hint: format!("there are {} of steps {first} to {last}; `Every(1)` decodes each", steps.len()),
        })
    }

    /// The latents of a step as the scheduler holds them; step 0 is the noise that the run begins with.
    ///
    /// # Errors
    /// When the run has no such step, or kept no latents.
    pub fn latents(&self, step: usize) -> Result<Latents> {
        let steps = self.steps()?;
        if !steps.contains(&step) {
            return Err(Error::invalid(
                format!("`{}` has no step {step}", self.name().display()),
                match steps.last() {
                    Some(last) => format!("its steps go from {} to {last}", steps[0]),
                    None => "it has none yet".into(),
                },
            ));
        }
        let found = self.tensors(step, Quantity::Latents)?;
        Latents::new(found.ok_or_else(|| measures::not_recorded(self, &[Quantity::Latents]))?)
    }

    /// The latents of each step, `[batch, 4, height/8, width/8]`; the first are the noise that the run begins with.
    ///
    /// # Errors
    /// When the run kept no latents, or a step cannot be read.
    pub fn latents_reservoir(&self) -> Result<Vec<Array4<f32>>> {
        self.steps()?.into_iter().map(|step| Ok(self.latents(step)?.array().clone())).collect()
    }

    /// The decoded pictures of each step that was decoded: the step's number, and a picture per batch item.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub fn image_reservoir(&self) -> Result<Vec<(usize, Vec<RgbImage>)>> {
        let mut all = vec![];
        for step in self.pictured_steps(Quantity::Latents, 0)? {
            let mut pictures = vec![];
            for batch in 0..self.record().plan.batch_size {
                pictures.extend(self.picture(step, Quantity::Latents, batch)?);
            }
            all.push((step, pictures));
        }
        Ok(all)
    }

    /// An animation of the run's `images`, `latents` or `predicted` originals.
    ///
    /// # Errors
    /// When there is no such kind, or the run has not recorded it.
    pub fn video(&self, what: &str) -> Result<Animation> {
        Animation::of(self, what)
    }

    /// Eight steps on one picture, each with its step and noise level.
    ///
    /// # Errors
    /// When the run was not decoded.
    pub fn filmstrip(&self) -> Result<Picture> {
        Ok(filmstrip::draw(self, &filmstrip::Options::default())?.0.into())
    }

    /// The figure of this name: `schedule`, `norms`, `guidance`, `change`, `distance`, `plane`, `pca`, `cosines`,
    /// `spectrum`, `bands`, `blocks` or `attention`.
    ///
    /// # Errors
    /// When there is no such figure, or the run has not recorded what it shows.
    pub fn plot(&self, name: &str) -> Result<Figure> {
        name.parse::<Plot>()?.figure(&[self], 0)
    }

    /// The tensors inside the model, each with its site, its shape and what its numbers are like.
    ///
    /// # Errors
    /// When the run kept no shape log.
    pub fn shapes(&self) -> Result<Shapes> {
        let rows = self.site_rows()?;
        if rows.is_empty() {
            return Err(Error::NotRecorded {
                message: format!("`{}` has no shape log", self.name().display()),
                hint: "draw again with `.record(All)`".into(),
            });
        }
        Ok(Shapes::new(rows))
    }

    /// A linear map from latents to colours, fitted on the run's own decoded pictures.
    ///
    /// # Errors
    /// When the run was not decoded, or its latents do not determine a map.
    pub fn preview(&self) -> Result<Preview> {
        Preview::of(self)
    }

    /// The seed of the first picture.
    pub fn seed(&self) -> u64 {
        self.record().plan.seed
    }

    /// How many steps are there, the starting latents among them.
    pub fn steps_recorded(&self) -> usize {
        self.steps().map_or(0, |steps| steps.len())
    }

    /// What made the finished picture, as web UIs write it.
    pub fn text(&self) -> String {
        parameters(self.record(), 0)
    }

    /// Shows the finished picture, or what there is of it, where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        match self.image() {
            Ok(picture) => display::bytes("image/png", png_bytes(&picture.for_the_eye()), &self.to_string()),
            Err(_) => display::plain(&self.to_string()),
        }
    }
}

/// What was asked for and how the run ended, in a line.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let plan = &self.record().plan;
        let (steps, scale, size) = (plan.steps, plan.guidance_scale, (plan.width, plan.height));
        write!(
            f,
            "`{}`: “{}”, {steps} steps of {}, guidance {scale}, seed {}, {}×{}, {}",
            self.name().display(),
            plan.prompt,
            plan.scheduler,
            plan.seed,
            size.0,
            size.1,
            self.record().status
        )
    }
}
