//! A vocabulary as the published checkpoints have it: `vocab.json`, pieces and their ids, and `merges.txt`, which pairs of
//! pieces are joined, the first line first.
//!
//! Enters: the two files. Leaves: what the `tokenizers` crate makes a tokenizer of, checked: a damaged file is named with
//! the line or the piece at fault.

use super::added::{Added, Beside, MOST_IDS};
use crate::error::{Error, Result};
use crate::model::files::ModelFiles;
use serde_json::Value;
use std::path::Path;
use tokenizers::models::bpe::{Merges, Vocab};

const PIECES: &str = "tokenizer/vocab.json";
const MERGES: &str = "tokenizer/merges.txt";

/// Reads both files, and puts the tokens beside the vocabulary into it that a file gives an id.
///
/// # Errors
/// When one is missing or damaged: two pieces with one id, a merge of pieces that the vocabulary lacks.
pub(super) fn read(files: &ModelFiles, beside: &Beside) -> Result<(Vocab, Merges)> {
    let path = files.path(PIECES);
    let mut vocab = pieces(&required(files, PIECES)?, &path)?;
    for Added { token, id } in &beside.tokens {
        let Some(id) = *id else { continue };
        let known = *vocab.entry(token.content.clone()).or_insert(id);
        if known != id {
            return Err(Error::bad_file(
                &files.path(beside.ids_from),
                "list of added tokens",
                format!("it gives `{}` the id {id}, `{}` gives it {known}", token.content, path.display()),
            ));
        }
    }
    check_ids(vocab.iter().map(|(piece, id)| (piece.as_str(), *id)).collect(), &path)?;
    let merges = merges(&required(files, MERGES)?, &vocab, &files.path(MERGES))?;
    Ok((vocab, merges))
}

fn required(files: &ModelFiles, name: &str) -> Result<String> {
    files.text(name)?.ok_or_else(|| {
        Error::invalid(
            format!("`{}` is missing", files.path(name).display()),
            "a tokenizer is `vocab.json` with `merges.txt`, or `tokenizer.json`: copy them from the model's source",
        )
    })
}

fn pieces(text: &str, path: &Path) -> Result<Vocab> {
    let bad = |reason: String| Error::bad_file(path, "vocabulary", reason);
    let json: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let entries = json.as_object().ok_or_else(|| bad("it is no JSON object of pieces and their ids".into()))?;
    let one = |(piece, id): (&String, &Value)| match id.as_u64().filter(|id| *id < MOST_IDS) {
        Some(id) => Ok((piece.clone(), id as u32)),
        None => Err(bad(format!("piece `{piece}` has the id {id}"))),
    };
    entries.iter().map(one).collect()
}

/// Refuses two pieces with one id.
pub(super) fn check_ids(mut pieces: Vec<(&str, u32)>, path: &Path) -> Result<()> {
    pieces.sort_unstable_by_key(|(piece, id)| (*id, *piece));
    match pieces.windows(2).find(|pair| pair[0].1 == pair[1].1) {
        Some(pair) => {
            let reason = format!("`{}` and `{}` both have the id {}", pair[0].0, pair[1].0, pair[0].1);
            Err(Error::bad_file(path, "vocabulary", reason))
        }
        None => Ok(()),
    }
}

fn merges(text: &str, vocab: &Vocab, path: &Path) -> Result<Merges> {
    let mut merges = vec![];
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("#version") || line.trim().is_empty() {
            continue;
        }
        let bad = |what: &str| {
            let shown: String = line.chars().take(60).collect();
            Error::bad_file(path, "merges file", format!("line {}, `{shown}`, {what}", number + 1))
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [a, b] = words[..] else { return Err(bad("is not a pair of pieces")) };
        if let Some(unknown) = [a, b, &format!("{a}{b}")].into_iter().find(|piece| !vocab.contains_key(*piece)) {
            return Err(bad(&format!("has to do with `{unknown}`, which the vocabulary lacks")));
        }
        merges.push((a.to_string(), b.to_string()));
    }
    Ok(merges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vocab(text: &str) -> Result<Vocab> {
        pieces(text, Path::new("vocab.json"))
    }

    fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_damaged_vocabulary_is_named_with_the_piece() {
        assert_eq!(vocab(r#"{"a": 0, "b": 1}"#).unwrap().len(), 2);
        for (text, expected) in [
            (r#"{"a": 0, "b": "1"}"#, "piece `b` has the id \"1\""),
            (r#"{"a": 0, "b": -1}"#, "piece `b` has the id -1"),
            (r#"{"a": 0, "b": 4294967296}"#, "piece `b` has the id 4294967296"),
            (r#"["a", "b"]"#, "it is no JSON object of pieces and their ids"),
        ] {
            assert_eq!(said(vocab(text)), format!("`vocab.json` is not a valid vocabulary: {expected}"));
        }
        let twice = check_ids(vec![("b", 4), ("a", 7), ("c", 7)], Path::new("vocab.json"));
        assert_eq!(said(twice), "`vocab.json` is not a valid vocabulary: `a` and `c` both have the id 7");
    }

    #[test]
    fn a_damaged_merges_file_is_named_with_the_line() {
        let vocab = vocab(r#"{"a": 0, "b": 1, "ab": 2}"#).unwrap();
        let read = |text: &str| merges(text, &vocab, Path::new("merges.txt"));
        assert_eq!(read("#version: 0.2\na b\n\n").unwrap(), [("a".to_string(), "b".to_string())]);
        assert_eq!(read("").unwrap(), []);
        for (text, expected) in [
            ("#version: 0.2\na b\na", "line 3, `a`, is not a pair of pieces"),
            ("a b c", "line 1, `a b c`, is not a pair of pieces"),
            ("b a", "line 1, `b a`, has to do with `ba`, which the vocabulary lacks"),
            ("x b", "line 1, `x b`, has to do with `x`, which the vocabulary lacks"),
        ] {
            assert_eq!(said(read(text)), format!("`merges.txt` is not a valid merges file: {expected}"));
        }
    }
}
