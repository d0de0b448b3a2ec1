//! A file that has another name until it is whole.
//!
//! Enters: the path it shall have. Leaves: a writer, and at the end the renamed file. Dropped before that, it is gone.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, IoContext, Result};

/// A temporary file beside its target: on the same file system, so that the rename is one step.
#[derive(Debug)]
pub(super) struct Partial {
    target: PathBuf,
    file: NamedTempFile,
}

impl Partial {
    /// Makes the temporary file. An error if the target's folder is missing or closed, or the target is a folder.
    pub(super) fn create(target: &Path) -> Result<Self> {
        if target.is_dir() {
            let taken = std::io::Error::from(std::io::ErrorKind::IsADirectory);
            return Err(Error::Io { action: "write", path: target.to_path_buf(), source: taken });
        }
        let mut builder = Builder::new();
        builder.prefix(".sdviz-").suffix(".part");
        #[cfg(unix)]
        {
            // As any new file, rather than readable by the owner alone: the umask takes away what it shall.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder(target)).at("create", target)?;
        Ok(Partial { target: target.to_path_buf(), file })
    }

    /// A buffered writer at the file's beginning.
    pub(super) fn writer(&self) -> Result<BufWriter<File>> {
        Ok(BufWriter::new(self.reopened()?))
    }

    /// The file once more, readable and writable, at its beginning.
    pub(super) fn reopened(&self) -> Result<File> {
        self.file.reopen().at("write", &self.target)
    }

    /// Gives the file its name and tells its length in bytes. Every writer must be flushed before.
    pub(super) fn keep(self) -> Result<u64> {
        let bytes = self.file.as_file().metadata().at("write", &self.target)?.len();
        self.file.persist(&self.target).map_err(|failed| failed.error).at("write", &self.target)?;
        Ok(bytes)
    }
}

/// A nameless scratch file in the target's folder, which the system removes when it is closed.
pub(super) fn scratch(target: &Path) -> Result<File> {
    tempfile::tempfile_in(folder(target)).at("create a scratch file for", target)
}

/// The folder that holds `target`.
fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
