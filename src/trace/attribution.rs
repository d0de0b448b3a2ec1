//! The recorder of attribution: an observer that finds out what each word causes, beside the run.
//!
//! Enters: the latents that enter a step's prediction. Leaves: `attribution/NNN.safetensors`, one file a step, whole or not
//! there, written after the step's own file.

use super::attention_file::serialize;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::pipeline::attribution::{Attributed, Attributor};
use crate::record::attribution::{DROP, DROP_NORM, GRADIENT, SCORE, TEXT_NORM, WHOLE, WHOLE_NORM, attribution_file};
use crate::record::schema::RunRecord;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// The site whose tensor the predictions begin with.
const SAMPLE: &str = "unet.sample";

/// Finds out what words cause, and writes it.
#[derive(Debug)]
pub struct AttributionRecorder<'a> {
    dir: PathBuf,
    attributor: Attributor<'a>,
    batch: i64,
    /// The latents that entered the prediction of the step that goes on, of each picture once.
    sample: Option<Tensor>,
}

impl<'a> AttributionRecorder<'a> {
    /// For the run that is recorded in `dir`.
    pub fn new(dir: &Path, record: &RunRecord, attributor: Attributor<'a>) -> AttributionRecorder<'a> {
        AttributionRecorder { dir: dir.into(), attributor, batch: record.plan.batch_size as i64, sample: None }
    }
}

impl Observer for AttributionRecorder<'_> {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(SAMPLE, step) if self.attributor.steps().contains(&step))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            // All branches of a picture begin with the same latents.
            Event::Tensor(site, tensor) if site.name == SAMPLE => self.sample = Some(tensor.narrow(0, 0, self.batch)),
            Event::Step(step) => {
                if let (Some(sample), Some(timestep)) = (self.sample.take(), step.timestep) {
                    write(&self.dir, &self.attributor.attribute(step.index, timestep, &sample)?)?;
                }
            }
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

/// Writes what was found out of a step into a run directory.
///
/// # Errors
/// When a number is too large for half precision, or the file cannot be written.
pub fn write(dir: &Path, found: &Attributed) -> Result<()> {
    let path = dir.join(attribution_file(found.about.step));
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).at("create", folder)?;
    write_atomically(&path, &bytes(found)?)
}

/// The file of a step.
///
/// # Errors
/// When libtorch or safetensors refuses a tensor.
pub fn bytes(found: &Attributed) -> Result<Vec<u8>> {
    let name = attribution_file(found.about.step);
    let (mut maps, mut numbers) = (vec![], vec![]);
    if let Some(drop) = &found.drop {
        maps.extend([(DROP, &drop.maps), (WHOLE, &drop.whole)]);
        numbers.extend([(DROP_NORM, &drop.norms), (TEXT_NORM, &drop.text_norm), (WHOLE_NORM, &drop.whole_norm)]);
    }
    numbers.extend(found.gradient.iter().flat_map(|g| [(GRADIENT, &g.tokens), (SCORE, &g.score)]));
    let named = |tensors: Vec<(&str, &Tensor)>| -> Vec<(String, Tensor)> {
        tensors.into_iter().map(|(key, tensor)| (key.to_string(), tensor.shallow_clone())).collect()
    };
    let about = serde_json::to_value(&found.about).map_err(|e| Error::Broken(e.to_string()))?;
    serialize(&name, &about, &[(&named(maps), true), (&named(numbers), false)])
}
