//! The right to make a cell, and how a finished cell gets its name.
//!
//! Enters: the folder of the cells and a cell's name. Leaves: a folder to work in, which becomes `cells/NAME` when it is
//! whole. While it is made, a lock on `cells/.NAME.lock` tells other processes to leave the cell to this one; the system
//! drops the lock when the process ends, however it ends. Where a file system knows no locks, two processes may make a
//! cell twice: each in a folder of its own, and the one that is finished first stays.

use crate::error::{Error, IoContext, Result};
use crate::record::schema::Status;
use crate::trace::reader::Run;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// How often a finished cell tries to take the place of one that is not whole. Each try fails only when another process
/// puts something there in the same moment.
const TRIES: usize = 16;

/// The right to make a cell. What was not placed is removed when the claim is dropped.
#[derive(Debug)]
pub struct Claim {
    part: PathBuf,
    cell: PathBuf,
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
        Ok(Some(Claim { part, cell: cells.join(id), _lock: lock }))
    }

    /// The folder in which to make the cell.
    pub fn folder(&self) -> &Path {
        &self.part
    }

    /// Gives the finished folder its name. A run that was there and is not complete goes; a complete one stays.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn place(self) -> Result<()> {
        // A folder made to be private to its process; a finished cell is as open as any other folder.
        open_up(&self.part).at("open", &self.part)?;
        for _ in 0..TRIES {
            // No folder that holds something is replaced by this: what is there is looked at first.
            match std::fs::rename(&self.part, &self.cell) {
                Ok(()) => return Ok(()),
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
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
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
        loop {
            let file = Self::open(path)?;
            match file.try_lock() {
                Ok(()) if !leads_to(path, &file) => {}
                Ok(()) => return Ok(Some(Lock { path: path.to_path_buf(), file, held: true })),
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
        Claim { part, cell: cells.join("abc"), _lock: Lock { path, file, held: false } }
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
