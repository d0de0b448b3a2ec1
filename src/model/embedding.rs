//! Textual inversion embeddings: new words, each with vectors of its own in the text encoder's table.
//!
//! Enters: files, each with the name that stands for it in a prompt. Leaves: the vectors, `[n, width]`. A file is a
//! safetensors file with one tensor, called by its token (diffusers), or with `emb_params` (AUTOMATIC1111's web UI).
//! Follows diffusers' `load_textual_inversion`: the word stands for its n tokens, `name`, `name_1`, and so on.

use super::contents::{self, Role};
use super::fingerprint;
use super::weights::{Bytes, WeightFile};
use crate::error::{Error, Result};
use crate::record::model::EmbeddingRecord;
use std::path::PathBuf;
use tch::{Kind, Tensor};

const KIND: &str = "textual inversion embedding";

/// An embedding that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingChoice {
    /// The word that stands for it in a prompt.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

impl EmbeddingChoice {
    /// Reads `NAME=FILE`.
    ///
    /// # Errors
    /// When it is something else, or the name is no single word.
    pub fn parse(text: &str) -> Result<EmbeddingChoice> {
        let parts = text.split_once('=').map(|(name, path)| (name.trim(), path));
        match parts {
            Some((name, path)) if !name.is_empty() && !name.contains(char::is_whitespace) && !path.is_empty() => {
                Ok(EmbeddingChoice { name: name.into(), path: path.into() })
            }
            _ => Err(Error::invalid(
                format!("`{text}` does not name a word and its embedding"),
                "write `--embedding my-style=file.safetensors`, and `my-style` in the prompt",
            )),
        }
    }
}

/// An embedding that was read.
#[derive(Debug)]
pub struct Embedding {
    /// Its vectors in f32, `[n, width]`.
    pub vectors: Tensor,
    /// What a run's record says of it.
    pub record: EmbeddingRecord,
}

impl Embedding {
    /// Reads an embedding for a text encoder of this width.
    ///
    /// # Errors
    /// When the file is a pickle, cannot be read, holds something else, or has vectors of another width.
    pub fn open(choice: &EmbeddingChoice, width: i64) -> Result<Embedding> {
        let path = &choice.path;
        let hint = "save its tensor once as safetensors, in Python: \
                    `file = torch.load(\"name.pt\", weights_only=True)`, then \
                    `tensor = file[\"string_to_param\"][\"*\"]`, or the one value in it of a `.bin`, and \
                    `safetensors.torch.save_file({\"emb_params\": tensor}, \"name.safetensors\")`";
        let bytes = Bytes::map(path).map_err(|error| error.with_hint(hint))?;
        let file = WeightFile::new(path, bytes)?;
        let tensors = file.entries().iter().map(|(key, entry)| (key.as_str(), entry.shape.as_slice()));
        if let Some(other) = contents::of(tensors).filter(|contents| contents.role != Role::Embedding) {
            return Err(other.refused(path));
        }
        let keys: Vec<&String> = file.entries().keys().collect();
        let found = file.entries().get_key_value("emb_params");
        let Some((key, entry)) = found.or_else(|| file.entries().iter().next().filter(|_| keys.len() == 1)) else {
            let listed = keys.iter().take(3).map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let reason = format!("it has {} tensors and none is `emb_params`; the first are {listed}", keys.len());
            return Err(Error::bad_file(path, KIND, reason));
        };
        let (count, found) = match entry.shape[..] {
            [found] => (1, found),
            [count, found] if count > 0 => (count, found),
            _ => return Err(Error::bad_file(path, KIND, format!("`{key}` has shape {:?}", entry.shape))),
        };
        if found != width {
            return Err(Error::invalid(
                format!(
                    "the embedding `{}` has vectors of {found} numbers, the text encoder's have {width}",
                    path.display()
                ),
                "an embedding fits models of the kind that it was trained with: Stable Diffusion 1.x has 768, 2.x 1024",
            ));
        }
        // A copy: the file's own numbers go with it.
        let vectors = file.tensor(key, entry)?.to_kind(Kind::Float).reshape([count, width]).copy();
        // A network's first norm squares them.
        if !vectors.square().sum(Kind::Double).double_value(&[]).is_finite() {
            return Err(Error::bad_file(
                path,
                KIND,
                format!("`{key}` holds numbers that are not finite, or far too large"),
            ));
        }
        let record = EmbeddingRecord {
            name: choice.name.clone(),
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
            sha256: fingerprint::of_bytes(file.bytes()),
            vectors: count as usize,
        };
        Ok(Embedding { vectors, record })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_and_a_file_are_asked_for() {
        let choice = EmbeddingChoice::parse("<sketch>=a/b=c.safetensors").unwrap();
        assert_eq!((choice.name.as_str(), choice.path), ("<sketch>", PathBuf::from("a/b=c.safetensors")));
        for text in ["sketch.safetensors", "=a.safetensors", "two words=a.safetensors", "sketch="] {
            assert!(EmbeddingChoice::parse(text).is_err(), "{text}");
        }
    }
}
