//! Where a model's files are: a folder in diffusers' layout, or inside the program.

use super::single_file::SingleFile;
use super::weights::{Bytes, WeightFile};
use crate::error::{Error, IoContext, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file inside the program: its name in the model folder and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// The files of a model in diffusers' layout.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A folder on disk.
    Folder(PathBuf),
    /// Inside the program, under the name given.
    Embedded(&'static str, &'static [EmbeddedFile]),
    /// A folder that holds one component alone: `config.json` and weights.
    Component(PathBuf),
    /// A checkpoint in one file.
    Single(Arc<SingleFile>),
    /// A model with the autoencoder of another, which is called by the name given.
    WithVae {
        /// The model.
        model: Box<ModelFiles>,
        /// What names the autoencoder.
        name: String,
        /// Where its files are.
        vae: Box<ModelFiles>,
    },
}

impl ModelFiles {
    /// Where the files of a component are: the model's own, unless the component was exchanged.
    pub fn of(&self, component: &str) -> &ModelFiles {
        match self {
            ModelFiles::WithVae { vae, .. } if component == "vae" => vae,
            ModelFiles::WithVae { model, .. } => model.of(component),
            own => own,
        }
    }

    /// What names the model that a component was taken from, if it was exchanged.
    pub fn origin(&self, component: &str) -> Option<&str> {
        match self {
            ModelFiles::WithVae { name, .. } if component == "vae" => Some(name),
            _ => None,
        }
    }

    /// The files that hold `name`.
    fn holder(&self, name: &str) -> &ModelFiles {
        self.of(name.split('/').next().unwrap_or_default())
    }

    /// The path of a file, for messages; for an embedded model a name that looks like one.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            ModelFiles::Folder(folder) => folder.join(name),
            ModelFiles::Embedded(model, _) => Path::new(model).join(name),
            ModelFiles::Component(folder) => folder.join(inside(name)),
            ModelFiles::Single(file) => file.path().to_path_buf(),
            ModelFiles::WithVae { .. } => self.holder(name).path(name),
        }
    }

    /// Whether the file is there.
    pub fn has(&self, name: &str) -> bool {
        match self {
            ModelFiles::Folder(_) | ModelFiles::Component(_) => self.path(name).is_file(),
            ModelFiles::Embedded(_, files) => files.iter().any(|(n, _)| *n == name),
            ModelFiles::Single(file) => file.text(name).is_some(),
            ModelFiles::WithVae { .. } => self.holder(name).has(name),
        }
    }

    /// A text file, or `None` if it is not there.
    ///
    /// # Errors
    /// When it is there but cannot be read as UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match self {
            ModelFiles::Folder(_) | ModelFiles::Component(_) => {
                let path = self.path(name);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(text)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(e).at("read", &path),
                }
            }
            ModelFiles::Embedded(_, files) => {
                Ok(files.iter().find(|(n, _)| *n == name).map(|(_, b)| String::from_utf8_lossy(b).into_owned()))
            }
            ModelFiles::Single(file) => Ok(file.text(name).cloned()),
            ModelFiles::WithVae { .. } => self.holder(name).text(name),
        }
    }

    /// A text file that must be there.
    ///
    /// # Errors
    /// When it is missing; names the file and what it belongs to.
    pub fn required_text(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.holder(name).missing(name))
    }

    /// The weights of a component: `stem.safetensors`, `stem.VARIANT.safetensors` if a variant is asked for, else the
    /// one variant that is there. Gives the file's name in the folder too.
    ///
    /// # Errors
    /// When there is no such file (pickles are named as refused), or it is not a valid safetensors file.
    pub fn weights(&self, component: &str, variant: Option<&str>) -> Result<(String, Arc<WeightFile>)> {
        if let ModelFiles::WithVae { .. } = self {
            // The variant is the model's; an autoencoder from elsewhere need not have it.
            let (files, own) = (self.of(component), self.origin(component).is_none());
            let found = files.weights(component, variant);
            return if own || found.is_ok() { found } else { files.weights(component, None) };
        }
        if let ModelFiles::Single(file) = self {
            if let Some(variant) = variant {
                let message = format!("`{}` is one file and has no variant `{variant}`", file.path().display());
                return Err(Error::invalid(message, "leave `--variant` away"));
            }
            let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok((name, file.weights(component)?));
        }
        let name = self.weights_name(component, variant)?;
        let path = self.path(&name);
        let bytes = match self {
            ModelFiles::Embedded(_, files) => {
                let found = files.iter().find(|(n, _)| *n == name).ok_or_else(|| self.missing(&name))?;
                Bytes::Embedded(found.1)
            }
            _ => Bytes::map(&path)?,
        };
        let shown = if let ModelFiles::Component(_) = self { inside(&name).to_string() } else { name };
        Ok((shown, Arc::new(WeightFile::new(&path, bytes)?)))
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
        if let Some(folder) = self.path(&plain).parent().filter(|_| !matches!(self, ModelFiles::Embedded(..))) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
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
        if let ModelFiles::Component(_) = self {
            return Error::invalid(
                format!("`{}` is missing", self.path(name).display()),
                "the folder of an autoencoder has config.json and diffusion_pytorch_model.safetensors",
            );
        }
        Error::invalid(
            format!("`{}` is missing", self.path(name).display()),
            "a model folder in diffusers' layout has model_index.json, and tokenizer, text_encoder, unet, vae and \
             scheduler folders: copy or download what is missing",
        )
    }
}

/// A file's name without the component's folder.
fn inside(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, rest)| rest)
}
