//! LoRAs and embeddings of the run that a command goes on from, copies from or looks into, where none were typed.
//!
//! Enters: what was typed, and a recorded run. Leaves: the same with the run's in the places that are left.

use super::args::LoadArgs;
use crate::error::Result;
use crate::run::extras;
use crate::trace::reader::Run;

/// Typed in the place of a file: none, whatever the run had.
pub const NONE: &str = "none";

/// What was typed, filled up from a run that was made with the model of this name. With another model nothing of it fits.
///
/// # Errors
/// When a file is gone, or has become another.
pub fn taken(typed: &LoadArgs, run: Option<&Run>, model: &str) -> Result<LoadArgs> {
    let mut args = typed.clone();
    let Some(run) = run.filter(|run| run.record().model.id == model) else { return Ok(args) };
    let (name, record) = (run.name().display().to_string(), &run.record().model);
    if args.lora.is_empty() {
        let text = |lora: crate::model::lora::LoraChoice| format!("{}:{}", lora.path.display(), lora.weight);
        args.lora = extras::loras(&name, record)?.into_iter().map(text).collect();
    }
    if args.embedding.is_empty() {
        let text = |word: crate::model::embedding::EmbeddingChoice| format!("{}={}", word.name, word.path.display());
        args.embedding = extras::embeddings(&name, record)?.into_iter().map(text).collect();
    }
    Ok(args)
}
