//! A folder of pictures with captions.
//!
//! Enters: `name.png` beside `name.txt`, or a `metadata.jsonl` with `file_name` and `text` as Hugging Face's image folders
//! have it. Leaves: the pictures as one tensor of bytes, and their captions. What cannot be used is named and counted.

use crate::error::{Error, IoContext, Result};
use crate::files::pictures;
use image::imageops::FilterType;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Captioned pictures of one size.
#[derive(Debug)]
pub struct Data {
    /// `[count, size, size, 3]`, bytes.
    pub pictures: Tensor,
    /// What they show.
    pub captions: Vec<String>,
    /// What was left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Which files are pictures.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

impl Data {
    /// Reads a folder. Pictures are cropped to a square around their centre and brought to `size`.
    ///
    /// # Errors
    /// When it cannot be read, or holds no picture with a caption.
    pub fn read(folder: &Path, size: u32) -> Result<Data> {
        let metadata = folder.join("metadata.jsonl");
        let (listed, mut skipped) = if metadata.is_file() { from_list(folder, &metadata)? } else { beside(folder)? };
        let loaded: Vec<_> = listed.par_iter().map(|(path, _)| load(path, size)).collect();
        let (mut bytes, mut captions) = (vec![], vec![]);
        for ((path, caption), loaded) in listed.into_iter().zip(loaded) {
            match loaded {
                Ok(picture) => {
                    bytes.extend_from_slice(&picture);
                    captions.push(caption);
                }
                Err(reason) => skipped.push((path, reason)),
            }
        }
        if captions.is_empty() {
            let first = skipped.first().map(|(path, why)| format!("; `{}`: {why}", path.display()));
            return Err(Error::invalid(
                format!("`{}` holds no picture with a caption{}", folder.display(), first.unwrap_or_default()),
                "put `name.png` and `name.txt` with its caption there, or a `metadata.jsonl` with a line \
                 {\"file_name\": \"name.png\", \"text\": \"caption\"} for each; PNG, JPEG and WebP are read",
            ));
        }
        let side = i64::from(size);
        let pictures = Tensor::from_slice(&bytes).view([captions.len() as i64, side, side, 3]);
        Ok(Data { pictures, captions, skipped })
    }
}

impl Data {
    /// These pictures and others, each half of the whole: the fewer are repeated.
    pub fn half_and_half(self, others: Data) -> Data {
        let (own, their) = (self.captions.len(), others.captions.len());
        let count = own.max(their) as i64;
        let repeated = |data: Data| {
            let index: Vec<i64> = (0..count).map(|i| i % data.captions.len() as i64).collect();
            let captions: Vec<String> = index.iter().map(|i| data.captions[*i as usize].clone()).collect();
            (data.pictures.index_select(0, &Tensor::from_slice(&index)), captions, data.skipped)
        };
        let ((a, mut captions, mut skipped), (b, more, left_out)) = (repeated(self), repeated(others));
        captions.extend(more);
        skipped.extend(left_out);
        Data { pictures: Tensor::cat(&[a, b], 0), captions, skipped }
    }
}

type Listed = (Vec<(PathBuf, String)>, Vec<(PathBuf, String)>);

/// The pictures that `metadata.jsonl` lists.
fn from_list(folder: &Path, metadata: &Path) -> Result<Listed> {
    let (mut listed, mut skipped) = (vec![], vec![]);
    let text = std::fs::read_to_string(metadata).at("read", metadata)?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad =
            |reason: String| Error::bad_file(metadata, "list of pictures", format!("line {}: {reason}", number + 1));
        let entry: serde_json::Value = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        let name = entry["file_name"].as_str().ok_or_else(|| bad("it has no `file_name`".into()))?;
        match entry["text"].as_str().map(str::trim).filter(|text| !text.is_empty()) {
            Some(caption) => listed.push((folder.join(name), caption.to_string())),
            None => skipped.push((folder.join(name), "it has no caption".into())),
        }
    }
    Ok((listed, skipped))
}

/// The pictures that have a text file beside them.
fn beside(folder: &Path) -> Result<Listed> {
    let (mut listed, mut skipped) = (vec![], vec![]);
    let entries = std::fs::read_dir(folder).at("read", folder)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let picture = |path: &PathBuf| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e.to_lowercase().as_str()))
    };
    for path in paths.into_iter().filter(picture) {
        match std::fs::read_to_string(path.with_extension("txt")) {
            Ok(text) if !text.trim().is_empty() => listed.push((path, text.trim().to_string())),
            Ok(_) => skipped.push((path, "its caption is empty".into())),
            Err(_) => skipped.push((path, "it has no caption".into())),
        }
    }
    Ok((listed, skipped))
}

/// A picture's bytes, or why there are none.
fn load(path: &Path, size: u32) -> Result<Vec<u8>, String> {
    let picture = pictures::open(path, "picture").map_err(|e| format!("it cannot be read: {e}"))?;
    let (width, height) = (picture.width(), picture.height());
    if (width, height) == (size, size) {
        return Ok(picture.to_rgb8().into_raw());
    }
    let side = width.min(height);
    let square = picture.crop_imm((width - side) / 2, (height - side) / 2, side, side);
    Ok(square.resize_exact(size, size, FilterType::Lanczos3).to_rgb8().into_raw())
}
