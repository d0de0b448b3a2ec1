//! The picture that a drawing begins from, and its mask: files, or pictures in the hand.

use crate::error::{IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::pipeline::init_image::InitImage;
use crate::show::picture::Picture;
use std::path::{Path, PathBuf};

/// Where a picture comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A picture in the hand.
    Picture(Picture),
}

impl Source {
    /// Reads a picture, and a mask beside it, as a run reads the files.
    pub(super) fn read(&self, mask: Option<&Source>) -> Result<InitImage> {
        let folder = tempfile::tempdir().at("write in", &std::env::temp_dir())?;
        let file = |source: &Source, name: &str| match source {
            Source::File(path) => Ok(path.clone()),
            Source::Picture(picture) => {
                let path = folder.path().join(name);
                write_atomically(&path, &picture.png()?).map(|()| path)
            }
        };
        let mask = mask.map(|mask| file(mask, "mask.png")).transpose()?;
        InitImage::read(&file(self, "picture.png")?, mask.as_deref())
    }
}

impl From<&Picture> for Source {
    fn from(picture: &Picture) -> Source {
        Source::Picture(picture.clone())
    }
}

impl From<Picture> for Source {
    fn from(picture: Picture) -> Source {
        Source::Picture(picture)
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Source {
        Source::File(path.into())
    }
}

impl From<String> for Source {
    fn from(path: String) -> Source {
        Source::File(path.into())
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Source {
        Source::File(path.into())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Source {
        Source::File(path)
    }
}

impl From<&PathBuf> for Source {
    fn from(path: &PathBuf) -> Source {
        Source::File(path.clone())
    }
}
