//! The runs that are known: those in the folder, and those that wait or are being made.
//!
//! Enters: the runs folder. Leaves: summaries, and a run by its id. An id from a request is looked up among the names that
//! the folder lists; nothing is reached that is not a run there.

use super::id::RunId;
use super::summary::{State, Summary};
use crate::record::schema::RECORD_FILE;
use crate::trace::reader::Run;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the folder is looked through for runs that others have made.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The runs that are known.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    runs: BTreeMap<RunId, Summary>,
    looked: Option<Instant>,
}

impl Shelf {
    /// That of a folder.
    pub fn new(folder: &Path) -> Shelf {
        Shelf { folder: folder.into(), runs: BTreeMap::new(), looked: None }
    }

    /// What is known of a run.
    pub fn get(&self, id: &RunId) -> Option<&Summary> {
        self.runs.get(id)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &RunId) -> Option<&mut Summary> {
        self.runs.get_mut(id)
    }

    /// Puts a run there, or in the place of what was known of it.
    pub fn put(&mut self, summary: Summary) {
        self.runs.insert(summary.id.clone(), summary);
    }

    /// All runs, the one that was asked for last first.
    pub fn newest(&self) -> Vec<&Summary> {
        let mut runs: Vec<&Summary> = self.runs.values().collect();
        runs.sort_by(|a, b| (b.asked_unix, &b.id).cmp(&(a.asked_unix, &a.id)));
        runs
    }

    /// Looks through the folder, unless it was done a moment ago. `ours` are runs whose state is known better here.
    pub fn look(&mut self, ours: impl Fn(&RunId) -> bool) {
        if self.looked.is_some_and(|when| when.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let names: HashSet<RunId> = names(&self.folder).collect();
        self.runs.retain(|id, _| ours(id) || names.contains(id));
        for id in names.into_iter().filter(|id| !ours(id)) {
            if self.runs.get(&id).is_none_or(|known| known.state == State::Running)
                && let Some(summary) = read(&self.folder, &id)
            {
                self.put(summary);
            }
        }
    }

    /// A recorded run of this folder.
    pub fn open(folder: &Path, id: &RunId) -> Option<Run> {
        Run::open(of(folder, id)?).ok()
    }

    /// A run's file as it stands on disk. Its name is one of ours, never a request's.
    pub fn file(folder: &Path, id: &RunId, name: &str) -> Option<Vec<u8>> {
        std::fs::read(of(folder, id)?.join(name)).ok()
    }
}

/// The folder of a run that is one.
fn of(folder: &Path, id: &RunId) -> Option<PathBuf> {
    names(folder).any(|name| name == *id).then(|| folder.join(id.as_str()))
}

/// The folders inside a folder that have a record. A link is none: it could lead anywhere.
fn names(folder: &Path) -> impl Iterator<Item = RunId> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .filter(|entry| entry.path().join(RECORD_FILE).is_file())
        .filter_map(|entry| RunId::parse(entry.file_name().to_str()?))
}

fn read(folder: &Path, id: &RunId) -> Option<Summary> {
    let run = Run::open(folder.join(id.as_str())).ok()?;
    Some(Summary::of_record(id.clone(), run.record(), &run.steps().ok()?))
}
