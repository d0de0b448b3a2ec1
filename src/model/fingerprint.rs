//! The weights' fingerprints, computed beside the run on a thread of its own: by `ring`, which takes half of the time that
//! `sha2` does where a processor has no instructions for SHA-256.

use super::resolve::ModelChoice;
use super::sums;
use crate::error::{IoContext, Result};
use crate::model::files::ModelFiles;
use crate::record::model::ModelRecord;
use ring::digest::{Context, SHA256};
use std::collections::HashMap;
use std::fmt::Write;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Bytes of a file that are read at once.
const PIECE: usize = 1 << 18;

/// SHA-256 sums of a model's weight files, on the way.
#[derive(Debug)]
pub struct Fingerprints(JoinHandle<Result<Vec<String>>>);

impl Fingerprints {
    /// Starts to compute them.
    pub fn start(choice: &ModelChoice, model: &ModelRecord) -> Fingerprints {
        let files = choice.files.clone();
        let names: Vec<(String, String)> = model.components.iter().map(|c| (c.name.clone(), c.file.clone())).collect();
        let all = move || {
            // The components of a single-file checkpoint lie in one file, which is read once.
            let mut known: HashMap<PathBuf, String> = HashMap::new();
            let mut sums = vec![];
            for (component, file) in &names {
                let files = files.of(component);
                let path = files.path(file);
                if !known.contains_key(&path) {
                    known.insert(path.clone(), sum(files, file)?);
                }
                sums.push(known[&path].clone());
            }
            Ok(sums)
        };
        Fingerprints(std::thread::spawn(all))
    }

    /// Waits for them: hexadecimal, in the order of the model's components.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn finish(self) -> Result<Vec<String>> {
        self.0.join().unwrap_or_else(|_| Ok(vec![]))
    }
}

/// The sum over a file, or over all pieces for which it stands, one after another.
///
/// # Errors
/// When one cannot be read.
pub fn sum(files: &ModelFiles, name: &str) -> Result<String> {
    if let ModelFiles::Embedded(_, all) = files {
        return Ok(of_bytes(all.iter().find(|(n, _)| *n == name).map_or(&[], |(_, bytes)| bytes)));
    }
    let paths: Vec<PathBuf> = files.pieces(name)?.iter().map(|piece| files.path(piece)).collect();
    sums::known_or(&paths, of_bytes, || {
        let mut hasher = Context::new(&SHA256);
        paths.iter().try_for_each(|path| add(&mut hasher, path))?;
        Ok(hexadecimal(hasher))
    })
}

/// The SHA-256 sum of these bytes, hexadecimal.
pub fn of_bytes(bytes: &[u8]) -> String {
    of_parts([bytes])
}

/// The SHA-256 sum of bytes that come in parts, hexadecimal.
pub fn of_parts(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hasher = Context::new(&SHA256);
    parts.into_iter().for_each(|part| hasher.update(part.as_ref()));
    hexadecimal(hasher)
}

/// The SHA-256 sum of a file, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(path: &Path) -> Result<String> {
    let mut hasher = Context::new(&SHA256);
    add(&mut hasher, path)?;
    Ok(hexadecimal(hasher))
}

fn add(hasher: &mut Context, path: &Path) -> Result<()> {
    let mut file = std::fs::File::open(path).at("read", path)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).at("read", path),
        }
    }
}

fn hexadecimal(hasher: Context) -> String {
    hasher.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
