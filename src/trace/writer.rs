//! The recorder: an observer that writes a run directory.
//!
//! Enters: events. Leaves: the directory that `docs/run-format.md` describes. Every file is written under a temporary name
//! and renamed, so a run that is killed stays readable up to its last whole step.

use super::answers::OnStepRecord;
use super::inputs::{INIT_FILE, MASK_FILE};
use super::metadata::{png_bytes, png_with_metadata};
use super::observer::{Ask, Event, Flow, Observer, Step};
use super::schema::{
    self, Decode, Quantity, RECORD_FILE, RunRecord, SCHEMA_VERSION, SHAPES_FILE, STEPS_FOLDER, SiteRow, Status, Timings,
};
use super::shapes::ShapeLog;
use crate::error::{Error, IoContext, Result};
use image::RgbImage;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Holds disk space for the last words of a run whose disk fills up.
const RESERVE_FILE: &str = ".reserve";

/// Writes a run directory as the run goes on.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    record: Vec<Quantity>,
    decode: Decode,
    decode_what: Vec<Quantity>,
    shapes: ShapeLog,
    /// How much of the shape log is on disk.
    shapes_written: usize,
    run: Option<RunRecord>,
    /// The encoded picture and the mask of a run from a picture, until step 0 is written.
    start: Vec<(&'static str, Tensor)>,
    last_step: Option<usize>,
    finished: usize,
}

/// The sites that are kept in step 0's file beside the latents.
const START_SITES: [&str; 2] = ["encoded", "mask"];

/// What a recorder left on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The last step that is whole on disk, if any.
    pub last_step: Option<usize>,
    /// How many finished pictures there are.
    pub finished: usize,
}

/// Refuses an output folder that cannot become a run: it holds something and `force` is not given, or it cannot be
/// written to. Changes nothing.
///
/// # Errors
/// Says which.
pub fn check_out(dir: &Path, force: bool) -> Result<()> {
    if dir.is_file() {
        return Err(Error::invalid(format!("`{}` is a file", dir.display()), "name a folder"));
    }
    if dir.is_dir() {
        let empty = std::fs::read_dir(dir).at("read", dir)?.next().is_none();
        if !empty && !force {
            return Err(Error::invalid(
                format!("`{}` is not empty", dir.display()),
                "name another folder with `--out`, or replace the run in it with `--force`",
            ));
        }
    }
    let existing = dir.ancestors().find(|p| p.is_dir() || p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    tempfile::Builder::new().prefix(".sdviz-").tempfile_in(existing).map(drop).at("write in", existing)
}

impl Recorder {
    /// A recorder for a checked plan: makes the folder; an old run in it goes first.
    ///
    /// # Errors
    /// When the folder cannot be made or the old run cannot be removed.
    pub fn create(dir: &Path, plan: &schema::Plan) -> Result<Recorder> {
        remove_old_run(dir)?;
        let steps = dir.join(STEPS_FOLDER);
        std::fs::create_dir_all(&steps).at("create", &steps)?;
        Ok(Recorder {
            dir: dir.to_path_buf(),
            record: plan.record.clone(),
            decode: plan.decode,
            decode_what: plan.decode_what.clone(),
            shapes: ShapeLog::default(),
            shapes_written: 0,
            run: None,
            start: vec![],
            last_step: None,
            finished: 0,
        })
    }

    /// Writes a picture that the run begins from: [`INIT_FILE`] or [`MASK_FILE`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_input(&self, name: &str, picture: &RgbImage) -> Result<()> {
        write_atomically(&self.dir.join(name), &png_bytes(picture)?)
    }

    /// Keeps what a program answered that was handed the steps; [`Recorder::finish`] writes it.
    pub fn note_on_step(&mut self, answers: OnStepRecord) {
        if let Some(run) = &mut self.run {
            run.on_step = Some(answers);
        }
    }

    /// Ends the run: writes the record with its status and timings, and the finished pictures once more with the weights'
    /// hashes, which are only known now.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(
        &mut self,
        status: Status,
        failure: Option<String>,
        hashes: &[String],
        timings: Timings,
    ) -> Result<Kept> {
        let kept = Kept { last_step: self.last_step, finished: self.finished };
        let Some(mut run) = self.run.take() else { return Ok(kept) };
        let _ = std::fs::remove_file(self.dir.join(RESERVE_FILE));
        (run.status, run.failure, run.timings) = (status, failure, timings);
        for (component, hash) in run.model.components.iter_mut().zip(hashes) {
            component.sha256.clone_from(hash);
        }
        for batch in 0..self.finished {
            let path = self.dir.join(schema::final_file(batch));
            let picture = image::open(&path).map_err(|e| Error::bad_file(&path, "picture", e))?.to_rgb8();
            write_atomically(&path, &png_with_metadata(&picture, &run, batch)?)?;
        }
        self.write_record(&run)?;
        Ok(kept)
    }

    /// Writes run.json and gives its size in bytes.
    fn write_record(&self, run: &RunRecord) -> Result<usize> {
        let path = self.dir.join(RECORD_FILE);
        let mut json = serde_json::to_vec_pretty(run).map_err(|e| Error::bad_file(&path, "run record", e))?;
        json.push(b'\n');
        write_atomically(&path, &json).map(|()| json.len())
    }

    fn write_step(&mut self, step: &Step) -> Result<()> {
        for (what, pictures) in &step.pictures {
            for (batch, picture) in pictures.iter().enumerate().filter(|_| self.decode_what.contains(what)) {
                write_atomically(&self.dir.join(schema::picture_file(step.index, *what, batch)), &png_bytes(picture)?)?;
            }
        }
        let mut tensors = vec![];
        for (what, tensor) in step.tensors.iter().filter(|(what, _)| self.record.contains(what)) {
            tensors.push((what.key(), f32_bytes(tensor)?, tensor.size()));
        }
        for (key, tensor) in self.start.drain(..).filter(|_| self.record.contains(&Quantity::Latents)) {
            tensors.push((key, f32_bytes(&tensor)?, tensor.size()));
        }
        tensors.sort_by_key(|(key, ..)| *key);
        let path = self.dir.join(schema::step_file(step.index));
        // One metadata entry, for several would come in any order.
        let about =
            serde_json::json!({ "schema_version": SCHEMA_VERSION, "step": step.index, "timestep": step.timestep });
        let metadata = HashMap::from([("sdviz".to_string(), about.to_string())]);
        let bad = |e: safetensors::SafeTensorError| Error::bad_file(&path, "safetensors file", e);
        let mut views = vec![];
        for (key, bytes, size) in &tensors {
            let shape = size.iter().map(|d| *d as usize).collect();
            views.push((*key, TensorView::new(safetensors::Dtype::F32, shape, bytes).map_err(bad)?));
        }
        // The step's file comes last: where it is, the step is whole.
        write_atomically(&path, &safetensors::serialize(views, Some(metadata)).map_err(bad)?)?;
        self.last_step = Some(step.index);
        self.write_shapes()
    }

    /// Appends the rows that came since the last time.
    fn write_shapes(&mut self) -> Result<()> {
        let new: &[SiteRow] = &self.shapes.rows[self.shapes_written..];
        if new.is_empty() {
            return Ok(());
        }
        let path = self.dir.join(SHAPES_FILE);
        let mut text = String::new();
        for row in new {
            text += &serde_json::to_string(row).map_err(|e| Error::bad_file(&path, "shape log", e))?;
            text.push('\n');
        }
        self.shapes_written = self.shapes.rows.len();
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        open.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).at("write", &path)
    }
}

impl Observer for Recorder {
    fn wants(&self, ask: Ask) -> bool {
        match ask {
            Ask::Quantity(what, _) => self.record.contains(&what),
            Ask::Picture { what, step, last } => self.decode_what.contains(&what) && self.decode.includes(step, last),
            Ask::Site(..) => self.shapes.wants(ask),
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        self.shapes.on_event(event)?;
        match event {
            Event::Begin(run) => {
                let size = self.write_record(run)?;
                let reserve = self.dir.join(RESERVE_FILE);
                std::fs::write(&reserve, vec![0; size + 4096]).at("write", &reserve)?;
                self.run = Some((*run).clone());
            }
            Event::Step(step) => self.write_step(step)?,
            Event::Finished(pictures) => {
                self.write_shapes()?;
                for (batch, picture) in pictures.iter().enumerate() {
                    write_atomically(&self.dir.join(schema::final_file(batch)), &png_bytes(picture)?)?;
                }
                self.finished = pictures.len();
            }
            Event::Tensor(site, tensor) => {
                if let Some(key) = START_SITES.into_iter().find(|name| *name == site.name) {
                    self.start.push((key, tensor.shallow_clone()));
                }
            }
        }
        Ok(Flow::Continue)
    }
}

/// The numbers as little-endian f32, row by row.
fn f32_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
    let values: Vec<f32> = Vec::try_from(&flat)?;
    Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Writes a file whole or not at all: under a temporary name beside it, then renamed.
///
/// # Errors
/// Names the file; the temporary one is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.part"));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.at("write", path)
}

/// Removes what an earlier run left in the folder, and nothing else.
fn remove_old_run(dir: &Path) -> Result<()> {
    if !dir.join(RECORD_FILE).is_file() {
        return Ok(());
    }
    for folder in [STEPS_FOLDER, "exports"] {
        let path = dir.join(folder);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).at("remove", &path)?;
        }
    }
    for entry in std::fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = [RECORD_FILE, RESERVE_FILE, SHAPES_FILE, INIT_FILE, MASK_FILE, "index.html"].contains(&&*name)
            || (name.starts_with("final") && name.ends_with(".png"));
        if ours {
            std::fs::remove_file(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
}
