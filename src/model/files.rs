//! Where a model's files are: a folder in diffusers' layout, or inside the program.

use super::weights::{Bytes, WeightFile};
use crate::error::{Error, IoContext, Result};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A file inside the program: its name in the model folder and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// The files of a model in diffusers' layout.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A folder on disk.
    Folder(PathBuf),
    /// Inside the program, under the name given.
    Embedded(&'static str, &'static [EmbeddedFile]),
}

impl ModelFiles {
    /// The path of a file, for messages; for an embedded model a name that looks like one.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            ModelFiles::Folder(folder) => folder.join(name),
            ModelFiles::Embedded(model, _) => Path::new(model).join(name),
        }
    }

    /// Whether the file is there.
    pub fn has(&self, name: &str) -> bool {
        match self {
            ModelFiles::Folder(folder) => folder.join(name).is_file(),
            ModelFiles::Embedded(_, files) => files.iter().any(|(n, _)| *n == name),
        }
    }

    /// A text file, or `None` if it is not there.
    ///
    /// # Errors
    /// When it is there but cannot be read as UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match self {
            ModelFiles::Folder(folder) => {
                let path = folder.join(name);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(text)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(e).at("read", &path),
                }
            }
            ModelFiles::Embedded(_, files) => {
                Ok(files.iter().find(|(n, _)| *n == name).map(|(_, b)| String::from_utf8_lossy(b).into_owned()))
            }
        }
    }

    /// A text file that must be there.
    ///
    /// # Errors
    /// When it is missing; names the file and what it belongs to.
    pub fn required_text(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// The weights of a component: `stem.safetensors`, `stem.VARIANT.safetensors` if a variant is asked for, else the
    /// one variant that is there. Gives the file's name in the folder too.
    ///
    /// # Errors
    /// When there is no such file (pickles are named as refused), or it is not a valid safetensors file.
    pub fn weights(&self, component: &str, variant: Option<&str>) -> Result<(String, Rc<WeightFile>)> {
        let name = self.weights_name(component, variant)?;
        let path = self.path(&name);
        let bytes = match self {
            ModelFiles::Folder(_) => Bytes::map(&path)?,
            ModelFiles::Embedded(_, files) => {
                let found = files.iter().find(|(n, _)| *n == name).ok_or_else(|| self.missing(&name))?;
                Bytes::Embedded(found.1)
            }
        };
        Ok((name, Rc::new(WeightFile::new(&path, bytes)?)))
    }

    fn weights_name(&self, component: &str, variant: Option<&str>) -> Result<String> {
        let stem = if component == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
        let plain = format!("{component}/{stem}.safetensors");
        if let Some(variant) = variant {
            let name = format!("{component}/{stem}.{variant}.safetensors");
            return if self.has(&name) { Ok(name) } else { Err(self.missing(&name)) };
        }
        if self.has(&plain) {
            return Ok(plain);
        }
        let (mut variants, mut pickles) = (vec![], vec![]);
        if let ModelFiles::Folder(folder) = self {
            let entries = std::fs::read_dir(folder.join(component)).into_iter().flatten().flatten();
            for name in entries.filter_map(|e| e.file_name().into_string().ok()) {
                if name.starts_with(stem) && name.ends_with(".safetensors") {
                    variants.push(name);
                } else if name.ends_with(".bin") || name.ends_with(".ckpt") {
                    pickles.push(name);
                }
            }
        }
        match (variants.as_slice(), pickles.first()) {
            ([one], _) => Ok(format!("{component}/{one}")),
            ([], Some(pickle)) => Err(Bytes::map(&self.path(&format!("{component}/{pickle}")))
                .err()
                .unwrap_or_else(|| self.missing(&plain))),
            ([], None) => Err(self.missing(&plain)),
            (several, _) => Err(Error::invalid(
                format!(
                    "`{}` is missing, and there are several variants: {}",
                    self.path(&plain).display(),
                    several.join(", ")
                ),
                "choose one with `--variant`, for example `--variant fp16`",
            )),
        }
    }

    fn missing(&self, name: &str) -> Error {
        Error::invalid(
            format!("`{}` is missing", self.path(name).display()),
            "a model folder in diffusers' layout has model_index.json, and tokenizer, text_encoder, unet, vae and \
             scheduler folders: copy or download what is missing",
        )
    }
}
