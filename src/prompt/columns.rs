//! What the columns of attention maps stand for: the places of a text's windows, with the words that they belong to.
//!
//! Enters: a text, plain or cut into weighted chunks. Leaves: an [`AttendedText`], whose columns name each place, or the
//! padding of a window in one.

use super::attention::{self, Piece};
use crate::error::Result;
use crate::model::tokenizer::Tokenizer;
use crate::record::attention::{AttendedText, Column, ColumnKind};
use crate::record::conditions::Text;
use crate::record::schema::Token;
use std::ops::Range;

/// A token, and which bytes of the text it stands for.
type Spelt = (Token, Range<usize>);

/// How the columns of a run's texts are made.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// The tokenizer that made the texts' tokens.
    pub tokenizer: &'a Tokenizer,
    /// Windows of each text; those that have fewer are filled up.
    pub chunks: usize,
    /// Whether each place of the padding has a column of its own.
    pub all: bool,
}

impl Columns<'_> {
    /// Of a prompt that is read as it is written, and cut to one window.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn plain(&self, prompt: &str) -> Result<AttendedText> {
        let mut tokens = self.tokenizer.spelt(prompt)?;
        tokens.truncate(self.tokenizer.window().saturating_sub(2));
        Ok(self.text(prompt.into(), vec![tokens]))
    }

    /// Of a text in the web UI's syntax, whose chunks are known.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn weighted(&self, text: &Text) -> Result<AttendedText> {
        let (mut plain, mut tokens) = (String::new(), vec![]);
        for piece in attention::parse(&text.text) {
            let Piece::Text { text, .. } = piece else {
                plain.push(' ');
                continue;
            };
            let before = plain.len();
            let spelt = self.tokenizer.spelt(&text)?.into_iter();
            tokens.extend(spelt.map(|(token, span)| (token, before + span.start..before + span.end)));
            plain += &text;
        }
        // The chunks hold the same tokens in the same order.
        let mut tokens = tokens.into_iter();
        let chunks = text.chunks.iter().map(|chunk| tokens.by_ref().take(chunk.len()).collect()).collect();
        Ok(self.text(plain, chunks))
    }

    fn text(&self, text: String, mut chunks: Vec<Vec<Spelt>>) -> AttendedText {
        let window = self.tokenizer.window();
        chunks.resize(self.chunks.max(chunks.len()), vec![]);
        let places = window * chunks.len();
        let words = words(&text);
        let columns = chunks.into_iter().enumerate().flat_map(|(chunk, tokens)| self.chunk(chunk, tokens, &words));
        let columns = columns.collect();
        AttendedText { text, places, columns }
    }

    /// The columns of a window: start, tokens, end, padding.
    fn chunk(&self, chunk: usize, tokens: Vec<Spelt>, words: &[Range<usize>]) -> Vec<Column> {
        let window = self.tokenizer.window();
        let [start, end] = self.tokenizer.ends();
        let special = |token: &Token, kind| Column {
            kind,
            id: token.id,
            piece: token.piece.clone(),
            places: 1,
            chunk,
            ..Column::default()
        };
        let word = |(token, span): Spelt| Column {
            word: words.iter().position(|word| word.start <= span.start && span.start < word.end),
            span: Some([span.start, span.end]),
            ..special(&token, ColumnKind::Word)
        };
        let mut columns = vec![special(&start, ColumnKind::Start)];
        columns.extend(tokens.into_iter().map(word));
        columns.push(special(&end, ColumnKind::End));
        let padding = special(&self.tokenizer.padding(), ColumnKind::Padding);
        match window.saturating_sub(columns.len()) {
            0 => {}
            left if self.all => columns.extend(vec![padding; left]),
            left => columns.push(Column { places: left, ..padding }),
        }
        let mut place = window * chunk;
        for column in &mut columns {
            column.place = place;
            place += column.places;
        }
        columns
    }
}

/// The words of a text: what blanks part.
fn words(text: &str) -> Vec<Range<usize>> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| start(word)..start(word) + word.len()).collect()
}
