//! Which folder a run goes to, and which is read, where none is named: `run`, then `run-2`, `run-3`, …
//!
//! Enters: the folders that are here. Leaves: the first that is free, and the one that was recorded last.

use crate::record::schema::RECORD_FILE;
use std::path::{Path, PathBuf};

/// The first of the folders.
pub const RUN: &str = "run";

/// The first folder of a new run that is not there or is empty.
pub fn free() -> PathBuf {
    // What cannot be listed is for the check before the run to name.
    let taken = |dir: &PathBuf| dir.is_file() || std::fs::read_dir(dir).is_ok_and(|mut inside| inside.next().is_some());
    (1..).map(name).map(PathBuf::from).find(|dir| !taken(dir)).unwrap_or_else(|| RUN.into())
}

/// The name of the run that was recorded last; `run` where there is none.
pub fn newest() -> String {
    newest_in(Path::new("."))
}

/// What to say where the newest run was taken unasked, if that is another than one thinks of first.
pub fn taken(newest: &str) -> Option<String> {
    (newest != RUN).then(|| format!("run: {newest}, the newest here"))
}

fn newest_in(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let recorded = entries.filter_map(|entry| {
        let number = number(entry.file_name().to_str()?)?;
        let when = entry.path().join(RECORD_FILE).metadata().ok()?.modified().ok()?;
        Some((when, number))
    });
    recorded.max().map_or_else(|| RUN.into(), |(_, number)| name(number))
}

fn name(number: usize) -> String {
    if number == 1 { RUN.into() } else { format!("{RUN}-{number}") }
}

fn number(name: &str) -> Option<usize> {
    match name.strip_prefix(RUN)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse().ok().filter(|number| *number > 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_newest_is_the_one_that_was_recorded_last() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let record = |name: &str, second: u64| {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            let file = File::create(folder.join(name).join(RECORD_FILE)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        };
        assert_eq!(newest_in(folder), "run");
        std::fs::create_dir(folder.join("run-9")).unwrap();
        record("run-x", 900);
        record("runner", 900);
        assert_eq!(newest_in(folder), "run", "folders without a record, or of other names");
        record("run", 10);
        record("run-2", 30);
        record("run-10", 30);
        record("run-3", 20);
        assert_eq!(newest_in(folder), "run-10");
        record("run", 40);
        assert_eq!(newest_in(folder), "run");
    }
}
