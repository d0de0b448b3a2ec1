//! What was measured: the numbers of one subject, and their means over all subjects.
//!
//! Enters: numbers by name, one for each picture. Leaves: files, one for each experiment and subject, so that a run of the
//! gallery which was stopped goes on where it was; and figures, each a mean with its standard error. Pictures of one subject
//! are alike, so the error is that of the subjects' means: √(Σ(m − mean)² / (n(n − 1))).

use sdviz::error::{Error, Result};
use sdviz::files::atomic::write_atomically;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The numbers of one experiment with one subject: by name, one for each picture.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Values {
    /// How many seeds were drawn.
    pub seeds: usize,
    /// The numbers.
    pub values: BTreeMap<String, Vec<f64>>,
}

impl Values {
    /// One number more. What is not finite was not measured.
    pub fn push(&mut self, name: &str, value: f64) {
        let all = self.values.entry(name.into()).or_default();
        if value.is_finite() {
            all.push(value);
        }
    }
}

/// A mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The mean over the subjects.
    pub mean: f64,
    /// Its standard error; 0 of a single subject.
    pub error: f64,
    /// Subjects.
    pub prompts: usize,
    /// Pictures.
    pub pictures: usize,
}

/// All figures, by experiment and name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures(pub BTreeMap<String, BTreeMap<String, Figure>>);

impl Figures {
    /// The figure of this experiment and name.
    pub fn get(&self, experiment: &str, name: &str) -> Option<Figure> {
        self.0.get(experiment)?.get(name).copied()
    }

    /// Its mean, or what is no number.
    pub fn mean(&self, experiment: &str, name: &str) -> f64 {
        self.get(experiment, name).map_or(f64::NAN, |figure| figure.mean)
    }

    /// Reads the figures that were written.
    pub fn read(path: &Path) -> Result<Figures> {
        read(path)
    }

    /// Writes them as JSON, rounded to what is worth keeping.
    pub fn write(&self, path: &Path) -> Result<()> {
        let round = |value: f64| (value * 1e5).round() / 1e5;
        let mut rounded = self.clone();
        for figure in rounded.0.values_mut().flat_map(BTreeMap::values_mut) {
            (figure.mean, figure.error) = (round(figure.mean), round(figure.error));
        }
        write(path, &rounded)
    }
}

/// The folder with the numbers of all subjects.
pub struct Units(PathBuf);

impl Units {
    /// In this folder.
    pub fn in_folder(folder: &Path) -> Units {
        Units(folder.join("units"))
    }

    fn file(&self, experiment: &str, subject: usize) -> PathBuf {
        self.0.join(experiment).join(format!("{subject:02}.json"))
    }

    /// Whether an experiment was made with a subject and as many seeds.
    pub fn has(&self, experiment: &str, subject: usize, seeds: usize) -> bool {
        read::<Values>(&self.file(experiment, subject)).is_ok_and(|values| values.seeds >= seeds)
    }

    /// Keeps the numbers of a subject.
    pub fn keep(&self, experiment: &str, subject: usize, values: &Values) -> Result<()> {
        write(&self.file(experiment, subject), values)
    }

    /// The figures of everything that is there.
    pub fn figures(&self) -> Result<Figures> {
        let mut figures = Figures::default();
        for folder in entries(&self.0) {
            let units: Vec<Values> = entries(&folder).iter().map(|file| read(file)).collect::<Result<_>>()?;
            let names: std::collections::BTreeSet<&String> = units.iter().flat_map(|unit| unit.values.keys()).collect();
            let of = |name: &&String| Some(((*name).clone(), figure(&units, name)?));
            let experiment = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            figures.0.insert(experiment, names.iter().filter_map(of).collect());
        }
        Ok(figures)
    }
}

/// The mean of a name's numbers; none where nobody has any.
fn figure(units: &[Values], name: &str) -> Option<Figure> {
    let all: Vec<&Vec<f64>> =
        units.iter().filter_map(|unit| unit.values.get(name)).filter(|values| !values.is_empty()).collect();
    let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means: Vec<f64> = all.iter().map(|values| mean_of(values)).collect();
    if means.is_empty() {
        return None;
    }
    let (count, mean) = (means.len() as f64, mean_of(&means));
    let squares: f64 = means.iter().map(|one| (one - mean).powi(2)).sum();
    let error = if means.len() > 1 { (squares / (count * (count - 1.0))).sqrt() } else { 0.0 };
    Some(Figure { mean, error, prompts: means.len(), pictures: all.iter().map(|values| values.len()).sum() })
}

/// What lies in a folder, in order; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> =
        found.filter(|path| path.is_dir() || path.extension() == Some("json".as_ref())).collect();
    all.sort();
    all
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bad = |reason: String| Error::invalid(format!("`{}`: {reason}", path.display()), "remove it: it is made again");
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
}

fn write(path: &Path, what: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(what).map_err(|error| Error::Broken(error.to_string()))?;
    sdviz::files::atomic::make_folder_of(path)?;
    write_atomically(path, (text + "\n").as_bytes())
}
