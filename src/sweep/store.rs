//! The sweep directory: which cells are there, who is making one, and how several processes share it.
//!
//! Enters: cells' names. Leaves: folders. A cell is made under a temporary name and renamed when it is whole, so
//! `cells/NAME` is always a whole run.

use super::claim::{self, Claim};
use super::record::{SWEEP_FILE, SweepRecord};
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::record::schema::Status;
use crate::trace::reader::Run;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder of the cells.
pub const CELLS_FOLDER: &str = "cells";

/// A sweep directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// How far a cell is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not there, or still being made.
    Missing,
    /// There, whole.
    Complete,
    /// It failed, for this reason.
    Failed(String),
}

impl Store {
    /// A sweep directory that is there or shall be made. Changes nothing.
    ///
    /// # Errors
    /// When the folder holds something else than a sweep.
    pub fn new(dir: &Path) -> Result<Store> {
        let store = Store { dir: dir.to_path_buf() };
        let ours = dir.join(SWEEP_FILE).is_file() || dir.join(CELLS_FOLDER).is_dir();
        if dir.is_file() {
            return Err(Error::invalid(format!("`{}` is a file", dir.display()), "name a folder"));
        }
        if dir.is_dir() && !ours && std::fs::read_dir(dir).at("read", dir)?.next().is_some() {
            return Err(Error::invalid(
                format!("`{}` is not empty, and not a sweep", dir.display()),
                "name another folder with `--out`",
            ));
        }
        Ok(store)
    }

    /// A sweep directory that is there, with its record.
    ///
    /// # Errors
    /// When it is no sweep.
    pub fn open(dir: &Path) -> Result<(Store, SweepRecord)> {
        match SweepRecord::read(dir)? {
            Some(record) => Ok((Store { dir: dir.to_path_buf() }, record)),
            None => Err(Error::invalid(
                format!("`{}` is not a sweep: it has no `{SWEEP_FILE}`", dir.display()),
                "name a folder that `sdviz sweep --out FOLDER` made",
            )),
        }
    }

    /// The sweep directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A cell's run directory.
    pub fn cell(&self, id: &str) -> PathBuf {
        self.dir.join(CELLS_FOLDER).join(id)
    }

    /// How far a cell is. A folder that holds no readable run counts as missing.
    pub fn state(&self, id: &str) -> State {
        let Ok(run) = Run::open(self.cell(id)) else { return State::Missing };
        let record = run.record();
        match record.status {
            Status::Complete => State::Complete,
            Status::Failed => State::Failed(record.failure.clone().unwrap_or_else(|| "for no reason given".into())),
            Status::Running | Status::Killed => State::Missing,
        }
    }

    /// Adds what a command asks for to `sweep.json`. Gives all there is then, and how many cells took the place of others.
    ///
    /// # Errors
    /// When the directory cannot be made or written to, or its record cannot be read.
    pub fn widen(&self, asked: &SweepRecord) -> Result<(SweepRecord, usize)> {
        let cells = self.dir.join(CELLS_FOLDER);
        std::fs::create_dir_all(&cells).at("create", &cells)?;
        self.alone(|| {
            let known = SweepRecord::read(&self.dir)?;
            let (mut all, mut replaced) = (asked.clone(), 0);
            if let Some(known) = &known {
                all = known.clone();
                replaced = all.widen(asked);
            }
            if known.as_ref() != Some(&all) {
                let path = self.dir.join(SWEEP_FILE);
                let mut json =
                    serde_json::to_vec_pretty(&all).map_err(|e| Error::bad_file(&path, "sweep record", e))?;
                json.push(b'\n');
                write_atomically(&path, &json)?;
            }
            Ok((all, replaced))
        })
    }

    /// Does some work on what belongs to the whole sweep while no other process does.
    ///
    /// # Errors
    /// The work's.
    pub fn alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // A file system without locks, or a folder that may only be read, has to do without: every file is still written
        // whole.
        let file = File::create(self.dir.join(".sweep.lock"));
        let _locked = file.as_ref().map(File::lock);
        work()
    }

    /// Claims a cell, and removes what a killed process left of it. `None` when another process is making it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn claim(&self, id: &str) -> Result<Option<Claim>> {
        Claim::take(&self.dir.join(CELLS_FOLDER), id)
    }

    /// Removes what killed processes left beside cells that are complete: nobody claims those any more.
    pub fn tidy(&self) {
        for id in claim::unfinished(&self.dir.join(CELLS_FOLDER)) {
            if self.state(&id) == State::Complete {
                let _ = self.claim(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("sweep")).unwrap();
        std::fs::create_dir_all(store.dir().join(CELLS_FOLDER)).unwrap();
        (dir, store)
    }

    #[test]
    fn what_was_not_placed_goes_and_so_does_what_a_killed_process_left() {
        let (_dir, store) = store();
        let cells = store.dir().join(CELLS_FOLDER);
        for left in [".abc.part-old", ".abcd.part-old"] {
            std::fs::create_dir(cells.join(left)).unwrap();
            std::fs::write(cells.join(left).join("run.json"), "").unwrap();
        }
        drop(store.claim("abc").unwrap().unwrap());
        let left: Vec<_> = std::fs::read_dir(&cells).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [".abcd.part-old"]);
    }

    #[test]
    fn another_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(Store::new(dir.path()).unwrap_err().to_string().contains("not a sweep"));
        assert!(Store::open(dir.path()).unwrap_err().to_string().contains("has no `sweep.json`"));
    }
}
