//! The recorder: an observer that writes a run directory.
//!
//! Enters: events. Leaves: the directory that `docs/run-format.md` describes. Every file is written under a temporary name
//! and renamed, so a run that is killed stays readable up to its last whole step. At no moment does `run.json` say of a
//! run that it is complete when some of it is missing.

use super::attention_file::MapFile;
use super::attention_log::AttentionLog;
use super::metadata::{png_bytes, png_with_metadata, step_png};
pub use super::out::check_out;
use super::out::{RESERVE_FILE, clear, json};
use super::shapes::ShapeLog;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::{write_atomically, write_durably};
use crate::files::lock::{self, Hold};
use crate::files::pictures;
use crate::numbers;
use crate::record::answers::OnStepRecord;
use crate::record::attention::ATTENTION_FOLDER;
use crate::record::inversion::Found;
use crate::record::plan::{Decode, Quantity};
use crate::record::schema::{
    self, RECORD_FILE, RunRecord, SCHEMA_VERSION, SHAPES_FILE, START_SITES, STEPS_FOLDER, SiteRow, Status, Timings,
};
use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
use crate::watch::site::{Branch, Grid};
use image::RgbImage;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Writes a run directory as the run goes on.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    record: Vec<Quantity>,
    decode: Decode,
    decode_what: Vec<Quantity>,
    attention: AttentionLog,
    shapes: ShapeLog,
    /// How much of the shape log is on disk.
    shapes_written: usize,
    run: Option<RunRecord>,
    /// The pictures that the run begins from, by their files' names, until it has begun.
    inputs: Vec<(String, Vec<u8>)>,
    /// The encoded picture and the mask of a run from a picture, until step 0 is written.
    start: Vec<(&'static str, Tensor)>,
    last_step: Option<usize>,
    finished: usize,
    /// Keeps other recorders out of the folder.
    _hold: Option<Hold>,
}

/// What a recorder left on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The last step that is whole on disk, if any.
    pub last_step: Option<usize>,
    /// How many finished pictures there are.
    pub finished: usize,
}

impl Recorder {
    /// A recorder for a checked plan: makes the folder and keeps other recorders out of it; an old run in it goes first.
    ///
    /// # Errors
    /// When another process is recording there, the folder cannot be made or the old run cannot be removed.
    pub fn create(dir: &Path, plan: &crate::record::plan::Plan) -> Result<Recorder> {
        std::fs::create_dir_all(dir).at("create", dir)?;
        let hold = Hold::take(dir)?;
        let kept_out = hold.is_locked();
        let recorder = Recorder::new(dir, plan, Some(hold));
        clear(dir)?;
        let steps = dir.join(STEPS_FOLDER);
        match std::fs::create_dir(&steps) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && kept_out => {}
            // Where there are no locks, the first of two has made it.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(lock::busy(dir)),
            made => made.at("create", &steps)?,
        }
        Ok(recorder)
    }

    /// The same in a folder that no other process knows of.
    ///
    /// # Errors
    /// As [`Recorder::create`].
    pub fn create_private(dir: &Path, plan: &crate::record::plan::Plan) -> Result<Recorder> {
        clear(dir)?;
        let steps = dir.join(STEPS_FOLDER);
        std::fs::create_dir_all(&steps).at("create", &steps)?;
        Ok(Recorder::new(dir, plan, None))
    }

    fn new(dir: &Path, plan: &crate::record::plan::Plan, hold: Option<Hold>) -> Recorder {
        Recorder {
            dir: dir.to_path_buf(),
            record: plan.record.clone(),
            decode: plan.decode,
            decode_what: plan.decode_what.clone(),
            attention: AttentionLog::default(),
            shapes: ShapeLog::default(),
            shapes_written: 0,
            run: None,
            inputs: vec![],
            start: vec![],
            last_step: None,
            finished: 0,
            _hold: hold,
        }
    }

    /// Keeps a picture that the run begins from, [`INIT_FILE`] or [`MASK_FILE`], to be written when it has begun.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn write_input(&mut self, name: &str, picture: &RgbImage) -> Result<()> {
        self.inputs.push((name.to_string(), png_bytes(picture)?));
        Ok(())
    }

    /// Keeps what a program answered that was handed the steps; [`Recorder::finish`] writes it.
    pub fn note_on_step(&mut self, answers: OnStepRecord) {
        if let Some(run) = &mut self.run {
            run.on_step = Some(answers);
        }
    }

    /// Keeps how often each edit of the plan changed a tensor; [`Recorder::finish`] writes it.
    pub fn note_edits(&mut self, fired: &[usize]) {
        if let Some(run) = &mut self.run {
            run.edits_fired = fired.to_vec();
        }
    }

    /// Keeps what an inversion found; [`Recorder::finish`] writes it.
    pub fn note_inversion(&mut self, found: Option<&Found>) {
        if let (Some(inversion), Some(found)) = (self.run.as_mut().and_then(|run| run.inversion.as_mut()), found) {
            inversion.found = found.clone();
        }
    }

    /// Ends the run: writes the finished pictures once more with the weights' hashes, which are only known now, and the
    /// record with its status and timings. When the pictures cannot be written, the record says that the run failed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(
        &mut self,
        status: Status,
        failure: Option<String>,
        hashes: &[String],
        timings: Timings,
    ) -> Result<Recorded> {
        let kept = Recorded { last_step: self.last_step, finished: self.finished };
        let Some(mut run) = self.run.take() else {
            let _ = std::fs::remove_file(self.dir.join(RESERVE_FILE));
            return Ok(kept);
        };
        (run.status, run.failure, run.timings) = (status, failure, timings);
        for (component, hash) in run.model.components.iter_mut().zip(hashes) {
            component.sha256.clone_from(hash);
        }
        let means = self.attention.mean_file().map_or(Ok(()), |file| self.write_maps(&file));
        let whole = means.and_then(|()| self.sign_pictures(&run)).and_then(|()| self.sync_steps(status));
        if let (Err(error), Status::Complete) = (&whole, status) {
            (run.status, run.failure) = (Status::Failed, Some(error.to_string()));
        }
        self.write_last(&run)?;
        // A run that had failed before has told of that.
        if status == Status::Complete { whole.map(|()| kept) } else { Ok(kept) }
    }

    /// Writes the last run.json, into the place that the reserve has on the disk: it is there even if the disk is full.
    fn write_last(&self, run: &RunRecord) -> Result<()> {
        let (reserve, path) = (self.dir.join(RESERVE_FILE), self.dir.join(RECORD_FILE));
        let json = json(run, &self.dir)?;
        let written = std::fs::File::options().write(true).open(&reserve).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &json)?;
            file.set_len(json.len() as u64)?;
            file.sync_all()?;
            std::fs::rename(&reserve, &path)
        });
        written.or_else(|_| {
            // The reserve is gone, or too small for all that there is to say.
            let _ = std::fs::remove_file(&reserve);
            write_durably(&path, &json)
        })
    }

    /// Writes the finished pictures with what made them.
    fn sign_pictures(&self, run: &RunRecord) -> Result<()> {
        for batch in 0..self.finished {
            let path = self.dir.join(schema::final_file(batch));
            let picture = pictures::open(&path, "picture")?.into_rgb8();
            write_atomically(&path, &png_with_metadata(&picture, run, batch)?)?;
        }
        Ok(())
    }

    /// Has the disk hold what the record is about to call complete: a power cut must not leave the record and take that.
    /// At the end and not with each step, for a step that is lost was not called complete; `docs/run-format.md` has what
    /// it costs.
    fn sync_steps(&self, status: Status) -> Result<()> {
        if status != Status::Complete {
            return Ok(());
        }
        let pictures = (0..self.finished).map(|batch| self.dir.join(schema::final_file(batch)));
        let mut files = files_below(&self.dir.join(STEPS_FOLDER))?;
        if self.dir.join(ATTENTION_FOLDER).is_dir() {
            files.extend(files_below(&self.dir.join(ATTENTION_FOLDER))?);
        }
        for path in files.into_iter().chain(pictures) {
            std::fs::File::open(&path).and_then(|file| file.sync_all()).at("write", &path)?;
        }
        Ok(())
    }

    fn write_maps(&self, file: &MapFile) -> Result<()> {
        let path = self.dir.join(&file.name);
        let folder = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(folder).at("create", folder)?;
        write_atomically(&path, &file.bytes()?)
    }

    fn write_step(&mut self, step: &Step) -> Result<()> {
        for file in self.attention.files(step.index, step.timestep) {
            self.write_maps(&file)?;
        }
        for (what, pictures) in &step.pictures {
            for (batch, picture) in pictures.iter().enumerate().filter(|_| self.decode_what.contains(what)) {
                let bytes = match &self.run {
                    Some(run) => step_png(picture, run, batch, (step.index, *what))?,
                    None => png_bytes(picture)?,
                };
                write_atomically(&self.dir.join(schema::picture_file(step.index, *what, batch)), &bytes)?;
            }
        }
        let mut tensors = vec![];
        for (what, tensor) in step.tensors.iter().filter(|(what, _)| self.record.contains(what)) {
            tensors.push((what.key(), numbers::of_tensor(tensor, Kind::Float)?, tensor.size()));
        }
        for (key, tensor) in self.start.drain(..).filter(|_| self.record.contains(&Quantity::Latents)) {
            tensors.push((key, numbers::of_tensor(&tensor, Kind::Float)?, tensor.size()));
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
            Ask::Site(..) => self.shapes.wants(ask) || self.attention.wants(ask),
        }
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        self.attention.wants_branch(branch)
    }

    fn wants_queries(&self, site: &str, step: usize, grid: Grid) -> Option<Vec<i64>> {
        self.attention.wants_queries(site, step, grid)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        self.shapes.on_event(event)?;
        self.attention.on_event(event)?;
        match event {
            Event::Begin(run) => {
                let json = json(run, &self.dir)?;
                // Before the record: a run that has begun can say how it ended.
                write_atomically(&self.dir.join(RESERVE_FILE), &vec![0; json.len() + 4096])?;
                write_atomically(&self.dir.join(RECORD_FILE), &json)?;
                self.run = Some((*run).clone());
                for (name, picture) in self.inputs.drain(..) {
                    write_atomically(&self.dir.join(name), &picture)?;
                }
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

/// The files in a folder and in those within.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).at("read", folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
