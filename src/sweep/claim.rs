//! The right to make a cell, and how a finished cell gets its name.
//!
//! Enters: the folder of the cells and a cell's name. Leaves: a folder to work in, which becomes `cells/NAME` when it is
//! whole. While it is made, a lock on `cells/.NAME.lock` tells other processes to leave the cell to this one; the system
//! drops the lock when the process ends, however it ends. Where a file system knows no locks, two processes may make a
//! cell twice: each in a folder of its own, and the one that is finished first stays. That rename alone decides which cell
//! counts. A network disk may show a machine the name of a lock file that another has removed already, and so let two in:
//! each folder has a lock inside, and nobody removes the folder of a maker that lives.

use crate::error::{Error, IoContext, Result};
use crate::files::lock::{self, Hold, LOCK_FILE};
use crate::record::schema::Status;
use crate::trace::reader::Run;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a finished cell tries to take the place of one that is not whole. Each try fails only when another process
/// puts something there in the same moment.
const TRIES: usize = 16;

/// Who asks who makes a cell holds a lock that a killed maker left for a moment: how often a claim is tried, and how long
/// it waits in between.
const ASKED: (usize, Duration) = (3, Duration::from_millis(15));

/// An empty folder without a lock inside that is younger than this may be one in which a maker is about to put it.
const BEGINNING: Duration = Duration::from_secs(60);

/// The right to make a cell. What was not placed is removed when the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    part: PathBuf,
    cell: PathBuf,
    /// The lock in the folder: its maker lives.
    alive: Option<Hold>,
    /// Dropped last, after the folder is gone.
    _lock: Lock,
}

impl Claim {
    /// Claims the cell `id` in the folder of the cells, and removes what a killed process left of it. `None` when another
    /// process is making it.
    ///
    /// # Errors
    /// When the lock file or the folder cannot be made.
    pub fn take(cells: &Path, id: &str) -> Result<Option<Claim>> {
        let Some(lock) = Lock::take(&cells.join(format!(".{id}.lock")))? else { return Ok(None) };
        if lock.held {
            remove_leftovers(cells, id)?;
        }
        // Without locks, names must differ between processes, on one machine and on several.
        let unique = tempfile::Builder::new().prefix(&part_prefix(id)).rand_bytes(8).tempdir_in(cells);
        let part = unique.at("create a folder in", cells)?.keep();
        // From here on the folder goes with the claim, whatever happens.
        let mut claim = Claim { part, cell: cells.join(id), alive: None, _lock: lock };
        claim.alive = Some(Hold::take(&claim.part)?);
        Ok(Some(claim))
    }

    /// The folder in which to make the cell.
    pub fn folder(&self) -> &Path {
        &self.part
    }

    /// Gives the finished folder its name. A run that was there and is not complete goes; a complete one stays.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn place(mut self) -> Result<()> {
        if !cfg!(unix) {
            // There, no folder is renamed while a file in it is open.
            self.alive = None;
        }
        // A folder made to be private to its process; a finished cell is as open as any other folder.
        open_up(&self.part).at("open", &self.part)?;
        for _ in 0..TRIES {
            // No folder that holds something is replaced by this: what is there is looked at first.
            match std::fs::rename(&self.part, &self.cell) {
                Ok(()) => {
                    // Only now: without it the folder would count as one whose maker is gone.
                    let _ = std::fs::remove_file(self.cell.join(LOCK_FILE));
                    return Ok(());
                }
                Err(error) if !self.cell.is_dir() => return Err(error).at("rename", &self.part),
                Err(_) if is_complete(&self.cell) => return Ok(()),
                Err(_) => self.make_way()?,
            }
        }
        let message = format!("`{}` changes all the time", self.cell.display());
        Err(Error::invalid(message, "several processes make this cell on a file system without locks: end all but one"))
    }

    /// Takes a run that is not complete out of the way. It is moved first and then looked at, so that a complete one, put
    /// there in this very moment, is put back and not removed.
    fn make_way(&self) -> Result<()> {
        let name = self.part.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.part.with_file_name(format!("{name}-old"));
        match std::fs::rename(&self.cell, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).at("rename", &self.cell),
        }
        if is_complete(&aside) && std::fs::rename(&aside, &self.cell).is_ok() {
            return Ok(());
        }
        std::fs::remove_dir_all(&aside).at("remove", &aside)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.part);
    }
}

fn is_complete(cell: &Path) -> bool {
    Run::open(cell).is_ok_and(|run| run.record().status == Status::Complete)
}

/// What the names of folders begin with in which a cell is made.
fn part_prefix(id: &str) -> String {
    format!(".{id}.part-")
}

fn remove_leftovers(cells: &Path, id: &str) -> Result<()> {
    let prefix = part_prefix(id);
    for entry in std::fs::read_dir(cells).at("read", cells)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) && !is_lived_in(&entry.path()) {
            std::fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// Whether the maker of this folder may be at work still.
fn is_lived_in(part: &Path) -> bool {
    if part.join(LOCK_FILE).exists() {
        return lock::is_held(part) == Some(true);
    }
    let empty = std::fs::read_dir(part).is_ok_and(|mut entries| entries.next().is_none());
    let age = std::fs::metadata(part).and_then(|about| about.modified()).ok().and_then(|time| time.elapsed().ok());
    empty && age.is_none_or(|age| age < BEGINNING)
}

/// The cells that are being made, with who makes them as far as that is known. `cells` is the folder of the cells.
pub fn making(cells: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(cells).into_iter().flatten().flatten();
    let mut found: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_prefix('.')?.strip_suffix(".lock").filter(|id| !id.is_empty())?;
            let file = File::open(entry.path()).ok()?;
            let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            held.then(|| (id.to_string(), std::fs::read_to_string(entry.path()).unwrap_or_default().trim().to_string()))
        })
        .collect();
    found.sort();
    found
}

/// Who makes a cell, for others to read: the machine, the process, and the task of a cluster's job that it belongs to.
fn maker() -> String {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_string());
    let machine =
        var("SLURMD_NODENAME").or_else(host).or_else(|| var("HOSTNAME")).unwrap_or_else(|| "a machine".into());
    let task = match (var("SLURM_ARRAY_JOB_ID"), var("SLURM_ARRAY_TASK_ID"), var("SLURM_JOB_ID")) {
        (Some(job), Some(task), _) => format!(", Slurm task {job}_{task}"),
        (_, _, Some(job)) => format!(", Slurm job {job}"),
        _ => String::new(),
    };
    format!("{machine}, process {}{task}", std::process::id())
}

/// The cells of which something is left in the folder that is no finished cell.
pub fn unfinished(cells: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(cells).into_iter().flatten().flatten();
    let id = |name: String| {
        let rest = name.strip_prefix('.')?;
        let id = rest.strip_suffix(".lock").or_else(|| rest.split_once(".part-").map(|(id, _)| id))?;
        Some(id.to_string())
    };
    let mut ids: Vec<String> = entries.filter_map(|entry| id(entry.file_name().into_string().ok()?)).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// A lock file.
///
/// Its holder removes it, so no file is left. A process that opened it before may get the lock on the removed file after:
/// that lock says nothing, for a third process has made and locked another file of the name. So a lock counts only if the
/// name still leads to the file that is locked; and only who holds such a lock removes the name.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
    /// False on a file system without locks.
    held: bool,
}

impl Lock {
    /// The lock, or `None` while another process holds it.
    fn take(path: &Path) -> Result<Option<Lock>> {
        let mut tries = 1;
        loop {
            let mut file = Self::open(path)?;
            match file.try_lock() {
                Ok(()) if !leads_to(path, &file) => {}
                Ok(()) => {
                    // For people: nothing depends on it.
                    let _ = file.set_len(0).and_then(|()| file.write_all(maker().as_bytes()));
                    return Ok(Some(Lock { path: path.to_path_buf(), file, held: true }));
                }
                Err(TryLockError::WouldBlock) if tries < ASKED.0 => {
                    tries += 1;
                    std::thread::sleep(ASKED.1);
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => return Ok(Some(Lock { path: path.to_path_buf(), file, held: false })),
            }
        }
    }

    fn open(path: &Path) -> Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(path).at("create", path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held && cfg!(unix) && leads_to(&self.path, &self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a name still leads to an open file.
#[cfg(unix)]
fn leads_to(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// Elsewhere lock files are not removed, so a name always leads to the same file.
#[cfg(not(unix))]
fn leads_to(_: &Path, _: &File) -> bool {
    true
}

#[cfg(unix)]
fn open_up(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let like = std::fs::metadata(folder.parent().unwrap_or(folder))?.permissions().mode();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(like))
}

#[cfg(not(unix))]
fn open_up(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_cell_has_one_maker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::take(dir.path(), "abc").unwrap().unwrap();
        assert!(Claim::take(dir.path(), "abc").unwrap().is_none());
        assert!(Claim::take(dir.path(), "def").unwrap().is_some());
        drop(claim);
        assert!(Claim::take(dir.path(), "abc").unwrap().is_some());
        assert_eq!(unfinished(dir.path()), [""; 0]);
    }

    /// As on a network disk where one machine does not see at once what another has removed.
    #[test]
    fn two_that_were_let_in_do_each_other_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let record = |claim: &Claim, word: &str| {
            let json = serde_json::json!({ "schema_version": 1, "status": "complete", "failure": word, "plan": {} });
            std::fs::write(claim.folder().join("run.json"), json.to_string()).unwrap();
        };
        let first = Claim::take(dir.path(), "abc").unwrap().unwrap();
        record(&first, "first");
        std::fs::remove_file(dir.path().join(".abc.lock")).unwrap();
        let second = Claim::take(dir.path(), "abc").unwrap().unwrap();
        assert!(first.folder().join("run.json").is_file(), "the folder of a maker that lives was removed");
        record(&second, "second");
        second.place().unwrap();
        first.place().unwrap();
        let cell = dir.path().join("abc");
        assert_eq!(Run::open(&cell).unwrap().record().failure.as_deref(), Some("second"), "who is first stays");
        let names: Vec<_> = std::fs::read_dir(&cell).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["run.json"], "a cell has nothing of its claim");
        assert_eq!(unfinished(dir.path()), [""; 0]);
    }

    #[test]
    fn it_can_be_asked_who_makes_a_cell() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".old.lock"), "a machine that is gone").unwrap();
        let claim = Claim::take(dir.path(), "abc").unwrap().unwrap();
        let found = making(dir.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == "abc" && found[0].1.contains(&format!("process {}", std::process::id())), "{found:?}");
        drop(claim);
        assert!(making(dir.path()).is_empty());
    }

    #[test]
    fn a_lock_on_a_removed_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".abc.lock");
        // Three claims in a chain: the second opens the file while the first still holds it …
        let first = Lock::take(&path).unwrap().unwrap();
        let late = Lock::open(&path).unwrap();
        drop(first);
        // … the third comes when the first is done, and makes a file of its own …
        let third = Lock::take(&path).unwrap().unwrap();
        // … and the second gets a lock that no longer means anything.
        late.try_lock().unwrap();
        assert!(!leads_to(&path, &late) && leads_to(&path, &third.file));
        assert!(Lock::take(&path).unwrap().is_none());
        // Nor does it take the third's name away.
        drop(Lock { path: path.clone(), file: late, held: true });
        assert!(Lock::take(&path).unwrap().is_none());
    }

    #[test]
    fn many_claims_in_chains_never_meet() {
        let dir = tempfile::tempdir().unwrap();
        let holders = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Some(claim) = Claim::take(dir.path(), "abc").unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        assert!(claim.folder().is_dir(), "another claim took it for a leftover");
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    /// A run directory with this status, in the folder of a claim as on a file system without locks.
    fn made(cells: &Path, status: Status, word: &str) -> Claim {
        let part = tempfile::Builder::new().prefix(".abc.part-").tempdir_in(cells).unwrap().keep();
        let record = serde_json::json!({ "schema_version": 1, "status": status, "failure": word, "plan": {} });
        std::fs::write(part.join("run.json"), record.to_string()).unwrap();
        let path = cells.join(".abc.lock");
        let file = Lock::open(&path).unwrap();
        Claim { part, cell: cells.join("abc"), alive: None, _lock: Lock { path, file, held: false } }
    }

    fn word(cells: &Path) -> String {
        Run::open(cells.join("abc")).unwrap().record().failure.clone().unwrap()
    }

    #[test]
    fn without_locks_the_first_complete_one_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let claims: Vec<Claim> = [(Status::Failed, "a"), (Status::Complete, "b"), (Status::Complete, "c")]
            .into_iter()
            .chain([(Status::Failed, "d")])
            .map(|(status, word)| made(dir.path(), status, word))
            .collect();
        let mut words = vec![];
        for claim in claims {
            claim.place().unwrap();
            words.push(word(dir.path()));
        }
        assert_eq!(words, ["a", "b", "b", "b"]);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == "abc" || name == ".abc.lock"), "{names:?}");
    }

    #[test]
    fn without_locks_many_writers_of_one_name_leave_one_run() {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path(), Status::Failed, "old").place().unwrap();
        let claims: Vec<Claim> = (0..8).map(|i| made(dir.path(), Status::Complete, &i.to_string())).collect();
        std::thread::scope(|scope| {
            claims.into_iter().for_each(|claim| drop(scope.spawn(|| claim.place().unwrap())));
        });
        assert!(is_complete(&dir.path().join("abc")));
        assert_eq!(unfinished(dir.path()), ["abc"], "only the lock file");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
