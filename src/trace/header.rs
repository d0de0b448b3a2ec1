//! The header of a safetensors file: what is in it, without its numbers.
//!
//! Enters: a path. Leaves: the shapes of its tensors by key. That all of the file is there is checked by its length.

use crate::error::{Error, IoContext, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest header that is read: a hundred times that of a step.
const LONGEST: u64 = 1 << 20;

/// The shapes of a file's tensors.
///
/// # Errors
/// When it is not there, is no such file, or has another length than its header says.
pub(super) fn shapes(path: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let bad = |reason: String| Error::bad_file(path, "safetensors file", reason);
    let mut file = File::open(path).at("read", path)?;
    let length = file.metadata().at("read", path)?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|e| bad(e.to_string()))?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST.min(length - 8) {
        return Err(bad(format!("its header is said to take {size} bytes")));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(|e| bad(e.to_string()))?;
    let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|e| bad(e.to_string()))?;
    let (mut all, mut end) = (BTreeMap::new(), 0);
    for (key, about) in header.iter().filter(|(key, _)| *key != "__metadata__") {
        let numbers = |list: &Value| -> Option<Vec<u64>> { list.as_array()?.iter().map(Value::as_u64).collect() };
        let (Some(shape), Some(offsets)) = (numbers(&about["shape"]), numbers(&about["data_offsets"])) else {
            return Err(bad(format!("`{key}` has no shape or no place in it")));
        };
        end = end.max(offsets.last().copied().unwrap_or_default());
        all.insert(key.clone(), shape.into_iter().map(|n| n as usize).collect());
    }
    if end.checked_add(8 + size) != Some(length) {
        return Err(bad(format!("it has {length} bytes, its header speaks of {}", end.saturating_add(8 + size))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shapes_are_found_and_what_is_cut_short_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000.safetensors");
        let header = br#"{"__metadata__":{"a":"b"},"latents":{"dtype":"F32","shape":[1,1,2],"data_offsets":[0,8]}}"#;
        let whole = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(shapes(&path).unwrap().into_iter().collect::<Vec<_>>(), [("latents".into(), vec![1, 1, 2])]);
        for length in [0, 7, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(shapes(&path).is_err(), "{length}");
        }
        std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], header].concat()).unwrap();
        assert!(shapes(&path).is_err());
    }
}
