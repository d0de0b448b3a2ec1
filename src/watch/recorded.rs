//! A run whose steps were recorded, as another run takes from it.

use crate::error::Result;
use crate::record::plan::Quantity;
use image::RgbImage;
use std::fmt::Debug;
use tch::Tensor;

/// A run whose steps were recorded.
pub trait Recorded: Debug {
    /// What messages call it.
    fn name(&self) -> String;

    /// The tensor of this key in a step, `[batch, channels, height/8, width/8]`, f32 on the CPU; `None` where it was not
    /// recorded.
    ///
    /// # Errors
    /// When the step is not there or cannot be read.
    fn tensor(&self, step: usize, key: &str) -> Result<Option<Tensor>>;

    /// The shape of that tensor; where it can be, without reading the numbers.
    ///
    /// # Errors
    /// As [`Recorded::tensor`].
    fn shape(&self, step: usize, key: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.tensor(step, key)?.map(|tensor| tensor.size()))
    }

    /// The decoded pictures of a step, one for each of a batch of so many, if all are there.
    ///
    /// # Errors
    /// When they are there but cannot be read.
    fn pictures(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<RgbImage>>>;
}
