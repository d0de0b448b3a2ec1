//! The runs that are known: those in the folder, and those that wait or are being made.
//!
//! Enters: the runs folder. Leaves: summaries, and a run by its id. An id from a request is looked up among the names that
//! the folder lists; nothing is reached that is not a run there.

use super::id::RunId;
use super::summary::{State, Summary};
use crate::error::Result;
use crate::record::schema::RECORD_FILE;
use crate::trace::reader::Run;
use std::collections::{BTreeMap, HashMap};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the folder is looked through for runs that others have made.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The runs that are known.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    runs: BTreeMap<RunId, Summary>,
    /// The records that the summaries were read from, or that their runs ended with.
    stamps: HashMap<RunId, Stamp>,
    /// Why runs are not shown whose folders have a record.
    unread: HashMap<RunId, String>,
    looked: Option<Instant>,
}

/// What changes when a file is written anew: its size, and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    written: Option<SystemTime>,
}

impl Stamp {
    /// That of a file which is there.
    fn of(file: &Path) -> Option<Stamp> {
        let about = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
        Some(Stamp { size: about.len(), written: about.modified().ok() })
    }

    /// In letters and digits.
    pub fn text(&self) -> String {
        let since = self.written.and_then(|written| written.duration_since(SystemTime::UNIX_EPOCH).ok());
        format!("{:x}-{:x}", self.size, since.unwrap_or_default().as_nanos())
    }
}

impl Shelf {
    /// That of a folder.
    pub fn new(folder: &Path) -> Shelf {
        Shelf {
            folder: folder.into(),
            runs: BTreeMap::new(),
            stamps: HashMap::new(),
            unread: HashMap::new(),
            looked: None,
        }
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

    /// Notes that what is known of a run is what its record says.
    pub fn settle(&mut self, id: &RunId) {
        match Stamp::of(&self.folder.join(id.as_str()).join(RECORD_FILE)) {
            Some(stamp) => self.stamps.insert(id.clone(), stamp),
            None => self.stamps.remove(id),
        };
    }

    /// Looks through the folder, unless it was done a moment ago. `ours` are runs whose state is known better here.
    pub fn look(&mut self, ours: impl Fn(&RunId) -> bool) {
        if self.looked.is_some_and(|when| when.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let there: HashMap<RunId, Stamp> = recorded(&self.folder).collect();
        self.runs.retain(|id, _| ours(id) || there.contains_key(id));
        self.stamps.retain(|id, _| there.contains_key(id));
        self.unread.retain(|id, _| there.contains_key(id));
        for (id, stamp) in there.into_iter().filter(|(id, _)| !ours(id)) {
            let known = self.runs.get(&id).is_some_and(|known| known.state != State::Running);
            if known && self.stamps.get(&id) == Some(&stamp) {
                continue;
            }
            self.unread.remove(&id);
            match read(&self.folder, &id) {
                Ok(summary) => self.put(summary),
                Err(error) => {
                    // Another run may have taken its folder: nothing that was known holds any more.
                    self.runs.remove(&id);
                    self.unread.insert(id.clone(), error.to_string());
                }
            }
            self.stamps.insert(id, stamp);
        }
    }

    /// A recorded run of this folder. Messages call it by its id: where the folder lies is nobody's business.
    pub fn open(folder: &Path, id: &RunId) -> Option<Run> {
        Run::open(of(folder, id)?).ok().map(|run| run.called(id.as_str()))
    }

    /// A run's file as it stands on disk. Its name is one of ours, never a request's.
    pub fn file(folder: &Path, id: &RunId, name: &str) -> Option<Vec<u8>> {
        std::fs::read(of(folder, id)?.join(name)).ok()
    }

    /// What changes with a run, and with one of its files: those of the record and of the file.
    pub fn stamps(folder: &Path, id: &RunId, name: &str) -> Option<[Stamp; 2]> {
        let run = of(folder, id)?;
        Some([Stamp::of(&run.join(RECORD_FILE))?, Stamp::of(&run.join(name))?])
    }

    /// The folders that have a record and were not shown at the last look, each with why.
    pub fn passed_over(&self) -> Vec<String> {
        let with_record = entries(&self.folder).filter(|entry| Stamp::of(&entry.path().join(RECORD_FILE)).is_some());
        let mut lines: Vec<String> = with_record.filter_map(|entry| self.why_passed_over(&entry)).collect();
        lines.sort();
        lines
    }

    fn why_passed_over(&self, entry: &DirEntry) -> Option<String> {
        let name = entry.file_name();
        let why = match name.to_str() {
            None => "its name is not in Unicode",
            Some(_) if !is_folder(entry) => "it is a link, which could lead anywhere",
            Some(text) => match RunId::parse(text) {
                Some(id) => self.unread.get(&id)?,
                None if text.starts_with('.') => "it is hidden",
                None => "there is a `\\` in its name",
            },
        };
        // A terminal takes some letters for commands.
        let text = format!("`{}`: {why}", name.to_string_lossy());
        Some(text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect())
    }
}

/// The folder of a run that is one.
fn of(folder: &Path, id: &RunId) -> Option<PathBuf> {
    let entry = entries(folder).find(|entry| entry.file_name() == id.as_str())?;
    is_folder(&entry).then(|| entry.path()).filter(|path| path.join(RECORD_FILE).is_file())
}

/// What is in a folder.
fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Whether it is a folder. A link is none: it could lead anywhere.
fn is_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// The folders inside a folder that have a record, and the records.
fn recorded(folder: &Path) -> impl Iterator<Item = (RunId, Stamp)> + use<> {
    entries(folder).filter(is_folder).filter_map(|entry| {
        let id = RunId::parse(entry.file_name().to_str()?)?;
        Some((id, Stamp::of(&entry.path().join(RECORD_FILE))?))
    })
}

fn read(folder: &Path, id: &RunId) -> Result<Summary> {
    let run = Run::open(folder.join(id.as_str()))?;
    Ok(Summary::of_record(id.clone(), run.record(), &run.steps()?))
}
