//! Reads a run directory: complete, still going, killed or failed. Needs neither the model nor libtorch.
//!
//! Enters: a folder. Leaves: the record, and on demand the tensors and pictures of the steps that are whole. Files are
//! written under a temporary name and renamed, so what has its name is whole.

use crate::error::{Error, IoContext, Result};
use crate::files::lock;
use crate::files::pictures;
use crate::record::plan::Quantity;
use crate::record::schema::SWEEP_FILE;
use crate::record::schema::{
    self, Level, RECORD_FILE, RunRecord, SCHEMA_VERSION, SHAPES_FILE, STEPS_FOLDER, SiteRow, Status,
};
use image::RgbImage;
use ndarray::{Array3, Array4, Axis};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A recorded run.
#[derive(Debug, Clone)]
pub struct Run {
    dir: PathBuf,
    record: RunRecord,
}

impl Run {
    /// Opens a run directory. Of a run whose record says that it is going on, but which nobody is writing, the status is
    /// [`Status::Killed`].
    ///
    /// # Errors
    /// When the folder has no `run.json`, when that is not valid, or when a newer program with another layout wrote it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Run> {
        let dir = dir.into();
        let mut record = read_record(&dir)?;
        if record.status == Status::Running && lock::is_held(&dir) == Some(false) {
            // Once more, for it may have ended between the two looks.
            record = read_record(&dir)?;
            if record.status == Status::Running {
                record.status = Status::Killed;
            }
        }
        Ok(Run { dir, record })
    }

    /// The run directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `run.json` says.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The steps that are on disk, in order; 0 is the starting latents.
    ///
    /// # Errors
    /// When the folder of the steps cannot be listed. A run that has none yet gives an empty list.
    pub fn steps(&self) -> Result<Vec<usize>> {
        self.numbered(|name| name.strip_suffix(".safetensors")?.parse().ok())
    }

    /// The steps of which a decoded picture of `what` ([`Quantity::Latents`] or [`Quantity::PredictedOriginal`]) is on
    /// disk, for batch item `batch`.
    ///
    /// # Errors
    /// As [`Run::steps`].
    pub fn pictured_steps(&self, what: Quantity, batch: usize) -> Result<Vec<usize>> {
        self.numbered(|name| {
            let step = name.get(..name.find(|c: char| !c.is_ascii_digit())?)?.parse().ok()?;
            (schema::picture_file(step, what, batch) == format!("{STEPS_FOLDER}/{name}")).then_some(step)
        })
    }

    fn numbered(&self, number: impl Fn(&str) -> Option<usize>) -> Result<Vec<usize>> {
        let folder = self.dir.join(STEPS_FOLDER);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e).at("read", &folder),
        };
        let mut steps = vec![];
        for entry in entries {
            let name = entry.at("read", &folder)?.file_name();
            steps.extend(name.to_str().and_then(&number));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// A recorded tensor, `[batch, channels, height/8, width/8]`, or `None` where it was not recorded (step 0 has only
    /// the latents).
    ///
    /// # Errors
    /// When the step's file is missing, unreadable or not valid.
    pub fn tensors(&self, step: usize, what: Quantity) -> Result<Option<Array4<f32>>> {
        self.named(step, what.key())
    }

    /// The encoded picture of a run that begins from one, `[batch, channels, height/8, width/8]`, times the scaling
    /// factor; of a run with a second pass, the enlarged latents or encoded picture that it begins from. `None` where
    /// there is none.
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn encoded(&self) -> Result<Option<Array4<f32>>> {
        self.named(self.record.hires.as_ref().map_or(0, |second| second.first_step), "encoded")
    }

    /// The mask among the latents, `[1, 1, height/8, width/8]`, 1 where the picture was repainted; `None` where there is
    /// none.
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn mask(&self) -> Result<Option<Array4<f32>>> {
        self.named(0, "mask")
    }

    fn named(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        let path = self.dir.join(schema::step_file(step));
        let bytes = std::fs::read(&path).at("read", &path)?;
        let bad = |reason: String| Error::bad_file(&path, "safetensors file", reason);
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        let Ok(view) = file.tensor(key) else { return Ok(None) };
        let &[b, c, h, w] = view.shape() else {
            return Err(bad(format!("`{key}` has shape {:?}, expected four dimensions", view.shape())));
        };
        if let Ok(latents) = file.tensor(Quantity::Latents.key())
            && key != "mask"
            && latents.shape() != view.shape()
        {
            let (found, latents) = (view.shape(), latents.shape());
            return Err(bad(format!("`{key}` has shape {found:?}, and the latents of the step have {latents:?}")));
        }
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("`{key}` is {:?}, expected F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Array4::from_shape_vec((b, c, h, w), values).map(Some).map_err(|e| bad(e.to_string()))
    }

    /// A recorded tensor of one picture of the batch, `[channels, height/8, width/8]`.
    ///
    /// # Errors
    /// As [`Run::tensors`]; also when the batch has no such item.
    pub fn tensor(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Array3<f32>>> {
        let Some(all) = self.tensors(step, what)? else { return Ok(None) };
        if batch >= all.len_of(Axis(0)) {
            return Err(Error::invalid(
                format!("the batch has no picture {batch}: `{}` holds {}", self.dir.display(), all.len_of(Axis(0))),
                "pictures of a batch are counted from 0",
            ));
        }
        Ok(Some(all.index_axis_move(Axis(0), batch)))
    }

    /// The decoded picture of a step, or `None` where the step was not decoded.
    ///
    /// # Errors
    /// When the file is there but cannot be read as a picture.
    pub fn picture(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<RgbImage>> {
        read_picture(&self.dir.join(schema::picture_file(step, what, batch)))
    }

    /// The finished picture, or `None` if the run did not come that far.
    ///
    /// # Errors
    /// As [`Run::picture`].
    pub fn final_picture(&self, batch: usize) -> Result<Option<RgbImage>> {
        read_picture(&self.dir.join(schema::final_file(batch)))
    }

    /// The noise level of the latents in step `step`'s file.
    pub fn level(&self, step: usize) -> Option<&Level> {
        self.record.schedule.get(step)
    }

    /// The shape log. A last line that a killed run left unfinished is passed over.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn shapes(&self) -> Result<Vec<SiteRow>> {
        let path = self.dir.join(SHAPES_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
            Err(e) => Err(e).at("read", &path),
        }
    }
}

fn read_record(dir: &Path) -> Result<RunRecord> {
    let path = dir.join(RECORD_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let hint = match dir.join(SWEEP_FILE).is_file() {
                true => "it is a sweep: `sdviz grid` shows it, and the folders in its `cells/` are runs",
                false => "name a folder that `sdviz trace --out FOLDER` made",
            };
            return Err(Error::invalid(format!("`{}` is not a run: it has no `{RECORD_FILE}`", dir.display()), hint));
        }
        Err(e) => return Err(e).at("read", &path),
    };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::bad_file(&path, "run record", e))?;
    let version = json["schema_version"].as_u64().unwrap_or(0);
    if version > SCHEMA_VERSION as u64 {
        return Err(Error::invalid(
            format!("`{}` has schema version {version}, this sdviz reads up to {SCHEMA_VERSION}", path.display()),
            "use the sdviz that recorded it, or a newer one",
        ));
    }
    serde_json::from_value(json).map_err(|e| Error::bad_file(&path, "run record", e))
}

fn read_picture(path: &Path) -> Result<Option<RgbImage>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).at("read", path),
    };
    Ok(Some(pictures::decode(path, &bytes, "picture")?.into_rgb8()))
}
