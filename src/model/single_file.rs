//! A checkpoint in one file, in the naming of the CompVis code: Stable Diffusion 1.x and 2.x as web UIs have it.
//!
//! Enters: a safetensors file. Leaves: what a diffusers folder would hold, its configuration as text and its weights under
//! diffusers' names; the weights stay where they lie in the file. A file that this program wrote carries its
//! configuration in its header; of others it is read off the shapes.

use super::bundled::CLIP_TOKENIZER;
use super::components::{self, COMPONENTS, Component, INDEX, SCHEDULER_CONFIG, TEXT_ENCODER, VAE};
use super::compvis_names::Depth;
use super::contents::{self, Contents, Role};
use super::fp8;
use super::infer::{ComponentShapes, KIND, Shapes};
use super::open_clip_names;
use super::prediction::Prediction;
use super::sniff;
use super::weights::{Bytes, WeightFile};
use crate::error::{Error, Result};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The key of our configuration in the file's header: a JSON object of file names and texts.
pub const METADATA_KEY: &str = "sdviz";

/// How the tokenizer's configuration names the padding of Stable Diffusion 1.x, and that of 2.x; all else is the same.
const PAD_OF_1: &str = r#""pad_token": "<|endoftext|>""#;
const PAD_OF_2: &str = r#""pad_token": "!""#;

/// A checkpoint whose header was read.
#[derive(Debug, Clone)]
pub struct SingleFile {
    path: PathBuf,
    /// The text files of the folder that it stands for.
    texts: BTreeMap<String, String>,
    depth: Depth,
    prediction: Prediction,
    /// What the text encoder's keys begin with: another in Stable Diffusion 2.x.
    text_prefix: &'static str,
    /// What the autoencoder's keys begin with: nothing in most files that hold it alone.
    vae_prefix: &'static str,
}

/// What a file must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A whole model.
    Model,
    /// A model whose autoencoder is taken from elsewhere: it may have none.
    ModelWithoutVae,
    /// An autoencoder, alone or in a model.
    Vae,
}

impl Wanted {
    /// The components that a file with these keys must describe.
    fn components(self, shapes: &Shapes) -> impl Iterator<Item = &'static Component> {
        let has_vae = shapes.keys().any(|key| key.starts_with(VAE.single_file.prefix));
        COMPONENTS.into_iter().filter(move |component| match self {
            Wanted::Model => true,
            Wanted::ModelWithoutVae => component.name != VAE.name || has_vae,
            Wanted::Vae => component.name == VAE.name,
        })
    }
}

impl SingleFile {
    /// Reads a checkpoint's header.
    ///
    /// # Errors
    /// When the file is a pickle, cut short, or holds something else: the message says what it seems to be, and names the
    /// first key that does not fit.
    pub fn open(path: &Path, wanted: Wanted) -> Result<SingleFile> {
        let (shapes, metadata) = header(path)?;
        let (text_prefix, vae_prefix) = (text_prefix(&shapes), vae_prefix(&shapes, wanted));
        if let Some(other) = foreign(path, &shapes, wanted, (text_prefix, vae_prefix)) {
            return Err(other);
        }
        let open_clip = text_prefix == open_clip_names::PREFIX;
        let prediction = Prediction::of(path, &shapes, &metadata, open_clip);
        let texts = match metadata.get(METADATA_KEY) {
            Some(text) => serde_json::from_str(text).map_err(|e| Error::bad_file(path, "checkpoint of sdviz", e))?,
            None => BTreeMap::new(),
        };
        let (path_buf, depth) = (path.to_path_buf(), Depth::default());
        let mut file = SingleFile { path: path_buf, texts, depth, prediction, text_prefix, vae_prefix };
        if wanted == Wanted::Vae
            && let Some(text) = config_beside(path, &shapes, vae_prefix)
        {
            file.texts.insert(VAE.config.into(), text);
        }
        for component in wanted.components(&shapes) {
            file.describe(component, &shapes)?;
        }
        if wanted != Wanted::Vae {
            if file.texts.contains_key(SCHEDULER_CONFIG) {
                file.prediction.note = None;
            }
            let config = file.prediction.scheduler();
            file.keep(SCHEDULER_CONFIG, || config);
            file.keep(INDEX, || components::index("PNDMScheduler"));
            if !["vocab.json", "tokenizer.json"].iter().any(|n| file.texts.contains_key(&format!("tokenizer/{n}"))) {
                for (name, text) in CLIP_TOKENIZER {
                    let text = if open_clip { text.replace(PAD_OF_1, PAD_OF_2) } else { text.into() };
                    file.texts.entry(name.into()).or_insert(text);
                }
            }
        }
        Ok(file)
    }

    fn keep(&mut self, name: &str, text: impl FnOnce() -> Value) {
        self.texts.entry(name.into()).or_insert_with(|| format!("{:#}\n", text()));
    }

    /// Reads a component's depth and configuration off its shapes, and checks that each of its keys has a place.
    fn describe(&mut self, component: &Component, shapes: &Shapes) -> Result<()> {
        let prefix = self.prefix(component);
        let inside = |(key, shape): (&String, &Vec<i64>)| Some((rooted(component, prefix, key)?, shape.clone()));
        let shapes = shapes.iter().filter_map(inside).collect();
        let part = ComponentShapes { path: &self.path, prefix, shapes, sample_size: self.prediction.sample_size };
        let config = (component.single_file.describe)(&part, &mut self.depth)?;
        for key in part.shapes.keys() {
            let unused = component.single_file.unused.iter().any(|begin| key.starts_with(begin));
            if !unused && (component.single_file.to_diffusers)(key, &self.depth).is_none() {
                let reason = format!("key `{prefix}{key}` has no place in it");
                return Err(Error::bad_file(&self.path, KIND, reason));
            }
        }
        self.keep(component.config, || config);
        Ok(())
    }

    /// What a component's keys begin with in this file.
    fn prefix(&self, component: &Component) -> &'static str {
        prefix(component, (self.text_prefix, self.vae_prefix))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What there is to tell of it: what it does not say, and was taken for granted.
    pub fn note(&self) -> Option<&String> {
        self.prediction.note.as_ref()
    }

    /// A text file of the folder that it stands for.
    pub fn text(&self, name: &str) -> Option<&String> {
        self.texts.get(name)
    }

    /// The weights of a component, under diffusers' names, where they lie in the file.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn weights(&self, component: &Component) -> Result<Arc<WeightFile>> {
        let prefix = self.prefix(component);
        let to_diffusers = component.single_file.to_diffusers;
        let rename = |key: &str| to_diffusers(&rooted(component, prefix, key)?, &self.depth);
        let file = WeightFile::renamed(&self.path, Bytes::map(&self.path)?, rename)?;
        let file = if self.depth.open_clip { file.in_thirds(open_clip_names::thirds)? } else { file };
        Ok(Arc::new(file.without(|name| component.passes_over(name))))
    }
}

/// What the text encoder's keys begin with.
fn text_prefix(shapes: &Shapes) -> &'static str {
    let own = TEXT_ENCODER.single_file.prefix;
    let any = |prefix: &str| shapes.keys().any(|key| key.starts_with(prefix));
    if any(open_clip_names::PREFIX) && !any(own) { open_clip_names::PREFIX } else { own }
}

/// What a component's keys begin with, where the text encoder's and the autoencoder's do with these.
fn prefix(component: &Component, (text, vae): (&'static str, &'static str)) -> &'static str {
    match component.name {
        name if name == TEXT_ENCODER.name => text,
        name if name == VAE.name => vae,
        _ => component.single_file.prefix,
    }
}

/// What the autoencoder's keys begin with.
fn vae_prefix(shapes: &Shapes, wanted: Wanted) -> &'static str {
    let in_model = VAE.single_file.prefix;
    if wanted != Wanted::Vae {
        return in_model;
    }
    [in_model, "vae."].into_iter().find(|prefix| shapes.keys().any(|key| key.starts_with(prefix))).unwrap_or_default()
}

/// Whether an autoencoder's decoder stands behind this prefix, in either naming.
fn has_decoder(shapes: &Shapes, prefix: &str) -> bool {
    shapes.contains_key(&format!("{prefix}decoder.conv_in.weight"))
}

/// The configuration that diffusers wrote beside an autoencoder of its own naming. What shapes show is in it too, but it
/// knows the number of groups and the scaling factor.
fn config_beside(path: &Path, shapes: &Shapes, prefix: &str) -> Option<String> {
    shapes.keys().find(|key| key.starts_with(&format!("{prefix}decoder.mid_block.")))?;
    let text = std::fs::read_to_string(path.with_file_name("config.json")).ok()?;
    let json: Value = serde_json::from_str(&text).ok()?;
    (json["_class_name"] == VAE.class).then_some(text)
}

/// A key of a component without the prefix that all its keys have in the file, and with the root that some files leave
/// away; `None` for one of another component.
fn rooted(component: &Component, prefix: &str, key: &str) -> Option<String> {
    let own = prefix != open_clip_names::PREFIX;
    let (key, root) = (key.strip_prefix(prefix)?, if own { component.single_file.root } else { "" });
    Some(if key.starts_with(root) { key.to_string() } else { format!("{root}{key}") })
}

/// A file's shapes by key, and what else its header says.
pub(super) fn header(path: &Path) -> Result<(Shapes, HashMap<String, String>)> {
    let bytes = Bytes::map(path)?;
    let data = bytes.as_ref();
    let (_, header) = SafeTensors::read_metadata(data).map_err(|e| sniff::refused(path, data, &e))?;
    fp8::refuse_scaled(path, header.tensors().iter().map(|(key, info)| (key.as_str(), info.dtype)))?;
    let shape = |info: &safetensors::tensor::TensorInfo| info.shape.iter().map(|n| *n as i64).collect();
    let shapes = header.tensors().iter().map(|(key, info)| (key.clone(), shape(info))).collect();
    Ok((shapes, header.metadata().clone().unwrap_or_default()))
}

/// What the file is, if it is something else than a checkpoint of Stable Diffusion 1.x or 2.x.
fn foreign(path: &Path, shapes: &Shapes, wanted: Wanted, prefixes: (&'static str, &'static str)) -> Option<Error> {
    let (text_prefix, vae_prefix) = prefixes;
    let with = |part: &str| shapes.keys().find(|key| key.contains(part));
    // An OpenCLIP alone does not tell: what stands beside it does.
    let open_clip = text_prefix == open_clip_names::PREFIX;
    let beside = |key: &String| !(open_clip && key.starts_with(open_clip_names::PREFIX));
    let telling = shapes.iter().filter(|(key, _)| beside(key));
    match contents::of(telling.map(|(key, shape)| (key.as_str(), shape.as_slice()))) {
        Some(Contents { role: Role::Vae, .. }) if wanted == Wanted::Vae => return None,
        Some(Contents { role: Role::LoraFactor, .. }) | None
            if wanted == Wanted::Vae && has_decoder(shapes, vae_prefix) =>
        {
            return None;
        }
        // What a model lacks is told below.
        Some(Contents { role: Role::Model | Role::Vae, .. }) | None => {}
        Some(other) => return Some(other.refused(path)),
    }
    if wanted != Wanted::Vae
        && let Some(shape) = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    {
        let key = "model.diffusion_model.input_blocks.0.0.weight";
        if let Some(channels @ (8 | 9)) = shape.get(1) {
            let (path, what) = (path.display(), "a checkpoint for inpainting or editing");
            let message =
                format!("`{path}` is {what}, which takes {channels} channels in place of 4: it has the key `{key}`");
            return Some(Error::invalid(message, Role::OtherModel.hint()));
        }
    }
    for component in wanted.components(shapes) {
        let (name, prefix) = (component.name, prefix(component, prefixes));
        if with(prefix).is_none() {
            let first = shapes.keys().next().map_or("nothing".into(), |key| format!("`{key}`"));
            let hint = if name == VAE.name && wanted == Wanted::Model {
                "a checkpoint without an autoencoder needs one from elsewhere: name it with `--vae`"
            } else if wanted != Wanted::Vae && with("decoder.mid.block_1.").is_some() {
                "a file with an autoencoder alone goes with `--vae`, beside the model"
            } else {
                "a single-file checkpoint holds text encoder, UNet and autoencoder in the naming of the CompVis code"
            };
            let message =
                format!("`{}` has no {name}: no key begins with `{prefix}`; its first is {first}", path.display());
            return Some(Error::invalid(message, hint));
        }
    }
    None
}
