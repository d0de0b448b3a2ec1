//! What a file adds to one weight or bias, with what scales it.
//!
//! Enters: the factors of a layer, and whose they are. Leaves: [`Addition`], whose tensor is added to the weight. The formulas
//! are in [`super`] and [`super::delta`].

use super::delta::{Delta, Factors, Misfit, Named, load};
use super::peft::PeftSettings;
use super::{FIT_HINT, KIND, NAME_HINT, does_not_fit};
use crate::error::{Error, Result};
use crate::model::lora_names::{LoraFactor, Names};
use crate::model::weights::{Entry, WeightFile};
use safetensors::Dtype;
use std::path::Path;
use std::sync::Arc;
use tch::Tensor;

/// What is added to a weight or bias.
#[derive(Debug, Clone)]
pub struct Addition {
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

/// A file whose layers are taken, and what counts for all of them.
pub struct Source<'a> {
    /// The file.
    pub file: Arc<WeightFile>,
    /// What scales layers that do not say it themselves.
    pub settings: PeftSettings,
    /// How strongly it counts.
    pub weight: f64,
    /// The layers of the model.
    pub names: &'a Names,
}

impl Source<'_> {
    /// What a layer's factors add, by the key of the tensor that is changed.
    ///
    /// # Errors
    /// When they do not fit it, or some are missing.
    pub fn additions(
        &self,
        component: &'static str,
        layer: &str,
        mut factors: Factors,
    ) -> Result<Vec<(String, Addition)>> {
        let path = self.file.path();
        let mut all = vec![];
        if let Some(bias) = factors.remove(&LoraFactor::DiffBias) {
            all.push(self.bias(component, layer, bias)?);
        }
        let (alpha, lengths) = (factors.remove(&LoraFactor::Alpha), factors.remove(&LoraFactor::Magnitude));
        let incomplete = |reason| Error::bad_file(path, KIND, reason);
        let delta = Delta::take(&mut factors).map_err(incomplete)?;
        // A whole difference has its lengths in it.
        let Some(delta) = delta.filter(|delta| lengths.is_none() || !delta.is_whole()) else {
            return match lengths.or(alpha.filter(|_| all.is_empty())) {
                Some((key, _)) => Err(incomplete(format!("`{key}` stands there without factors of its layer"))),
                None => Ok(all),
            };
        };
        let key = format!("{layer}.weight");
        let shape = self.names.shape(component, &key).unwrap_or_default();
        let refuse = |misfit| misfits(path, misfit, component, layer, ("weight", shape));
        delta.check(shape).map_err(refuse)?;
        let scale = match (delta.rank().map(|rank| rank as f64), &alpha) {
            (None, _) => 1.0,
            (Some(rank), Some((key, alpha))) => number(&self.file, key, alpha)? / rank,
            (Some(rank), None) => self.settings.scale(path, component, layer, rank)?,
        };
        let magnitude = lengths.map(|lengths| Magnitude::new(lengths, shape)).transpose().map_err(refuse)?;
        all.push((key, Addition { file: self.file.clone(), delta, scale, weight: self.weight, magnitude }));
        Ok(all)
    }

    fn bias(&self, component: &'static str, layer: &str, bias: Named) -> Result<(String, Addition)> {
        let (path, key) = (self.file.path(), format!("{layer}.bias"));
        let Some(shape) = self.names.shape(component, &key) else {
            let why = format!("`{}` is for `{component}.{key}`, and the layer has no bias", bias.0);
            return Err(Error::invalid(does_not_fit(path, why), NAME_HINT));
        };
        let delta = Delta::Whole(bias);
        delta.check(shape).map_err(|misfit| misfits(path, misfit, component, layer, ("bias", shape)))?;
        let addition = Addition { file: self.file.clone(), delta, scale: 1.0, weight: self.weight, magnitude: None };
        Ok((key, addition))
    }
}

impl Addition {
    /// The file that it is from.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What is added to a weight, in f32 and its shape.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn to(&self, weight: &Tensor) -> Result<Tensor> {
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
        let of_rows = lengths.0.contains(".lora_magnitude_vector") || found.first() == Some(&rows);
        if weight.len() < 2 || count != if of_rows { rows } else { columns } {
            let wanted = format!("[{rows}, 1] or [1, {columns}]");
            return Err(Misfit { key: lengths.0, found: lengths.1.shape, wanted });
        }
        let at = usize::from(!of_rows);
        let mut beside = vec![1; weight.len()];
        beside[at] = count;
        let over = (0..weight.len()).filter(|i| *i != at).map(|i| i as i64).collect();
        Ok(Magnitude { lengths, over, beside })
    }
}

/// The error for factors of another shape than a layer takes.
fn misfits(path: &Path, misfit: Misfit, component: &str, layer: &str, (part, shape): (&str, &[i64])) -> Error {
    let Misfit { key, found, wanted } = misfit;
    let why =
        format!("`{key}` has shape {found:?}, and `{component}.{layer}` with its {part} of {shape:?} takes {wanted}");
    Error::invalid(does_not_fit(path, why), FIT_HINT)
}

/// The one number of a tensor.
fn number(file: &WeightFile, key: &str, entry: &Entry) -> Result<f64> {
    let bytes = file.data(entry);
    let number = match entry.dtype {
        Dtype::I64 => bytes.try_into().ok().map(|b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => bytes.try_into().ok().map(|b| i32::from_le_bytes(b) as f64),
        _ if entry.shape.iter().product::<i64>() == 1 => Some(file.tensor(key, entry)?.reshape([1]).double_value(&[0])),
        _ => None,
    };
    number
        .filter(|n| n.is_finite())
        .ok_or_else(|| Error::bad_file(file.path(), KIND, format!("`{key}` is not one number")))
}
