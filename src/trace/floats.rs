//! The numbers of a tensor of a record's file, in f32 whichever way they lie there.

use crate::numbers;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The numbers of `key`, or why they are none.
pub(super) fn of(key: &str, view: &TensorView) -> Result<Vec<f32>, String> {
    match view.dtype() {
        Dtype::F16 => Ok(numbers::of_f16(view.data())),
        Dtype::F32 => Ok(numbers::of_f32(view.data())),
        other => Err(format!("`{key}` is {other:?}, expected F16 or F32")),
    }
}
