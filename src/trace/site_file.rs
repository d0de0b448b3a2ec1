//! Reads a file of recorded sites. Enters: its path and a key. Leaves: the tensor in f32 as an image,
//! `[batch, channels, height, width]`, whichever way its places were kept.

use crate::error::{Error, IoContext, Result};
use crate::record::layers::SitesMetadata;
use crate::trace::floats;
use ndarray::Array4;
use safetensors::SafeTensors;
use std::path::Path;

/// The keys in the file, in order; none where it is not there.
pub(super) fn keys(path: &Path) -> Result<Vec<String>> {
    let Some(bytes) = read(path)? else { return Ok(vec![]) };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(path, e))?;
    let mut keys: Vec<String> = file.names().into_iter().map(str::to_string).collect();
    keys.sort();
    Ok(keys)
}

/// The tensor of a key, if the file and the key are there.
pub(super) fn tensor(path: &Path, key: &str) -> Result<Option<Array4<f32>>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(path, e))?;
    let about = header.metadata().as_ref().and_then(|entries| entries.get("sdviz"));
    let about: SitesMetadata = match about {
        Some(text) => serde_json::from_str(text).map_err(|e| bad(path, e))?,
        None => SitesMetadata::default(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(path, e))?;
    let Ok(view) = file.tensor(key) else { return Ok(None) };
    let values = floats::of(key, &view).map_err(|e| bad(path, e))?;
    let image = match (view.shape(), about.grids.get(key)) {
        (&[batch, channels, height, width], _) => Array4::from_shape_vec((batch, channels, height, width), values),
        (&[batch, places, channels], Some((height, width))) if places == height * width => {
            let rows = Array4::from_shape_vec((batch, *height, *width, channels), values);
            rows.map(|rows| rows.permuted_axes([0, 3, 1, 2]))
        }
        (shape, _) => {
            let message = format!("`{key}` of `{}` has shape {shape:?}: it lies on no image", path.display());
            return Err(Error::invalid(message, "choose a site of an image or of places, as `unet.mid_block`"));
        }
    };
    image.map(Some).map_err(|e| bad(path, e))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("read", path),
    }
}

fn bad(path: &Path, reason: impl ToString) -> Error {
    Error::bad_file(path, "safetensors file", reason)
}
