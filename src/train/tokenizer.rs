//! A tokenizer in CLIP's format, made from captions.
//!
//! Enters: captions. Leaves: `vocab.json` and `merges.txt`: the 256 bytes, the same at a word's end, the pieces that occur
//! most, begin- and end-of-text. Unknown words are spelled out.

use crate::error::{Error, Result};
use crate::model::tokenizer::{WORD_END, empty};
use std::fmt::Write;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// Begin-of-text, CLIP's.
const BOS: &str = "<|startoftext|>";
/// End-of-text, CLIP's; also pads.
const EOS: &str = "<|endoftext|>";

/// The text files of a tokenizer folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `vocab.json`, `merges.txt`, `tokenizer_config.json` with their text.
    pub texts: [(&'static str, String); 3],
    /// Entries of the vocabulary.
    pub entries: usize,
}

/// Makes a tokenizer of at most `vocabulary` entries for texts of at most `window` places.
///
/// # Errors
/// When the vocabulary has no room for the 512 single letters and the two marks.
pub fn train(captions: &[String], vocabulary: usize, window: i64) -> Result<Files> {
    let refused = |e: tokenizers::Error| Error::invalid(format!("cannot make a tokenizer: {e}"), "report this");
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let single = 2 * letters.len() + 2;
    if vocabulary < single {
        let message = format!("a vocabulary of {vocabulary} entries has no room for the {single} that every one has");
        return Err(Error::invalid(message, format!("set `vocabulary` to {single} or more")));
    }
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocabulary - 2)
        .min_frequency(2)
        .end_of_word_suffix(WORD_END.into())
        .initial_alphabet(letters.iter().copied().collect())
        .build();
    let mut tokenizer = empty().map_err(refused)?;
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), captions.iter()).map_err(refused)?;
    let json = serde_json::to_value(tokenizer.get_model()).unwrap_or_default();
    let mut entries: Vec<String> = letters.iter().map(char::to_string).collect();
    entries.extend(letters.iter().map(|letter| format!("{letter}{WORD_END}")));
    let mut merges = String::from("#version: 0.2\n");
    for merge in json["merges"].as_array().into_iter().flatten().take(vocabulary - single) {
        if let (Some(a), Some(b)) = (merge[0].as_str(), merge[1].as_str()) {
            let _ = writeln!(merges, "{a} {b}");
            entries.push(format!("{a}{b}"));
        }
    }
    entries.extend([BOS.into(), EOS.into()]);
    let count = entries.len();
    let vocabulary: serde_json::Map<_, _> =
        entries.into_iter().enumerate().map(|(id, piece)| (piece, serde_json::Value::from(id))).collect();
    let config = serde_json::json!({
        "add_prefix_space": false, "bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS,
        "do_lower_case": true, "errors": "replace", "model_max_length": window, "tokenizer_class": "CLIPTokenizer",
    });
    Ok(Files {
        texts: [
            ("vocab.json", format!("{}\n", serde_json::Value::Object(vocabulary))),
            ("merges.txt", merges),
            ("tokenizer_config.json", format!("{config:#}\n")),
        ],
        entries: count,
    })
}
