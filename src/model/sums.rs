//! Sums of large weight files, remembered: the thousand tasks of a job array need not each read gigabytes to name a cell.
//!
//! Enters: files, and a way to compute their sum. Leaves: the sum. It is remembered in `sdviz/sums` in the user's cache
//! folder (`XDG_CACHE_HOME`, else `~/.cache`), one small file for each state of the weight files: path, size, inode, and the
//! times of the last change to content and to inode, the last of which no program can set back. An entry is written whole
//! under a temporary name and renamed, so several processes may write at once; one that is not a sum counts for nothing.

use super::cache;
use crate::error::Result;
use crate::files::atomic;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Smaller files, in bytes, are read again each time: that is as quick.
const LEAST: u64 = 8 << 20;
/// A file that changed within this time may change again without a change of its times.
const SETTLED: Duration = Duration::from_secs(2);

/// Names an entry by the state that it is for, without two states of one name: a hash.
pub type Name = fn(&[u8]) -> String;

/// The sum of these files, one after another: remembered under what `name` makes of their state, or computed by `compute`
/// and remembered.
///
/// # Errors
/// What `compute` says. A cache that cannot be read or written is none.
pub fn known_or(files: &[PathBuf], name: Name, compute: impl FnOnce() -> Result<String>) -> Result<String> {
    match folder() {
        Some(folder) => known_in(&folder, files, name, compute),
        None => compute(),
    }
}

/// Where sums are remembered. A path that depends on where the program was started is no place.
fn folder() -> Option<PathBuf> {
    cache::of_user().filter(|path| path.is_absolute()).map(|path| path.join("sdviz").join("sums"))
}

fn known_in(folder: &Path, files: &[PathBuf], name: Name, compute: impl FnOnce() -> Result<String>) -> Result<String> {
    let Some(state) = state(files) else { return compute() };
    let entry = folder.join(name(state.as_bytes()));
    if let Some(sum) = std::fs::read_to_string(&entry).ok().filter(|text| is_sum(text)) {
        return Ok(sum);
    }
    let sum = compute()?;
    // What changed while it was read has another sum now, or will have.
    if self::state(files).as_ref() == Some(&state) && is_settled(files) {
        let _ = atomic::make_folder_of(&entry).and_then(|()| atomic::write_atomically(&entry, sum.as_bytes()));
    }
    Ok(sum)
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// What changes when a file does, of all of them; `None` where they are small, or the system does not say it.
#[cfg(unix)]
fn state(files: &[PathBuf]) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let (mut all, mut bytes) = (String::new(), 0);
    for file in files {
        let path = std::fs::canonicalize(file).ok()?;
        let about = std::fs::metadata(&path).ok()?;
        bytes += about.len();
        let numbers = [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()];
        // The device is left out: machines that mount one disk number it differently.
        all += &format!("{}\0{}\0{}\0{numbers:?}\n", path.to_str()?, about.len(), about.ino());
    }
    (bytes >= LEAST).then_some(all)
}

#[cfg(not(unix))]
fn state(_: &[PathBuf]) -> Option<String> {
    None
}

/// Whether none of them has changed just now.
#[cfg(unix)]
fn is_settled(files: &[PathBuf]) -> bool {
    use std::os::unix::fs::MetadataExt;
    files.iter().all(|file| {
        let Ok(about) = std::fs::metadata(file) else { return false };
        let seconds = about.mtime().max(about.ctime()).max(0).unsigned_abs();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        changed.elapsed().is_ok_and(|age| age > SETTLED)
    })
}

#[cfg(not(unix))]
fn is_settled(_: &[PathBuf]) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::fs::File;

    /// Any hash does.
    fn of_bytes(bytes: &[u8]) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish().to_string()
    }

    /// A file of nothing, large enough, that changed long enough ago.
    fn settled(folder: &Path) -> PathBuf {
        let path = folder.join("weights");
        File::create(&path).unwrap().set_len(LEAST).unwrap();
        std::thread::sleep(SETTLED + Duration::from_millis(1100));
        path
    }

    #[test]
    fn a_sum_is_computed_once_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, files) = (dir.path().join("cache"), [settled(dir.path())]);
        let sum = "a".repeat(64);
        assert_eq!(known_in(&cache, &files, of_bytes, || Ok(sum.clone())).unwrap(), sum);
        assert_eq!(known_in(&cache, &files, of_bytes, || panic!("read again")).unwrap(), sum);
        // An entry that is damaged counts for nothing.
        let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&entry, "nonsense").unwrap();
        assert_eq!(known_in(&cache, &files, of_bytes, || Ok(sum.clone())).unwrap(), sum);
        // Other bytes, the same size, and the time of the last change set back, as `cp -p` does.
        let modified = std::fs::metadata(&files[0]).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&files[0]).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"x", 0).unwrap();
        file.set_modified(modified).unwrap();
        let other = "b".repeat(64);
        assert_eq!(known_in(&cache, &files, of_bytes, || Ok(other.clone())).unwrap(), other);
        // It has changed just now, and may again: not remembered.
        assert_eq!(known_in(&cache, &files, of_bytes, || Ok(sum.clone())).unwrap(), sum);
    }

    #[test]
    fn many_may_write_at_once_and_small_files_are_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, files, sum) = (dir.path().join("cache"), [settled(dir.path())], "c".repeat(64));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(known_in(&cache, &files, of_bytes, || Ok(sum.clone())).unwrap(), sum));
            }
        });
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1, "an entry and nothing beside it");
        let small = dir.path().join("small");
        std::fs::write(&small, "x").unwrap();
        assert!(state(&[small]).is_none());
    }
}
