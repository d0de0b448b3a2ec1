//! From tensors to what can be looked at.

use crate::error::{Error, Result, caught};
use crate::export::measures::not_recorded;
use crate::record::plan::Quantity;
use crate::show::latents::Latents;
use crate::show::picture::Picture;
use crate::trace::reader::Run;
use crate::trace::recorded::tensor;
use crate::trace::reservoir::array;
use crate::viz::colour::ColourMap;
use crate::viz::normalise::Range;
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

impl Latents {
    /// From a tensor `[batch, channels, height, width]`: noise, a prediction, latents.
    ///
    /// # Errors
    /// When it does not have four dimensions.
    pub fn from_tensor(tensor: &Tensor) -> Result<Latents> {
        caught(|| array(tensor)).and_then(Latents::new)
    }

    /// The numbers as a tensor, f32 on the CPU: for `predict_noise`, `decode` and a scheduler's `step`.
    pub fn tensor(&self) -> Tensor {
        tensor(self.array())
    }
}

impl Run {
    /// A recorded quantity of a step, `[batch, channels, height/8, width/8]`, f32 on the CPU.
    ///
    /// # Errors
    /// When the run has no such step, or did not record it.
    pub fn quantity(&self, step: usize, what: Quantity) -> Result<Tensor> {
        let array = self.tensors(step, what)?.ok_or_else(|| not_recorded(self, &[what]))?;
        Ok(tensor(&array))
    }
}

impl Picture {
    /// A map `[height, width]` in viridis: the least number dark, the greatest bright, one pixel each.
    ///
    /// # Errors
    /// When the tensor does not have two dimensions.
    pub fn map(tensor: &Tensor) -> Result<Picture> {
        let values = caught(|| {
            let (height, width) = tensor.size2()?;
            let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view(-1);
            Array2::from_shape_vec((height as usize, width as usize), Vec::<f32>::try_from(&flat)?)
                .map_err(|error| Error::Torch(error.to_string()))
        })?;
        let range = Range::of(values.iter().copied()).unwrap_or(Range { lo: 0.0, hi: 1.0 });
        Ok(ColourMap::Viridis.paint(values.view(), range).into())
    }
}
