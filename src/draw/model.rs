//! A loaded model in the hand.

use crate::error::{Error, Result, caught};
use crate::model::components;
use crate::model::embedding::EmbeddingChoice;
use crate::model::fingerprint::Fingerprints;
use crate::model::lora::LoraChoice;
use crate::model::resolve::{self, ModelChoice};
use crate::pipeline::{LoadOptions, Pipeline, device};
use crate::record::model::ComponentRecord;
use crate::show::display;
use crate::show::table::Table;
use crate::units::thousands;
use std::cell::OnceCell;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A loaded model: what draws. A clone shares the weights. It derefs to its [`Pipeline`], whose fields are the parts.
#[derive(Debug, Clone)]
pub struct Model(Rc<Loaded>);

#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) choice: ModelChoice,
    pub(super) pipeline: Pipeline,
    /// The weights' hashes, once a run has computed them.
    pub(super) hashes: OnceCell<Vec<String>>,
    options: ModelOptions,
    /// Where its files are, if it is a model of the moment.
    folder: Option<tempfile::TempDir>,
}

impl Loaded {
    /// The weights' hashes, computed if no run has done so.
    pub(super) fn hashes(&self) -> Result<&[String]> {
        if self.hashes.get().is_none() {
            let computed = Fingerprints::start(&self.choice, self.pipeline.model()).finish()?;
            return Ok(self.hashes.get_or_init(|| computed));
        }
        Ok(self.hashes.get().map_or(&[], Vec::as_slice))
    }

    /// What finds the model's files again.
    pub(super) fn name(&self) -> &str {
        match self.folder {
            Some(_) => self.options.name.to_str().unwrap_or_default(),
            None => &self.choice.id,
        }
    }
}

impl Model {
    /// Loads a model: `pocket`, which is in the program, a folder in diffusers' layout, a checkpoint in one file, or
    /// `owner/name` from the Hugging Face cache. An empty name takes what `SDVIZ_MODEL` names, else `pocket`. It computes
    /// where a graphics card is, else on the CPU.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be read.
    pub fn load(name: impl AsRef<Path>) -> Result<Model> {
        Model::options(name).load()
    }

    /// The same with more to say: `Model::options("pocket").device("cpu").dtype("bf16").load()?`.
    pub fn options(name: impl AsRef<Path>) -> ModelOptions {
        ModelOptions {
            name: name.as_ref().into(),
            vae: None,
            device: "auto".into(),
            dtype: "auto".into(),
            variant: None,
            vae_tiling: None,
            preview_vae: None,
            loras: vec![],
            embeddings: vec![],
        }
    }

    /// The model's parts: how many parameters, how many tensors they are in, in which file.
    ///
    /// # Errors
    /// When a file cannot be read any more.
    pub fn parts(&self) -> Result<Parts> {
        let (files, variant) = (&self.0.choice.files, self.0.options.variant.as_deref());
        let part = |component: &ComponentRecord| {
            let tensors = files.weights(components::named(&component.name)?, variant)?.1.entries().len() as u64;
            Ok(Part {
                name: component.name.clone(),
                parameters: component.parameters,
                tensors,
                file: component.file.clone(),
            })
        };
        self.model().components.iter().map(part).collect::<Result<_>>().map(Parts)
    }

    pub(super) fn loaded(&self) -> &Loaded {
        &self.0
    }

    /// Shows what it is where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        match self.parts() {
            Ok(parts) => Table { heading: self.to_string(), ..parts.table() }.evcxr_display(),
            Err(_) => display::plain(&self.to_string()),
        }
    }
}

impl Deref for Model {
    type Target = Pipeline;

    fn deref(&self) -> &Pipeline {
        &self.0.pipeline
    }
}

/// `pocket: 11,106,427 parameters, pictures of 128×128, scheduler pndm, guidance 5, f32 on cpu`.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let size = self.native_size();
        let parameters = thousands(self.model().components.iter().map(|component| component.parameters).sum());
        write!(f, "{}: {parameters} parameters, pictures of {size}×{size}", self.model().id)?;
        if let Ok(scheduler) = self.default_scheduler() {
            write!(f, ", scheduler {scheduler}")?;
        }
        let (device, dtype) = (device::device_name(self.device()), device::dtype_name(self.kind()));
        write!(f, ", guidance {}, {dtype} on {device}", self.guidance_scale())
    }
}

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    name: PathBuf,
    pub(super) vae: Option<String>,
    device: String,
    dtype: String,
    pub(super) variant: Option<String>,
    vae_tiling: Option<String>,
    preview_vae: Option<String>,
    pub(super) loras: Vec<LoraChoice>,
    embeddings: Vec<String>,
}

impl ModelOptions {
    /// Where it computes: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
    #[must_use]
    pub fn device(mut self, name: &str) -> ModelOptions {
        self.device = name.into();
        self
    }

    /// What it computes in: `auto`, `f32`, `bf16`, `f16`.
    #[must_use]
    pub fn dtype(mut self, name: &str) -> ModelOptions {
        self.dtype = name.into();
        self
    }

    /// Which weight files: `fp16` for `*.fp16.safetensors`.
    #[must_use]
    pub fn variant(mut self, name: &str) -> ModelOptions {
        self.variant = Some(name.into());
        self
    }

    /// Another autoencoder: its folder or file, or a model whose autoencoder to take.
    #[must_use]
    pub fn vae(mut self, name: &str) -> ModelOptions {
        self.vae = Some(name.into());
        self
    }

    /// Whether the autoencoder decodes in tiles: `auto`, `on`, `off`.
    #[must_use]
    pub fn vae_tiling(mut self, name: &str) -> ModelOptions {
        self.vae_tiling = Some(name.into());
        self
    }

    /// What decodes the pictures of the steps: `tiny`, `linear`, or another autoencoder.
    #[must_use]
    pub fn preview_vae(mut self, name: &str) -> ModelOptions {
        self.preview_vae = Some(name.into());
        self
    }

    /// A LoRA, and how strongly it counts; 1 is as it was trained.
    #[must_use]
    pub fn lora(mut self, file: impl AsRef<Path>, weight: f64) -> ModelOptions {
        self.loras.push(LoraChoice { path: file.as_ref().into(), weight });
        self
    }

    /// A word of one's own, called like its file; `name=file` calls it otherwise.
    #[must_use]
    pub fn embedding(mut self, file: &str) -> ModelOptions {
        let stem = || Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.embeddings.push(if file.contains('=') { file.into() } else { format!("{}={file}", stem()) });
        self
    }

    /// Loads it.
    ///
    /// # Errors
    /// When there is no such model, device or dtype, when a file cannot be read or does not fit.
    pub fn load(&self) -> Result<Model> {
        caught(|| self.load_as(self.choice()?, None))
    }

    /// The same for a model in this folder, which has everything in it.
    pub(super) fn of_folder(&self, folder: &Path) -> ModelOptions {
        ModelOptions { name: folder.into(), variant: None, vae: None, loras: vec![], ..self.clone() }
    }

    /// Which model is meant.
    pub(super) fn choice(&self) -> Result<ModelChoice> {
        let no_text = || Error::invalid(format!("`{}` is no UTF-8 text", self.name.display()), "rename it");
        let name = Some(self.name.to_str().ok_or_else(no_text)?).filter(|name| !name.is_empty());
        resolve::resolve_with(name, self.vae.as_deref())
    }

    /// Loads this model, whose files may be in a folder of the moment.
    pub(super) fn load_as(&self, choice: ModelChoice, folder: Option<tempfile::TempDir>) -> Result<Model> {
        let device = device::device(&self.device)?;
        let options = LoadOptions {
            device,
            kind: device::dtype(&self.dtype, device)?,
            variant: self.variant.clone(),
            loras: self.loras.clone(),
            embeddings: self.embeddings.iter().map(|text| EmbeddingChoice::parse(text)).collect::<Result<_>>()?,
            vae_tiling: self.vae_tiling.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            preview_vae: self.preview_vae.clone(),
        };
        let pipeline = Pipeline::load(&choice, options)?;
        let (hashes, options) = (OnceCell::new(), self.clone());
        Ok(Model(Rc::new(Loaded { choice, pipeline, hashes, options, folder })))
    }
}

impl From<&str> for ModelOptions {
    fn from(name: &str) -> ModelOptions {
        Model::options(name)
    }
}

impl From<&Model> for ModelOptions {
    fn from(model: &Model) -> ModelOptions {
        model.0.options.clone()
    }
}

/// A part of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `text_encoder`, `unet`, `vae`.
    pub name: String,
    /// How many numbers it has.
    pub parameters: u64,
    /// In how many tensors.
    pub tensors: u64,
    /// Its file's name.
    pub file: String,
}

/// A model's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(Vec<Part>);

impl Parts {
    /// The parts.
    pub fn list(&self) -> &[Part] {
        &self.0
    }

    /// How many parameters a part has; 0 if there is no such part.
    pub fn parameters(&self, name: &str) -> u64 {
        self.0.iter().filter(|part| part.name == name).map(|part| part.parameters).sum()
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let row = |part: &Part| {
            vec![part.name.clone(), thousands(part.parameters), thousands(part.tensors), part.file.clone()]
        };
        let (titles, rows) = (vec!["part", "parameters", "tensors", "file"], self.0.iter().map(row).collect());
        Table { heading: String::new(), titles, rows, numbers: 1..3 }
    }

    /// Shows the table where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.table().fmt(f)
    }
}
