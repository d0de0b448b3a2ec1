//! The files of a data set besides its pictures: `metadata.jsonl`, one line a picture, and `dataset.json`.
//!
//! The folder is in Hugging Face's imagefolder layout: `file_name` and `text` are the names that its loaders look for.

use super::config::Config;
use super::icons::About;
use crate::error::{Error, IoContext, Result};
pub use crate::export::imagefolder::{IMAGES_FOLDER, METADATA_FILE};
use crate::files::pictures;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The manifest's name.
pub const MANIFEST_FILE: &str = "dataset.json";
/// The version of the form of [`Manifest`].
pub const SCHEMA_VERSION: u32 = 1;

/// `dataset.json`: how the data set was made, and of whose drawings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program and its version.
    pub made_by: String,
    /// The seed.
    pub seed: u64,
    /// How many pictures there are.
    pub count: usize,
    /// The packages that the drawings come from.
    pub sources: Vec<Source>,
    /// What the data set is made of.
    pub config: Config,
}

/// A package, and how many of its drawings were used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Whose they are.
    #[serde(flatten)]
    pub about: About,
    /// The style that they give.
    pub style: String,
    /// How many drawings were used.
    pub drawings: usize,
}

/// A line of `metadata.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The picture, from the data set's folder.
    pub file_name: String,
    /// The caption.
    pub text: String,
    /// The first name of the object; in another colour than its own, what it is then called.
    pub object: String,
    /// The style's word.
    pub style: String,
    /// The background's name.
    pub background: String,
    /// The drawing's longer side, as a share of the picture's.
    pub scale: f64,
    /// How far right of the middle it is, as a share of the picture's side.
    pub x: f64,
    /// How far below the middle it is.
    pub y: f64,
    /// The colour, where it is not the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// The thing on the right, where there are two; the fields above tell of the one on the left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_object: Option<String>,
    /// Its colour, where it is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_colour: Option<String>,
    /// Its longer side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_scale: Option<f64>,
    /// How far right of the middle it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_x: Option<f64>,
    /// How far below the middle it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_y: Option<f64>,
}

/// A data set as far as it is text: its manifest and its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// How it was made.
    pub manifest: Manifest,
    /// Its pictures.
    pub rows: Vec<Row>,
}

impl Dataset {
    /// Reads a data set.
    ///
    /// # Errors
    /// When there is none, or it is of a newer form.
    pub fn read(dir: &Path) -> Result<Dataset> {
        let path = dir.join(MANIFEST_FILE);
        if !path.is_file() {
            return Err(Error::invalid(
                format!("`{}` is not a data set: it has no {MANIFEST_FILE}", dir.display()),
                "make one with `sdviz dataset build --out FOLDER`",
            ));
        }
        let manifest: Manifest = serde_json::from_slice(&std::fs::read(&path).at("read", &path)?)
            .map_err(|e| Error::bad_file(&path, "data set manifest", e))?;
        if manifest.schema_version > SCHEMA_VERSION {
            let reason =
                format!("its form is version {}, this program knows {SCHEMA_VERSION}", manifest.schema_version);
            return Err(Error::bad_file(&path, "data set manifest", reason));
        }
        let path = dir.join(METADATA_FILE);
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        let row = |(number, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|e| Error::bad_file(&path, "list of pictures", format!("line {}: {e}", number + 1)))
        };
        let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(row);
        Ok(Dataset { manifest, rows: rows.collect::<Result<_>>()? })
    }
}

/// The pictures of some rows.
///
/// # Errors
/// When one cannot be read.
pub fn pictures(dir: &Path, rows: &[Row]) -> Result<Vec<RgbImage>> {
    let read = |row: &Row| {
        let path = dir.join(&row.file_name);
        Ok(pictures::open(&path, "picture")?.into_rgb8())
    };
    rows.par_iter().map(read).collect()
}
