//! The keys of an edit: `key=value`, each known and said once.
//!
//! Enters: keys and values as they were typed. Leaves: texts, numbers, files.

use crate::edit::tensor_file::TensorFile;
use crate::error::{Error, Result};

/// The keys that every edit may have.
const SELECTORS: [&str; 8] = ["steps", "branch", "heads", "words", "channels", "area", "sizes", "batch"];

/// Other names of keys.
const ALIASES: [(&str, &str); 5] =
    [("step", "steps"), ("word", "words"), ("head", "heads"), ("channel", "channels"), ("size", "sizes")];

/// The keys of an edit, as they were typed.
#[derive(Debug, Default)]
pub struct Keys(Vec<(String, String)>);

impl Keys {
    /// Adds one of an operation's own keys, or one that every edit may have.
    pub(super) fn add(&mut self, own: &[&'static str], key: &str, value: &str) -> Result<()> {
        let key = ALIASES.iter().find(|(other, _)| *other == key).map_or(key, |(_, key)| key);
        let known: Vec<&str> = own.iter().copied().chain(SELECTORS).collect();
        if !known.contains(&key) {
            return Err(Error::unknown("key", key, known));
        }
        if self.0.iter().any(|(other, _)| other == key) {
            return Err(Error::invalid(format!("`{key}` is said twice"), "say it once, or make two edits"));
        }
        self.0.push((key.into(), value.trim().into()));
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    /// What a key's value is read as, if it is there.
    pub(super) fn read<T>(&self, key: &str, read: impl Fn(&str) -> Result<T>) -> Result<Option<T>> {
        self.get(key).map(read).transpose()
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &str) -> Result<String> {
        self.get(key)
            .map(String::from)
            .ok_or_else(|| Error::invalid(format!("`{key}` is missing"), format!("add `{key}=…`")))
    }

    /// A text, or what it usually is.
    pub(super) fn text_or(&self, key: &str, usual: &str) -> String {
        self.get(key).unwrap_or(usual).into()
    }

    /// A finite number that must be there.
    pub(super) fn number(&self, key: &str) -> Result<f64> {
        let text = self.text(key)?;
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| Error::invalid(format!("`{key}={text}` is no number"), "write it as `0.5` or `-2`"))
    }

    /// A finite number, or what it usually is.
    pub(super) fn number_or(&self, key: &str, usual: f64) -> Result<f64> {
        if self.get(key).is_some() { self.number(key) } else { Ok(usual) }
    }

    /// A whole number, or what it usually is.
    pub(super) fn whole_or(&self, key: &str, usual: usize) -> Result<usize> {
        let text = self.text_or(key, &usual.to_string());
        text.parse().map_err(|_| {
            Error::invalid(format!("`{key}={text}` is no whole number"), format!("write it as `{key}={usual}`"))
        })
    }

    /// The seed of the edit's own generator; 0 where none is named.
    pub(super) fn seed(&self) -> Result<u64> {
        let text = self.text_or("seed", "0");
        text.parse().map_err(|_| Error::invalid(format!("`seed={text}` is no seed"), "write a whole number from 0 up"))
    }

    /// Whether something is so; not, where it is not said.
    pub(super) fn yes(&self, key: &str) -> Result<bool> {
        let text = self.text_or(key, "false");
        text.parse().map_err(|_| Error::invalid(format!("`{key}={text}`"), "write `true` or `false`"))
    }

    /// A tensor in a file, with the key it has there if that is named.
    pub(super) fn file(&self, name: &str) -> Result<TensorFile> {
        Ok(TensorFile { path: self.text(name)?.into(), key: self.get("key").map(String::from) })
    }
}
