//! A loaded model in the hand.

use crate::draw::drawing::Drawing;
use crate::error::{Error, Result, caught};
use crate::model::embedding::EmbeddingChoice;
use crate::model::lora::LoraChoice;
use crate::model::resolve::{self, ModelChoice};
use crate::pipeline::{LoadOptions, Pipeline, device};
use crate::show::table::{Table, thousands};
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
            loras: vec![],
            embeddings: vec![],
        }
    }

    /// Asks for a picture of this. What is not said further is the model's own: size, scheduler, guidance scale.
    pub fn draw(&self, prompt: impl Into<String>) -> Drawing {
        Drawing::new(self.clone(), prompt.into())
    }

    /// The model's parts.
    pub fn parts(&self) -> Parts {
        Parts(self.model().components.iter().map(|c| (c.name.clone(), c.parameters, c.file.clone())).collect())
    }

    pub(super) fn loaded(&self) -> &Loaded {
        &self.0
    }

    /// Shows what it is where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        Table { heading: self.to_string(), ..self.parts().table() }.evcxr_display();
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
    vae: Option<String>,
    device: String,
    dtype: String,
    variant: Option<String>,
    vae_tiling: Option<String>,
    loras: Vec<LoraChoice>,
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
    pub fn load(self) -> Result<Model> {
        caught(|| {
            let device = device::device(&self.device)?;
            let embeddings = self.embeddings.iter().map(|text| EmbeddingChoice::parse(text)).collect::<Result<_>>()?;
            let options = LoadOptions {
                device,
                kind: device::dtype(&self.dtype, device)?,
                variant: self.variant.clone(),
                loras: self.loras.clone(),
                embeddings,
                vae_tiling: self.vae_tiling.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            };
            let no_text = || Error::invalid(format!("`{}` is no UTF-8 text", self.name.display()), "rename it");
            let name = Some(self.name.to_str().ok_or_else(no_text)?).filter(|name| !name.is_empty());
            let choice = resolve::resolve_with(name, self.vae.as_deref())?;
            let pipeline = Pipeline::load(&choice, options)?;
            Ok(Model(Rc::new(Loaded { choice, pipeline, hashes: OnceCell::new() })))
        })
    }
}

/// A model's parts: name, parameters, file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(Vec<(String, u64, String)>);

impl Parts {
    /// How many parameters a part has; 0 if there is no such part.
    pub fn parameters(&self, name: &str) -> u64 {
        self.0.iter().filter(|(own, ..)| own == name).map(|(_, parameters, _)| parameters).sum()
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let row =
            |(name, parameters, file): &(String, u64, String)| vec![name.clone(), thousands(*parameters), file.clone()];
        let rows = self.0.iter().map(row).collect();
        Table { heading: String::new(), titles: vec!["part", "parameters", "file"], rows, numbers: 1..2 }
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
