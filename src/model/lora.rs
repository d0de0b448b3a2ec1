//! LoRAs and their kin: small additions to a model's layers, merged into the weights when the model is loaded.
//!
//! Enters: files, each with a weight. Leaves: [`Adapters`], which hands out a component's weights with the additions in
//! them: W' = W + weight · alpha / rank · ΔW, computed in f32 and cast to the model's dtype afterwards, where ΔW is what a
//! kind of file has ([`delta`]): up · down for a LoRA (Hu et al., 2021). A layer without an alpha counts once, as if its
//! alpha were its rank, whatever the others have. For a convolution the product is that of its kernels. Differences of whole
//! weights, of norms and of biases are added as they are, times the weight.
//!
//! A DoRA (Liu et al., 2024) brings the length of each row of V = W + alpha / rank · ΔW, or of each column, as the shape of
//! its magnitudes m says: W' = W + weight · (m · V / ‖V‖ − W). The norm is that of V, as in the paper, in LyCORIS and in
//! peft; that the weight leads from W to the DoRA on a straight line is as in AUTOMATIC1111's and ComfyUI's. Several files
//! are merged one after another, each into what those before it have made.
//!
//! Every key of a file must have its place in the model: what fits only in part was made for another.

mod addition;
mod delta;
mod peft;
pub mod write;

use self::addition::{Addition, Source};
use self::delta::Factors;
use self::peft::PeftSettings;
use super::components::Component;
use super::contents::{self, Role};
use super::fingerprint;
use super::lora_names::{self, LoraFactor, Names};
use super::weights::{Bytes, WeightFile, Weights};
use crate::error::{Error, Result};
use crate::model::config::UNetConfig;
use crate::record::model::LoraRecord;
use safetensors::Dtype;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// The key of peft's settings in the header of a file that diffusers wrote.
pub const METADATA_KEY: &str = "lora_adapter_metadata";

const KIND: &str = "LoRA";

const FIT_HINT: &str =
    "a LoRA fits models of the kind that it was trained with: Stable Diffusion 1.x, 2.x and XL differ";

const NAME_HINT: &str = "layers are known by the names of kohya's scripts, diffusers, peft and ComfyUI: the LoRA may be for \
                         another model, or be written by a program that calls them otherwise";

/// What peft and diffusers call the file with a LoRA's weights in a folder.
const SAVED_AS: [&str; 2] = ["adapter_model.safetensors", "pytorch_lora_weights.safetensors"];

/// Types of a factor's numbers.
const DTYPES: [Dtype; 6] = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::F8_E4M3, Dtype::F8_E5M2];

/// A LoRA that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraChoice {
    /// The file, or the folder that peft or diffusers saved it into.
    pub path: PathBuf,
    /// How strongly it counts; 1 is as it was trained.
    pub weight: f64,
}

impl LoraChoice {
    /// Reads `FILE` or `FILE:WEIGHT`. A colon that belongs to the file's name, as in `C:\style.safetensors`, is left alone.
    ///
    /// # Errors
    /// When what stands behind the colon is no number.
    pub fn parse(text: &str) -> Result<LoraChoice> {
        let whole = LoraChoice { path: text.into(), weight: 1.0 };
        let Some((path, weight)) = text.rsplit_once(':').filter(|_| !Path::new(text).is_file()) else {
            return Ok(whole);
        };
        match weight.trim().parse::<f64>() {
            Ok(weight) if weight.is_finite() && !path.is_empty() => Ok(LoraChoice { path: path.into(), weight }),
            Err(_) if weight.contains(['/', '\\']) || weight.ends_with(".safetensors") => Ok(whole),
            _ => Err(Error::invalid(
                format!("`{weight}` in `{text}` is not a weight"),
                "write `--lora file.safetensors:0.8`; without a colon the weight is 1",
            )),
        }
    }
}

/// The LoRAs of a model.
#[derive(Debug, Default)]
pub struct Adapters {
    records: Vec<LoraRecord>,
    /// By component, then by the key of the tensor that is changed.
    additions: HashMap<&'static str, HashMap<String, Vec<Addition>>>,
}

impl Adapters {
    /// Opens the files and finds each key's place in the model, whose weights `weights` opens.
    ///
    /// # Errors
    /// When a file cannot be read, is no LoRA, or does not fit: the first key that does not is named.
    pub fn open(
        choices: &[LoraChoice],
        config: &UNetConfig,
        weights: impl Fn(&'static Component) -> Result<Arc<WeightFile>>,
    ) -> Result<Adapters> {
        let mut adapters = Adapters::default();
        if choices.is_empty() {
            return Ok(adapters);
        }
        let names = Names::new(config, weights)?;
        for choice in choices {
            adapters.add(choice, &names)?;
        }
        Ok(adapters)
    }

    fn add(&mut self, choice: &LoraChoice, names: &Names) -> Result<()> {
        let path = &file_of(&choice.path)?;
        let hint = "take the same LoRA as .safetensors, or load and save it once with diffusers";
        let bytes = Bytes::map(path).map_err(|error| error.with_hint(hint))?;
        let file = Arc::new(WeightFile::new(path, bytes)?);
        let settings = PeftSettings::read(&file)?;
        let layers = layers(&file, names)?;
        self.records.push(LoraRecord {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
            sha256: fingerprint::of_bytes(file.bytes()),
            weight: choice.weight,
            layers: layers.len(),
        });
        let source = Source { file, settings, weight: choice.weight, names };
        for ((component, layer), factors) in layers {
            let of_component = self.additions.entry(component).or_default();
            for (key, addition) in source.additions(component, &layer, factors)? {
                of_component.entry(key).or_default().push(addition);
            }
        }
        Ok(())
    }

    /// What a run's record says of them.
    pub fn records(&self) -> &[LoraRecord] {
        &self.records
    }

    /// The root of a component's weights with the additions in them.
    pub fn weights(&self, component: &'static str, file: Arc<WeightFile>, device: Device, kind: Kind) -> Weights {
        let Some(additions) = self.additions.get(component).cloned() else {
            return Weights::new(component, file, device, kind);
        };
        let change = move |key: &str, tensor: Tensor| {
            let Some(additions) = additions.get(key) else { return Ok(tensor) };
            let mut sum = tensor.to_kind(Kind::Float);
            for addition in additions {
                let added = addition.to(&sum)?;
                if !added.sum(Kind::Double).double_value(&[]).is_finite() {
                    let reason = format!("what it adds to `{component}.{key}` is not finite");
                    return Err(Error::bad_file(addition.path(), KIND, reason));
                }
                // Not in place: the numbers may lie in the mapped file.
                sum = sum.f_add(&added)?;
            }
            Ok(sum)
        };
        Weights::changed(component, file, device, kind, Rc::new(change))
    }
}

/// The file that a path means: itself, or what peft or diffusers saved into a folder.
fn file_of(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    SAVED_AS.iter().map(|name| path.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        let [peft, diffusers] = SAVED_AS;
        let message = format!("`{}` is a folder with neither `{peft}` nor `{diffusers}`", path.display());
        Error::invalid(message, "name the LoRA's file")
    })
}

fn does_not_fit(path: &Path, why: String) -> String {
    format!("the LoRA `{}` does not fit the model: {why}", path.display())
}

type Layers = BTreeMap<(&'static str, String), Factors>;

/// The tensors of a file by the layer of the model that they belong to.
fn layers(file: &WeightFile, names: &Names) -> Result<Layers> {
    let path = file.path();
    let mut layers = Layers::new();
    check_contents(file, names)?;
    check_adapters(file)?;
    for (key, entry) in file.entries() {
        let Some((stem, factor)) = lora_names::split(key) else {
            let message = format!("`{}` is no LoRA: its key `{key}` is none of a LoRA's", path.display());
            return Err(Error::invalid(
                message,
                "a LoRA has `lora_down` and `lora_up`, or `lora_A` and `lora_B`, for each layer",
            ));
        };
        if factor != LoraFactor::Alpha && !DTYPES.contains(&entry.dtype) {
            let reason = format!("`{key}` holds {:?} numbers, expected F32, F16, BF16 or fp8", entry.dtype);
            return Err(Error::bad_file(path, KIND, reason));
        }
        let Some(place) = names.find(stem) else {
            if lora_names::is_unused(stem) {
                continue;
            }
            let message = does_not_fit(path, format!("`{key}` is for a layer that the model has not"));
            return Err(Error::invalid(message, NAME_HINT));
        };
        if let Some((other, _)) = layers.entry(place).or_default().insert(factor, (key.clone(), entry.clone())) {
            return Err(Error::bad_file(path, KIND, format!("`{other}` and `{key}` are for the same layer")));
        }
    }
    if layers.is_empty() {
        return Err(Error::bad_file(path, KIND, "it holds no tensors"));
    }
    Ok(layers)
}

/// Refuses a file with two of peft's adapters: which of them is meant it does not say.
fn check_adapters(file: &WeightFile) -> Result<()> {
    let adapters: BTreeSet<&str> = file.entries().keys().filter_map(|key| lora_names::adapter(key)).collect();
    let mut adapters = adapters.into_iter();
    let (Some(one), Some(other)) = (adapters.next(), adapters.next()) else { return Ok(()) };
    Err(Error::invalid(
        format!("`{}` holds two LoRAs, peft's adapters `{one}` and `{other}`", file.path().display()),
        "save each to a file of its own, and name both with `--lora`",
    ))
}

/// Refuses what is something else than a LoRA, or a LoRA for something else, unless each of its keys has its place in this
/// model all the same.
fn check_contents(file: &WeightFile, names: &Names) -> Result<()> {
    let tensors = file.entries().iter().map(|(key, entry)| (key.as_str(), entry.shape.as_slice()));
    let Some(other) = contents::of(tensors).filter(|contents| contents.role != Role::Lora) else { return Ok(()) };
    let fits = |key: &String| lora_names::split(key).is_some_and(|(stem, _)| names.find(stem).is_some());
    if file.entries().keys().all(fits) { Ok(()) } else { Err(other.refused(file.path())) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_weight_stands_behind_the_last_colon() {
        for (text, path, weight) in [
            ("style.safetensors", "style.safetensors", 1.0),
            ("style.safetensors:0.8", "style.safetensors", 0.8),
            ("a/style.safetensors:-1", "a/style.safetensors", -1.0),
            (r"C:\style.safetensors", r"C:\style.safetensors", 1.0),
            (r"C:\style.safetensors:0.5", r"C:\style.safetensors", 0.5),
            ("C:/style.safetensors", "C:/style.safetensors", 1.0),
            ("C:style.safetensors", "C:style.safetensors", 1.0),
        ] {
            assert_eq!(LoraChoice::parse(text).unwrap(), LoraChoice { path: path.into(), weight }, "{text}");
        }
        for text in ["style.safetensors:", "style.safetensors:strong", "style.safetensors:nan", ":0.5"] {
            assert!(LoraChoice::parse(text).unwrap_err().to_string().ends_with("is not a weight"), "{text}");
        }
    }
}
