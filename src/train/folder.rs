//! The folder of a stage: whose it is, and what of it goes when the stage begins anew.
//!
//! Enters: `OUT/lora` and the like, which may be a folder that somebody has had for long. Leaves: a folder to train in, or
//! a refusal. Only files that a training makes are ever removed.

use super::checkpoint;
use super::log::LOG;
use super::noise::LATENTS_FILE;
use super::trainer::{CURVE, SAMPLES};
use crate::error::{Error, IoContext, Result};
use crate::eval::judge::{CLASSES_FILE, WEIGHTS_FILE};
use crate::files::atomic;
use crate::files::lock::LOCK_FILE;
use std::path::{Path, PathBuf};

/// The files that a training makes beside its checkpoint and its samples.
const FILES: [&str; 5] = [LOG, CURVE, LATENTS_FILE, CLASSES_FILE, WEIGHTS_FILE];

/// Checks that a folder, which is held, is free for a training of `stage`, or has one in it. With `anew` that one is
/// removed. What a killed training left half-written goes in any case.
///
/// # Errors
/// When the folder holds something else, or a file cannot be removed.
pub fn begin(folder: &Path, stage: &str, anew: bool) -> Result<()> {
    atomic::remove_temporary(folder)?;
    let (mut ours, mut others) = (vec![], false);
    for entry in std::fs::read_dir(folder).at("read", folder)? {
        let entry = entry.at("read", folder)?;
        let name = entry.file_name();
        match name.to_string_lossy().as_ref() {
            LOCK_FILE | checkpoint::FILE => {}
            name if is_ours(name) => ours.push(entry.path()),
            _ => others = true,
        }
    }
    let mark = folder.join(checkpoint::FILE);
    // A checkpoint that cannot be read is ours if its log is beside it.
    let damaged = mark.exists() && !folder.join(LOG).exists();
    if (others || damaged) && !checkpoint::is_of(&mark, stage) {
        return Err(Error::invalid(
            format!("`{}` holds something else than a training", folder.display()),
            "name another folder with `--out`",
        ));
    }
    if anew {
        remove(&ours)?;
        // The mark goes last: killed before that, the rest is still known as a training's.
        remove(&[mark].into_iter().filter(|mark| mark.exists()).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Whether a folder is one that a training was in: it has a checkpoint, or nothing that a training does not make or leaves
/// half-written when it is killed.
pub fn is_known(folder: &Path) -> bool {
    let ours = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
        name.is_ok_and(|name| is_ours(&name) || name == LOCK_FILE || atomic::is_left_behind(&name))
    };
    let mark = folder.join(checkpoint::FILE).symlink_metadata().is_ok();
    mark || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(ours))
}

fn is_ours(name: &str) -> bool {
    FILES.contains(&name) || name.starts_with(SAMPLES) && name.ends_with(".png")
}

fn remove(files: &[PathBuf]) -> Result<()> {
    files.iter().try_for_each(|path| std::fs::remove_file(path).at("remove", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_known(folder.path()) && !is_known(&folder.path().join("none")));
        begin(folder.path(), "lora", false).unwrap();
        for name in ["samples-000100.png", "log.jsonl", ".log.jsonl.a1b2c3.part", ".sdviz-a1b2c3"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(is_known(folder.path()), "as a killed training leaves it");
        begin(folder.path(), "lora", true).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        for name in ["my-favourite.safetensors", "checkpoint.safetensors"] {
            let file = folder.path().join(name);
            std::fs::write(&file, "years of work").unwrap();
            assert_eq!(is_known(folder.path()), name == checkpoint::FILE);
            for anew in [false, true] {
                let told = begin(folder.path(), "lora", anew).unwrap_err().to_string();
                assert!(told.ends_with("holds something else than a training"), "{told}");
            }
            assert_eq!(std::fs::read(&file).unwrap(), b"years of work");
            std::fs::remove_file(file).unwrap();
        }
    }
}
