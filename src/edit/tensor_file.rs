//! Tensors that an edit reads from a file: directions, and what is put in a tensor's place.

use crate::error::{Error, Result};
use crate::model::weights::{Bytes, WeightFile};
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// A tensor in a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorFile {
    /// The file.
    pub path: PathBuf,
    /// Its key there; the only one, or the site's name, where none is named.
    pub key: Option<String>,
}

/// The tensor that a site has from this file, in f32 on the CPU: that of the key which is named, else that of the site's
/// name, else the only one.
///
/// # Errors
/// When the file cannot be read, or has no such tensor.
pub fn read(file: &TensorFile, site: &str) -> Result<Tensor> {
    let opened = WeightFile::new(&file.path, Bytes::map(&file.path)?)?;
    let entries = opened.entries();
    let wanted = file.key.as_deref().unwrap_or(site);
    let only = || entries.iter().next().filter(|_| entries.len() == 1 && file.key.is_none());
    let Some((key, entry)) = entries.get_key_value(wanted).or_else(only) else {
        let known = entries.keys().take(5).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid(
            format!("`{}` has no tensor `{wanted}`", file.path.display()),
            format!("name one of its tensors with `key=`: it has {known}"),
        ));
    };
    let tensor = opened.tensor(key, entry)?.to_kind(Kind::Float).copy();
    if !tensor.square().sum(Kind::Double).double_value(&[]).is_finite() {
        let reason = format!("`{key}` holds numbers that are not finite, or far too large");
        return Err(Error::bad_file(&file.path, "tensor for an edit", reason));
    }
    Ok(tensor)
}
