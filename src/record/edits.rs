//! What a record says of a run that was changed on its way: each edit as it was asked for, and what it comes to with this
//! model and this schedule.
//!
//! Enters and leaves: a part of `run.json`. A run that nobody changed has none of it.

use serde::{Deserialize, Deserializer, Serialize};

/// What parts several edits that are written as one text.
pub const THEN: &str = " + ";

/// One edit of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedEdit {
    /// The edit as it was asked for: `zero unet.mid_block steps=1-5`.
    pub edit: String,
    /// The sites that it changes, in the order of computation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// The steps at which it does, as ranges: `1-5,9`. Empty where it is switched off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub steps: String,
    /// Which predictions it changes, where its sites have several: `text`, `uncond` or `both`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// The tokens that its words are, as `text:place`: `prompt:3`, `negative:2`, and with scheduled prompts the text's
    /// number, `0:3`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// SHA-256 over all of this and over the files that it names, hexadecimal, the first 16 digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
}

impl PlannedEdit {
    /// An edit that has not met a model yet.
    pub fn asked(text: impl Into<String>) -> PlannedEdit {
        PlannedEdit { edit: text.into(), ..PlannedEdit::default() }
    }

    /// Those that a text names: none of an empty one, several where ` + ` stands between them outside of quotes.
    pub fn of_text(text: &str) -> Vec<PlannedEdit> {
        let parts = PlannedEdit::parts(text, THEN);
        parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(PlannedEdit::asked).collect()
    }

    /// The parts of a text that `mark` parts, except inside of quotes.
    pub fn parts(text: &str, mark: &str) -> Vec<String> {
        let (mut parts, mut open) = (vec![String::new()], None);
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if open.is_none() && rest.starts_with(mark) {
                parts.push(String::new());
                rest = &rest[mark.len()..];
                continue;
            }
            match open {
                Some(quote) if quote == next => open = None,
                None if ['\'', '"'].contains(&next) => open = Some(next),
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(next);
            }
            rest = &rest[next.len_utf8()..];
        }
        parts
    }

    /// Several as one text, which [`PlannedEdit::of_text`] reads.
    pub fn as_text(edits: &[PlannedEdit]) -> String {
        edits.iter().map(|edit| edit.edit.as_str()).collect::<Vec<_>>().join(THEN)
    }
}

/// A plan's edits as a file may have them: a list, of texts or of what was resolved, or one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<One>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum One {
    Text(String),
    Whole(PlannedEdit),
}

/// Reads a plan's edits in any of the forms that they may be written in.
///
/// # Errors
/// When they are written in none of them.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PlannedEdit>, D::Error> {
    let edits = match Option::<Written>::deserialize(deserializer)? {
        None => vec![],
        Some(Written::Text(text)) => PlannedEdit::of_text(&text),
        Some(Written::List(list)) => list
            .into_iter()
            .map(|one| match one {
                One::Text(text) => PlannedEdit::asked(text),
                One::Whole(edit) => edit,
            })
            .collect(),
    };
    Ok(edits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::plan::Plan;

    #[test]
    fn several_edits_are_one_text_and_back() {
        let text = "zero mid steps=1-5 + prompt **.attn2 text='a cat + a dog'";
        let edits = PlannedEdit::of_text(text);
        let texts: Vec<&str> = edits.iter().map(|edit| edit.edit.as_str()).collect();
        assert_eq!(texts, ["zero mid steps=1-5", "prompt **.attn2 text='a cat + a dog'"]);
        assert_eq!(PlannedEdit::as_text(&edits), text);
        assert!(PlannedEdit::of_text(" ").is_empty());
    }

    #[test]
    fn a_plan_reads_edits_in_each_form_and_writes_none_where_there_are_none() {
        let read = |json: &str| serde_json::from_str::<Plan>(json).unwrap().edits;
        let one = vec![PlannedEdit::asked("zero mid")];
        assert_eq!(read(r#"{"edits": "zero mid"}"#), one);
        assert_eq!(read(r#"{"edits": ["zero mid"]}"#), one);
        assert_eq!(read(r#"{"edits": [{"edit": "zero mid"}]}"#), one);
        assert!(read("{}").is_empty() && read(r#"{"edits": null}"#).is_empty());
        assert!(serde_json::to_value(Plan::default()).unwrap().get("edits").is_none());
    }
}
