//! A run that begins with the latents of an inversion: its noise, or a step on the way to it.
//!
//! Enters: a recorded inversion, whole or cut short, and a step. Leaves: a plan with its size, steps and scheduler, and that
//! plan resolved with its latents. What an inversion was not made with is refused.

use super::branch::{self, Fork};
use crate::error::{Error, Result};
use crate::files::pictures;
use crate::pipeline::{Pipeline, Resolved};
use crate::record::inputs::INIT_FILE;
use crate::record::inversion::RunKind;
use crate::record::plan::{Plan, Quantity};
use crate::record::schema::RunRecord;
use crate::trace::reader::Run;
use crate::watch::recorded::Recorded;
use image::RgbImage;

/// A step of an inversion that a run begins from.
#[derive(Debug, Clone)]
pub struct Origin(Fork);

impl Origin {
    /// What `RUN@STEP` names; without a step the last one: of a whole inversion its noise.
    ///
    /// # Errors
    /// As [`Origin::of`].
    pub fn parse(text: &str) -> Result<Origin> {
        Origin::from(Fork::parse(text)?)
    }

    /// A step of an inversion; the last one that is whole where none is named.
    ///
    /// # Errors
    /// When the run is no inversion, has no such step, or its latents were not recorded.
    pub fn of(run: Run, step: Option<usize>) -> Result<Origin> {
        Origin::from(Fork::of(run, step)?)
    }

    fn from(fork: Fork) -> Result<Origin> {
        let (name, step) = (fork.run().name().display(), fork.step());
        if fork.run().record().kind != RunKind::Inversion {
            return Err(Error::invalid(
                format!("`{name}` is no inversion"),
                "`sdviz invert PHOTO --prompt …` makes one; from a step of another run `--branch` goes on",
            ));
        }
        if step == 0 {
            return Err(Error::invalid(
                format!("step 0 of `{name}` is the picture itself: nothing is left to make"),
                format!("begin with a later step, or with its noise: `--start {name}`"),
            ));
        }
        Ok(Origin(fork))
    }

    /// What the inversion was asked for.
    pub fn plan(&self) -> &Plan {
        self.0.plan()
    }

    /// The inversion.
    pub fn run(&self) -> &Run {
        self.0.run()
    }

    /// What messages call the inversion.
    pub fn name(&self) -> String {
        self.0.run().name().display().to_string()
    }

    /// What its record says.
    pub fn record(&self) -> &RunRecord {
        self.0.run().record()
    }

    /// The inversion's picture, as it was encoded, if it is kept with it.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn picture(&self) -> Result<Option<RgbImage>> {
        let path = self.0.run().dir().map(|dir| dir.join(INIT_FILE)).filter(|path| path.is_file());
        path.map(|path| pictures::open(&path, "picture").map(|picture| picture.into_rgb8())).transpose()
    }

    /// Makes a plan one that begins with the step.
    ///
    /// # Errors
    /// When its size, steps, scheduler or batch are others.
    pub fn apply(&self, plan: &mut Plan) -> Result<()> {
        if let Some((flag, asked, was)) = branch::other(plan, self.plan(), &branch::OF_STEPS) {
            return Err(Error::invalid(
                format!("`{flag} {asked}`, but the inversion `{}` was made with {was}", self.0.run().name().display()),
                format!("leave out `{flag}`, or invert anew with it"),
            ));
        }
        plan.start = Some(Box::new(self.0.parent().clone()));
        Ok(())
    }

    /// Resolves a plan that begins with the step, for a model whose weights have these hashes.
    ///
    /// # Errors
    /// When the inversion was made with another model or another schedule; when the plan cannot be carried out.
    pub fn resolve(&self, pipeline: &Pipeline, plan: &Plan, hashes: &[String]) -> Result<Resolved> {
        self.0.check_model(pipeline.model(), hashes)?;
        let resolved = pipeline.resolve(plan)?;
        self.0.check_scheduler(&resolved)?;
        let latents = Recorded::tensor(self.0.run(), self.0.step(), Quantity::Latents.key())?;
        let latents = latents.ok_or_else(|| Error::NotRecorded {
            message: format!("`{}` does not have the latents of step {}", self.0.run().name().display(), self.0.step()),
            hint: "record them: `--record latents` when it is made".into(),
        })?;
        resolved.starting(latents)
    }
}
