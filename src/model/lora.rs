//! LoRAs: small additions to a model's layers, merged into the weights when the model is loaded.
//!
//! Enters: files, each with a weight. Leaves: [`Adapters`], which hands out a component's weights with the additions in
//! them: W' = W + weight · alpha / rank · up · down (Hu et al., 2021), computed in f32 and cast to the model's dtype
//! afterwards. A layer without an alpha counts once, as if its alpha were its rank, whatever the others have. For a
//! convolution the product is that of its kernels. Every key of a file must have its place in the model: what fits only
//! in part was made for another.

pub mod write;

use super::components::Component;
use super::contents::{self, Role};
use super::fingerprint;
use super::lora_names::{self, LoraFactor, Names};
use super::weights::{Bytes, Entry, WeightFile, Weights};
use crate::error::{Error, Result};
use crate::model::config::UNetConfig;
use crate::record::model::LoraRecord;
use regex::Regex;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// The key of peft's settings in the header of a file that diffusers wrote.
pub const METADATA_KEY: &str = "lora_adapter_metadata";

const KIND: &str = "LoRA";

const FIT_HINT: &str =
    "a LoRA fits models of the kind that it was trained with: Stable Diffusion 1.x, 2.x and XL differ";

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

/// What a file adds to one layer.
#[derive(Debug, Clone)]
struct Addition {
    file: Arc<WeightFile>,
    down: Entry,
    up: Entry,
    mid: Option<Entry>,
    /// weight · alpha / rank.
    scale: f64,
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
        for ((component, layer), pieces) in layers {
            let (Some((_, down)), Some((_, up))) = (&pieces.down, &pieces.up) else {
                return Err(pieces.half(path));
            };
            pieces.check(path, component, &layer, names.shape(component, &layer))?;
            let rank = down.shape[0] as f64;
            let scale = match &pieces.alpha {
                Some((key, alpha)) => number(&file, key, alpha)? / rank,
                None => settings.scale(component, &layer, rank),
            };
            let mid = pieces.mid.clone().map(|(_, entry)| entry);
            let scale = choice.weight * scale;
            let addition = Addition { file: file.clone(), down: down.clone(), up: up.clone(), mid, scale };
            let of_component = self.additions.entry(component).or_default();
            of_component.entry(format!("{layer}.weight")).or_default().push(addition);
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
                let delta = addition.delta(device)?.reshape(sum.size());
                if !delta.sum(Kind::Double).double_value(&[]).is_finite() {
                    let reason = format!("what it adds to `{component}.{key}` is not finite");
                    return Err(Error::bad_file(addition.file.path(), KIND, reason));
                }
                // Not in place: the numbers may lie in the mapped file.
                sum = sum.f_add(&(delta * addition.scale))?;
            }
            Ok(sum)
        };
        Weights::changed(component, file, device, kind, Rc::new(change))
    }
}

impl Addition {
    /// The product of its kernels in f32, with as many numbers as the layer's weight and in their order. Not scaled.
    fn delta(&self, device: Device) -> Result<Tensor> {
        let load = |entry: &Entry| Ok::<_, Error>(self.file.tensor("", entry)?.to_device(device).to_kind(Kind::Float));
        let (down, up) = (load(&self.down)?, load(&self.up)?);
        let (rank, outputs) = (self.down.shape[0], self.up.shape[0]);
        let up = up.reshape([outputs, self.up.shape[1]]);
        let Some(mid) = &self.mid else { return Ok(up.matmul(&down.reshape([rank, -1]))) };
        // up[o, a] · mid[a, b, hw] · down[b, i], as a convolution has it: [o, i, hw].
        let mid = load(mid)?.reshape([mid.shape[0], mid.shape[1], -1]);
        let down = down.reshape([rank, -1]);
        Ok(Tensor::einsum("oa,abk,bi->oik", &[up, mid, down], None::<&[i64]>))
    }
}

/// The tensors of a file for one layer, with their keys.
#[derive(Debug, Default)]
struct Pieces {
    down: Option<(String, Entry)>,
    up: Option<(String, Entry)>,
    mid: Option<(String, Entry)>,
    alpha: Option<(String, Entry)>,
}

impl Pieces {
    fn half(&self, path: &Path) -> Error {
        let known = [&self.down, &self.up, &self.mid, &self.alpha].into_iter().flatten().next();
        let key = known.map(|(key, _)| key.as_str()).unwrap_or_default();
        Error::bad_file(path, KIND, format!("a layer needs `down` and `up`; of this one there is only `{key}`"))
    }

    /// Checks the shapes against that of the layer's weight.
    fn check(&self, path: &Path, component: &str, layer: &str, weight: &[i64]) -> Result<()> {
        let (Some((down_key, down)), Some((up_key, up))) = (&self.down, &self.up) else { return Err(self.half(path)) };
        // A linear layer and a convolution of one pixel are the same.
        let kernel = |shape: &[i64]| shape.iter().skip(2).copied().filter(|n| *n != 1).collect::<Vec<_>>();
        let (at, up_at) = (|shape: &[i64], i: usize| shape.get(i).copied().unwrap_or(0), &up.shape);
        let refuse = |key: &str, found: &[i64], wanted: String| {
            Err(Error::invalid(
                format!(
                    "the LoRA `{}` does not fit the model: `{key}` has shape {found:?}, and `{component}.{layer}` with \
                     its weight of {weight:?} takes {wanted}",
                    path.display()
                ),
                FIT_HINT,
            ))
        };
        let rank = at(&down.shape, 0);
        let (width, inner) = match &self.mid {
            Some((_, mid)) => (vec![], at(&mid.shape, 0)),
            None => (kernel(weight), rank),
        };
        if rank == 0 || at(&down.shape, 1) != weight[1] || kernel(&down.shape) != width {
            let width = if width.is_empty() { String::new() } else { format!(", {}, {}", weight[2], weight[3]) };
            return refuse(down_key, &down.shape, format!("[rank, {}{width}]", weight[1]));
        }
        if at(up_at, 0) != weight[0] || at(up_at, 1) != inner || !kernel(up_at).is_empty() {
            return refuse(up_key, up_at, format!("[{}, {inner}]", weight[0]));
        }
        match &self.mid {
            Some((key, mid))
                if mid.shape.len() != weight.len() || mid.shape[1] != rank || mid.shape[2..] != weight[2..] =>
            {
                refuse(key, &mid.shape, format!("[{inner}, {rank}] with the kernel of its weight"))
            }
            _ => Ok(()),
        }
    }
}

type Layers = BTreeMap<(&'static str, String), Pieces>;

/// The tensors of a file by the layer of the model that they belong to.
fn layers(file: &WeightFile, names: &Names) -> Result<Layers> {
    let path = file.path();
    let mut layers = Layers::new();
    check_contents(file, names)?;
    for (key, entry) in file.entries() {
        let Some((stem, part)) = lora_names::split(key) else {
            let message = format!("`{}` is no LoRA: its key `{key}` is none of a LoRA's", path.display());
            return Err(Error::invalid(
                message,
                "a LoRA has `lora_down` and `lora_up`, or `lora_A` and `lora_B`, for each layer",
            ));
        };
        if part != LoraFactor::Alpha && ![Dtype::F32, Dtype::F16, Dtype::BF16].contains(&entry.dtype) {
            let reason = format!("`{key}` holds {:?} numbers, expected F32, F16 or BF16", entry.dtype);
            return Err(Error::bad_file(path, KIND, reason));
        }
        let Some(place) = names.find(stem) else {
            let message = format!(
                "the LoRA `{}` does not fit the model: `{key}` is for a layer that the model has not",
                path.display()
            );
            return Err(Error::invalid(message, FIT_HINT));
        };
        let pieces = layers.entry(place).or_default();
        let slot = match part {
            LoraFactor::Down => &mut pieces.down,
            LoraFactor::Up => &mut pieces.up,
            LoraFactor::Mid => &mut pieces.mid,
            LoraFactor::Alpha => &mut pieces.alpha,
        };
        if let Some((other, _)) = slot.replace((key.clone(), entry.clone())) {
            return Err(Error::bad_file(path, KIND, format!("`{other}` and `{key}` are for the same layer")));
        }
    }
    if layers.is_empty() {
        return Err(Error::bad_file(path, KIND, "it holds no tensors"));
    }
    Ok(layers)
}

/// Refuses what is something else than a LoRA, or a LoRA for something else, unless each of its keys has its place in this
/// model all the same.
fn check_contents(file: &WeightFile, names: &Names) -> Result<()> {
    let tensors = file.entries().iter().map(|(key, entry)| (key.as_str(), entry.shape.as_slice()));
    let Some(other) = contents::of(tensors).filter(|contents| contents.role != Role::Lora) else { return Ok(()) };
    let fits = |key: &String| lora_names::split(key).is_some_and(|(stem, _)| names.find(stem).is_some());
    if file.entries().keys().all(fits) { Ok(()) } else { Err(other.refused(file.path())) }
}

/// peft's settings in a file's header, where diffusers puts them.
struct PeftSettings(Value);

impl PeftSettings {
    fn read(file: &WeightFile) -> Result<PeftSettings> {
        let bad = |e: &dyn ToString| Error::bad_file(file.path(), KIND, e.to_string());
        let (_, header) = SafeTensors::read_metadata(file.bytes()).map_err(|e| bad(&e))?;
        let text = header.metadata().as_ref().and_then(|all| all.get(METADATA_KEY));
        Ok(PeftSettings(text.map_or(Ok(Value::Null), |text| serde_json::from_str(text)).map_err(|e| bad(&e))?))
    }

    /// alpha / rank for a layer: the pattern that fits it, else the component's number, else 1. Rank-stabilised LoRAs
    /// divide by the root of the rank.
    fn scale(&self, component: &str, layer: &str, rank: f64) -> f64 {
        let get = |name: &str| &self.0[format!("{component}.{name}")];
        let fits = |pattern: &str| Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).is_ok_and(|p| p.is_match(layer));
        let of_pattern = get("alpha_pattern").as_object().into_iter().flatten().find(|(pattern, _)| fits(pattern));
        let alpha = of_pattern.map_or(get("lora_alpha"), |(_, alpha)| alpha).as_f64();
        match (alpha, get("use_rslora").as_bool()) {
            (Some(alpha), Some(true)) => alpha / rank.sqrt(),
            (Some(alpha), _) => alpha / rank,
            (None, _) => 1.0,
        }
    }
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
