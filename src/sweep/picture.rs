//! What a cell shows: its finished picture, or its latents or predicted original at some moment of its run.
//!
//! Enters: a cell's run directory, and what to show. Leaves: a picture. A step that was decoded is shown as it was
//! decoded; for the others a linear map from latents to colours, fitted on the sweep's own finished pictures, gives a
//! small picture with one pixel per latent.

use super::store::Store;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::record::schema::{self, Status};
use crate::trace::reader::Run;
use crate::viz::linear_map::{LinearFit, LinearMap};
use crate::viz::pixels;
use image::RgbImage;
use ndarray::Array3;
use std::fmt;
use std::str::FromStr;

/// Finished pictures that the linear map is fitted on, at most.
const FITTED_ON: usize = 24;

/// What to show of each cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// The finished picture.
    Final,
    /// The latents or the predicted original.
    Step(Quantity, Moment),
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// At the end.
    Last,
    /// After this call of the model, or at the end of a run that has fewer.
    Call(usize),
    /// After this share of the calls, 0..=1.
    Share(f64),
}

impl Moment {
    /// The step of a run that has `last` calls.
    pub fn step(self, last: usize) -> usize {
        match self {
            Moment::Last => last,
            Moment::Call(call) => call.min(last),
            Moment::Share(share) => ((last as f64 * share).round() as usize).min(last),
        }
    }
}

impl FromStr for What {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, moment) = text.split_once('@').map_or((text, None), |(name, moment)| (name, Some(moment)));
        let what = match name {
            "final" if moment.is_none() => return Ok(What::Final),
            "x0" | "predicted_original" => Quantity::PredictedOriginal,
            "latents" => Quantity::Latents,
            _ => return Err(Error::unknown("picture", text, ["final", "x0", "latents", "x0@10", "latents@50%"])),
        };
        let moment = match moment {
            None => Some(Moment::Last),
            Some(moment) => match moment.strip_suffix('%') {
                Some(share) => {
                    share.parse().ok().filter(|s| (0.0..=100.0).contains(s)).map(|s| Moment::Share(s / 100.0))
                }
                None => moment.parse().ok().map(Moment::Call),
            },
        };
        moment.map(|moment| What::Step(what, moment)).ok_or_else(|| {
            Error::invalid(
                format!("`{text}` names no moment of a run"),
                "write `x0@10` for after the tenth step, `x0@50%` for halfway",
            )
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let What::Step(what, moment) = self else { return f.write_str("final") };
        f.write_str(if *what == Quantity::Latents { "latents" } else { "x0" })?;
        match moment {
            Moment::Last => Ok(()),
            Moment::Call(call) => write!(f, "@{call}"),
            Moment::Share(share) => write!(f, "@{}%", share * 100.0),
        }
    }
}

impl What {
    /// What it is in words, for a grid's heading; nothing for the finished pictures.
    pub fn words(&self) -> String {
        let What::Step(what, moment) = self else { return String::new() };
        let what = if *what == Quantity::Latents { "latents" } else { "predicted original (x0)" };
        match moment {
            Moment::Last => what.into(),
            Moment::Call(call) => format!("{what} after step {call}"),
            Moment::Share(share) => format!("{what} at {}% of the run", share * 100.0),
        }
    }
}

/// A cell that can be shown.
#[derive(Debug)]
pub struct Shown {
    /// Its run.
    pub run: Run,
    /// The number of its last step.
    pub last: usize,
}

/// What is to be seen in a cell's place.
#[derive(Debug)]
pub enum CellView {
    /// A run.
    Run(Box<Shown>),
    /// Words: why there is none.
    Words(&'static str),
}

impl CellView {
    /// What there is of a cell.
    pub fn of(store: &Store, id: Option<&str>) -> CellView {
        let Some(id) = id else { return CellView::Words("not asked for") };
        match Run::open(store.cell(id)) {
            Ok(run) if run.record().status == Status::Complete => {
                let last = run.record().schedule.len().saturating_sub(1);
                CellView::Run(Box::new(Shown { run, last }))
            }
            Ok(run) if run.record().status == Status::Failed => CellView::Words("failed"),
            _ => CellView::Words("not made yet"),
        }
    }
}

impl Shown {
    /// Width and height of its picture in pixels.
    pub fn size(&self) -> (u32, u32) {
        let plan = &self.run.record().plan;
        (plan.width as u32, plan.height as u32)
    }

    /// The picture of a cell, `None` where nothing of the kind was recorded.
    ///
    /// # Errors
    /// When a file of the run is damaged.
    pub fn picture(&self, what: What, preview: Option<&LinearMap>) -> Result<Option<RgbImage>> {
        let What::Step(quantity, moment) = what else { return self.run.final_picture(0) };
        let step = moment.step(self.last);
        if quantity == Quantity::Latents
            && step == self.last
            && let Some(finished) = self.run.final_picture(0)?
        {
            return Ok(Some(finished));
        }
        if let Some(decoded) = self.run.picture(step, quantity, 0)? {
            return Ok(Some(decoded));
        }
        match (preview, self.latents(step, quantity)?) {
            (Some(map), Some(latents)) => map.paint(latents.view()).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether a picture has the decoder's colours, and not those of a linear map.
    ///
    /// # Errors
    /// When the folder of the steps cannot be listed.
    pub fn is_decoded(&self, what: What) -> Result<bool> {
        let What::Step(quantity, moment) = what else { return Ok(true) };
        let step = moment.step(self.last);
        Ok((quantity == Quantity::Latents && step == self.last) || self.decoded_steps(quantity)?.contains(&step))
    }

    /// Whether each step that is recorded has the decoder's colours.
    ///
    /// # Errors
    /// As [`Shown::is_decoded`].
    pub fn is_decoded_throughout(&self, quantity: Quantity) -> Result<bool> {
        let decoded = self.decoded_steps(quantity)?;
        // A prediction is only there after the first call.
        let first = usize::from(quantity == Quantity::PredictedOriginal);
        let all = self.run.steps()?.into_iter().filter(|step| *step >= first);
        Ok(all.into_iter().all(|step| decoded.contains(&step) || (quantity == Quantity::Latents && step == self.last)))
    }

    fn decoded_steps(&self, quantity: Quantity) -> Result<Vec<usize>> {
        self.run.pictured_steps(quantity, 0)
    }

    /// Latents or predicted original of a step, `[4, height/8, width/8]`, at the variance that the VAE expects.
    fn latents(&self, step: usize, what: Quantity) -> Result<Option<Array3<f32>>> {
        let scale = match (what, self.run.level(step)) {
            (Quantity::Latents, Some(level)) => level.latent_scale as f32,
            _ => 1.0,
        };
        if !self.run.steps()?.contains(&step) {
            return Ok(None);
        }
        Ok(self.run.tensor(step, what, 0)?.map(|latents| latents / scale))
    }
}

/// What is said of colours that a linear map made, and how a sweep gets the decoder's.
pub fn mapped_words(map: &LinearMap, quantity: Quantity) -> String {
    let flags = match quantity {
        Quantity::PredictedOriginal => "--decode every --decode-what x0",
        _ => "--decode every",
    };
    format!("colours of a linear map, R² {:.2}; `sdviz sweep {flags}` has the decoder's", map.fit.r2)
}

/// The linear map from latents to colours that fits the finished pictures of these cells best; `None` where there are no
/// pictures with their latents.
///
/// # Errors
/// When a file of a run is damaged.
pub fn preview<'a>(cells: impl Iterator<Item = &'a Shown>) -> Result<Option<LinearMap>> {
    let mut fit = LinearFit::default();
    let mut pictures = 0;
    for cell in cells.take(FITTED_ON) {
        if let (Some(latents), Some(picture)) =
            (cell.latents(cell.last, Quantity::Latents)?, cell.run.final_picture(0)?)
        {
            let file = cell.run.name().join(schema::step_file(cell.last));
            fit.push(latents.view(), pixels::to_unit(&picture).view()).map_err(|error| error.blaming(&file))?;
            pictures += 1;
        }
    }
    // Pictures of one colour determine no map: then there is none.
    Ok(if pictures == 0 { None } else { fit.solve().ok() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_to_show_is_read_and_written_alike() {
        for text in ["final", "x0", "latents", "x0@10", "latents@50%", "x0@12.5%"] {
            assert_eq!(text.parse::<What>().unwrap().to_string(), text);
        }
        for wrong in ["x0@", "x0@-1", "x0@101%", "final@3", "noise"] {
            assert!(wrong.parse::<What>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_of_runs_of_different_lengths() {
        assert_eq!([5, 50].map(|last| Moment::Share(0.5).step(last)), [3, 25]);
        assert_eq!([5, 50].map(|last| Moment::Call(10).step(last)), [5, 10]);
        assert_eq!(Moment::Last.step(26), 26);
    }
}
