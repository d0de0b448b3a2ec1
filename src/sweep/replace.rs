//! Axes that exchange words of the prompt: `cat=cat,dog,owl`, `style:flat=flat,glossy`, `red=red,`.
//!
//! Enters: what was typed after `--replace`, and the prompts. Leaves: axes, and prompts with their words exchanged. All
//! are exchanged at once, so that one axis never finds what another has put there.

use super::axis::Axis;
use super::field::REPLACE;
use super::values;
use crate::error::{Error, Result};
use serde_json::Value;

/// Reads a replacement: the words before the `=` in the prompts, and the values that take their place, of which one may be
/// empty. A name for the axis may stand before, parted by a colon. Quotes hold commas, colons and `=` together.
///
/// # Errors
/// When there is no `=`, nothing before it, or a quote is not closed.
pub fn replacement(text: &str, prompts: &[&str]) -> Result<Axis> {
    let unclear = || {
        Error::invalid(
            format!("`{text}` says not what to replace by what"),
            "write `--replace \"cat=cat,dog,owl\"`; `--replace \"red=red,\"` leaves the word away",
        )
    };
    let (before, after) = values::split_at(text, '=').ok_or_else(unclear)?;
    let (title, words) = name_and_words(before.trim(), prompts)?;
    if words.is_empty() {
        return Err(unclear());
    }
    let values = values::once(values::split_any(after)?.into_iter().map(Value::from).collect());
    Ok(Axis { name: format!("{REPLACE}{words}"), title, values })
}

/// The axis' name, if it has one, and the words. What stands in a prompt as it was typed is words, colon and all.
fn name_and_words(typed: &str, prompts: &[&str]) -> Result<(Option<String>, String)> {
    let stands = |words: &str| prompts.iter().any(|prompt| prompt.contains(words));
    let whole = values::unquoted(typed)?;
    if stands(typed) || stands(&whole) {
        return Ok((None, if stands(typed) { typed.into() } else { whole }));
    }
    match values::split_at(typed, ':') {
        Some((name, words)) if is_name(name.trim()) => Ok((Some(name.trim().into()), values::unquoted(words)?)),
        _ => Ok((None, whole)),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(char::is_alphabetic) && text.chars().all(|c| c.is_alphanumeric() || " _-".contains(c))
}

/// One text with all words exchanged at once: at each place the longest words that stand there. `used` learns which of
/// `pairs`, words and what takes their place, were found.
pub fn exchange(text: &str, pairs: &[(&str, &str)], used: &mut [bool]) -> String {
    let mut exchanged = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let here = pairs.iter().enumerate().filter(|(_, (words, _))| rest.starts_with(words));
        let Some((index, (words, value))) = here.max_by_key(|(_, (words, _))| words.len()) else {
            exchanged.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        used[index] = true;
        rest = &rest[words.len()..];
        exchanged.push_str(value);
        // Words that are left away leave one blank between their neighbours, and none at an end.
        if value.is_empty() {
            if exchanged.is_empty() || exchanged.ends_with(' ') {
                rest = rest.strip_prefix(' ').unwrap_or(rest);
            }
            if rest.is_empty() {
                exchanged.truncate(exchanged.trim_end_matches(' ').len());
            }
        }
    }
    exchanged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Title, words and values.
    fn read(text: &str, prompt: &str) -> (Option<String>, String, Vec<String>) {
        let Axis { name, title, values } = replacement(text, &[prompt]).unwrap();
        let values = values.iter().map(|v| v.as_str().unwrap().to_string()).collect();
        (title, name.strip_prefix(REPLACE).unwrap().into(), values)
    }

    #[test]
    fn words_names_and_values_are_told_apart() {
        for (typed, prompt, title, words, values) in [
            ("cat=cat, dog", "a cat", None, "cat", &["cat", "dog"][..]),
            ("red=red,", "a red cat", None, "red", &["red", ""]),
            ("red=", "a red cat", None, "red", &[""]),
            ("cat=dog,dog,cat", "a cat", None, "cat", &["dog", "cat"]),
            ("style:flat=flat,glossy", "a flat cat", Some("style"), "flat", &["flat", "glossy"]),
            ("art style: flat =flat", "a flat cat", Some("art style"), "flat", &["flat"]),
            // What stands in the prompt is no name.
            ("cat:1.2=cat:1.2,cat:0.8", "a (cat:1.2)", None, "cat:1.2", &["cat:1.2", "cat:0.8"]),
            ("10:30=10:30,noon", "a clock at 10:30", None, "10:30", &["10:30", "noon"]),
            ("weight:\"cat:1.2\"=cat:1.2", "a (cat:1.2)", Some("weight"), "cat:1.2", &["cat:1.2"]),
            ("\"red, round\"=\"red, round\",green", "a red, round cat", None, "red, round", &["red, round", "green"]),
            ("\"a=b\"=\"c=d\"", "a=b", None, "a=b", &["c=d"]),
            ("say \"hi\"=\"say \"\"ho\"\"\"", "they say \"hi\"", None, "say \"hi\"", &["say \"ho\""]),
        ] {
            let (found, found_words, found_values) = read(typed, prompt);
            assert_eq!((found.as_deref(), found_words.as_str()), (title, words), "{typed}");
            assert_eq!(found_values, values, "{typed}");
        }
        for wrong in ["cat", "=cat", "\"\"=cat", "style:=flat", "\"cat=dog"] {
            assert!(replacement(wrong, &["a cat"]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_exchanged_at_once() {
        let exchanged = |text: &str, pairs: &[(&str, &str)]| {
            let mut used = vec![false; pairs.len()];
            (exchange(text, pairs, &mut used), used)
        };
        let swap = [("cat", "dog"), ("dog", "cat")];
        assert_eq!(exchanged("a cat and a dog", &swap), ("a dog and a cat".into(), vec![true, true]));
        // The longest words win, and the others are told not to have been found.
        let within = [("red", "blue"), ("red apple", "pear")];
        assert_eq!(exchanged("a red apple", &within), ("a pear".into(), vec![false, true]));
        for (text, left) in [
            ("a red apple", "a apple"),
            ("red apple", "apple"),
            ("an apple, red", "an apple,"),
            ("red", ""),
            ("red red", ""),
            ("dark-red apple", "dark- apple"),
        ] {
            assert_eq!(exchanged(text, &[("red", "")]).0, left, "{text}");
        }
        assert_eq!(exchanged("ein grüner Apfel", &[("grüner", "roter")]).0, "ein roter Apfel");
    }
}
