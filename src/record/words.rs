//! How words of a prompt are named: `apple`, `red apple`, `apple@2`, `#5`, `<start>`, `<end>`, `<padding>`.
//!
//! Enters: what was typed, and the columns of a recorded text. Leaves: the columns that are meant. A word stands for all its
//! tokens and for all places where it occurs; `@2` takes its second occurrence alone. Capitals do not count, and a comma
//! behind a word is a token of its own.

use crate::error::{Error, Result};
use crate::record::attention::{AttendedText, Column, ColumnKind};
use std::fmt;
use std::str::FromStr;

/// What ends a word in the vocabulary's pieces.
const WORD_END: &str = "</w>";

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Words that follow each other: all their occurrences, or one, counted from 1.
    Spelled(String, Option<usize>),
    /// What stands at a place, counted from 0, which is begin-of-text.
    Place(usize),
    /// All columns of a kind that is no word.
    Kind(ColumnKind),
}

impl FromStr for Word {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let typed = text.trim();
        match typed.to_lowercase().as_str() {
            "<start>" => return Ok(Word::Kind(ColumnKind::Start)),
            "<end>" => return Ok(Word::Kind(ColumnKind::End)),
            "<padding>" | "<pad>" => return Ok(Word::Kind(ColumnKind::Padding)),
            name if name.len() > 2 && name.starts_with('<') && name.ends_with('>') => {
                return Err(Error::unknown("part of the text", typed, ["<start>", "<end>", "<padding>"]));
            }
            _ => {}
        }
        if let Some(place) = typed.strip_prefix('#').filter(|rest| !rest.is_empty()) {
            let wrong = |_| {
                Error::invalid(
                    format!("`{typed}` names no place"),
                    "such as `#5`: places are counted from 0, the begin-of-text",
                )
            };
            let place = place.parse().map_err(wrong)?;
            return Ok(Word::Place(place));
        }
        let (word, occurrence) = match typed.rsplit_once('@') {
            Some((word, number)) if !word.is_empty() && number.parse::<usize>().is_ok() => (word, number.parse().ok()),
            _ => (typed, None),
        };
        match (normal(word), occurrence) {
            (word, _) if word.is_empty() => Err(Error::invalid("a word is empty", "name a word of the prompt")),
            (_, Some(0)) => Err(Error::invalid(
                format!("`{typed}` names no occurrence"),
                "such as `apple@2`: they are counted from 1",
            )),
            (word, occurrence) => Ok(Word::Spelled(word, occurrence)),
        }
    }
}

/// As it may be typed.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Spelled(word, None) => f.pad(word),
            Word::Spelled(word, Some(number)) => write!(f, "{word}@{number}"),
            Word::Place(place) => write!(f, "#{place}"),
            Word::Kind(ColumnKind::Start) => f.pad("<start>"),
            Word::Kind(ColumnKind::End) => f.pad("<end>"),
            Word::Kind(_) => f.pad("<padding>"),
        }
    }
}

/// Lower case, with one blank between words.
fn normal(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Word {
    /// The columns of a text that are meant, in order; none where the word is not in it.
    pub fn columns(&self, text: &AttendedText) -> Vec<usize> {
        let all = text.columns.iter().enumerate();
        match self {
            Word::Kind(kind) => all.filter(|(_, column)| column.kind == *kind).map(|(at, _)| at).collect(),
            Word::Place(place) => {
                let holds = |column: &Column| (column.place..column.place + column.places.max(1)).contains(place);
                all.filter(|(_, column)| holds(column)).map(|(at, _)| at).collect()
            }
            Word::Spelled(word, occurrence) => {
                let runs = occurrences(text, word);
                let taken =
                    |(at, _): &(usize, std::ops::Range<usize>)| occurrence.is_none_or(|number| number == at + 1);
                runs.into_iter().enumerate().filter(taken).flat_map(|(_, run)| run).collect()
            }
        }
    }

    /// The places of the text encoder's windows that are meant: those of the columns, and of a place it alone.
    pub fn places(&self, text: &AttendedText) -> Vec<usize> {
        if let Word::Place(place) = self {
            return if self.columns(text).is_empty() { vec![] } else { vec![*place] };
        }
        let columns = self.columns(text).into_iter().filter_map(|at| text.columns.get(at));
        columns.flat_map(|column| column.place..column.place + column.places.max(1)).collect()
    }

    /// A name for people: of a place also what stands there.
    pub fn label(&self, text: &AttendedText) -> String {
        match (self, self.columns(text).first().and_then(|at| text.columns.get(*at))) {
            (Word::Place(_), Some(column)) => format!("{self} {}", spelled(text, column)),
            _ => self.to_string(),
        }
    }
}

/// What a column stands for, as it was written.
pub fn spelled<'a>(text: &'a AttendedText, column: &'a Column) -> &'a str {
    match column.kind {
        ColumnKind::Start => "<start>",
        ColumnKind::End => "<end>",
        ColumnKind::Padding => "<padding>",
        ColumnKind::Word => {
            let written = column.span.and_then(|[from, to]| text.text.get(from..to));
            written.unwrap_or_else(|| column.piece.trim_end_matches(WORD_END))
        }
    }
}

/// Where tokens that follow each other spell a word, whole.
fn occurrences(text: &AttendedText, word: &str) -> Vec<std::ops::Range<usize>> {
    let columns = &text.columns;
    let mut found: Vec<std::ops::Range<usize>> = vec![];
    let mut from = 0;
    while from < columns.len() {
        let ends = (from + 1..=columns.len()).take_while(|end| follow(&columns[from..*end]));
        let whole = |end: &usize| {
            !inside(columns, from) && !inside(columns, *end) && normal(&written(text, from..*end)) == word
        };
        match ends.filter(whole).last() {
            Some(end) => {
                found.push(from..end);
                from = end;
            }
            None => from += 1,
        }
    }
    found
}

/// Whether all are tokens of the text, each right behind the one before.
fn follow(columns: &[Column]) -> bool {
    let tokens = columns.iter().all(|column| column.kind == ColumnKind::Word);
    tokens && columns.windows(2).all(|pair| pair[1].place == pair[0].place + 1)
}

/// Whether a word of the vocabulary goes on across the border before column `at`.
fn inside(columns: &[Column], at: usize) -> bool {
    let Some((before, behind)) = at.checked_sub(1).and_then(|before| Some((columns.get(before)?, columns.get(at)?)))
    else {
        return false;
    };
    let tokens = [before, behind].iter().all(|column| column.kind == ColumnKind::Word);
    tokens && before.word == behind.word && !before.piece.ends_with(WORD_END)
}

/// What columns that follow each other spell.
fn written(text: &AttendedText, columns: std::ops::Range<usize>) -> String {
    let columns = &text.columns[columns];
    let ends = columns.first().and_then(|c| c.span).zip(columns.last().and_then(|c| c.span));
    match ends.and_then(|([from, _], [_, to])| text.text.get(from..to)) {
        Some(written) => written.to_string(),
        None => columns.iter().map(|column| column.piece.replace(WORD_END, " ")).collect(),
    }
}

/// The words of a text, each once, in order: what blanks part, without punctuation of its own.
pub fn words_of(text: &AttendedText) -> Vec<Word> {
    let mut words: Vec<Word> = vec![];
    let mut numbers: Vec<usize> = text.columns.iter().filter_map(|column| column.word).collect();
    numbers.dedup();
    for number in numbers {
        // A word ends where its letters do: the comma behind it is another token.
        let own = text.columns.iter().filter(|column| column.word == Some(number));
        let letters = |column: &&Column| spelled(text, column).chars().any(char::is_alphanumeric);
        let kept: Vec<&Column> = own.filter(letters).collect();
        let ends = kept.first().and_then(|c| c.span).zip(kept.last().and_then(|c| c.span));
        let written = ends.and_then(|([from, _], [_, to])| text.text.get(from..to)).map(normal);
        let pieces = || normal(&kept.iter().map(|column| column.piece.trim_end_matches(WORD_END)).collect::<String>());
        let word = Word::Spelled(written.unwrap_or_else(pieces), None);
        if !kept.is_empty() && !words.contains(&word) && !word.columns(text).is_empty() {
            words.push(word);
        }
    }
    words
}

/// The columns of all tokens of a text: without start, end and padding.
pub fn tokens_of(text: &AttendedText) -> Vec<usize> {
    let all = text.columns.iter().enumerate();
    all.filter(|(_, column)| column.kind == ColumnKind::Word).map(|(at, _)| at).collect()
}

/// Checks that each word is in one of the texts.
///
/// # Errors
/// Names the one that is not, the nearest there is, and all there are.
pub fn check(words: &[Word], texts: &[&AttendedText]) -> Result<()> {
    for word in words {
        if texts.iter().any(|text| !word.columns(text).is_empty()) {
            continue;
        }
        let mut known: Vec<String> = vec![];
        for text in texts {
            for there in words_of(text).iter().map(Word::to_string) {
                if !known.contains(&there) {
                    known.push(there);
                }
            }
        }
        return Err(match word {
            Word::Spelled(spelled, None) => Error::unknown("word of the prompt", spelled, known),
            Word::Spelled(spelled, Some(_)) => {
                let most = texts.iter().map(|text| occurrences(text, spelled).len()).max().unwrap_or(0);
                let message =
                    format!("the prompt has no `{word}`: `{spelled}` is in it {}", crate::units::count(most, "time"));
                Error::invalid(message, format!("its words: {}", known.join(", ")))
            }
            Word::Place(_) => {
                let places = texts.iter().map(|text| text.places).max().unwrap_or(0);
                Error::invalid(format!("the prompt has no place `{word}`"), format!("it has {places}, counted from 0"))
            }
            Word::Kind(_) => Error::invalid(
                format!("the prompt has no `{word}`"),
                "a prompt that fills the text encoder's window has no padding",
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `a red Apple, a grün apple` with `grün` in two pieces, and columns for start, end and padding.
    fn text() -> AttendedText {
        let written = "a red Apple, a grün apple";
        let tokens = [
            ("a</w>", 0, [0, 1]),
            ("red</w>", 1, [2, 5]),
            ("apple</w>", 2, [6, 11]),
            (",</w>", 2, [11, 12]),
            ("a</w>", 3, [13, 14]),
            ("gr", 4, [15, 17]),
            ("Ã¼n</w>", 4, [17, 20]),
            ("apple</w>", 5, [21, 26]),
        ];
        let special = |kind, place, places| Column { kind, place, places, ..Column::default() };
        let mut columns = vec![special(ColumnKind::Start, 0, 1)];
        for (at, (piece, word, span)) in tokens.into_iter().enumerate() {
            let (piece, word) = (piece.into(), Some(word));
            columns.push(Column { piece, word, span: Some(span), ..special(ColumnKind::Word, at + 1, 1) });
        }
        columns.push(special(ColumnKind::End, 9, 1));
        columns.push(special(ColumnKind::Padding, 10, 67));
        AttendedText { text: written.into(), places: 77, columns }
    }

    fn columns(typed: &str) -> Vec<usize> {
        typed.parse::<Word>().unwrap().columns(&text())
    }

    #[test]
    fn words_are_found() {
        assert_eq!(columns("apple"), [3, 8]);
        assert_eq!(columns("APPLE@2"), [8]);
        assert_eq!(columns("apple@3"), [0; 0]);
        assert_eq!(columns("red  apple"), [2, 3]);
        assert_eq!(columns("Apple,"), [3, 4]);
        assert_eq!((columns("grün"), columns("gr"), columns("ün")), (vec![6, 7], vec![], vec![]));
        assert_eq!(columns("a"), [1, 5]);
        assert_eq!(columns("app"), [0; 0]);
        assert_eq!((columns("#5"), columns("#12"), columns("#77")), (vec![5], vec![10], vec![]));
        assert_eq!((columns("<start>"), columns("<end>"), columns("<Padding>")), (vec![0], vec![9], vec![10]));
        assert_eq!(tokens_of(&text()), [1, 2, 3, 4, 5, 6, 7, 8]);
        let places = |typed: &str| typed.parse::<Word>().unwrap().places(&text());
        assert_eq!((places("apple"), places("#12"), places("#77")), (vec![3, 8], vec![12], vec![]));
        assert_eq!(places("<padding>"), (10..77).collect::<Vec<_>>());
    }

    #[test]
    fn without_places_in_the_text_pieces_tell() {
        let mut text = text();
        text.columns.iter_mut().for_each(|column| column.span = None);
        assert_eq!("red apple".parse::<Word>().unwrap().columns(&text), [2, 3]);
    }

    #[test]
    fn the_words_of_a_text_have_no_commas() {
        let words: Vec<String> = words_of(&text()).iter().map(Word::to_string).collect();
        assert_eq!(words, ["a", "red", "apple", "grün"]);
        assert_eq!("#5".parse::<Word>().unwrap().label(&text()), "#5 a");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let refused = |typed: &str| {
            let error = typed.parse::<Word>().and_then(|word| check(&[word], &[&text()])).unwrap_err();
            format!("{error}; {}", error.hint().unwrap_or_default())
        };
        let all = ["appel", "apple@3", "apple@0", "#99", "#x", "<stat>", " "].map(refused);
        assert_eq!(
            all,
            [
                "unknown word of the prompt `appel`; did you mean `apple`?; one of: a, red, apple, grün",
                "the prompt has no `apple@3`: `apple` is in it 2 times; its words: a, red, apple, grün",
                "`apple@0` names no occurrence; such as `apple@2`: they are counted from 1",
                "the prompt has no place `#99`; it has 77, counted from 0",
                "`#x` names no place; such as `#5`: places are counted from 0, the begin-of-text",
                "unknown part of the text `<stat>`; did you mean `<start>`?; one of: <start>, <end>, <padding>",
                "a word is empty; name a word of the prompt",
            ]
        );
    }
}
