//! A run directory, as a record that can be read. Files are written under a temporary name and renamed, so what has its
//! name is whole.

use crate::error::{Error, IoContext, Result};
use crate::files::lock;
use crate::files::pictures;
use crate::numbers;
use crate::record::layers::{self, BLOCKS_FILE, LayerRow, SITES_FOLDER};
use crate::record::plan::Quantity;
use crate::record::schema::{
    self, RECORD_FILE, RunRecord, SCHEMA_VERSION, SHAPES_FILE, STEPS_FOLDER, SWEEP_FILE, SiteRow, Status,
};
use crate::trace::reader::{Run, Source};
use crate::trace::{header, site_file};
use image::RgbImage;
use ndarray::Array4;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// The folder of a run.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder, and what its record says; [`Status::Killed`] where that is `running` and nobody writes it.
    pub(super) fn open(dir: PathBuf) -> Result<(Folder, RunRecord)> {
        let mut record = read_record(&dir)?;
        if record.status == Status::Running && lock::is_held(&dir) == Some(false) {
            // Once more, for it may have ended between the two looks.
            record = read_record(&dir)?;
            if record.status == Status::Running {
                record.status = Status::Killed;
            }
        }
        Ok((Folder(dir), record))
    }

    fn numbered(&self, number: impl Fn(&str) -> Option<usize>) -> Result<Vec<usize>> {
        self.numbered_in(STEPS_FOLDER, number)
    }

    fn numbered_in(&self, folder: &str, number: impl Fn(&str) -> Option<usize>) -> Result<Vec<usize>> {
        let mut steps: Vec<usize> = self.names(folder)?.iter().filter_map(|name| number(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }
}

impl Run {
    /// Opens a run directory. Of a run whose record says that it is going on, but which nobody is writing, the status is
    /// [`Status::Killed`].
    ///
    /// # Errors
    /// When the folder has no `run.json`, when that is not valid, or when a newer program with another layout wrote it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Run> {
        let (folder, record) = Folder::open(dir.into())?;
        Ok(Run::of(folder, record))
    }
}

impl Source for Folder {
    fn name(&self) -> &Path {
        &self.0
    }

    fn dir(&self) -> Option<&Path> {
        Some(&self.0)
    }

    fn steps(&self) -> Result<Vec<usize>> {
        self.numbered(|name| name.strip_suffix(".safetensors")?.parse().ok())
    }

    fn pictured_steps(&self, what: Quantity, batch: usize) -> Result<Vec<usize>> {
        self.numbered(|name| {
            let step = name.get(..name.find(|c: char| !c.is_ascii_digit())?)?.parse().ok()?;
            (schema::picture_file(step, what, batch) == format!("{STEPS_FOLDER}/{name}")).then_some(step)
        })
    }

    fn tensor(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        let path = self.0.join(schema::step_file(step));
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
        Array4::from_shape_vec((b, c, h, w), numbers::of_f32(view.data())).map(Some).map_err(|e| bad(e.to_string()))
    }

    fn shape(&self, step: usize, key: &str) -> Result<Option<Vec<usize>>> {
        Ok(header::shapes(&self.0.join(schema::step_file(step)))?.remove(key))
    }

    fn picture(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<RgbImage>> {
        read_picture(&self.0.join(schema::picture_file(step, what, batch)))
    }

    fn picture_file(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<u8>>> {
        read(&self.0.join(schema::picture_file(step, what, batch)))
    }

    fn final_picture(&self, batch: usize) -> Result<Option<RgbImage>> {
        read_picture(&self.0.join(schema::final_file(batch)))
    }

    fn final_file(&self, batch: usize) -> Result<Option<Vec<u8>>> {
        read(&self.0.join(schema::final_file(batch)))
    }

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let folder = self.0.join(folder);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e).at("read", &folder),
        };
        let mut names = vec![];
        for entry in entries {
            names.extend(entry.at("read", &folder)?.file_name().into_string());
        }
        Ok(names)
    }

    fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>> {
        read(&self.0.join(file))
    }

    fn shapes(&self) -> Result<Vec<SiteRow>> {
        lines(&self.0.join(SHAPES_FILE))
    }

    fn site_steps(&self) -> Result<Vec<usize>> {
        self.numbered_in(SITES_FOLDER, |name| name.strip_suffix(".safetensors")?.parse().ok())
    }

    fn site_keys(&self, step: usize) -> Result<Vec<String>> {
        site_file::keys(&self.0.join(layers::site_file(step)))
    }

    fn site(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        site_file::tensor(&self.0.join(layers::site_file(step)), key)
    }

    fn layers(&self) -> Result<Vec<LayerRow>> {
        lines(&self.0.join(BLOCKS_FILE))
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

/// The objects of a file that has one a line, if it is there. A last line that was not finished is passed over.
fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(e).at("read", path),
    }
}

fn read_picture(path: &Path) -> Result<Option<RgbImage>> {
    read(path)?.map(|bytes| Ok(pictures::decode(path, &bytes, "picture")?.into_rgb8())).transpose()
}

/// A file's bytes, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", path),
    }
}
