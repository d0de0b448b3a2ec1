//! A run in memory, as a record that can be read: what a run directory holds, without the files.

use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::record::schema::{RunRecord, SiteRow};
use crate::trace::metadata::{png_with_metadata, step_png};
use crate::trace::reader::{Run, Source};
use image::RgbImage;
use ndarray::Array4;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// What messages call a run in memory.
const NAME: &str = "memory";

/// Everything that was kept of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// What `run.json` would hold.
    pub record: RunRecord,
    /// The tensors of each step by their key, `[batch, channels, height/8, width/8]`.
    pub steps: BTreeMap<usize, BTreeMap<&'static str, Array4<f32>>>,
    /// The decoded pictures, by step, what was decoded, and batch item.
    pub pictures: BTreeMap<(usize, Quantity, usize), RgbImage>,
    /// The finished pictures, one per batch item.
    pub finished: Vec<RgbImage>,
    /// Other files, by their path in a run directory, as their bytes there: those in `attention/`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The shape log.
    pub shapes: Vec<SiteRow>,
}

/// A value as it would be read from its file: the last digit of a number may be another there, and what is drawn of a run
/// shall not depend on where it was kept.
pub(super) fn as_read<T: Serialize + DeserializeOwned>(value: &T) -> Result<T> {
    let bad = |e| Error::bad_file(Path::new(NAME), "run record", e);
    let text = serde_json::to_string(value).map_err(bad)?;
    let read: serde_json::Value = serde_json::from_str(&text).map_err(bad)?;
    serde_json::from_value(read).map_err(bad)
}

impl Run {
    /// A run that is in memory.
    ///
    /// # Errors
    /// When its record cannot be written as JSON.
    pub fn in_memory(mut memory: Memory) -> Result<Run> {
        let record = as_read(&memory.record)?;
        memory.shapes = as_read(&memory.shapes)?;
        Ok(Run::of(memory, record))
    }
}

impl Source for Memory {
    fn name(&self) -> &Path {
        Path::new(NAME)
    }

    fn dir(&self) -> Option<&Path> {
        None
    }

    fn steps(&self) -> Result<Vec<usize>> {
        Ok(self.steps.keys().copied().collect())
    }

    fn pictured_steps(&self, what: Quantity, batch: usize) -> Result<Vec<usize>> {
        let wanted = |(step, of, item): &(usize, Quantity, usize)| (*of == what && *item == batch).then_some(*step);
        Ok(self.pictures.keys().filter_map(wanted).collect())
    }

    fn tensor(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        let Some(tensors) = self.steps.get(&step) else {
            let last = self.steps.keys().last().copied().unwrap_or_default();
            return Err(Error::invalid(format!("the run has no step {step}"), format!("its last step is {last}")));
        };
        Ok(tensors.get(key).cloned())
    }

    fn picture(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<RgbImage>> {
        Ok(self.pictures.get(&(step, what, batch)).cloned())
    }

    fn picture_file(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<u8>>> {
        let picture = self.pictures.get(&(step, what, batch));
        picture.map(|picture| step_png(picture, &self.record, batch, (step, what))).transpose()
    }

    fn final_picture(&self, batch: usize) -> Result<Option<RgbImage>> {
        Ok(self.finished.get(batch).cloned())
    }

    fn final_file(&self, batch: usize) -> Result<Option<Vec<u8>>> {
        self.finished.get(batch).map(|picture| png_with_metadata(picture, &self.record, batch)).transpose()
    }

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let within = |file: &String| file.strip_prefix(folder)?.strip_prefix('/').map(String::from);
        Ok(self.files.keys().filter_map(within).filter(|name| !name.contains('/')).collect())
    }

    fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.files.get(file).cloned())
    }

    fn shapes(&self) -> Result<Vec<SiteRow>> {
        Ok(self.shapes.clone())
    }
}
