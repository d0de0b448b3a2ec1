//! Spoils safetensors files: the header's length, the header, the tensors it describes, the numbers in them.

use crate::hostile::{Dice, json, pick};
use rand::Rng;
use serde_json::{Map, Value, json};

/// A file in parts.
struct Parts {
    metadata: Option<Value>,
    /// Name, dtype, shape, bytes.
    tensors: Vec<(String, String, Vec<u64>, Vec<u8>)>,
}

fn header(bytes: &[u8]) -> (&str, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (std::str::from_utf8(&bytes[8..8 + length]).unwrap(), &bytes[8 + length..])
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

impl Parts {
    fn read(bytes: &[u8]) -> Parts {
        let (header, data) = header(bytes);
        let mut all: Map<String, Value> = serde_json::from_str(header).unwrap();
        let metadata = all.remove("__metadata__");
        let number = |value: &Value| value.as_u64().unwrap();
        let tensors = all.into_iter().map(|(name, entry)| {
            let [from, to] = [0, 1].map(|i| number(&entry["data_offsets"][i]) as usize);
            let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
            (name, entry["dtype"].as_str().unwrap().to_string(), shape, data[from..to].to_vec())
        });
        Parts { metadata, tensors: tensors.collect() }
    }

    fn write(self) -> Vec<u8> {
        let (mut header, mut data) = (Map::new(), vec![]);
        header.extend(self.metadata.map(|metadata| ("__metadata__".into(), metadata)));
        for (name, dtype, shape, bytes) in self.tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
            data.extend(bytes);
        }
        join(&Value::Object(header).to_string(), &data)
    }
}

/// The file with one thing changed, and what.
pub fn spoil(dice: &mut Dice, bytes: &[u8]) -> (Vec<u8>, String) {
    let (text, data) = header(bytes);
    match dice.random_range(0..10) {
        0 => spoil_length(dice, bytes),
        1 | 2 => {
            let (text, what) = json::spoil(dice, text);
            (join(&text, data), format!("header {what}"))
        }
        3 => spoil_settings(dice, bytes),
        4 | 5 => spoil_entry(dice, text, data),
        _ => spoil_tensor(dice, Parts::read(bytes)),
    }
}

fn spoil_length(dice: &mut Dice, bytes: &[u8]) -> (Vec<u8>, String) {
    let length = bytes.len() as u64;
    let lengths =
        [0, 1, 2, 7, length - 8, length - 7, length, 100 << 20, u64::from(u32::MAX), i64::MAX as u64, u64::MAX];
    let length = *pick(dice, &lengths);
    let mut bytes = bytes.to_vec();
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    (bytes, format!("a header of {length} bytes"))
}

/// Offsets, dtype and shape as numbers that may fit nothing.
fn spoil_entry(dice: &mut Dice, text: &str, data: &[u8]) -> (Vec<u8>, String) {
    let mut all: Map<String, Value> = serde_json::from_str(text).unwrap();
    let names: Vec<String> = all.keys().filter(|key| *key != "__metadata__").cloned().collect();
    let (name, other) = (pick(dice, &names).clone(), pick(dice, &names).clone());
    let numbers = [0, 1, 3, data.len() as u64, data.len() as u64 + 1, 1 << 32, 1 << 62, u64::MAX];
    let mut number = || *pick(dice, &numbers);
    let offsets = json!([number(), number()]);
    let shapes =
        [json!([]), json!([0]), json!([number()]), json!([number(), number()]), json!([1u64 << 32, 1u64 << 32])];
    let dtypes = ["F16", "BF16", "F64", "I64", "I8", "BOOL", "F8_E4M3", "F4", "C64", "X", ""];
    let what = match dice.random_range(0..4) {
        0 => {
            all[&name]["data_offsets"] = offsets;
            "offsets"
        }
        1 => {
            all[&name]["shape"] = pick(dice, &shapes).clone();
            "shape"
        }
        2 => {
            all[&name]["dtype"] = (*pick(dice, &dtypes)).into();
            "dtype"
        }
        _ => {
            all[&name] = all[&other].clone();
            "the place of another"
        }
    };
    let what = format!("{name} has other {what}: {}", all[&name]);
    (join(&Value::Object(all).to_string(), data), what)
}

/// A file that is valid, but not what it should be.
fn spoil_tensor(dice: &mut Dice, mut parts: Parts) -> (Vec<u8>, String) {
    let at = dice.random_range(0..parts.tensors.len());
    let other = dice.random_range(0..parts.tensors.len());
    let other_name = parts.tensors[other].0.clone();
    let (name, dtype, shape, bytes) = &mut parts.tensors[at];
    let old = name.clone();
    let what = match dice.random_range(0..9) {
        0 => {
            parts.tensors.remove(at);
            "is gone".into()
        }
        1 => {
            *name = pick(dice, &["", "x", "../x", "weight", "lora_unet_x.lora_up.weight", "\n"]).to_string();
            format!("is called {name:?}")
        }
        2 => {
            *name = other_name;
            parts.tensors[other].0.clone_from(&old);
            "changes its name with another".into()
        }
        3 => {
            shape.reverse();
            format!("has shape {shape:?}")
        }
        4 => {
            *shape = vec![shape.iter().product()];
            "is flat".into()
        }
        5 => {
            let rows = dice.random_range(0..3);
            *bytes = bytes.repeat(rows);
            match shape.first_mut() {
                Some(first) => *first *= rows as u64,
                None => *shape = vec![rows as u64],
            }
            format!("has shape {shape:?}")
        }
        6 => {
            *dtype = pick(dice, &["F64", "I64", "U64"]).to_string();
            *bytes = bytes.repeat(2);
            format!("is {dtype}")
        }
        _ => {
            let number = *pick(dice, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, 1e20, 0.0, 1e-44]);
            bytes.chunks_exact_mut(4).for_each(|four| four.copy_from_slice(&number.to_le_bytes()));
            format!("is {number} everywhere")
        }
    };
    (parts.write(), format!("{old} {what}"))
}

/// The texts in the header, where programs leave settings.
fn spoil_settings(dice: &mut Dice, bytes: &[u8]) -> (Vec<u8>, String) {
    let mut parts = Parts::read(bytes);
    let Some(Value::Object(texts)) = &mut parts.metadata else { return spoil_length(dice, bytes) };
    let keys: Vec<String> = texts.keys().cloned().collect();
    let key = pick(dice, &keys).clone();
    let text = texts[&key].as_str().unwrap_or_default().to_string();
    let (text, what) = json::spoil(dice, &text);
    texts.insert(key.clone(), text.into());
    (parts.write(), format!("metadata {key} {what}"))
}
