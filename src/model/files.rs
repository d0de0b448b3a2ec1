//! Where a model's files are: a folder in diffusers' layout, or inside the program.

use super::bundled::{EmbeddedFile, POCKET, POCKET_FILES};
use super::components::{COMPONENTS, Component, VAE};
use super::config::Config;
use super::pieces::{self, Form};
use super::single_file::SingleFile;
use super::tiny_files::TinyFiles;
use super::weights::{Bytes, WeightFile};
use crate::error::{Error, IoContext, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// A tiny autoencoder in its author's files.
    Tiny(Arc<TinyFiles>),
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
    /// The embedded model's.
    ///
    /// # Errors
    /// When the program was built without it.
    pub fn pocket() -> Result<ModelFiles> {
        if POCKET_FILES.is_empty() {
            return Err(Error::invalid(
                "there is no model in this program: it was built from a registry's crate, which has no room for one",
                "name a model with `--model`: a folder, a file, `owner/name` after `sdviz fetch owner/name`; the pocket \
                 model is the folder `assets/pocket` of the sources",
            ));
        }
        Ok(ModelFiles::Embedded(POCKET, POCKET_FILES))
    }

    /// Where the files of a component are: the model's own, unless the component was exchanged.
    pub fn of(&self, component: &str) -> &ModelFiles {
        match self {
            ModelFiles::WithVae { vae, .. } if component == VAE.name => vae,
            ModelFiles::WithVae { model, .. } => model.of(component),
            own => own,
        }
    }

    /// What names the model that a component was taken from, if it was exchanged.
    pub fn origin(&self, component: &str) -> Option<&str> {
        match self {
            ModelFiles::WithVae { name, .. } if component == VAE.name => Some(name),
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
            ModelFiles::Tiny(files) => files.path(name),
            ModelFiles::WithVae { .. } => self.holder(name).path(name),
        }
    }

    /// Whether the file is there.
    pub fn has(&self, name: &str) -> bool {
        match self {
            ModelFiles::Folder(_) | ModelFiles::Component(_) => self.path(name).is_file(),
            ModelFiles::Embedded(_, files) => files.iter().any(|(n, _)| *n == name),
            ModelFiles::Single(file) => file.text(name).is_some(),
            ModelFiles::Tiny(_) => name == VAE.config,
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
            ModelFiles::Tiny(files) => Ok((name == VAE.config).then(|| files.config().to_string())),
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

    /// The configuration of a component.
    ///
    /// # Errors
    /// When it is missing, is not valid, or asks for something that is not supported.
    pub fn config<C: Config>(&self, component: &Component) -> Result<C> {
        C::parse(&self.required_text(component.config)?, &self.path(component.config))
    }

    /// The weights of a component, in one file or in pieces: those of the variant that is asked for, where another
    /// component has it the plain ones; else the plain ones, or those of the one variant that is there. Gives the name in
    /// the folder of the file too, of several the one that stands for them.
    ///
    /// # Errors
    /// When there are no such weights (pickles are named as refused), no component has the variant, a piece is missing, or
    /// a file is not a valid safetensors file.
    pub fn weights(&self, component: &Component, variant: Option<&str>) -> Result<(String, Arc<WeightFile>)> {
        if let ModelFiles::WithVae { .. } = self {
            // The variant is the model's; an autoencoder from elsewhere need not have it.
            let (files, own) = (self.of(component.name), self.origin(component.name).is_none());
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
        if let ModelFiles::Tiny(files) = self {
            return Ok((files.names().swap_remove(0), Arc::new(files.weights()?)));
        }
        let name = format!("{}/{}", component.name, self.form(component, variant)?.name());
        let pieces = self.pieces(&name)?;
        let bytes = pieces.iter().map(|piece| Ok((self.path(piece), self.bytes(piece, &name)?)));
        let file = WeightFile::of_pieces(&self.path(&name), bytes.collect::<Result<_>>()?)?;
        let shown = if let ModelFiles::Component(_) = self { inside(&name).to_string() } else { name };
        Ok((shown, Arc::new(file.without(|name| component.passes_over(name)))))
    }

    /// The files that hold the weights for which `name` stands, as [`ModelFiles::weights`] gave it: itself, or its pieces
    /// in order.
    ///
    /// # Errors
    /// When it should list pieces and does not.
    pub fn pieces(&self, name: &str) -> Result<Vec<String>> {
        let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
        let inside = |piece: String| if folder.is_empty() { piece } else { format!("{folder}/{piece}") };
        let whole = || Ok(vec![name.to_string()]);
        match self {
            ModelFiles::Single(_) => return whole(),
            ModelFiles::Tiny(files) => return Ok(files.names()),
            _ => {}
        }
        let stem = file.split(['.', '-']).next().unwrap_or_default();
        match pieces::stored(&[file.to_string()], stem).pop().map(|stored| stored.form) {
            Some(Form::Index(_)) => {
                let listed = pieces::listed(&self.required_text(name)?).ok_or_else(|| {
                    Error::bad_file(&self.path(name), "list of pieces", "it maps no tensors to files beside it")
                })?;
                Ok(listed.into_iter().map(inside).collect())
            }
            Some(Form::Numbered(all)) => Ok(all.into_iter().map(inside).collect()),
            _ => whole(),
        }
    }

    /// The bytes of one of the files for which `whole` stands.
    fn bytes(&self, name: &str, whole: &str) -> Result<Bytes> {
        if let ModelFiles::Embedded(_, files) = self {
            let found = files.iter().find(|(n, _)| *n == name).ok_or_else(|| self.missing(name))?;
            return Ok(Bytes::Embedded(found.1));
        }
        if name != whole && !self.has(name) {
            return Err(Error::invalid(
                format!("`{}` is missing, a piece of `{}`", self.path(name).display(), self.path(whole).display()),
                "these weights lie in several files, and all are needed: copy or download the missing one",
            ));
        }
        Bytes::map(&self.path(name))
    }

    /// The names of the files in a component's folder.
    fn names(&self, component: &Component) -> Vec<String> {
        let folder = format!("{}/", component.name);
        match self {
            ModelFiles::Embedded(_, files) => {
                files.iter().filter_map(|(name, _)| name.strip_prefix(&folder)).map(String::from).collect()
            }
            _ => {
                let path = self.path(component.config);
                let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
                entries.into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok()).collect()
            }
        }
    }

    /// Which of the weights in a component's folder are meant.
    fn form(&self, component: &Component, variant: Option<&str>) -> Result<Form> {
        let names = self.names(component);
        let mut all = pieces::stored(&names, component.stem);
        let find = |wanted: Option<&str>| all.iter().position(|stored| stored.variant.as_deref() == wanted);
        let found = match (find(variant), variant) {
            (None, Some(variant)) => {
                self.check_variant(variant)?;
                find(None)
            }
            (found, _) => found,
        };
        if let Some(found) = found.or((all.len() == 1).then_some(0)) {
            return Ok(all.swap_remove(found).form);
        }
        let plain = component.weights_file();
        let pickle = names.iter().find(|name| name.ends_with(".bin") || name.ends_with(".ckpt"));
        Err(match (all.is_empty(), pickle) {
            (true, Some(pickle)) => Bytes::map(&self.path(&format!("{}/{pickle}", component.name)))
                .err()
                .unwrap_or_else(|| self.missing(&plain)),
            (true, None) => self.missing(&plain),
            (false, _) => {
                let several: Vec<&str> = all.iter().map(|stored| stored.form.name()).collect();
                let (path, several) = (self.path(&plain), several.join(", "));
                Error::invalid(
                    format!("`{}` is missing, and there are several variants: {several}", path.display()),
                    "choose one with `--variant`, for example `--variant fp16`",
                )
            }
        })
    }

    /// Refuses a variant that no component has.
    fn check_variant(&self, variant: &str) -> Result<()> {
        let stored = |component: &'static Component| pieces::stored(&self.names(component), component.stem);
        let there: BTreeSet<String> = COMPONENTS.into_iter().flat_map(stored).filter_map(|s| s.variant).collect();
        if there.contains(variant) {
            return Ok(());
        }
        let there: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
        let there = if there.is_empty() { "none".into() } else { there.join(", ") };
        let home = self.path("");
        Err(Error::invalid(
            format!(
                "no part of `{}` has a variant `{variant}`: there is {there}",
                home.components().as_path().display()
            ),
            "leave `--variant` away, or name one that is there",
        ))
    }

    fn missing(&self, name: &str) -> Error {
        if let ModelFiles::Component(_) = self {
            return Error::invalid(
                format!("`{}` is missing", self.path(name).display()),
                "the folder of an autoencoder has config.json and diffusion_pytorch_model.safetensors",
            );
        }
        let layout = "a model folder in diffusers' layout has model_index.json, and tokenizer, text_encoder, unet, vae and \
                      scheduler folders: copy or download what is missing";
        let of_vae = name.split('/').next() == Some(VAE.name);
        let hint = if of_vae { format!("{layout}, or name an autoencoder with `--vae`") } else { layout.into() };
        Error::invalid(format!("`{}` is missing", self.path(name).display()), hint)
    }
}

/// A file's name without the component's folder.
fn inside(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, rest)| rest)
}
