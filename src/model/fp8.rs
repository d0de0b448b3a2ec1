//! Weights of eight bits, which halve a file of f16 once more.
//!
//! Enters: the types and keys of a file. Leaves: libtorch's name of a type, or a refusal where the numbers stand for others.

use crate::error::{Error, Result};
use safetensors::Dtype;
use std::path::Path;
use tch::Kind;

/// How keys end that stand beside weights and say by what to multiply them, in the forms of several programs.
const SCALES: [&str; 6] = ["scaled_fp8", "scale_weight", "scale_input", "weight_scale", "input_scale", "comfy_quant"];

/// libtorch's name of a type of eight bits; none for other types.
pub fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F8_E4M3 => Some(Kind::Float8e4m3fn),
        Dtype::F8_E5M2 => Some(Kind::Float8e5m2),
        _ => None,
    }
}

/// Refuses weights of eight bits that are to be multiplied by numbers beside them: taken as they are, they would draw
/// something else, and nobody would know.
///
/// # Errors
/// Names the first such key.
pub fn refuse_scaled<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, Dtype)>) -> Result<()> {
    let (mut narrow, mut scale) = (false, None);
    for (key, dtype) in tensors {
        narrow |= kind(dtype).is_some();
        if key.rsplit('.').next().is_some_and(|end| SCALES.contains(&end)) {
            scale = Some(scale.map_or(key, |first: &str| first.min(key)));
        }
    }
    match scale {
        Some(key) if narrow => Err(Error::invalid(
            format!("`{}` holds scaled fp8 weights: it has the key `{key}`", path.display()),
            "take the same model in f16 or bf16, or in fp8 without scales",
        )),
        _ => Ok(()),
    }
}
