//! A prompt in the syntax of AUTOMATIC1111's web UI, read whole: parts, schedules, weights, chunks.
//!
//! Enters: prompt and negative prompt, and how many steps there are. Leaves: [`Conditions`], which the pipeline encodes
//! and the record keeps.

use super::attention::{self, Piece};
use super::chunks::{self, Unit};
use super::{compose, extras, schedule};
use crate::error::{Error, Result};
use crate::model::tokenizer::Tokenizer;
use crate::record::conditions::{Conditions, Phase, PromptPart, Text, WeightedToken};
use crate::record::schema::Token;
use regex::Regex;
use std::sync::OnceLock;

/// Reads a prompt and a negative prompt for a run of `steps` model calls.
///
/// # Errors
/// When nothing is left of the prompt to draw, its brackets nest too deep, or the tokenizer refuses a text.
pub fn read(tokenizer: &Tokenizer, prompt: &str, negative: &str, steps: usize) -> Result<Conditions> {
    let mut all = Conditions::default();
    all.negative_prompt = phases(tokenizer, &extras::without_comments(negative), steps, &mut all.texts)?;
    for part in compose::parse(&extras::without_tags(&extras::without_comments(prompt)).0) {
        let schedule = phases(tokenizer, &part.text, steps, &mut all.texts)?;
        all.prompt.push(PromptPart { weight: part.weight, schedule });
    }
    let mut drawn = all.prompt.iter().flat_map(|part| &part.schedule).flat_map(|phase| &all.texts[phase.text].chunks);
    if drawn.all(Vec::is_empty) {
        return Err(Error::invalid(
            format!("the prompt `{prompt}` is empty once its brackets, comments and tags are read"),
            r"say what to draw; a bracket that is meant as such is written `\(` or `\[`",
        ));
    }
    Ok(all)
}

/// The phases of one text; those that are new are added to `texts`.
fn phases(tokenizer: &Tokenizer, text: &str, steps: usize, texts: &mut Vec<Text>) -> Result<Vec<Phase>> {
    let mut phases: Vec<Phase> = vec![];
    for schedule::Phase { until, text } in schedule::parse(text, steps)? {
        let known = texts.iter().position(|t| t.text == text);
        let at = match known {
            Some(at) => at,
            None => {
                texts.push(Text { chunks: weighted(tokenizer, &text)?, text });
                texts.len() - 1
            }
        };
        match phases.last_mut() {
            Some(last) if last.text == at => last.until = until,
            _ => phases.push(Phase { until, text: at }),
        }
    }
    Ok(phases)
}

/// The chunks of a text, each piece of one weight tokenized by itself.
fn weighted(tokenizer: &Tokenizer, text: &str) -> Result<Vec<Vec<WeightedToken>>> {
    let mut units = vec![];
    for piece in attention::parse(text) {
        let Piece::Text { text, weight } = piece else {
            units.push(Unit::Break);
            continue;
        };
        let mut tokens =
            tokenizer.tokens(&text)?.into_iter().map(|t| WeightedToken { id: t.id, piece: t.piece, weight });
        while let Some(first) = tokens.next() {
            let others = tokenizer.vectors(first.id) - 1;
            units.push(Unit::Word([first].into_iter().chain(tokens.by_ref().take(others)).collect()));
        }
    }
    Ok(chunks::split(units, tokenizer.window().saturating_sub(2), tokenizer.comma()))
}

/// The tokens of a text, from the first chunk's begin-of-text to the last one's end-of-text.
pub fn tokens(tokenizer: &Tokenizer, text: &Text) -> Vec<Token> {
    let [bos, eos] = tokenizer.ends();
    let inner = |t: &WeightedToken| Token { id: t.id, piece: t.piece.clone() };
    let chunk = |chunk: &Vec<WeightedToken>| {
        let ends = ([bos.clone()], [eos.clone()]);
        ends.0.into_iter().chain(chunk.iter().map(inner)).chain(ends.1).collect::<Vec<_>>()
    };
    text.chunks.iter().flat_map(chunk).collect()
}

/// Whether a text looks as if it was written for a web UI: `(x:1.3)`, `((x))`, `[a:b:0.5]`, `[a|b]`, `BREAK`, `AND`.
pub fn looks_weighted(text: &str) -> bool {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    let pattern = || {
        let number = r":\s*[-+]?([0-9]+\.?|[0-9]*\.[0-9]+)\s*";
        let marks = [
            r"\(\(".to_string(),
            r"\[\[".into(),
            format!(r"\([^()]*{number}\)"),
            format!(r"\[[^\[\]]*{number}\]"),
            r"\[[^\[\]|]*\|[^\[\]]*\]".into(),
            r"[[:lower:]][^[:upper:]]*\b(AND|BREAK)\b".into(),
        ];
        Regex::new(&marks.join("|")).ok()
    };
    PATTERN.get_or_init(pattern).as_ref().is_some_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_uis_marks_are_known() {
        for text in ["a (cat:1.3)", "((cat))", "a [cat:dog:0.5]", "[cat:5]", "[a|b]", "a cat AND a dog", "x BREAK y"] {
            assert!(looks_weighted(text), "{text}");
        }
        for text in ["a cat (sitting)", "at 12:30", "[sic]", "ROCK AND ROLL", "(see: the cat)", "a | b"] {
            assert!(!looks_weighted(text), "{text}");
        }
    }
}
