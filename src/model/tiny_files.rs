//! A tiny autoencoder in its author's files: `taesd_decoder.safetensors`, with `taesd_encoder.safetensors` beside it or not.
//!
//! Enters: one of the files, or the folder they lie in. Leaves: what a folder of diffusers' would hold, its configuration as
//! text and its weights under diffusers' names; they stay where they lie.

use super::single_file;
use super::tiny_names::HalfFile;
use super::weights::{Bytes, RenamedPiece, WeightFile};
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the author calls the half that a preview needs.
pub const DECODER_FILE: &str = "taesd_decoder.safetensors";

/// The halves that there are, whose headers were read.
#[derive(Debug, Clone)]
pub struct TinyFiles {
    halves: Vec<(PathBuf, HalfFile)>,
    config: String,
}

impl TinyFiles {
    /// Reads a file's header, and that of the other half if it lies beside it under the other's name. None if the file is
    /// no half of a tiny autoencoder.
    ///
    /// # Errors
    /// When a file cannot be read, the two do not belong together, or there is no decoder.
    pub fn open(path: &Path) -> Result<Option<TinyFiles>> {
        let Some((half, mut config)) = read(path)? else { return Ok(None) };
        let mut halves = vec![(path.to_path_buf(), half)];
        if let Some(other) = beside(path).filter(|other| other.is_file())
            && let Some((other_half, theirs)) =
                read(&other)?.filter(|(other, _)| other.is_decoder() != half.is_decoder())
        {
            together(&mut config, theirs, other_half, (path, &other))?;
            halves.push((other, other_half));
        }
        halves.sort_by_key(|(_, half)| !half.is_decoder());
        if !halves[0].1.is_decoder() {
            return Err(Error::invalid(
                format!("`{}` holds the encoder of a tiny autoencoder alone", path.display()),
                format!("pictures take the decoder: put `{DECODER_FILE}` beside it, or name that"),
            ));
        }
        Ok(Some(TinyFiles { halves, config: format!("{config:#}\n") }))
    }

    /// Its `config.json`.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The path of the file of this name; for other names that of the decoder.
    pub fn path(&self, name: &str) -> PathBuf {
        let called = |path: &&PathBuf| path.file_name().is_some_and(|own| own.to_string_lossy() == name);
        self.paths().find(called).unwrap_or(&self.halves[0].0).clone()
    }

    /// The files' names, the decoder's first.
    pub fn names(&self) -> Vec<String> {
        self.paths().map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned()).collect()
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.halves.iter().map(|(path, _)| path)
    }

    /// The weights under diffusers' names.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn weights(&self) -> Result<WeightFile> {
        let pieces = self.halves.iter().map(|(path, half)| {
            let piece: RenamedPiece = (path.clone(), Bytes::map(path)?, Box::new(|key| half.to_diffusers(key)));
            Ok(piece)
        });
        WeightFile::of_renamed_pieces(&self.halves[0].0, pieces.collect::<Result<_>>()?)
    }
}

fn read(path: &Path) -> Result<Option<(HalfFile, Value)>> {
    Ok(HalfFile::of(&single_file::header(path)?.0))
}

/// Where the other half lies: under the same name but for the half's.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let other = [("decoder", "encoder"), ("encoder", "decoder")];
    let (own, theirs) = other.into_iter().find(|(own, _)| name.contains(own))?;
    Some(path.with_file_name(name.replacen(own, theirs, 1)))
}

/// Adds what one half's configuration says of it to the other's.
fn together(config: &mut Value, other: Value, half: HalfFile, (path, beside): (&Path, &Path)) -> Result<()> {
    if config["latent_channels"] != other["latent_channels"] {
        return Err(Error::invalid(
            format!("`{}` and `{}` do not belong together: their latents differ", path.display(), beside.display()),
            "put the two halves of one autoencoder into a folder of their own",
        ));
    }
    let name = if half.is_decoder() { "decoder" } else { "encoder" };
    for field in [format!("{name}_block_out_channels"), format!("num_{name}_blocks")] {
        config[field.as_str()] = other[field.as_str()].clone();
    }
    Ok(())
}
