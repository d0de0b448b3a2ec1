//! A file of edits: TOML, one table for each.
//!
//! Enters: a file with `[[edit]]` tables, or `edit = [...]` texts. Leaves: the edits as they would be typed.
//!
//! ```toml
//! [[edit]]
//! op = "zero"
//! site = "unet.**.attn2"
//! steps = "1-5"
//! heads = [0, 3]
//! ```

use super::Edit;
use crate::error::{Error, IoContext, Result};
use std::path::Path;

/// The edits of a file, each as it would be typed.
///
/// # Errors
/// When it cannot be read, is no TOML, or has something else in it.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    parse(&text).map_err(|error| match error {
        Error::Invalid { message, .. } if message.starts_with("TOML") => {
            Error::bad_file(path, "file of edits", message)
        }
        error => error.blaming(path),
    })
}

fn parse(text: &str) -> Result<Vec<String>> {
    let toml = |e: toml::de::Error| Error::invalid(format!("TOML: {}", e.to_string().trim_end()), "");
    let table: toml::Table = toml::from_str(text).map_err(toml)?;
    let hint =
        "write a table for each: `[[edit]]`, then `op = \"zero\"`, `site = \"unet.mid_block\"`, `steps = \"1-5\"`";
    if let Some(other) = table.keys().find(|key| *key != "edit") {
        return Err(Error::invalid(format!("`{other}` is no edit"), hint));
    }
    let Some(toml::Value::Array(all)) = table.get("edit") else {
        return Err(Error::invalid("there are no edits", hint));
    };
    all.iter().map(|value| as_typed(value, hint)).collect()
}

fn as_typed(value: &toml::Value, hint: &str) -> Result<String> {
    let typed = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Table(table) => {
            let word = |key: &str| table.get(key).and_then(toml::Value::as_str);
            let Some(op) = word("op") else { return Err(Error::invalid("an edit without `op`", hint)) };
            let site = word("site").map(|site| quoted(site, false)).transpose()?;
            let mut parts: Vec<String> = [op.to_string()].into_iter().chain(site).collect();
            for (key, value) in table.iter().filter(|(key, _)| !["op", "site"].contains(&key.as_str())) {
                parts.push(format!("{key}={}", quoted(&plain(key, value)?, true)?));
            }
            parts.join(" ")
        }
        _ => return Err(Error::invalid("an edit is a table or a text", hint)),
    };
    typed.parse::<Edit>()?;
    Ok(typed)
}

/// A value as it would be typed: a list with commas.
fn plain(key: &str, value: &toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(yes) => yes.to_string(),
        toml::Value::Array(all) => all.iter().map(|one| plain(key, one)).collect::<Result<Vec<_>>>()?.join(","),
        other => {
            let message = format!("`{key}` is {}", other.type_str());
            return Err(Error::invalid(message, "write a text, a number or a list of them"));
        }
    })
}

/// A text in the quotes that it needs.
fn quoted(text: &str, may_be_empty: bool) -> Result<String> {
    let needs = text.contains(|letter: char| letter.is_whitespace() || letter == '"' || letter == '\'');
    match (needs || (may_be_empty && text.is_empty()), text.contains('\''), text.contains('"')) {
        (false, ..) => Ok(text.into()),
        (true, false, _) => Ok(format!("'{text}'")),
        (true, true, false) => Ok(format!("\"{text}\"")),
        (true, true, true) => Err(Error::invalid(format!("`{text}` has both kinds of quotes"), "leave one kind away")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_are_what_would_be_typed() {
        let text = "[[edit]]\nop = \"zero\"\nsite = \"unet.**.attn2\"\nsteps = \"1-5\"\nheads = [0, 3]\n\
                    [[edit]]\nop = \"prompt\"\nsite = \"unet.**\"\ntext = \"a friend's cat\"\n";
        let edits = parse(text).unwrap();
        assert_eq!(edits[0].parse::<Edit>().unwrap(), "zero unet.**.attn2 steps=1-5 heads=0,3".parse().unwrap());
        assert_eq!(edits[1], "prompt unet.** text=\"a friend's cat\"");
        assert_eq!(parse("edit = [\"zero mid\"]").unwrap(), ["zero mid"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("[[edit]]\nsite = \"mid\"", "without `op`"),
            ("[[edits]]\nop = \"zero\"", "`edits` is no edit"),
            ("", "no edits"),
            ("edit = [1]", "a table or a text"),
            ("x", "TOML"),
            ("[[edit]]\nop = \"zero\"\nsite = \"mid\"\nby = 1", "unknown key `by`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
