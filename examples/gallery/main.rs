//! The experiments of docs/gallery.md on the embedded model, all of them: what is measured, the pictures, and the figures in
//! the page.
//!
//!     make gallery
//!     cargo run --example gallery -- --only 3,7 --prompts 4 --seeds 1 --out target/try
//!
//! Every experiment is made with each of its subjects (an object on a background) and several seeds, and the judge says what
//! it sees. The numbers of each are kept in `--out`, so a gallery that was stopped goes on where it was; subjects come one
//! after another, so that the figures can be looked at on the way. In the end the figures are written to docs/gallery.json,
//! the pictures to assets/gallery, and docs/gallery.md is filled in. `--fill` does the last alone.

mod document;
mod experiments;
mod figures;
mod plates;
mod scene;
mod subject;

use clap::Parser;
use experiments::{Experiment, Stage};
use figures::{Figures, Units, Values};
use scene::{Scene, Studio};
use sdviz::error::{Error, Result};
use sdviz::files::atomic::write_atomically;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use subject::Subject;

/// How many subjects there are, one for each object of the judge's.
const SUBJECTS: usize = 48;

#[derive(Parser)]
struct Options {
    /// The numbers of the experiments; all where none are named
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// The most subjects of each
    #[arg(long, default_value_t = usize::MAX)]
    prompts: usize,
    /// The most seeds of each subject
    #[arg(long, default_value_t = usize::MAX)]
    seeds: usize,
    /// How many draw at once, each with one thread
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Folder for the numbers of each subject
    #[arg(long, default_value = "target/gallery")]
    out: PathBuf,
    /// Folder of the page, gallery.md, and its figures, gallery.json
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
    /// Folder for the pictures
    #[arg(long, default_value = "assets/gallery")]
    pictures: PathBuf,
    /// Measure and write the figures, and make no pictures
    #[arg(long)]
    no_pictures: bool,
    /// Measure nothing: make the pictures with the figures that are there
    #[arg(long)]
    no_figures: bool,
    /// Only fill the figures that are there into the page
    #[arg(long)]
    fill: bool,
}

impl Options {
    /// The experiments that are asked for.
    fn experiments(&self) -> Vec<Box<dyn Experiment>> {
        let number = |one: &dyn Experiment| one.about().name.get(..2).and_then(|digits| digits.parse::<usize>().ok());
        let asked = |one: &dyn Experiment| number(one).is_some_and(|n| self.only.contains(&n));
        experiments::all().into_iter().filter(|one| self.only.is_empty() || asked(one.as_ref())).collect()
    }

    fn json(&self) -> PathBuf {
        self.docs.join("gallery.json")
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.fill {
        sdviz::model::allocator::keep_freed_memory();
        let (experiments, units) = (options.experiments(), Units::in_folder(&options.out));
        if !options.no_figures {
            let prepared = Studio::new()?;
            experiments.iter().try_for_each(|one| one.prepare(&prepared, &options.out))?;
            drop(prepared);
            for later in [false, true] {
                let some: Vec<&dyn Experiment> =
                    experiments.iter().map(AsRef::as_ref).filter(|one| one.about().later == later).collect();
                measure(&some, &units, &units.figures()?, &options)?;
            }
        }
        units.figures()?.write(&options.json())?;
        if !options.no_pictures {
            draw(&experiments, &units.figures()?, &options)?;
        }
    }
    fill(&options.docs.join("gallery.md"), &Figures::read(&options.json())?)
}

/// An experiment with a subject.
struct Unit<'a> {
    experiment: &'a dyn Experiment,
    subject: usize,
    seeds: usize,
}

/// Makes what is not there yet, subject by subject, with several workers.
fn measure(experiments: &[&dyn Experiment], units: &Units, figures: &Figures, options: &Options) -> Result<()> {
    let missing = |subject: usize| -> Vec<Unit> {
        experiments.iter().filter_map(|one| Unit::missing(*one, subject, units, options)).collect()
    };
    let subjects: Vec<Vec<Unit>> = (0..SUBJECTS.min(options.prompts)).map(missing).collect();
    let (next, subjects) = (&AtomicUsize::new(0), &subjects);
    let work = || -> Result<()> {
        let studio = Studio::new()?;
        while let Some(some) = subjects.get(next.fetch_add(1, Ordering::SeqCst)) {
            studio.forget();
            some.iter().try_for_each(|unit| unit.make(&studio, units, (figures, options.out.as_path())))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.workers.max(1)).map(|_| scope.spawn(work)).collect();
        let panicked = |_| Err(Error::Broken("a worker has panicked".into()));
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(panicked))
    })
}

impl<'a> Unit<'a> {
    /// What is to be made of an experiment with a subject; none if it is there, or not asked for.
    fn missing(one: &'a dyn Experiment, subject: usize, units: &Units, options: &Options) -> Option<Unit<'a>> {
        let about = one.about();
        let seeds = about.seeds.min(options.seeds);
        let wanted = subject < about.prompts && !units.has(about.name, subject, seeds);
        wanted.then_some(Unit { experiment: one, subject, seeds })
    }

    fn make(&self, studio: &Studio, units: &Units, (figures, folder): (&Figures, &Path)) -> Result<()> {
        let (name, begun) = (self.experiment.about().name, Instant::now());
        let subject = Subject::new(self.subject, studio.judge.classes());
        let seed = subject.seed() + self.experiment.seeds_from();
        let scene = Scene { studio, number: self.subject, subject: &subject, seed, seeds: self.seeds, figures, folder };
        let mut values = Values { seeds: self.seeds, ..Values::default() };
        self.experiment.measure(&scene, &mut values)?;
        units.keep(name, self.subject, &values)?;
        sdviz::say::say(format!(
            "{name} {:2} {:6.1} s  {}",
            self.subject,
            begun.elapsed().as_secs_f64(),
            subject.prompt
        ));
        Ok(())
    }
}

/// Draws the pictures.
fn draw(experiments: &[Box<dyn Experiment>], figures: &Figures, options: &Options) -> Result<()> {
    let studio = Studio::new()?;
    let stage: &Stage = &|number, seeds, play| {
        studio.forget();
        let subject = Subject::new(number, studio.judge.classes());
        let (seed, folder) = (subject.seed(), options.out.as_path());
        play(&Scene { studio: &studio, number, subject: &subject, seed, seeds, figures, folder })
    };
    for experiment in experiments {
        for (name, picture) in experiment.plates(stage)? {
            plates::write(&options.pictures.join(format!("{name}.png")), &picture)?;
        }
    }
    // The page's commands name it.
    let direction = experiments::glossy::file(&options.out);
    match std::fs::read(&direction) {
        Ok(bytes) => write_atomically(&options.pictures.join("glossy.safetensors"), &bytes),
        Err(_) => Ok(()),
    }
}

/// Fills the figures into the page, if it is there.
fn fill(path: &Path, figures: &Figures) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let filled = document::fill(&text, figures)?;
    if filled != text {
        write_atomically(path, filled.as_bytes())?;
    }
    Ok(())
}
