//! A model written anew: as a folder in diffusers' layout, or as a checkpoint in one file.
//!
//! Enters: a model's files, whichever form they have. Leaves: the other form, tensor for tensor the same numbers. Tensors
//! go from the mapped file to the new one, one after another; what is written appears under its name when it is whole.

mod staged;

pub use staged::{Form, Staged, abandon, check_room, write};

use super::bundled::CLIP_TOKENIZER;
use super::components::{self, COMPONENTS, Component, INDEX, SCHEDULER_CONFIG, TEXT_ENCODER, UNET, VAE};
use super::compvis_names::Depth;
use super::files::ModelFiles;
use super::single_file::METADATA_KEY;
use super::weights::{Entry, WeightFile};
use crate::error::{Error, Result};
use crate::model::config::{TextConfig, UNetConfig, VaeConfig};
use crate::numbers;
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A tensor of a single file.
enum FileTensor {
    Lazy(Lazy),
    /// A key without numbers.
    Mark,
}

impl View for FileTensor {
    fn dtype(&self) -> Dtype {
        match self {
            FileTensor::Lazy(lazy) => lazy.dtype(),
            FileTensor::Mark => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            FileTensor::Lazy(lazy) => lazy.shape(),
            FileTensor::Mark => &[0],
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            FileTensor::Lazy(lazy) => lazy.data(),
            FileTensor::Mark => Cow::Borrowed(&[]),
        }
    }

    fn data_len(&self) -> usize {
        self.data().len()
    }
}

/// A tensor that is read when it is written.
struct Lazy {
    file: Arc<WeightFile>,
    entry: Entry,
    shape: Vec<usize>,
}

impl View for Lazy {
    fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.file.data(&self.entry))
    }

    fn data_len(&self) -> usize {
        self.file.data(&self.entry).len()
    }
}

/// A tensor's numbers on their way into a file.
pub struct Numbers {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Numbers {
    /// In half precision, or in f32.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of(tensor: &Tensor, half: bool) -> Result<Numbers> {
        let (kind, dtype) = if half { (Kind::Half, Dtype::F16) } else { (Kind::Float, Dtype::F32) };
        let shape = tensor.size().iter().map(|n| *n as usize).collect();
        Ok(Numbers { dtype, shape, bytes: numbers::of_tensor(tensor, kind)? })
    }
}

impl View for Numbers {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The shape that a tensor has in the other form: the autoencoder's attention is linear in diffusers and made of 1×1
/// convolutions in the CompVis code.
fn shape(component: &Component, name: &str, entry: &Entry, single: bool) -> Vec<usize> {
    let mut shape: Vec<usize> = entry.shape.iter().map(|n| *n as usize).collect();
    if component.name == VAE.name && name.contains(".attentions.") && name.ends_with(".weight") {
        match (shape.len(), single) {
            (2, true) => shape.extend([1, 1]),
            (4, false) => shape.truncate(2),
            _ => {}
        }
    }
    shape
}

/// The text files of a model, as they are written: parts that are not written are not in the index.
///
/// # Errors
/// When one cannot be read, or the index is not JSON.
pub fn texts(files: &ModelFiles) -> Result<Vec<(&'static str, String)>> {
    let mut texts = vec![];
    for name in components::texts() {
        let Some(text) = files.text(name)? else { continue };
        texts.push((name, if name == INDEX { index(files, &text)? } else { text }));
    }
    Ok(texts)
}

/// The index without the safety checker and other parts that this program does not use, and with those that came from
/// elsewhere: an autoencoder that the model did not have.
fn index(files: &ModelFiles, text: &str) -> Result<String> {
    let mut index: Value =
        serde_json::from_str(text).map_err(|e| Error::bad_file(&files.path(INDEX), "model index", e))?;
    let written = |name: &str| {
        ["scheduler", "tokenizer"].contains(&name) || COMPONENTS.iter().any(|component| component.name == name)
    };
    let mut changed = false;
    for component in COMPONENTS.into_iter().filter(|component| files.has(component.config)) {
        if index[component.name][1].is_null() && index.is_object() {
            index[component.name] = json!([component.library, component.class]);
            changed = true;
        }
    }
    for (name, value) in index.as_object_mut().into_iter().flatten() {
        if value.is_array() && !written(name) && *value != json!([null, null]) {
            *value = json!([null, null]);
            changed = true;
        }
    }
    Ok(if changed { format!("{index:#}\n") } else { text.to_string() })
}

/// Writes a model as a folder in diffusers' layout. Everything is read before anything is written.
///
/// # Errors
/// When a part is missing or damaged, the folder is there already or cannot be written, or the disk has no room for it.
pub fn to_folder(files: &ModelFiles, variant: Option<&str>, out: &Path) -> Result<()> {
    let texts = texts(files)?;
    let mut components = vec![];
    for component in COMPONENTS {
        let (_, file) = files.weights(component, variant)?;
        let lazy = |(name, entry): (&String, &Entry)| {
            let shape = shape(component, name, entry, false);
            (name.clone(), Lazy { file: file.clone(), entry: entry.clone(), shape })
        };
        components.push((component, file.entries().iter().map(lazy).collect::<Vec<_>>()));
    }
    let folder = Staged::new(out, Form::Folder, components.iter().map(|(_, tensors)| bytes(tensors)).sum())?;
    for (name, text) in texts {
        folder.text(name, &text)?;
    }
    for (component, tensors) in components {
        folder.weights(component, tensors)?;
    }
    folder.finish()
}

/// The bytes of tensors, without the header.
pub fn bytes<V: View>(tensors: &[(String, V)]) -> u64 {
    tensors.iter().map(|(_, tensor)| tensor.data_len() as u64).sum()
}

/// Writes a model as a checkpoint in one file, in the naming of the CompVis code. Its configuration, and its tokenizer if
/// it is not CLIP's own, go into the header, where other programs do not look.
///
/// # Errors
/// When it is not Stable Diffusion 1.x, a part is missing or damaged, the file is there already or cannot be written, or
/// the disk has no room for it.
pub fn to_single_file(files: &ModelFiles, variant: Option<&str>, out: &Path) -> Result<()> {
    let depth = depth(files)?;
    let mut tensors = vec![];
    for component in COMPONENTS {
        let names = &component.single_file;
        let (_, file) = files.weights(component, variant)?;
        for (name, entry) in file.entries() {
            let key = (names.to_compvis)(name, &depth).ok_or_else(|| {
                let reason = format!("key `{name}` has no place in a single-file checkpoint");
                Error::bad_file(file.path(), "part of Stable Diffusion 1.x", reason)
            })?;
            let shape = shape(component, name, entry, true);
            let lazy = Lazy { file: file.clone(), entry: entry.clone(), shape };
            tensors.push((format!("{}{key}", names.prefix), FileTensor::Lazy(lazy)));
        }
    }
    tensors.extend(marks(files)?.map(|name| (name.to_string(), FileTensor::Mark)));
    let mut texts: serde_json::Map<String, Value> =
        texts(files)?.into_iter().map(|(name, text)| (name.to_string(), text.into())).collect();
    let clips = |texts: &serde_json::Map<String, Value>, (name, text): &(&str, &str)| {
        texts.get(*name).and_then(Value::as_str) == Some(text)
    };
    if !texts.contains_key("tokenizer/tokenizer.json")
        && CLIP_TOKENIZER.iter().filter(|(name, _)| !name.ends_with("config.json")).all(|file| clips(&texts, file))
    {
        texts.remove("tokenizer/merges.txt");
        texts.remove("tokenizer/vocab.json");
    }
    let staged = Staged::new(out, Form::File, bytes(&tensors))?;
    staged.file(tensors, (METADATA_KEY, Value::Object(texts).to_string()))?;
    staged.finish()
}

/// What a single file says of its noise schedule to whoever cannot read its configuration: the keys that training scripts
/// leave and web UIs look for.
fn marks(files: &ModelFiles) -> Result<impl Iterator<Item = &'static str> + use<>> {
    let config: Value = serde_json::from_str(&files.required_text(SCHEDULER_CONFIG)?)
        .map_err(|e| Error::bad_file(&files.path(SCHEDULER_CONFIG), "scheduler configuration", e))?;
    let marks =
        [("v_pred", config["prediction_type"] == "v_prediction"), ("ztsnr", config["rescale_betas_zero_snr"] == true)];
    Ok(marks.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name))
}

/// How deep a model is, by its configuration.
fn depth(files: &ModelFiles) -> Result<Depth> {
    let unet: UNetConfig = files.config(&UNET)?;
    let vae: VaeConfig = files.config(&VAE)?;
    let text: TextConfig = files.config(&TEXT_ENCODER)?;
    if unet.use_linear_projection || text.hidden_act != "quick_gelu" {
        return Err(Error::invalid(
            "this is Stable Diffusion 2.x, whose text encoder has other names in a single file (OpenCLIP's)",
            "a folder in diffusers' layout works here as it is; single files are written of 1.x only",
        ));
    }
    if vae.tiny.is_some() {
        return Err(Error::invalid(
            "its autoencoder is an AutoencoderTiny, for which single files have no names",
            "write it as a folder, or give the file another autoencoder with `--vae`",
        ));
    }
    Ok(Depth { vae_levels: vae.block_out_channels.len(), ..Depth::of_unet(&unet) })
}
