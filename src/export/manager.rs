//! Where exports go: a folder that is checked before any work, and a list of what was written there.
//!
//! Enters: file names with bytes, or with a function that streams them. Leaves: whole files; one that fails on the way
//! leaves nothing behind.

use crate::error::{Error, IoContext, Result};
use crate::files::atomic::{self, write_atomically};
use crate::trace::reader::Run;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// The folder inside a run that exports go to.
pub const EXPORTS_FOLDER: &str = "exports";

/// The outputs of one call of the program.
#[derive(Debug)]
pub struct Outputs {
    folder: PathBuf,
    made_folder: bool,
    written: Vec<PathBuf>,
    left_out: Vec<Error>,
    remarks: Vec<String>,
}

impl Outputs {
    /// Outputs in `out`, or in `exports/` under the run; where that has no folder, under the current one.
    ///
    /// # Errors
    /// As [`Outputs::in_folder`].
    pub fn open(run: &Run, out: Option<&Path>) -> Result<Outputs> {
        Outputs::in_folder(
            &out.map_or_else(|| run.dir().unwrap_or(Path::new("")).join(EXPORTS_FOLDER), Path::to_path_buf),
        )
    }

    /// Outputs in a folder, which is made if it is not there. To be called before any work.
    ///
    /// # Errors
    /// When the folder is a file, cannot be made or cannot be written in.
    pub fn in_folder(folder: &Path) -> Result<Outputs> {
        if folder.is_file() {
            return Err(Error::invalid(
                format!("`{}` is a file", folder.display()),
                "`--out` names the folder that the files go to",
            ));
        }
        let made_folder = !folder.is_dir();
        std::fs::create_dir_all(folder).at("create", folder)?;
        tempfile::tempfile_in(folder).map(drop).at("write in", folder)?;
        atomic::remove_stale(folder);
        Ok(Outputs { folder: folder.to_path_buf(), made_folder, written: vec![], left_out: vec![], remarks: vec![] })
    }

    /// Writes a file whole or not at all. `name` may hold a folder: `frames/sample_00.png`.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.place(name)?;
        write_atomically(&path, bytes)?;
        self.written.push(path);
        Ok(())
    }

    /// Writes a file piece by piece, for what should not stand in memory whole: `fill` is given a temporary file, which
    /// takes its name when it is complete.
    ///
    /// # Errors
    /// What `fill` says; what the file system says, with the file's name.
    pub fn stream(&mut self, name: &str, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
        let path = self.place(name)?;
        let folder = path.parent().unwrap_or(&self.folder);
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            // What the umask takes away is taken away; tempfile's own default would keep others from reading it.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.prefix(".sdviz-").tempfile_in(folder).at("write in", folder)?;
        let (file, temporary) = file.into_parts();
        let mut writer = BufWriter::new(file);
        fill(&mut writer)?;
        writer.into_inner().map_err(std::io::IntoInnerError::into_error).at("write", &path)?;
        temporary.persist(&path).map_err(|e| e.error).at("write", &path)?;
        self.written.push(path);
        Ok(())
    }

    /// The path for a file of this name, for a writer that makes the file itself and names it when it is whole, as the
    /// animation encoders do. The folder is made; the finished file is to be told to [`Outputs::made`].
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        self.place(name)
    }

    /// Notes a file that was made at a path of [`Outputs::path`].
    pub fn made(&mut self, path: PathBuf) {
        self.written.push(path);
    }

    /// Notes something that the user should know of what was made.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// The remarks since this was last asked.
    pub fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Notes a part that the run has nothing for; the caller goes on with the rest.
    pub fn leave_out(&mut self, why: Error) {
        self.left_out.push(why);
    }

    /// The files written so far, in order.
    pub fn written(&self) -> &[PathBuf] {
        &self.written
    }

    /// What was left out, and why.
    pub fn left_out(&self) -> &[Error] {
        &self.left_out
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).at("create", folder)?;
        }
        Ok(path)
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        if self.made_folder && self.written.is_empty() {
            // Only an empty folder can be removed, and it does not matter if it cannot.
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::io::Write;

    #[test]
    fn a_stream_that_fails_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b");
        let mut outputs = Outputs::in_folder(&folder).unwrap();
        let failed = outputs.stream("film.mp4", |file| {
            file.write_all(b"half").unwrap();
            Err(Error::Cancelled)
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert!(outputs.written().is_empty());
        drop(outputs);
        assert!(!folder.exists(), "an empty folder that was made for nothing stays");
    }

    #[test]
    fn files_take_their_name_when_they_are_whole() {
        let home = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::in_folder(home.path()).unwrap();
        outputs.write("frames/one.txt", b"one").unwrap();
        outputs.stream("two.txt", |file| file.write_all(b"two").at("write", Path::new("two.txt"))).unwrap();
        assert_eq!(outputs.written(), [home.path().join("frames/one.txt"), home.path().join("two.txt")]);
        assert_eq!(std::fs::read(home.path().join("two.txt")).unwrap(), b"two");
        assert!(home.path().join("two.txt").metadata().is_ok_and(|m| m.len() == 3));
    }

    #[test]
    fn a_file_is_no_folder() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("taken");
        std::fs::write(&file, "").unwrap();
        let message = Outputs::in_folder(&file).unwrap_err().to_string();
        assert!(message.ends_with("taken` is a file"), "{message}");
        assert!(Outputs::in_folder(&file.join("below")).is_err());
    }
}
