//! A prompt as the text encoder sees it.

use crate::model::tokenizer::{Encoded, pieces};
use crate::show::table::Table;
use std::fmt;

/// A prompt's tokens and the places they take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTable {
    prompt: String,
    pieces: Vec<String>,
    encoded: Encoded,
}

impl TokenTable {
    pub(super) fn new(prompt: &str, encoded: Encoded) -> TokenTable {
        let pieces = encoded.tokens.iter().map(|token| token.piece.clone()).collect();
        TokenTable { prompt: prompt.into(), pieces, encoded }
    }

    /// The ids of all places of the window: begin-of-text, the prompt, end-of-text, padding.
    pub fn ids(&self) -> &[i64] {
        &self.encoded.ids
    }

    /// The vocabulary's pieces from begin-of-text to the first end-of-text; `</w>` stands at a word's end.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// Places before the padding.
    pub fn used(&self) -> usize {
        self.pieces.len()
    }

    /// The end of the prompt that did not fit, as it was written.
    pub fn cut(&self) -> Option<&str> {
        self.encoded.cut.as_deref()
    }

    /// As a table.
    pub fn table(&self) -> Table {
        let read = pieces::readable(self.pieces.iter().map(String::as_str));
        let mut rows: Vec<Vec<String>> = vec![];
        for (place, (token, piece)) in self.encoded.tokens.iter().zip(read).enumerate() {
            rows.push(vec![place.to_string(), token.id.to_string(), piece.text]);
        }
        let (used, window) = (self.used(), self.ids().len());
        let mut heading = format!("“{}”: {used} of {window} places used", self.prompt);
        if let Some(cut) = self.cut() {
            heading += &format!("; cut, not seen by the model: “{cut}”");
        }
        Table { heading, titles: vec!["place", "id", "piece"], rows, numbers: 0..2 }
    }

    /// Shows the table where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

impl fmt::Display for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.table().fmt(f)
    }
}
