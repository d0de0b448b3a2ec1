//! Weights in a prompt, as AUTOMATIC1111's web UI reads them.
//!
//! Enters: a text. Leaves: its pieces, each with a weight, and the places where a new window of tokens begins. `(x)` is
//! 1.1 times as heavy, `[x]` 1.1 times lighter, `(x:1.3)` 1.3 times as heavy; brackets multiply. `\(`, `\)`, `\[`, `\]` and
//! `\\` are the characters themselves. A bracket that is never closed reaches to the end; one that was never opened is
//! text, and so is a weight that is no number.

use regex::Regex;
use std::sync::OnceLock;

/// What a pair of brackets multiplies by: round ones, and square ones by its inverse.
const STEP: f64 = 1.1;

/// The weight at the end of a round bracket.
const WEIGHT: &str = r"^:\s*([+-]?[.0-9]+)\s*\)";

/// The word that begins a new window.
const BREAK: &str = r"\s*\bBREAK\b\s*";

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Words that weigh the same.
    Text {
        /// The words, with the spaces around them.
        text: String,
        /// What their embeddings are multiplied by.
        weight: f64,
    },
    /// `BREAK`: a new window of tokens begins.
    Break,
}

/// The pieces of a text, from left to right; neighbours of one weight are one piece. An empty text is one empty piece.
pub fn parse(prompt: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = vec![];
    // Where the brackets that are open now began.
    let (mut round, mut square): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '\\' => {
                let escaped = rest[1..].chars().next().filter(|c| "()[]\\".contains(*c));
                taken += escaped.map_or(0, char::len_utf8);
                pieces.extend(escaped.map(|c| text(c.to_string())));
            }
            '(' => round.push(pieces.len()),
            '[' => square.push(pieces.len()),
            ')' | ':' if !round.is_empty() && closing(rest).is_some() => {
                if let (Some(began), Some((factor, length))) = (round.pop(), closing(rest)) {
                    multiply(&mut pieces[began..], factor);
                    taken = length;
                }
            }
            ']' if !square.is_empty() => {
                square.pop().into_iter().for_each(|at| multiply(&mut pieces[at..], 1.0 / STEP))
            }
            ')' | ']' | ':' => pieces.push(text(first.to_string())),
            _ => {
                taken = rest.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(rest.len());
                words(&rest[..taken], &mut pieces);
            }
        }
        rest = &rest[taken..];
    }
    round.into_iter().for_each(|began| multiply(&mut pieces[began..], STEP));
    square.into_iter().for_each(|began| multiply(&mut pieces[began..], 1.0 / STEP));
    joined(pieces)
}

fn text(text: String) -> Piece {
    Piece::Text { text, weight: 1.0 }
}

/// What closes a round bracket here: by how much it multiplies, and how many bytes it is long.
fn closing(rest: &str) -> Option<(f64, usize)> {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    if rest.starts_with(')') {
        return Some((STEP, 1));
    }
    let found = PATTERN.get_or_init(|| Regex::new(WEIGHT).ok()).as_ref()?.captures(rest)?;
    Some((found[1].parse().ok()?, found[0].len()))
}

/// Words without brackets, with the breaks among them.
fn words(run: &str, pieces: &mut Vec<Piece>) {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(pattern) = PATTERN.get_or_init(|| Regex::new(BREAK).ok()) else { return pieces.push(text(run.into())) };
    for (i, part) in pattern.split(run).enumerate() {
        if i > 0 {
            pieces.push(Piece::Break);
        }
        if !part.is_empty() {
            pieces.push(text(part.into()));
        }
    }
}

fn multiply(pieces: &mut [Piece], factor: f64) {
    for piece in pieces {
        if let Piece::Text { weight, .. } = piece {
            *weight *= factor;
        }
    }
}

/// Neighbours of one weight in one piece.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = vec![];
    for piece in pieces {
        match (all.last_mut(), piece) {
            (Some(Piece::Text { text, weight }), Piece::Text { text: more, weight: same }) if *weight == same => {
                *text += &more;
            }
            (_, piece) => all.push(piece),
        }
    }
    if all.is_empty() {
        all.push(text(String::new()));
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn of(prompt: &str) -> Vec<(String, f64)> {
        let pair = |piece| match piece {
            Piece::Text { text, weight } => (text, weight),
            Piece::Break => ("BREAK".into(), -1.0),
        };
        parse(prompt).into_iter().map(pair).collect()
    }

    fn check(prompt: &str, expected: &[(&str, f64)]) {
        let expected: Vec<(String, f64)> = expected.iter().map(|(text, weight)| (text.to_string(), *weight)).collect();
        assert_eq!(of(prompt), expected, "{prompt}");
    }

    /// The examples that the web UI's `parse_prompt_attention` documents, to the last digit.
    #[test]
    fn the_web_uis_own_examples() {
        check("normal text", &[("normal text", 1.0)]);
        check("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]);
        check("(unbalanced", &[("unbalanced", 1.1)]);
        check(r"\(literal\]", &[("(literal]", 1.0)]);
        check("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]);
        check(
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            &[
                ("a ", 1.0),
                ("house", 1.5730000000000004),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641000000000006),
                (".", 1.1),
            ],
        );
    }

    #[test]
    fn the_way_people_write() {
        let (cute, rest) = (1.1 * 1.1 * 1.1, 1.1 * 1.1);
        check(
            "(((cute girl))), ((masterpiece)), best quality",
            &[("cute girl", cute), (", ", 1.0), ("masterpiece", rest), (", best quality", 1.0)],
        );
        check("[[x]]", &[("x", 1.0 / 1.1 / 1.1)]);
        check("(x: -0.5 )", &[("x", -0.5)]);
        check("(x:1.2:1.3)", &[("x:1.2", 1.3)]);
    }

    #[test]
    fn what_is_no_weight_is_text() {
        check("(x:heavy) y", &[("x:heavy", 1.1), (" y", 1.0)]);
        check("(x:1.2.3)", &[("x:1.2.3", 1.1)]);
        check("x:1.3) y]", &[("x:1.3) y]", 1.0)]);
        check(r"a\\b \x", &[(r"a\b x", 1.0)]);
        check("", &[("", 1.0)]);
        check("()", &[("", 1.0)]);
        check("（猫:１.２）", &[("（猫:１.２）", 1.0)]);
        check("(猫:１.２) 犬", &[("猫:１.２", 1.1), (" 犬", 1.0)]);
    }

    #[test]
    fn a_break_stands_apart_and_may_stand_in_brackets() {
        check("a BREAK b", &[("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]);
        check("BREAK BREAK", &[("BREAK", -1.0), ("BREAK", -1.0)]);
        check("(a BREAK b)", &[("a", 1.1), ("BREAK", -1.0), ("b", 1.1)]);
        check("BREAKFAST", &[("BREAKFAST", 1.0)]);
    }
}
