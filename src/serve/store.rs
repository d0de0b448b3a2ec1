//! The queue on disk: a file for each run that waits or is being made, in the hidden folder `.queue` of the runs folder.
//!
//! Enters: plans and the pictures they begin from. Leaves: the same after a restart. A file is on the disk, and so is its
//! name, before anybody is told that the run is queued; it goes when the run has ended.

use super::id::RunId;
use super::visitor::Visitor;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::{is_temporary, write_durably};
use crate::files::lock::Hold;
use crate::pipeline::init_image::InitImage;
use crate::record::plan::Plan;
use crate::record::schema::Status;
use crate::trace::reader::Run;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder inside the runs folder.
const FOLDER: &str = ".queue";

/// A run that waits or is being made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub id: RunId,
    /// Whose it is.
    pub visitor: Visitor,
    /// When it was asked for, seconds since 1970 (UTC).
    pub asked_unix: u64,
    /// What was asked for.
    pub plan: Plan,
}

/// The picture and the mask that a run begins from, as they were sent.
#[derive(Debug, Default)]
pub struct Pictures {
    /// The picture's file.
    pub init: Option<Vec<u8>>,
    /// The mask's.
    pub mask: Option<Vec<u8>>,
}

/// The queue's folder. Nobody else writes in it while it is open.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _hold: Hold,
}

impl Store {
    /// Opens the queue of a runs folder, and makes both where they are not there.
    ///
    /// # Errors
    /// When another server has it, or it cannot be written in.
    pub fn open(runs: &Path) -> Result<Store> {
        let folder = runs.join(FOLDER);
        std::fs::create_dir_all(&folder).at("create", &folder)?;
        let hold = Hold::take_or(&folder, || {
            let message = format!("another server has the runs folder `{}`", runs.display());
            Error::invalid(message, "name another folder with `--runs`, end that server, or look at its page")
        })?;
        Ok(Store { folder, _hold: hold })
    }

    /// The file that remembers who has joined.
    pub fn joined(&self) -> PathBuf {
        self.folder.join("joined.json")
    }

    /// What was queued or being made when the last server ended, in the order of the ids. Runs that had come to their end
    /// are crossed out; leftovers go, and files that are no entries are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn left(&self, runs: &Path) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = vec![];
        let mut names = vec![];
        for file in std::fs::read_dir(&self.folder).at("read", &self.folder)? {
            names.push(file.at("read", &self.folder)?.file_name().to_string_lossy().into_owned());
        }
        for name in &names {
            let path = self.folder.join(name);
            if is_temporary(name) {
                let _ = std::fs::remove_file(&path);
            }
            let Some(id) = name.strip_suffix(".json").and_then(RunId::parse) else { continue };
            let read = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
            let Some(entry) = read.filter(|entry| entry.id == id) else { continue };
            let ended = Run::open(runs.join(id.as_str())).is_ok_and(|run| run.record().status == Status::Complete);
            if ended { self.remove(&id)? } else { entries.push(entry) }
        }
        // A picture whose entry was never written, or is gone.
        for name in names.iter().filter(|name| name.ends_with(".picture") || name.ends_with(".mask")) {
            let id = name.split('.').next().unwrap_or_default();
            if !entries.iter().any(|entry| entry.id.as_str() == id) {
                let _ = std::fs::remove_file(self.folder.join(name));
            }
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    /// Keeps a run and its pictures, and notes in its plan which they are. When it returns, not even a power cut loses
    /// them.
    ///
    /// # Errors
    /// When a picture is none or cannot be used, or the disk does not take them: then nothing is kept.
    pub fn add(&self, entry: &mut Entry, pictures: &Pictures) -> Result<()> {
        let kept = self.keep(entry, pictures);
        if kept.is_err() {
            let _ = self.remove(&entry.id);
        }
        kept
    }

    fn keep(&self, entry: &mut Entry, pictures: &Pictures) -> Result<()> {
        let [init, mask] = self.pictures(&entry.id);
        for (path, bytes) in [(&init, &pictures.init), (&mask, &pictures.mask)] {
            bytes.as_ref().map_or(Ok(()), |bytes| write_durably(path, bytes))?;
        }
        if let Some(input) = self.input(&entry.id)? {
            entry.plan.init_image = Some(input.about);
            entry.plan.mask = input.mask.map(|(_, about)| about);
        }
        let path = self.entry(&entry.id);
        let json = serde_json::to_vec(entry).map_err(|e| Error::bad_file(&path, "queue entry", e))?;
        write_durably(&path, &json)?;
        self.sync()
    }

    /// The picture that a run begins from, if it does.
    ///
    /// # Errors
    /// As [`InitImage::read`].
    pub fn input(&self, id: &RunId) -> Result<Option<InitImage>> {
        let [init, mask] = self.pictures(id);
        let mask = mask.is_file().then_some(mask);
        let read = init.is_file().then(|| InitImage::read(&init, mask.as_deref())).transpose();
        // Its name in the queue tells nobody anything.
        read.map(|read| {
            read.map(|mut input| {
                input.about.file = "picture".into();
                input.mask.iter_mut().for_each(|(_, about)| about.file = "mask".into());
                input
            })
        })
    }

    /// Crosses a run out.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove(&self, id: &RunId) -> Result<()> {
        let [init, mask] = self.pictures(id);
        for path in [self.entry(id), init, mask] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at("remove", &path),
                _ => {}
            }
        }
        self.sync()
    }

    fn entry(&self, id: &RunId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn pictures(&self, id: &RunId) -> [PathBuf; 2] {
        ["picture", "mask"].map(|ending| self.folder.join(format!("{id}.{ending}")))
    }

    /// Has the disk hold the folder's names. Not every file system can say that of a folder.
    fn sync(&self) -> Result<()> {
        if cfg!(unix) {
            File::open(&self.folder).and_then(|folder| folder.sync_all()).at("write", &self.folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry() -> Entry {
        let plan = Plan { prompt: "a cat".into(), ..Plan::default() };
        Entry { id: RunId::new(), visitor: Visitor::named("a"), asked_unix: 1, plan }
    }

    #[test]
    fn what_is_left_comes_back_in_its_order() {
        let runs = tempfile::tempdir().unwrap();
        let store = Store::open(runs.path()).unwrap();
        assert!(Store::open(runs.path()).is_err(), "another server is kept out");
        let mut entries = [entry(), entry(), entry()];
        // Written in another order than they were asked for.
        entries.iter_mut().rev().for_each(|entry| store.add(entry, &Pictures::default()).unwrap());
        store.remove(&entries[1].id).unwrap();
        let folder = runs.path().join(FOLDER);
        std::fs::write(folder.join(".x.json.abcdef.part"), "").unwrap();
        std::fs::write(folder.join(format!("{}.json", RunId::new())), "").unwrap();
        std::fs::write(folder.join(format!("{}.picture", RunId::new())), "x").unwrap();
        drop(store);
        let store = Store::open(runs.path()).unwrap();
        let left: Vec<RunId> = store.left(runs.path()).unwrap().into_iter().map(|entry| entry.id).collect();
        assert_eq!(left, [entries[0].id.clone(), entries[2].id.clone()]);
        assert!(!folder.join(".x.json.abcdef.part").exists());
    }

    #[test]
    fn a_picture_that_is_none_leaves_nothing() {
        let runs = tempfile::tempdir().unwrap();
        let store = Store::open(runs.path()).unwrap();
        let pictures = Pictures { init: Some(b"GIF89a".to_vec()), mask: None };
        assert!(store.add(&mut entry(), &pictures).unwrap_err().to_string().contains("neither PNG"));
        let files = std::fs::read_dir(runs.path().join(FOLDER)).unwrap().count();
        assert_eq!(files, 1, "the lock");
    }
}
