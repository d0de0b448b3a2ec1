//! A recorded run as a run goes on from it: its tensors as libtorch's.

use crate::error::Result;
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use crate::watch::recorded::Recorded;
use image::RgbImage;
use ndarray::Array4;
use tch::Tensor;

impl Recorded for Run {
    fn name(&self) -> String {
        Run::name(self).display().to_string()
    }

    fn tensor(&self, step: usize, key: &str) -> Result<Option<Tensor>> {
        Ok(self.keyed(step, key)?.as_ref().map(tensor))
    }

    fn shape(&self, step: usize, key: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.shape_of(step, key)?.map(|shape| shape.into_iter().map(|n| n as i64).collect()))
    }

    fn pictures(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<RgbImage>>> {
        let pictures = (0..batch).map(|item| self.picture(step, what, item)).collect::<Result<Option<Vec<_>>>>()?;
        // What was not decoded, as noise, is not there.
        Ok(pictures.filter(|pictures| !pictures.is_empty()))
    }
}

/// An array as a tensor of the same shape, f32 on the CPU.
pub fn tensor(array: &Array4<f32>) -> Tensor {
    let shape: Vec<i64> = array.shape().iter().map(|n| *n as i64).collect();
    Tensor::from_slice(array.as_standard_layout().as_slice().unwrap_or_default()).view(&shape[..])
}
