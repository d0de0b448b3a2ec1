//! Who writes into a folder: a lock that ends with its process, however that ends.
//!
//! Enters: a folder. Leaves: the right to write into it alone, or the answer whether somebody has it. Where a file system
//! knows no locks nobody is kept out, and nobody is told that the folder is free.

use crate::error::{Error, IoContext, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that is locked. It is there while somebody writes into its folder, and after a kill.
pub const LOCK_FILE: &str = ".lock";

/// Who asks whether a folder is free holds its lock for a moment: how often to try, and how long to wait in between.
const TRIES: (usize, Duration) = (10, Duration::from_millis(20));

/// The right to write into a folder, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    locked: bool,
    file: File,
}

impl Hold {
    /// Takes the right to write into a folder that is there.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written in.
    pub fn take(folder: &Path) -> Result<Hold> {
        Hold::take_or(folder, || busy(folder))
    }

    /// The same, with another error for a folder that another process has.
    ///
    /// # Errors
    /// As [`Hold::take`].
    pub fn take_or(folder: &Path, busy: impl FnOnce() -> Error) -> Result<Hold> {
        let path = folder.join(LOCK_FILE);
        for _ in 0..TRIES.0 {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("create", &path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Hold { path, locked: true, file }),
                // Its holder has just removed it: who locked the old file and who makes a new one must not both go on.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(TRIES.1),
                Err(TryLockError::Error(_)) => return Ok(Hold { path, locked: false, file }),
            }
        }
        Err(busy())
    }

    /// Whether others are kept out: not where the file system knows no locks.
    pub fn is_locked(&self) -> bool {
        self.locked
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // While it is locked, so that nobody else's is removed. Who got no lock asks again: on a network disk that failed for a
        // moment somebody may have it by now, and where there are no locks nobody has.
        let is_ours = self.locked || !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock));
        if cfg!(unix) && is_ours && is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a process is writing into a folder; `None` where nobody can say.
pub fn is_held(folder: &Path) -> Option<bool> {
    let file = File::open(folder.join(LOCK_FILE)).ok()?;
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

/// The error for a folder that another process is writing into.
pub fn busy(folder: &Path) -> Error {
    let message = format!("`{}` is being written by another process", folder.display());
    Error::invalid(message, "name another folder with `--out`, or wait until it is done")
}

/// Whether a file still has this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |about: std::fs::Metadata| (about.dev(), about.ino());
    let (own, there) = (file.metadata().map(identity), std::fs::metadata(path).map(identity));
    own.is_ok_and(|own| there.is_ok_and(|there| own == there))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(is_held(folder.path()), None);
        let hold = Hold::take(folder.path()).unwrap();
        assert!(hold.is_locked());
        assert_eq!(is_held(folder.path()), Some(true));
        assert!(Hold::take(folder.path()).unwrap_err().to_string().contains("is being written by another process"));
        drop(hold);
        assert!(!folder.path().join(LOCK_FILE).exists());
        // As a killed process leaves it.
        std::fs::write(folder.path().join(LOCK_FILE), "").unwrap();
        assert_eq!(is_held(folder.path()), Some(false));
        assert!(Hold::take(folder.path()).is_ok());
    }

    /// Many take and give back one lock: never do two have it, although each removes the file.
    #[test]
    fn removing_the_file_lets_nobody_in_twice() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (folder, inside) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let Ok(hold) = Hold::take(folder.path()) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(hold);
                    }
                });
            }
        });
    }
}
