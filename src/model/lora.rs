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

mod delta;
mod peft;
pub mod write;

use self::delta::{Delta, Factors, Misfit, Named, load};
use self::peft::PeftSettings;
use super::components::Component;
use super::contents::{self, Role};
use super::fingerprint;
use super::lora_names::{self, LoraFactor, Names};
use super::weights::{Bytes, Entry, WeightFile, Weights};
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

/// Types of a factor's numbers.
const DTYPES: [Dtype; 6] = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::F8_E4M3, Dtype::F8_E5M2];

/// A LoRA that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraChoice {
    /// The file.
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

/// What a file adds to one weight or bias.
#[derive(Debug, Clone)]
struct Addition {
    file: Arc<WeightFile>,
    delta: Delta,
    /// alpha / rank.
    scale: f64,
    /// How strongly the file counts.
    weight: f64,
    magnitude: Option<Magnitude>,
}

/// The lengths that a DoRA gives the rows or columns of a weight.
#[derive(Debug, Clone)]
struct Magnitude {
    lengths: Named,
    /// The dimensions over which each is the norm.
    over: Vec<i64>,
    /// The shape in which they stand beside the weight.
    beside: Vec<i64>,
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
        let path = &choice.path;
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
        for ((component, layer), mut factors) in layers {
            let incomplete = |reason| Error::bad_file(path, KIND, reason);
            let of_component = self.additions.entry(component).or_default();
            let mut push = |key, delta, scale, magnitude| {
                let addition = Addition { file: file.clone(), delta, scale, weight: choice.weight, magnitude };
                of_component.entry(key).or_default().push(addition);
            };
            let bias = factors.remove(&LoraFactor::DiffBias);
            if let Some(bias) = &bias {
                let (key, delta) = (format!("{layer}.bias"), Delta::Whole(bias.clone()));
                let Some(shape) = names.shape(component, &key) else {
                    let message =
                        does_not_fit(path, format!("`{}` is for `{component}.{key}`, and there is none", bias.0));
                    return Err(Error::invalid(message, FIT_HINT));
                };
                delta.check(shape).map_err(|misfit| misfits(path, misfit, component, &layer, ("bias", shape)))?;
                push(key, delta, 1.0, None);
            }
            let (alpha, lengths) = (factors.remove(&LoraFactor::Alpha), factors.remove(&LoraFactor::Magnitude));
            let (key, delta) = (format!("{layer}.weight"), Delta::take(&mut factors).map_err(incomplete)?);
            let Some(delta) = delta.filter(|delta| lengths.is_none() || !delta.is_whole()) else {
                match lengths.or(alpha.filter(|_| bias.is_none())) {
                    Some((key, _)) => {
                        return Err(incomplete(format!("`{key}` stands there without factors of its layer")));
                    }
                    None => continue,
                }
            };
            let shape = names.shape(component, &key).unwrap_or_default();
            let refuse = |misfit| misfits(path, misfit, component, &layer, ("weight", shape));
            delta.check(shape).map_err(refuse)?;
            let scale = match (delta.rank().map(|rank| rank as f64), &alpha) {
                (None, _) => 1.0,
                (Some(rank), Some((key, alpha))) => number(&file, key, alpha)? / rank,
                (Some(rank), None) => settings.scale(path, component, &layer, rank)?,
            };
            let magnitude = lengths.map(|lengths| Magnitude::new(lengths, shape)).transpose().map_err(refuse)?;
            push(key, delta, scale, magnitude);
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
                    return Err(Error::bad_file(addition.file.path(), KIND, reason));
                }
                // Not in place: the numbers may lie in the mapped file.
                sum = sum.f_add(&added)?;
            }
            Ok(sum)
        };
        Weights::changed(component, file, device, kind, Rc::new(change))
    }
}

impl Addition {
    /// What is added to a weight, in f32 and its shape.
    fn to(&self, weight: &Tensor) -> Result<Tensor> {
        let delta = self.delta.product(&self.file, weight.device())?.reshape(weight.size());
        let Some(magnitude) = &self.magnitude else { return Ok(delta * (self.weight * self.scale)) };
        let merged = weight.f_add(&(delta * self.scale))?;
        let norm = merged.norm_scalaropt_dim(2.0, &magnitude.over[..], true);
        let lengths = load(&self.file, &magnitude.lengths, weight.device())?.reshape(&magnitude.beside);
        // As LyCORIS and ComfyUI have it: a row of zeros stays one.
        let scaled = merged * (lengths / (norm + f64::from(f32::EPSILON)));
        Ok((scaled - weight) * self.weight)
    }
}

impl Magnitude {
    /// Of a weight of this shape. As ComfyUI has it, lengths that begin with as many numbers as the weight has rows are
    /// those of its rows, and others those of its columns; those of peft, `[rows]` or `[1, rows, 1, 1]`, are of the rows
    /// always.
    fn new(lengths: Named, weight: &[i64]) -> std::result::Result<Magnitude, Misfit> {
        let (rows, columns) = (weight[0], weight.get(1).copied().unwrap_or(1));
        let found = &lengths.1.shape;
        let count: i64 = found.iter().product();
        let of_peft = lengths.0.contains(".lora_magnitude_vector");
        let dimensions = weight.len() as i64;
        let mut beside = vec![1; weight.len()];
        let of_rows = of_peft || found.first() == Some(&rows);
        if weight.len() < 2 || count != if of_rows { rows } else { columns } {
            let wanted = format!("[{rows}, 1] or [1, {columns}]");
            return Err(Misfit { key: lengths.0, found: lengths.1.shape, wanted });
        }
        beside[usize::from(!of_rows)] = count;
        let over = (0..dimensions).filter(|i| *i != i64::from(!of_rows)).collect();
        Ok(Magnitude { lengths, over, beside })
    }
}

fn does_not_fit(path: &Path, why: String) -> String {
    format!("the LoRA `{}` does not fit the model: {why}", path.display())
}

/// The error for factors of another shape than a layer takes.
fn misfits(path: &Path, misfit: Misfit, component: &str, layer: &str, (part, shape): (&str, &[i64])) -> Error {
    let Misfit { key, found, wanted } = misfit;
    let why =
        format!("`{key}` has shape {found:?}, and `{component}.{layer}` with its {part} of {shape:?} takes {wanted}");
    Error::invalid(does_not_fit(path, why), FIT_HINT)
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
            let reason = format!("`{key}` holds {:?} numbers, expected F32, F16 or BF16", entry.dtype);
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

/// The one number of a tensor.
fn number(file: &WeightFile, key: &str, entry: &Entry) -> Result<f64> {
    let bytes = file.data(entry);
    let number = match entry.dtype {
        Dtype::I64 => bytes.try_into().ok().map(|b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => bytes.try_into().ok().map(|b| i32::from_le_bytes(b) as f64),
        _ if entry.shape.iter().product::<i64>() == 1 => {
            Some(file.tensor(key, entry)?.double_value(&[0][..entry.shape.len()]))
        }
        _ => None,
    };
    number
        .filter(|n| n.is_finite())
        .ok_or_else(|| Error::bad_file(file.path(), KIND, format!("`{key}` is not one number")))
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
