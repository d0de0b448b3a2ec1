//! Files that are there whole or not at all, whatever ends the program while it writes them.
//!
//! Enters: a path and bytes, or a function that writes them. Leaves: the file under its name. Until it is whole it has a
//! temporary one, `.NAME.XXXXXX.part`, which no two writers share: each gives its own file the name, and the last one
//! stays. What a killed program left under temporary names is found by these names and removed.

use crate::error::{IoContext, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempPath;

/// How the temporary names end.
const SUFFIX: &str = ".part";
/// The letters and digits between name and suffix.
const RANDOM: usize = 6;
/// How the names of other temporary files of this program begin.
const OTHERS: &str = ".sdviz-";
/// How those of the safetensors library begin, before as many letters and digits.
const SAFETENSORS: &str = ".tmp";
/// After how long without a change a temporary file's writer has surely ended.
const STALE: Duration = Duration::from_secs(3600);

/// Writes a file whole or not at all: under a temporary name beside it, then renamed.
///
/// # Errors
/// Names the file; the temporary one is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, false)
}

/// The same for a file that says that others are whole: its bytes are on the disk before it has its name, so that not even
/// a power cut leaves an empty file under it.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, true)
}

fn write(path: &Path, bytes: &[u8], durably: bool) -> Result<()> {
    let fill = |mut file: &File| {
        file.write_all(bytes)?;
        if durably { file.sync_all() } else { Ok(()) }
    };
    let (file, temporary) = temporary(path).at("write", path)?;
    fill(&file).and_then(|()| rename(temporary, path)).at("write", path)
}

/// Lets `fill` write a file under a temporary name, and renames it when it is whole.
///
/// # Errors
/// What `fill` says; what the file system says, with the file's name. The temporary file is removed.
pub fn write_with(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (_, temporary) = temporary(path).at("write", path)?;
    fill(&temporary)?;
    rename(temporary, path).at("write", path)
}

/// A new file for `path` under a temporary name, with the rights that any new file has.
fn temporary(path: &Path) -> std::io::Result<(File, TempPath)> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (prefix, mut builder) = (format!(".{name}."), tempfile::Builder::new());
    builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
    Ok(builder.make_in(folder_of(path), |path| File::create_new(path))?.into_parts())
}

fn rename(temporary: TempPath, path: &Path) -> std::io::Result<()> {
    std::fs::rename(&temporary, path)?;
    temporary.keep().map(drop).map_err(|e| e.error)
}

/// Makes the folder that a file is to be in.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder_of(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).at("create", folder)
}

/// The folder that holds a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file's name is a temporary one of this program.
pub fn is_temporary(name: &str) -> bool {
    let own = name.strip_prefix('.').and_then(|name| name.strip_suffix(SUFFIX)?.rsplit_once('.'));
    name.starts_with(OTHERS) || own.is_some_and(|(_, random)| random.len() == RANDOM)
}

/// Whether a file's name is one that a program leaves that is killed while it writes: a temporary one of this program or
/// of the safetensors library.
pub fn is_left_behind(name: &str) -> bool {
    is_temporary(name) || name.strip_prefix(SAFETENSORS).is_some_and(|random| random.len() == RANDOM)
}

/// Removes the temporary files in a folder of ours that nobody else writes in.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_temporary(folder: &Path) -> Result<()> {
    temporary_files(folder).iter().try_for_each(|path| std::fs::remove_file(path).at("remove", path))
}

/// Removes the temporary files in a folder of ours that are too old to have a writer still. What cannot be removed stays.
pub fn remove_stale(folder: &Path) {
    let old = |path: &&PathBuf| {
        let changed = std::fs::metadata(path).and_then(|about| about.modified());
        changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE))
    };
    temporary_files(folder).iter().filter(old).for_each(|path| drop(std::fs::remove_file(path)));
}

/// The temporary files in a folder; none where it cannot be listed.
fn temporary_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| is_left_behind(&entry.file_name().to_string_lossy()));
    ours.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn temporary_names_are_known_again_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let (_file, temporary) = temporary(&path).unwrap();
        assert!(is_temporary(&temporary.file_name().unwrap().to_string_lossy()));
        assert!(is_temporary(".sdviz-a1b2c3"));
        for name in ["run.json", ".bashrc", "film.mp4.part", ".part", ".x.part", ".gitignore", ".tmp"] {
            assert!(!is_temporary(name), "{name}");
        }
    }

    #[test]
    fn what_fails_leaves_nothing_and_what_a_killed_writer_left_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        assert!(write_with(&path, |_| Err(crate::error::Error::Cancelled)).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let left = temporary(&path).unwrap().1.keep().unwrap();
        write_atomically(&path, b"whole").unwrap();
        remove_stale(folder.path());
        assert!(left.exists(), "a file that is being written was taken away");
        let long_ago = std::time::SystemTime::now() - 2 * STALE;
        File::options().write(true).open(&left).unwrap().set_modified(long_ago).unwrap();
        remove_stale(folder.path());
        assert!(!left.exists());
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }
}
