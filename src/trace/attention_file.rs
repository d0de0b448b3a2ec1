//! A file of attention maps as its bytes.
//!
//! Enters: tensors on the pipeline's device. Leaves: safetensors, as they are written into a run directory or kept in
//! memory. The numbers come from the device in one piece, for each copy makes the host wait.

use crate::error::{Error, Result};
use crate::numbers;
use crate::record::schema::SCHEMA_VERSION;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// A file of maps.
#[derive(Debug)]
pub struct MapFile {
    /// Its path in the run directory: `attention/cross/007.safetensors`.
    pub name: String,
    /// Whose maps they are, for the metadata: the step, its timestep, which text each prediction was told.
    pub about: serde_json::Value,
    /// Its tensors, f32, on the pipeline's device.
    pub tensors: Vec<(String, Tensor)>,
    /// Whether the numbers are f16 on disk, and not f32.
    pub half: bool,
}

impl MapFile {
    /// Its bytes.
    ///
    /// # Errors
    /// When libtorch or safetensors refuses a tensor.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        serialize(&self.name, &self.about, &[(&self.tensors, self.half)])
    }
}

/// A file of groups of tensors, f32 on the pipeline's device, each group f16 or f32 on disk. `about` is said of them in the
/// metadata, beside the layout's version.
///
/// # Errors
/// When libtorch or safetensors refuses a tensor.
pub fn serialize(name: &str, about: &serde_json::Value, groups: &[(&[(String, Tensor)], bool)]) -> Result<Vec<u8>> {
    let bad = |e: safetensors::SafeTensorError| Error::bad_file(Path::new(name), "safetensors file", e);
    let bytes = groups.iter().map(|(tensors, half)| behind_each_other(tensors, *half)).collect::<Result<Vec<_>>>()?;
    let mut views = vec![];
    for ((tensors, half), bytes) in groups.iter().zip(&bytes) {
        let (dtype, width) = if *half { (Dtype::F16, 2) } else { (Dtype::F32, 4) };
        let mut rest = bytes.as_slice();
        for (key, tensor) in tensors.iter() {
            let shape: Vec<usize> = tensor.size().iter().map(|side| *side as usize).collect();
            let (own, behind) = rest.split_at(shape.iter().product::<usize>() * width);
            views.push((key.as_str(), TensorView::new(dtype, shape, own).map_err(bad)?));
            rest = behind;
        }
    }
    let mut all = serde_json::json!({ "schema_version": SCHEMA_VERSION });
    if let (Some(all), Some(own)) = (all.as_object_mut(), about.as_object()) {
        all.extend(own.clone());
    }
    // One metadata entry, for several would come in any order.
    let metadata = HashMap::from([("sdviz".to_string(), all.to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(bad)
}

/// The numbers of some tensors behind each other, as they lie on disk.
fn behind_each_other(tensors: &[(String, Tensor)], half: bool) -> Result<Vec<u8>> {
    if tensors.is_empty() {
        return Ok(vec![]);
    }
    let kind = if half { Kind::Half } else { Kind::Float };
    let flat: Vec<Tensor> = tensors.iter().map(|(_, tensor)| tensor.reshape(-1)).collect();
    Ok(numbers::of_tensor(&Tensor::cat(&flat, 0), kind)?)
}
