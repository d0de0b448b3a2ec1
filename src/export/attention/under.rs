//! The pictures below maps: what the run looked like at the step, at its end, or nothing.
//!
//! Enters: a run and which of its pictures. Leaves: for each step the latest there is.

use crate::error::{Error, Result};
use crate::export::{sizes, words};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use image::RgbImage;
use std::str::FromStr;

/// What the maps lie over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Over {
    /// The decoded predictions where they are there, else the decoded latents, else the finished picture, else nothing.
    #[default]
    Best,
    /// The predicted original of the step.
    X0,
    /// The latents of the step.
    Images,
    /// The finished picture.
    Final,
    /// Nothing: the maps' colours alone.
    Nothing,
}

impl FromStr for Over {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = [("x0", Over::X0), ("images", Over::Images), ("final", Over::Final), ("none", Over::Nothing)];
        let hit = known.iter().find(|(known, _)| *known == name.trim());
        hit.map(|(_, over)| *over).ok_or_else(|| Error::unknown("kind of picture", name.trim(), known.map(|k| k.0)))
    }
}

/// The pictures of a run.
#[derive(Debug, Clone)]
pub enum Under {
    /// Of its steps.
    Steps(Quantity, Vec<usize>),
    /// One for all steps.
    One(RgbImage),
    /// None.
    Nothing,
}

impl Under {
    /// Finds them.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] where those that are asked for by name are not there.
    pub fn open(run: &Run, over: Over, batch: usize) -> Result<Under> {
        let of = |what| words::pictured(run, what, batch).map(|steps| Under::Steps(what, steps));
        match over {
            Over::X0 => of(Quantity::PredictedOriginal),
            Over::Images => of(Quantity::Latents),
            Over::Nothing => Ok(Under::Nothing),
            Over::Final => {
                let missing = || Error::NotRecorded {
                    message: format!("`{}` has no finished picture", run.name().display()),
                    hint: "use `--over x0`, `--over images` or `--over none`".into(),
                };
                run.final_picture(batch)?.map(Under::One).ok_or_else(missing)
            }
            Over::Best => {
                for over in [Over::X0, Over::Images, Over::Final] {
                    match Under::open(run, over, batch) {
                        Err(Error::NotRecorded { .. }) => {}
                        other => return other,
                    }
                }
                Ok(Under::Nothing)
            }
        }
    }

    /// The picture at a step: the latest that is not after it, else the first, at the size of the run's last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(&self, run: &Run, step: usize, batch: usize) -> Result<Option<RgbImage>> {
        match self {
            Under::Nothing => Ok(None),
            Under::One(picture) => Ok(Some(picture.clone())),
            Under::Steps(what, steps) => {
                let own = steps.iter().copied().filter(|own| *own <= step).max().or(steps.first().copied());
                let Some(own) = own else { return Ok(None) };
                let picture = run.picture(own, *what, batch)?;
                Ok(picture.map(|picture| sizes::picture(run, own, picture)))
            }
        }
    }

    /// What stands below it.
    pub fn label(&self) -> &'static str {
        match self {
            Under::Steps(Quantity::PredictedOriginal, _) => "x₀ as predicted",
            Under::Steps(..) => "x, decoded",
            Under::One(_) => "the finished picture",
            Under::Nothing => "",
        }
    }
}
