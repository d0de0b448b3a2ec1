//! The folder that a run is recorded in, before its first file: whether it can take one, and what an earlier run has left
//! there.
//!
//! Enters: a folder. Leaves: a refusal, or the folder without the earlier run, of which at no moment a part is called
//! complete.

use crate::error::{Error, IoContext, Result};
use crate::files::atomic::{self, write_atomically};
use crate::files::lock::{self, LOCK_FILE};
use crate::record::attention::ATTENTION_FOLDER;
use crate::record::attribution::ATTRIBUTION_FOLDER;
use crate::record::inputs::{INIT_FILE, MASK_FILE};
use crate::record::layers::{BLOCKS_FILE, SITES_FOLDER};
use crate::record::schema::{RECORD_FILE, SHAPES_FILE, STEPS_FOLDER, Status};
use std::path::Path;

/// Holds disk space for the last words of a run whose disk fills up.
pub(super) const RESERVE_FILE: &str = ".reserve";

/// Refuses an output folder that cannot become a run: it holds something and `force` is not given, another process is
/// recording into it, or it cannot be written to. Changes nothing.
///
/// # Errors
/// Says which.
pub fn check_out(dir: &Path, force: bool) -> Result<()> {
    if dir.is_file() {
        return Err(Error::invalid(format!("`{}` is a file", dir.display()), "name a folder"));
    }
    if lock::is_held(dir) == Some(true) {
        return Err(lock::busy(dir));
    }
    if dir.is_dir() && !force && !is_as_good_as_empty(dir)? {
        return Err(Error::invalid(
            format!("`{}` is not empty", dir.display()),
            "name another folder with `--out`, or replace the run in it with `--force`",
        ));
    }
    let existing = dir.ancestors().find(|p| p.is_dir() || p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    // A file without a name: there is nothing to remove, should the program be killed here.
    tempfile::tempfile_in(existing).map(drop).at("write in", existing)
}

/// Whether a folder holds nothing, or only what a recorder leaves that is killed before its run has begun.
fn is_as_good_as_empty(dir: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let empty_folder = || std::fs::read_dir(entry.path()).is_ok_and(|mut within| within.next().is_none());
        let nothing = is_of_the_moment(&name) || name == STEPS_FOLDER && empty_folder();
        if !nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file of this name is there only while a run goes on, or after a kill.
fn is_of_the_moment(name: &str) -> bool {
    [LOCK_FILE, RESERVE_FILE].contains(&name) || atomic::is_temporary(name)
}

/// Removes what an earlier run left in the folder, and nothing else.
pub(super) fn clear(dir: &Path) -> Result<()> {
    let replaced = dir.join(RECORD_FILE).is_file();
    if replaced {
        mark_replaced(dir)?;
        for folder in [STEPS_FOLDER, SITES_FOLDER, ATTENTION_FOLDER, ATTRIBUTION_FOLDER, "exports"] {
            let path = dir.join(folder);
            if path.is_dir() {
                std::fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
    }
    for entry in std::fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // The record stays until that of the new run takes its place, and the lock as long as it is held.
        let left = is_of_the_moment(&name) && name != LOCK_FILE;
        let ours = [SHAPES_FILE, BLOCKS_FILE, INIT_FILE, MASK_FILE, "index.html"].contains(&&*name)
            || (name.starts_with("final") && name.ends_with(".png"));
        if entry.path().is_file() && (left || replaced && ours) {
            std::fs::remove_file(entry.path()).at("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// Has the old run's record say that the run is being replaced, before anything of it goes: it may have been complete. A
/// record that is no JSON says nothing anyway.
fn mark_replaced(dir: &Path) -> Result<()> {
    let path = dir.join(RECORD_FILE);
    let text = std::fs::read(&path).at("read", &path)?;
    let Ok(serde_json::Value::Object(mut record)) = serde_json::from_slice(&text) else { return Ok(()) };
    record.insert("status".into(), serde_json::json!(Status::Failed));
    record.insert("failure".into(), "it was being replaced by another run".into());
    write_atomically(&path, &json(&record, dir)?)
}

/// The text of run.json.
pub(super) fn json(run: &impl serde::Serialize, dir: &Path) -> Result<Vec<u8>> {
    let bad = |e| Error::bad_file(&dir.join(RECORD_FILE), "run record", e);
    let mut json = serde_json::to_vec_pretty(run).map_err(bad)?;
    json.push(b'\n');
    Ok(json)
}
