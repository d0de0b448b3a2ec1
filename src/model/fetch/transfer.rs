//! One file of a repository on its way into the cache.
//!
//! Enters: what the hub says of the file. Leaves: the file among the cache's blobs, and its name in the snapshot. It is
//! written beside its place and goes on where it stopped; what the hub does not send as it was asked is begun anew.

use super::ask::{self, Answer};
use super::choose::RemoteFile;
use super::{Hub, fingerprint};
use crate::error::{Error, IoContext, Result};
use hf_hub::api::sync::ApiRepo;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const PIECE: usize = 64 * 1024;

/// A file, and where it goes.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// What the hub says of it.
    pub file: RemoteFile,
    /// Its address.
    pub url: String,
    /// The repository's folder in the cache.
    pub home: PathBuf,
    /// Its name in the snapshot.
    pub name: PathBuf,
}

impl Transfer {
    /// Where its bytes lie: among the blobs, or where the hub names none, under its own name.
    fn blob(&self) -> PathBuf {
        self.file.blob.as_ref().map_or(self.name.clone(), |blob| self.home.join("blobs").join(blob))
    }

    /// Fetches the file; `tell` is told how many bytes of it are there.
    ///
    /// # Errors
    /// When it does not come, is not what the hub says it is (then nothing is left of it), cannot be written, or another
    /// process is at it.
    pub fn run(&self, repository: &ApiRepo, hub: &Hub, tell: &mut dyn FnMut(u64)) -> Result<()> {
        let blob = self.blob();
        let folder = blob.parent().unwrap_or(&self.home);
        std::fs::create_dir_all(folder).at("create", folder)?;
        let _lock = self.lock(&blob.with_extension("lock"))?;
        if self.known() {
            return Ok(());
        }
        let part = blob.with_extension("part");
        self.bring(repository, hub, &part, tell)?;
        self.verify(&part)?;
        std::fs::rename(&part, &blob).at("write", &blob)?;
        self.link(&blob)
    }

    /// Whoever holds it is alone with this file, as long as it lives. The file stays: another may be waiting for it.
    fn lock(&self, path: &Path) -> Result<File> {
        let file = File::create(path).at("create", path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process is fetching `{}`", self.file.name);
                Err(Error::invalid(message, "wait for it, then run this again"))
            }
            // Not every disk knows locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// The bytes that are still to come, as far as the hub says.
    pub fn missing(&self) -> u64 {
        let blob = self.blob();
        let there = size(&blob).or_else(|| size(&blob.with_extension("part"))).unwrap_or(0);
        self.file.size.unwrap_or(0).saturating_sub(there)
    }

    /// Whether a large file is there from another revision, or from another process: then it gets its name in this one.
    pub fn known(&self) -> bool {
        let (file, blob) = (&self.file, self.blob());
        let whole = file.sha256.is_some() && file.size.is_some() && size(&blob) == file.size && blob != self.name;
        whole && self.link(&blob).is_ok()
    }

    /// Brings the bytes, from where they stopped if the host goes along.
    fn bring(&self, repository: &ApiRepo, hub: &Hub, part: &Path, tell: &mut dyn FnMut(u64)) -> Result<()> {
        let ask = |from| ask::ask(repository, hub, &self.url, from, None).map_err(|reason| self.broken(reason));
        // One that has all its bytes but was not finished cannot be gone on with.
        let from = size(part).filter(|have| self.file.size.is_none_or(|size| *have < size)).unwrap_or(0);
        let mut answer = ask(from)?;
        let goes_on = from > 0 && answer.status == 206 && self.continues(answer.part, from);
        let from = if goes_on { from } else { 0 };
        // Neither the part that was asked for nor the whole: once more, for the whole.
        if !goes_on && [206, 416].contains(&answer.status) {
            answer = ask(0)?;
        }
        if !goes_on && answer.status != 200 {
            return Err(self.refused(&answer));
        }
        let open = OpenOptions::new().create(true).write(true).truncate(from == 0).open(part);
        let mut out = open.at("write", part)?;
        out.seek(SeekFrom::End(0)).at("write", part)?;
        self.copy(answer, (&mut out, part), from, tell)
    }

    /// Whether a part of a file begins at `from`, and is one of this file.
    fn continues(&self, part: Option<(u64, Option<u64>)>, from: u64) -> bool {
        let same_size = |whole: Option<u64>| whole.is_none() || self.file.size.is_none() || whole == self.file.size;
        part.is_some_and(|(begin, whole)| begin == from && same_size(whole))
    }

    fn copy(
        &self,
        mut answer: Answer,
        (out, part): (&mut File, &Path),
        mut have: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut piece = vec![0; PIECE];
        tell(have);
        loop {
            let count = answer.body.read(&mut piece).map_err(|e| self.broken(e.to_string()))?;
            if count == 0 {
                break;
            }
            have += count as u64;
            if self.file.size.is_some_and(|size| have > size) {
                let _ = std::fs::remove_file(part);
                return Err(self.broken(format!("more came than its {} bytes", self.file.size.unwrap_or_default())));
            }
            out.write_all(&piece[..count]).at("write", part)?;
            tell(have);
        }
        match self.file.size.filter(|size| have < *size) {
            Some(size) => Err(self.broken(format!("{have} of {size} bytes came"))),
            None => out.sync_all().at("write", part),
        }
    }

    /// Checks the sum of a large file, which its name among the blobs is, too. One that is not as the hub says goes.
    fn verify(&self, part: &Path) -> Result<()> {
        let is_sum = |name: &&String| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let wanted = self.file.sha256.as_ref().or(self.file.blob.as_ref().filter(is_sum));
        let Some(wanted) = wanted else { return Ok(()) };
        let found = fingerprint::of_file(part)?;
        if found == *wanted {
            return Ok(());
        }
        std::fs::remove_file(part).at("remove", part)?;
        let name = &self.file.name;
        Err(Error::invalid(
            format!("`{name}` came damaged: its SHA-256 sum is {found}, the hub says {wanted}: removed"),
            "run the same command again; if it comes wrong once more, what lies between here and the hub changes it",
        ))
    }

    /// Gives a blob its name in the snapshot.
    fn link(&self, blob: &Path) -> Result<()> {
        if blob == self.name {
            return Ok(());
        }
        let folder = self.name.parent().unwrap_or(&self.name);
        std::fs::create_dir_all(folder).at("create", folder)?;
        // Relative, so that the cache can be copied elsewhere: from `snapshots/COMMIT/unet` up to `blobs`.
        let up = "../".repeat(self.file.name.split('/').count() + 1);
        let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
        symlink(&target, &self.name).or_else(|_| std::fs::copy(blob, &self.name).map(drop)).at("write", &self.name)
    }

    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        let message = format!("the transfer of `{}` broke off: {reason}", self.file.name);
        Error::invalid(message, "run the same command again: it goes on where this stopped")
    }

    /// The transfer came to nothing for so long.
    pub fn stalled(&self, seconds: u64) -> Error {
        self.broken(format!("nothing came for {seconds} s"))
    }

    fn refused(&self, answer: &Answer) -> Error {
        let message = format!("{} answers with status {} to `{}`", answer.origin, answer.status, self.file.name);
        let hint = match answer.status {
            401 | 403 => "accept the model's terms on its page and put your token into HF_TOKEN",
            _ => "try again later",
        };
        Error::invalid(message, hint)
    }
}

/// The size of a file, if it is there.
fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).map(|found| found.len()).ok()
}

#[cfg(unix)]
fn symlink(target: &Path, name: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, name)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
