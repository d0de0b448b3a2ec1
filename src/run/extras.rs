//! What was added to a recorded run's model, found again: its LoRAs and its embeddings.
//!
//! Enters: what a run's record says of them. Leaves: the files, if they are still the same.

use crate::error::{Error, Result};
use crate::model::embedding::EmbeddingChoice;
use crate::model::fingerprint;
use crate::model::lora::LoraChoice;
use crate::record::model::ModelRecord;
use std::path::PathBuf;

/// The LoRAs of a run that messages call `run`, with their weights.
///
/// # Errors
/// When a file is gone, or has become another: named with the flag that says where it is.
pub fn loras(run: &str, model: &ModelRecord) -> Result<Vec<LoraChoice>> {
    let one = |lora: &crate::record::model::LoraRecord| {
        let lost = Lost { run, what: format!("LoRA `{}`", lora.file), flag: format!("--lora FILE:{}", lora.weight) };
        Ok(LoraChoice { path: lost.find(&lora.path, &lora.sha256)?, weight: lora.weight })
    };
    model.loras.iter().map(one).collect()
}

/// Its embeddings, with the words that stand for them.
///
/// # Errors
/// As [`loras`].
pub fn embeddings(run: &str, model: &ModelRecord) -> Result<Vec<EmbeddingChoice>> {
    let one = |word: &crate::record::model::EmbeddingRecord| {
        let flag = format!("--embedding {}=FILE", word.name);
        let lost = Lost { run, what: format!("embedding `{}`", word.name), flag };
        Ok(EmbeddingChoice { name: word.name.clone(), path: lost.find(&word.path, &word.sha256)? })
    };
    model.embeddings.iter().map(one).collect()
}

/// How a message speaks of a file that may be lost.
struct Lost<'a> {
    run: &'a str,
    what: String,
    flag: String,
}

impl Lost<'_> {
    fn find(&self, path: &str, sha256: &str) -> Result<PathBuf> {
        let Lost { run, what, flag } = self;
        let lost = |why: String| Error::invalid(format!("the {what} of `{run}` {why}"), format!("name it: `{flag}`"));
        let file = PathBuf::from(path);
        if path.is_empty() {
            return Err(lost("has no path in its record, which an earlier sdviz wrote".into()));
        }
        if !file.is_file() {
            return Err(lost(format!("is not at `{path}` any more")));
        }
        if fingerprint::of_file(&file)? != sha256 {
            return Err(lost(format!("was another file than `{path}` is now")));
        }
        Ok(file)
    }
}
