//! The tokens beside a vocabulary: begin, end and padding, and the words that were added to it later.
//!
//! Enters: `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`. Leaves: which tokens a text is
//! searched for before it is taken apart, with their ids where the files give them. The rules are those of transformers:
//! the map goes before the configuration, and where the configuration lists all tokens itself, in `added_tokens_decoder`,
//! the two other files are not asked.

use crate::error::{Error, Result};
use crate::model::files::ModelFiles;
use serde_json::Value;
use tokenizers::AddedToken;

/// The configuration of a tokenizer.
pub(super) const CONFIG: &str = "tokenizer/tokenizer_config.json";
const MAP: &str = "tokenizer/special_tokens_map.json";
const WORDS: &str = "tokenizer/added_tokens.json";

/// What a file here is called in messages.
const KIND: &str = "tokenizer configuration";

/// Ids lie below this: more than any text encoder's table has rows.
pub(super) const MOST_IDS: u64 = 1 << 24;

/// A token that a text is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    /// The token, and how it is searched for.
    pub token: AddedToken,
    /// Its id, where a file gives it.
    pub id: Option<u32>,
}

/// The tokens beside a vocabulary.
#[derive(Debug)]
pub(super) struct Beside {
    /// Begin-of-text.
    pub bos: String,
    /// End-of-text.
    pub eos: String,
    /// What fills a window.
    pub pad: String,
    /// All tokens that a text is searched for, the three among them.
    pub tokens: Vec<Added>,
    /// The file that gives ids to tokens, for messages.
    pub ids_from: &'static str,
    /// `tokenizer_config.json`, or null.
    pub config: Value,
}

impl Beside {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub(super) fn read(files: &ModelFiles) -> Result<Beside> {
        let config = json(files, CONFIG)?;
        let listed = !config["added_tokens_decoder"].is_null();
        let (map, words) = if listed { (Value::Null, Value::Null) } else { (json(files, MAP)?, json(files, WORDS)?) };
        let ids_from = if listed { CONFIG } else { WORDS };
        let mut tokens =
            if listed { from_decoder(files, &config["added_tokens_decoder"])? } else { from_words(files, &words)? };
        let source = |name: &str| if map[name].is_null() { CONFIG } else { MAP };
        let field = |name: &str| if map[name].is_null() { &config[name] } else { &map[name] };
        let mut special = |name: &str, default: &str| -> Result<String> {
            let token = match field(name) {
                Value::Null => AddedToken::from(default, true),
                value => token(value, true).ok_or_else(|| refused(files, source(name), name, value))?,
            };
            let content = token.content.clone();
            match tokens.iter_mut().find(|known| known.token.content == content) {
                Some(known) if !listed => known.token = token,
                Some(_) => {}
                None => tokens.push(Added { token, id: None }),
            }
            Ok(content)
        };
        let bos = special("bos_token", "<|startoftext|>")?;
        let eos = special("eos_token", "<|endoftext|>")?;
        let pad = special("pad_token", &eos)?;
        // The second is the newer name of the first.
        let more = ["additional_special_tokens", "extra_special_tokens"].map(|name| (name, field(name)));
        let more = more.iter().flat_map(|(name, list)| list.as_array().into_iter().flatten().map(move |v| (*name, v)));
        for (name, value) in more {
            let token = token(value, true).ok_or_else(|| refused(files, source(name), name, value))?;
            if tokens.iter().all(|known| known.token.content != token.content) {
                tokens.push(Added { token, id: None });
            }
        }
        Ok(Beside { bos, eos, pad, tokens, ids_from, config })
    }

    /// The places of a window, `most` unless the configuration says less.
    ///
    /// # Errors
    /// When it has no place for a token between begin and end.
    pub(super) fn window(&self, files: &ModelFiles, most: usize) -> Result<usize> {
        match &self.config["model_max_length"] {
            Value::Null => Ok(most),
            // A tokenizer that was given no limit is saved with 10^30.
            Value::Number(n) if n.as_f64().is_some_and(|n| n >= most as f64) => Ok(most),
            Value::Number(n) if n.as_u64().is_some_and(|n| n >= 3) => Ok(n.as_u64().map_or(most, |n| n as usize)),
            found => Err(Error::Unsupported {
                field: "model_max_length".into(),
                found: found.to_string(),
                place: format!("`{}`", files.path(CONFIG).display()),
                supported: "a number of places from 3 up, 77 for Stable Diffusion".into(),
            }),
        }
    }
}

/// A JSON file, or null if there is none.
fn json(files: &ModelFiles, name: &str) -> Result<Value> {
    let Some(text) = files.text(name)? else { return Ok(Value::Null) };
    serde_json::from_str(&text).map_err(|e| Error::bad_file(&files.path(name), KIND, e))
}

fn refused(files: &ModelFiles, file: &str, field: &str, value: &Value) -> Error {
    Error::bad_file(&files.path(file), KIND, format!("`{field}` is {value}, which is no token"))
}

/// A token as the files write it: its text, or its text with how it is searched for.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    if let Some(text) = value.as_str() {
        return Some(AddedToken::from(text, special));
    }
    let text = value["content"].as_str()?;
    let flag = |name: &str, default: bool| value[name].as_bool().unwrap_or(default);
    let special = special || flag("special", false);
    let token = AddedToken::from(text, special).normalized(flag("normalized", !special));
    Some(token.single_word(flag("single_word", false)).lstrip(flag("lstrip", false)).rstrip(flag("rstrip", false)))
}

fn id(id: Option<u64>) -> Option<u32> {
    id.filter(|id| *id < MOST_IDS).map(|id| id as u32)
}

/// `added_tokens_decoder`: tokens by id.
fn from_decoder(files: &ModelFiles, decoder: &Value) -> Result<Vec<Added>> {
    let bad = |name: &str, value: &Value| refused(files, CONFIG, &format!("added_tokens_decoder.{name}"), value);
    let entries = decoder.as_object().ok_or_else(|| refused(files, CONFIG, "added_tokens_decoder", decoder))?;
    let one = |(name, value): (&String, &Value)| {
        let id = id(name.parse().ok()).ok_or_else(|| bad(name, value))?;
        Ok(Added { token: token(value, false).ok_or_else(|| bad(name, value))?, id: Some(id) })
    };
    in_order(entries.iter().map(one).collect())
}

/// `added_tokens.json`: ids by token.
fn from_words(files: &ModelFiles, words: &Value) -> Result<Vec<Added>> {
    let bad = |reason: String| Error::bad_file(&files.path(WORDS), "list of added tokens", reason);
    if words.is_null() {
        return Ok(vec![]);
    }
    let entries = words.as_object().ok_or_else(|| bad("it is no JSON object".into()))?;
    let one = |(word, value): (&String, &Value)| {
        let id = id(value.as_u64()).ok_or_else(|| bad(format!("`{word}` has the id {value}")))?;
        Ok(Added { token: AddedToken::from(word.clone(), false), id: Some(id) })
    };
    in_order(entries.iter().map(one).collect())
}

fn in_order(tokens: Result<Vec<Added>>) -> Result<Vec<Added>> {
    let mut tokens = tokens?;
    tokens.sort_by_key(|added| added.id);
    Ok(tokens)
}
