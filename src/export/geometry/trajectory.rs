//! The way of a run through the space of latents: what the measures of this folder are taken of.
//!
//! Enters: a run, and which of its recorded tensors (or decoded pictures) to look at. Leaves: its values step by step in
//! f64, each with the noise level it belongs to. The two passes of a run at high resolution are two ways: their latents
//! have other sizes.

use crate::error::{Error, Result};
use crate::export::{measures, words};
use crate::record::plan::Quantity;
use crate::record::schema::{self, Level};
use crate::trace::reader::Run;
use image::RgbImage;
use ndarray::{Array1, Array3, Axis};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Of {
    /// The latents, divided by the schedule's `latent_scale`.
    #[serde(rename = "x")]
    Latents,
    /// The predicted originals.
    #[serde(rename = "x0")]
    Predicted,
    /// What the scheduler was given: the guided prediction.
    #[serde(rename = "noise")]
    Noise,
    /// The luma of the decoded latents, 0.299 R + 0.587 G + 0.114 B, in grey levels 0..=255.
    #[serde(rename = "pictures")]
    Pictures,
}

impl Of {
    /// All of them.
    pub const ALL: [Of; 4] = [Of::Latents, Of::Predicted, Of::Noise, Of::Pictures];

    /// Its name: `--of` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Of::Latents => "x",
            Of::Predicted => "x0",
            Of::Noise => "noise",
            Of::Pictures => "pictures",
        }
    }

    /// Its symbol in figures.
    pub fn symbol(self) -> &'static str {
        match self {
            Of::Latents => "x",
            Of::Predicted => "x₀",
            Of::Noise => "ε",
            Of::Pictures => "picture",
        }
    }

    fn quantity(self) -> Quantity {
        match self {
            Of::Latents | Of::Pictures => Quantity::Latents,
            Of::Noise => Quantity::NoiseGuided,
            Of::Predicted => Quantity::PredictedOriginal,
        }
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Of {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let hit = Of::ALL.into_iter().find(|of| of.name() == name.trim());
        hit.ok_or_else(|| Error::unknown("thing to measure", name, Of::ALL.map(Of::name)))
    }
}

/// Which numbers of a run are looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// What; each measure has its own usual thing.
    pub of: Option<Of>,
    /// Which channels of the latents; none for all.
    pub channels: Option<Vec<usize>>,
}

/// A way: the values of one pass of one run.
#[derive(Debug, Clone)]
pub struct Trajectory {
    /// What figures call it; empty where there is only one.
    pub name: String,
    /// The run's folder.
    pub run: String,
    /// Which pass, 1 or 2.
    pub pass: usize,
    /// What it is of.
    pub of: Of,
    /// The steps that are there, ascending.
    pub steps: Vec<usize>,
    /// The noise level of each value: of latents after step k the k-th, of what a model call gives the one before, at
    /// which it was made. NaN where the record has no schedule.
    pub levels: Vec<Level>,
    /// `[channels, height, width]` of each step.
    pub values: Vec<Array3<f64>>,
    /// The last step that the pass is to have.
    pub planned: usize,
}

impl Trajectory {
    /// The ways of a run, one for each pass that has any.
    ///
    /// # Errors
    /// [`Error::NotRecorded`]; when a channel is not there, a step cannot be read, or holds numbers that are not finite.
    pub fn of_run(run: &Run, of: Of, choice: &Choice, batch: usize) -> Result<Vec<Trajectory>> {
        let mut ways: Vec<Trajectory> = vec![];
        let steps = if of == Of::Pictures { pictured(run, batch)? } else { run.steps()? };
        for step in steps {
            let Some(values) = read(run, step, of, choice, batch)? else { continue };
            let pass = run.record().pass(step);
            if ways.last().is_none_or(|way| way.pass != pass) {
                ways.push(Trajectory::begin(run, of, pass));
            }
            let Some(way) = ways.last_mut() else { continue };
            if way.values.first().is_some_and(|first| first.dim() != values.dim()) {
                let message = format!("`{}` has another size than the steps before", file(run, step));
                return Err(Error::invalid(message, "was a step of another run copied here?"));
            }
            way.steps.push(step);
            way.levels.push(level(run, step, of));
            way.values.push(values);
        }
        if ways.is_empty() {
            return Err(measures::not_recorded(run, &[of.quantity()]));
        }
        Ok(ways)
    }

    fn begin(run: &Run, of: Of, pass: usize) -> Trajectory {
        let record = run.record();
        let planned = match &record.hires {
            Some(second) if pass == 1 => second.first_step.saturating_sub(1),
            _ => record.last_step(),
        };
        let (name, run) = (String::new(), run.name().display().to_string());
        Trajectory { name, run, pass, of, steps: vec![], levels: vec![], values: vec![], planned }
    }

    /// An error where there are fewer than `least` steps: `what` takes as many.
    ///
    /// # Errors
    /// [`Error::NotRecorded`].
    pub fn needs(&self, least: usize, what: &str) -> Result<()> {
        if self.steps.len() >= least {
            return Ok(());
        }
        Err(Error::NotRecorded {
            message: format!("`{}` holds {} of too few steps for {what}: {}", self.run, self.of, self.steps.len()),
            hint: format!("{what} takes {least}: wait for the run, or trace again with more `--steps`"),
        })
    }

    /// The values of a step as one long vector.
    pub fn vector(&self, index: usize) -> Array1<f64> {
        self.values[index].flatten().into_owned()
    }

    /// Whether the last value is that of the last step planned.
    pub fn is_whole(&self) -> bool {
        self.steps.last() == Some(&self.planned)
    }

    /// A curve over the steps.
    pub fn curve(&self, values: &[f64]) -> Vec<(f64, f64)> {
        self.steps.iter().zip(values).map(|(step, value)| (*step as f64, *value)).collect()
    }

    /// Whose numbers these are.
    pub fn whose(&self) -> Whose {
        Whose { run: self.run.clone(), pass: self.pass, of: self.of, steps: self.steps.clone() }
    }
}

/// Whose numbers these are, in `geometry.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Whose {
    /// The run's folder.
    pub run: String,
    /// Which pass.
    pub pass: usize,
    /// What they are of.
    pub of: Of,
    /// The steps.
    pub steps: Vec<usize>,
}

/// The level that a value of step `step` belongs to.
fn level(run: &Run, step: usize, of: Of) -> Level {
    let own = if of.quantity() == Quantity::Latents { Some(step) } else { step.checked_sub(1) };
    let unknown = Level { timestep: None, sigma: f64::NAN, alpha_cumprod: f64::NAN, latent_scale: 1.0 };
    own.and_then(|step| run.level(step)).copied().unwrap_or(unknown)
}

/// The steps whose latents were decoded.
fn pictured(run: &Run, batch: usize) -> Result<Vec<usize>> {
    words::pictured(run, Quantity::Latents, batch).map_err(|error| match error {
        // What other verbs could show instead does not help here.
        Error::NotRecorded { message, .. } => {
            Error::NotRecorded { message, hint: "trace again with `--decode every`".into() }
        }
        other => other,
    })
}

fn read(run: &Run, step: usize, of: Of, choice: &Choice, batch: usize) -> Result<Option<Array3<f64>>> {
    if of == Of::Pictures {
        return Ok(run.picture(step, of.quantity(), batch)?.map(|picture| luma(&picture)));
    }
    let Some(values) = run.tensor(step, of.quantity(), batch)? else { return Ok(None) };
    let scale = if of == Of::Latents { measures::latent_scale(run, step) } else { 1.0 };
    let mut values = values.mapv(|value| f64::from(value) / scale);
    if let Some(channels) = &choice.channels {
        let there = values.len_of(Axis(0));
        if let Some(missing) = channels.iter().find(|channel| **channel >= there) {
            let message = format!("`{}` has no channel {missing}: it has {there}", file(run, step));
            return Err(Error::invalid(message, "channels are counted from 0"));
        }
        values = values.select(Axis(0), channels);
    }
    if values.iter().any(|value| !value.is_finite()) {
        let message = format!("{of} in `{}` holds numbers that are not finite", file(run, step));
        return Err(Error::invalid(message, "such a run has no geometry: trace again, with `--dtype f32`"));
    }
    Ok(Some(values))
}

/// The file of a step, for messages.
fn file(run: &Run, step: usize) -> String {
    run.name().join(schema::step_file(step)).display().to_string()
}

/// The luma of a picture, `[1, height, width]`.
fn luma(picture: &RgbImage) -> Array3<f64> {
    let (width, height) = picture.dimensions();
    Array3::from_shape_fn((1, height as usize, width as usize), |(_, y, x)| {
        let [red, green, blue] = picture.get_pixel(x as u32, y as u32).0.map(f64::from);
        0.299 * red + 0.587 * green + 0.114 * blue
    })
}
