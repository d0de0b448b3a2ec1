//! A file of attention maps as its bytes.
//!
//! Enters: tensors on the pipeline's device. Leaves: safetensors, as they are written into a run directory or kept in
//! memory. The numbers come from the device in one piece, for each copy makes the host wait.

use crate::error::{Error, Result};
use crate::record::schema::SCHEMA_VERSION;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

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
        let bad = |e: safetensors::SafeTensorError| Error::bad_file(Path::new(&self.name), "safetensors file", e);
        let (kind, dtype) = if self.half { (Kind::Half, Dtype::F16) } else { (Kind::Float, Dtype::F32) };
        let flat: Vec<Tensor> = self.tensors.iter().map(|(_, tensor)| tensor.reshape(-1).to_kind(kind)).collect();
        let flat = Tensor::cat(&flat, 0).to_device(Device::Cpu);
        let bytes: Vec<u8> = if self.half {
            Vec::<f16>::try_from(&flat)?.into_iter().flat_map(f16::to_le_bytes).collect()
        } else {
            Vec::<f32>::try_from(&flat)?.into_iter().flat_map(f32::to_le_bytes).collect()
        };
        let (mut views, mut rest) = (vec![], bytes.as_slice());
        for (key, tensor) in &self.tensors {
            let shape: Vec<usize> = tensor.size().iter().map(|side| *side as usize).collect();
            let (own, behind) = rest.split_at(shape.iter().product::<usize>() * if self.half { 2 } else { 4 });
            views.push((key.as_str(), TensorView::new(dtype, shape, own).map_err(bad)?));
            rest = behind;
        }
        let mut about = serde_json::json!({ "schema_version": SCHEMA_VERSION });
        if let (Some(all), Some(own)) = (about.as_object_mut(), self.about.as_object()) {
            all.extend(own.clone());
        }
        // One metadata entry, for several would come in any order.
        let metadata = HashMap::from([("sdviz".to_string(), about.to_string())]);
        safetensors::serialize(views, Some(metadata)).map_err(bad)
    }
}
