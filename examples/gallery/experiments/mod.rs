//! The experiments, and what most of them have in common: some ways to draw the same subject, beside each other.

mod attending;
mod causes;
mod changing;
mod copying;
mod geometry;
pub mod glossy;
mod heads;
mod late;
mod layers;
mod layout;
mod looking;
mod tracing;

use crate::figures::Values;
use crate::plates::{Plate, row, table};
use crate::scene::{Scene, Studio, pictures};
use sdviz::prelude::*;
use std::path::Path;

/// What an experiment is called, and how much of it is made.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Its number in the gallery; figures go by it.
    pub name: &'static str,
    /// How many subjects it is made with, at most 48.
    pub prompts: usize,
    /// How many seeds of each.
    pub seeds: usize,
    /// Whether it goes on from the figures of others.
    pub later: bool,
}

impl About {
    /// An experiment that goes on from nothing.
    pub const fn new(name: &'static str, prompts: usize, seeds: usize) -> About {
        About { name, prompts, seeds, later: false }
    }
}

/// Gives the scene of a subject, by its number, with so many seeds.
pub type Stage<'a> = dyn Fn(usize, usize, &mut dyn FnMut(&Scene) -> Result<()>) -> Result<()> + 'a;

/// An experiment.
pub trait Experiment: Sync {
    /// What it is.
    fn about(&self) -> About;

    /// Where its seeds begin, beyond a subject's own.
    fn seeds_from(&self) -> u64 {
        0
    }

    /// Makes what it needs beforehand, in a folder.
    ///
    /// # Errors
    /// When it cannot be made.
    fn prepare(&self, _: &Studio, _: &Path) -> Result<()> {
        Ok(())
    }

    /// Makes it with one subject.
    ///
    /// # Errors
    /// When a drawing cannot be made.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()>;

    /// Its pictures.
    ///
    /// # Errors
    /// When a drawing cannot be made.
    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>>;
}

/// Draws a scene's subject.
pub type Way = dyn Fn(&Scene) -> Result<Run> + Sync;

/// A way to draw a subject, and what it is called.
pub struct Condition {
    /// Its name in figures.
    pub name: String,
    /// What stands above its pictures.
    pub label: String,
    /// Draws it.
    pub run: Box<Way>,
}

impl Condition {
    /// Any way.
    pub fn new(name: &str, label: &str, run: impl Fn(&Scene) -> Result<Run> + Sync + 'static) -> Condition {
        Condition { name: name.into(), label: label.into(), run: Box::new(run) }
    }

    /// The subject with edits, in which `{object}`, `{other}` and so on are filled in.
    pub fn edits(name: &str, label: &str, edits: &[&str]) -> Condition {
        let edits: Vec<String> = edits.iter().map(|edit| edit.to_string()).collect();
        Condition::new(name, label, move |scene| {
            let all = edits.iter().map(|edit| scene.subject.fill(edit));
            all.fold(scene.own(), Drawing::edit).run()
        })
    }

    /// The subject as it is.
    pub fn unchanged() -> Condition {
        Condition::new("base", "unchanged", |scene: &Scene| scene.base())
    }
}

/// An experiment that draws the same subject in several ways.
pub struct Compared {
    /// What it is.
    pub about: About,
    /// The ways; the first is the unchanged one.
    pub conditions: Vec<Condition>,
    /// Which of them are guessed at, in the order in which they stand: A is the first. None for no guessing.
    pub guess: Vec<usize>,
    /// The subjects in the table of what came, by number.
    pub shown: Vec<usize>,
}

impl Compared {
    /// With three subjects of different kinds in its table.
    pub fn new(about: About, conditions: Vec<Condition>, guess: Vec<usize>) -> Compared {
        Compared { about, conditions, guess, shown: vec![0, 2, 5] }
    }
}

impl Experiment for Compared {
    fn about(&self) -> About {
        self.about
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        self.conditions.iter().try_for_each(|way| scene.judge(&way.name, &(way.run)(scene)?, values))
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let (mut plates, mut rows) = (vec![], vec![]);
        for subject in &self.shown {
            stage(*subject, 1, &mut |scene| {
                let mut cells = vec![];
                for way in &self.conditions {
                    let picture = pictures(&(way.run)(scene)?)?.remove(0);
                    cells.push((picture.clone(), scene.verdict(&picture)?));
                }
                if rows.is_empty() && !self.guess.is_empty() {
                    plates.push((format!("{}-question", self.about.name), row(&self.question(&cells))));
                }
                rows.push((scene.subject.prompt.clone(), cells));
                Ok(())
            })?;
        }
        let columns: Vec<String> = self.conditions.iter().map(|way| way.label.clone()).collect();
        plates.push((format!("{}-answer", self.about.name), table(&columns, &rows)?));
        Ok(plates)
    }
}

impl Compared {
    /// The unchanged picture, and those to guess from.
    fn question(&self, cells: &[(RgbImage, String)]) -> Vec<(String, RgbImage)> {
        let letters = ('A'..).map(String::from).zip(self.guess.iter().map(|place| cells[*place].0.clone()));
        [("unchanged".to_string(), cells[0].0.clone())].into_iter().chain(letters).collect()
    }
}

/// All experiments, in the order of the gallery.
pub fn all() -> Vec<Box<dyn Experiment>> {
    let mut all: Vec<Box<dyn Experiment>> = vec![Box::new(attending::Words), Box::new(attending::Shares::new())];
    all.extend(changing::all().into_iter().map(|one| Box::new(one) as Box<dyn Experiment>));
    all.push(Box::new(causes::Removed(changing::word())));
    all.push(Box::new(changing::Skips(changing::skips())));
    all.push(Box::new(causes::Causes));
    all.push(Box::new(looking::Inverted));
    all.push(Box::new(looking::Looked));
    all.push(Box::new(copying::bottleneck()));
    all.push(Box::new(copying::Direction::new()));
    all.push(Box::new(layers::Layers));
    all.push(Box::new(heads::Heads));
    all.push(Box::new(heads::Ordered));
    all.push(Box::new(late::Late));
    all.push(Box::new(layout::Layout));
    all.push(Box::new(tracing::Tracing));
    all.push(Box::new(geometry::Bands));
    all.push(Box::new(geometry::Plane));
    all.sort_by_key(|one| one.about().name);
    all
}
