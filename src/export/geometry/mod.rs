//! The geometry of a run: the plane of its way, principal components, cosines, spectra, and when frequencies settle.
//!
//! Enters: the record of one run or several; no model. Leaves: numbers (`geometry.json`) and figures. All arithmetic is
//! f64. `docs/geometry.md` has the formulas; `tests/goldens/make_geometry_goldens.py` says the same in numpy.

pub mod bands;
pub mod components;
pub mod cosines;
mod draw;
pub mod eigen;
pub mod plane;
pub mod rings;
pub mod spectrum;
pub mod trajectory;

use super::figure::{Figure, LOOKS};
use super::{settings, words};
use crate::error::{Error, Result};
use crate::trace::reader::Run;
use bands::Bands;
use components::Components;
use cosines::Cosines;
use plane::Plane;
use serde::Serialize;
use spectrum::Spectrum;
use std::fmt;
use trajectory::{Choice, Of, Trajectory};

/// The file of the numbers, without its ending.
pub const FILE: &str = "geometry";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The plane of start and end.
    Plane,
    /// Principal components.
    Components,
    /// Cosines between steps.
    Cosines,
    /// Power by frequency.
    Spectrum,
    /// When each frequency settles.
    Bands,
}

impl Measure {
    /// All of them, in the order in which they are made.
    pub const ALL: [Measure; 5] =
        [Measure::Plane, Measure::Components, Measure::Cosines, Measure::Spectrum, Measure::Bands];

    /// Its name: `--what` takes it, the file bears it.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Plane => "plane",
            Measure::Components => "pca",
            Measure::Cosines => "cosines",
            Measure::Spectrum => "spectrum",
            Measure::Bands => "bands",
        }
    }

    /// What it can be taken of; the first is the usual.
    fn subjects(self) -> &'static [Of] {
        match self {
            Measure::Plane | Measure::Components | Measure::Cosines => &[Of::Latents, Of::Predicted, Of::Noise],
            Measure::Spectrum => &[Of::Latents, Of::Predicted, Of::Noise, Of::Pictures],
            Measure::Bands => &[Of::Predicted, Of::Pictures],
        }
    }

    /// What it is to be taken of: what is asked for; else the usual, and of spectra all that latents have.
    ///
    /// # Errors
    /// When it cannot be taken of that.
    fn asked(self, choice: &Choice) -> Result<Vec<Of>> {
        let known = self.subjects();
        match choice.of {
            None if self == Measure::Spectrum => Ok(vec![Of::Latents, Of::Predicted, Of::Noise]),
            None => Ok(vec![known[0]]),
            Some(Of::Pictures) if choice.channels.is_some() => Err(Error::invalid(
                "`--channels` are those of latents: pictures are measured by their luma",
                "leave out `--channels`, or give `--of x0`",
            )),
            Some(of) if known.contains(&of) => Ok(vec![of]),
            Some(of) => {
                let names: Vec<&str> = known.iter().map(|of| of.name()).collect();
                Err(Error::invalid(format!("there is no {self} of {of}"), format!("`--of` {}", names.join(", "))))
            }
        }
    }

    /// Takes it of picture `batch` of each run's batch. Also says which runs have nothing for it.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] when no run has what it takes; when there are too many ways for one figure, when a step
    /// cannot be read, or what is asked for cannot be.
    pub fn take(self, runs: &[&Run], batch: usize, choice: &Choice) -> Result<Measured> {
        let mut missing = vec![];
        let (mut ways, mut first_error) = (vec![], None);
        let names = settings::names(runs, batch);
        for of in self.asked(choice)? {
            let mut found = vec![];
            for (run, name) in runs.iter().zip(&names) {
                words::check_batch(run, batch)?;
                match Trajectory::of_run(run, of, choice, batch) {
                    Ok(own) => found.extend(named(own, if runs.len() > 1 { name } else { "" })),
                    Err(error @ Error::NotRecorded { .. }) => {
                        missing.push(if runs.len() > 1 { format!("{of} of {name}") } else { of.to_string() });
                        first_error = first_error.or(Some(error));
                    }
                    Err(error) => return Err(error),
                }
            }
            if found.len() > LOOKS {
                let message = format!("{} ways are too many for one plot", found.len());
                return Err(Error::invalid(
                    message,
                    format!("name {LOOKS} runs at most; one with two passes counts twice"),
                ));
            }
            ways.extend(found);
        }
        if ways.is_empty() {
            let nothing = || Error::invalid("no run is named", "name one run at least");
            return Err(first_error.unwrap_or_else(nothing));
        }
        let numbers = self.numbers(&ways, runs, batch, choice)?;
        Ok(Measured { numbers, ways, missing })
    }

    fn numbers(self, ways: &[Trajectory], runs: &[&Run], batch: usize, choice: &Choice) -> Result<Numbers> {
        Ok(match self {
            Measure::Plane => Numbers::Plane(ways.iter().map(Plane::of).collect::<Result<_>>()?),
            Measure::Components => {
                let mut groups: Vec<Vec<&Trajectory>> = vec![];
                for way in ways {
                    let size = way.values[0].dim();
                    match groups.iter_mut().find(|group| group[0].values[0].dim() == size) {
                        Some(group) => group.push(way),
                        None => groups.push(vec![way]),
                    }
                }
                Numbers::Components(groups.iter().map(|group| Components::of(group)).collect::<Result<_>>()?)
            }
            Measure::Cosines => {
                let noise = |way: &Trajectory| -> Result<Option<Trajectory>> {
                    let run = runs.iter().find(|run| run.name().display().to_string() == way.run);
                    let found = run.map(|run| Trajectory::of_run(run, Of::Noise, choice, batch));
                    match found {
                        Some(Ok(all)) => Ok(all.into_iter().find(|noise| noise.pass == way.pass)),
                        Some(Err(Error::NotRecorded { .. })) | None => Ok(None),
                        Some(Err(error)) => Err(error),
                    }
                };
                let of = |way: &Trajectory| Cosines::of(way, noise(way)?.as_ref());
                Numbers::Cosines(ways.iter().map(of).collect::<Result<_>>()?)
            }
            Measure::Spectrum => Numbers::Spectrum(ways.iter().map(Spectrum::of).collect()),
            Measure::Bands => Numbers::Bands(ways.iter().map(Bands::of).collect::<Result<_>>()?),
        })
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ways of a run with their names: the run's, and the pass where there are two.
fn named(mut ways: Vec<Trajectory>, run: &str) -> Vec<Trajectory> {
    let several = ways.len() > 1;
    for way in &mut ways {
        let pass = several.then(|| format!("pass {}", way.pass));
        let parts = [Some(run.to_string()).filter(|name| !name.is_empty()), pass];
        way.name = parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    }
    ways
}

/// The numbers of a measure, by way; of principal components by basis.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Numbers {
    /// See [`Plane`].
    Plane(Vec<Plane>),
    /// See [`Components`].
    Components(Vec<Components>),
    /// See [`Cosines`].
    Cosines(Vec<Cosines>),
    /// See [`Spectrum`].
    Spectrum(Vec<Spectrum>),
    /// See [`Bands`].
    Bands(Vec<Bands>),
}

/// What was measured, and of what.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The numbers.
    pub numbers: Numbers,
    ways: Vec<Trajectory>,
    /// What was not recorded.
    missing: Vec<String>,
}

impl Measured {
    /// The figure; `subtitle` says of which runs.
    pub fn figure(&self, subtitle: String) -> Figure {
        let draw::Parts { title, panels, mut notes } = draw::parts(&self.numbers, &self.ways);
        let mut early: Vec<String> = vec![];
        for way in self.ways.iter().filter(|way| !way.is_whole()) {
            let last = way.steps.last().copied().unwrap_or(0);
            let whose = if way.name.is_empty() { String::new() } else { format!("{}: ", way.name) };
            let note = format!("{whose}N is step {last}, the last one there of {}.", way.planned);
            if !early.contains(&note) {
                early.push(note);
            }
        }
        notes.extend(early);
        if !self.missing.is_empty() {
            notes.push(format!("Not recorded: {}.", self.missing.join("; ")));
        }
        Figure { title: title.into(), subtitle, panels, note: notes.join(" ") }
    }
}
