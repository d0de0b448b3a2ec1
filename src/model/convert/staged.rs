//! A model on its way to the disk: written beside its place, and there under its name when it is whole.
//!
//! Enters: texts and tensors. Leaves: a folder in diffusers' layout, or one file. What is not finished goes, also when the
//! program is ended on the way: see [`abandon`].

use crate::error::{Error, IoContext, Result};
use crate::files::atomic::make_folder_of;
use crate::model::components::Component;
use crate::units;
use safetensors::tensor::View;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folders that are being written now.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

/// Removes what is being written, for whoever ends the program in the middle of it.
pub fn abandon() {
    let unfinished = std::mem::take(&mut *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner));
    unfinished.iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
}

/// Writes a safetensors file under its name when it is whole.
///
/// # Errors
/// When it cannot be written.
pub fn write<V: View>(path: &Path, tensors: Vec<(String, V)>, metadata: (&str, String)) -> Result<()> {
    // One entry: the header's order, and with it the file's bytes, depend on nothing else.
    let metadata = HashMap::from([(metadata.0.to_string(), metadata.1)]);
    let whole = std::path::absolute(path).at("write", path)?;
    safetensors::serialize_to_file(tensors, Some(metadata), &whole).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(source) => {
            Error::Io { action: "write", path: path.to_path_buf(), source }
        }
        other => Error::Invalid { message: format!("cannot write `{}`: {other}", path.display()), hint: None },
    })?;
    readable(&whole)
}

/// Gives a file the rights of an ordinary one: it was made as a temporary file, which is private.
#[cfg(unix)]
fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).at("write", path)
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<()> {
    Ok(())
}

/// Which form a model is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder; an empty one may be there.
    Folder,
    /// One file.
    File,
}

impl Form {
    /// Refuses a place where something is already.
    ///
    /// # Errors
    /// Then.
    pub fn refuse_existing(self, out: &Path) -> Result<()> {
        let empty = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        // A link that leads nowhere is there, too.
        if std::fs::symlink_metadata(out).is_err() || self == Form::Folder && empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("`{}` is there already", out.display()), "name one that is not there yet"))
    }
}

/// A model that is being written beside its place.
#[derive(Debug)]
pub struct Staged<'a> {
    out: &'a Path,
    form: Form,
    temporary: tempfile::TempDir,
}

impl<'a> Staged<'a> {
    /// Starts one, of about so many bytes.
    ///
    /// # Errors
    /// When `out` is there already or cannot be made, or the disk has no room for it.
    pub fn new(out: &'a Path, form: Form, bytes: u64) -> Result<Staged<'a>> {
        form.refuse_existing(out)?;
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        check_room(out, bytes)?;
        std::fs::create_dir_all(parent).at("create", parent)?;
        let temporary = tempfile::Builder::new().prefix(".sdviz-").tempdir_in(parent).at("create", out)?;
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(temporary.path().to_path_buf());
        Ok(Staged { out, form, temporary })
    }

    /// Where the model is written until it is whole.
    fn model(&self) -> PathBuf {
        self.temporary.path().join("model")
    }

    /// Writes a text file of a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name)?;
        std::fs::write(&path, text).at("write", &path)
    }

    /// Writes a component's weights of a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn weights<V: View>(&self, component: &Component, tensors: Vec<(String, V)>) -> Result<()> {
        write(&self.path(&component.weights_file())?, tensors, ("format", "pt".into()))
    }

    /// Writes the one file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file<V: View>(&self, tensors: Vec<(String, V)>, metadata: (&str, String)) -> Result<()> {
        write(&self.model(), tensors, metadata)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.model().join(name);
        make_folder_of(&path)?;
        Ok(path)
    }

    /// Puts the model in its place.
    ///
    /// # Errors
    /// When something has come to be there meanwhile.
    pub fn finish(self) -> Result<()> {
        self.form.refuse_existing(self.out)?;
        std::fs::rename(self.model(), self.out).at("write", self.out)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let own = self.temporary.path();
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|folder| folder != own);
    }
}

/// Refuses what the disk has no room for.
///
/// # Errors
/// Says what it takes, and what there is.
pub fn check_room(out: &Path, bytes: u64) -> Result<()> {
    let whole = std::path::absolute(out).at("write", out)?;
    compare(out, bytes, whole.ancestors().find(|folder| folder.is_dir()).and_then(free))
}

fn compare(out: &Path, bytes: u64, free: Option<u64>) -> Result<()> {
    match free.filter(|free| *free < bytes) {
        None => Ok(()),
        Some(free) => Err(Error::invalid(
            format!(
                "`{}` takes {}, and its disk has {} left",
                out.display(),
                units::size(bytes as f64),
                units::size(free as f64)
            ),
            "free some disk space, or write to another disk",
        )),
    }
}

/// The bytes that the disk of a folder has left for this user.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the name ends in a zero byte, and the system writes a whole `statvfs` where it succeeds.
    let found = unsafe { (libc::statvfs(name.as_ptr(), found.as_mut_ptr()) == 0).then(|| found.assume_init()) }?;
    #[allow(clippy::unnecessary_cast, reason = "narrower on some systems")]
    Some(found.f_bavail as u64 * found.f_frsize as u64)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_disk_has_no_room_for_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/model");
        assert!(free(folder.path()).is_some_and(|free| free > 0));
        let error = Staged::new(&out, Form::Folder, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("takes 18446744.1 TB, and its disk has "), "{error}");
        assert!(compare(&out, 7, Some(7)).is_ok() && compare(&out, 8, Some(7)).is_err());
        assert!(compare(&out, 8, None).is_ok(), "a disk that does not say counts as large enough");
        assert!(check_room(&out, 1).is_ok() && !folder.path().join("deep").exists());
    }

    #[test]
    fn what_is_not_finished_goes() {
        let folder = tempfile::tempdir().unwrap();
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        let out = folder.path().join("model");
        let staged = Staged::new(&out, Form::Folder, 0).unwrap();
        staged.text("unet/config.json", "{}").unwrap();
        assert_eq!(left(), 1);
        let unfinished = UNFINISHED.lock().unwrap().clone();
        assert!(unfinished.iter().any(|path| path.starts_with(folder.path())));
        drop(staged);
        assert_eq!(left(), 0);

        let staged = Staged::new(&out, Form::Folder, 0).unwrap();
        staged.text("README.md", "").unwrap();
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("something"), "").unwrap();
        assert!(staged.finish().is_err(), "what came there meanwhile stays");
        assert!(out.join("something").exists() && left() == 1);
        assert!(Form::File.refuse_existing(folder.path()).is_err());
    }
}
