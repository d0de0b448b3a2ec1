//! Lists and ranges as they are typed: `5,25,50`, `1-10 (+3)`, `1-10 [4]`, `"red, round",green`.
//!
//! Enters: the text of a flag. Leaves: the values in the order they were written, each once. The syntax of ranges is that
//! of the X/Y/Z plot in AUTOMATIC1111's web UI: a step in round brackets, a count in square ones.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::HashSet;

/// More values than this on one axis are taken for a slip of the finger.
const MOST: usize = 10_000;

/// The parts of a list: commas part them, except inside double quotes, of which `""` means one.
///
/// # Errors
/// When a part is empty or a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>> {
    let parts = split_any(text)?;
    if parts.iter().any(String::is_empty) {
        return Err(Error::invalid(
            format!("an empty value in `{text}`"),
            "part the values by single commas: `5,25,50`",
        ));
    }
    Ok(parts)
}

/// The parts of a list, of which some may be empty.
///
/// # Errors
/// When a quote is not closed.
pub fn split_any(text: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    for (c, quoted) in marked(text)? {
        match parts.last_mut() {
            Some(_) if c == ',' && !quoted => parts.push(String::new()),
            Some(part) => part.push(c),
            None => {}
        }
    }
    Ok(parts.iter().map(|part| part.trim().to_string()).collect())
}

/// The text before the first `mark` that stands outside quotes, and the text after it, both as they were typed.
pub fn split_at(text: &str, mark: char) -> Option<(&str, &str)> {
    let mut quoted = false;
    let found = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == mark && !quoted
    });
    found.map(|(at, c)| (&text[..at], &text[at + c.len_utf8()..]))
}

/// A text without the quotes around it or parts of it.
///
/// # Errors
/// When a quote is not closed.
pub fn unquoted(text: &str) -> Result<String> {
    Ok(marked(text)?.into_iter().map(|(c, _)| c).collect::<String>().trim().to_string())
}

/// The characters of a text without its quotes, each with whether it stands inside of them. `""` inside means one.
fn marked(text: &str) -> Result<Vec<(char, bool)>> {
    let (mut found, mut quoted) = (vec![], false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                found.push(('"', true));
            }
            '"' => quoted = !quoted,
            c => found.push((c, quoted)),
        }
    }
    if quoted {
        return Err(Error::invalid(format!("a quote is not closed in `{text}`"), "close it with another `\"`"));
    }
    Ok(found)
}

/// A list of names.
///
/// # Errors
/// As [`split`].
pub fn names(text: &str) -> Result<Vec<Value>> {
    Ok(once(split(text)?.into_iter().map(Value::from).collect()))
}

/// Whole numbers from 0 up, ranges among them; an even spread (`1-10 [4]`) is rounded. All digits count, also those that
/// a floating-point number would lose.
///
/// # Errors
/// Names the part that is no whole number or no range.
pub fn integers(text: &str) -> Result<Vec<Value>> {
    expand(text, "a whole number", |part| part.parse::<u64>().ok().map(Value::from), Range::whole)
}

/// Numbers from 0 up, ranges among them.
///
/// # Errors
/// Names the part that is no number or no range.
pub fn numbers(text: &str) -> Result<Vec<Value>> {
    // Adding 0 makes 0 of −0.
    let number = |part: &str| part.parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0).map(|x| json!(x + 0.0));
    expand(text, "a number from 0 up", number, Range::real)
}

/// Each part one value, or a range of them.
fn expand(
    text: &str,
    kind: &str,
    one: impl Fn(&str) -> Option<Value>,
    within: impl Fn(&Range) -> Option<Vec<Value>>,
) -> Result<Vec<Value>> {
    let mut values = vec![];
    for part in split(text)? {
        match (one(&part), Range::parse(&part)) {
            (Some(value), _) => values.push(value),
            (None, Some(range)) => {
                let ends_fit = one(&range.ends.0).is_some() && one(&range.ends.1).is_some();
                values.extend(within(&range).filter(|_| ends_fit).ok_or_else(|| bad_range(&part))?);
            }
            (None, None) => {
                return Err(Error::invalid(
                    format!("`{part}` is not {kind} or a range"),
                    "write lists as `5,25,50`, ranges as `1-10`, `1-10 (+3)` for a step, `1-10 [4]` for a count",
                ));
            }
        }
    }
    if values.len() > MOST {
        return Err(Error::invalid(
            format!("`{text}` has {} values", values.len()),
            format!("an axis holds up to {MOST}: give a range a step, as `1-1000 (+100)`"),
        ));
    }
    Ok(once(values))
}

fn bad_range(part: &str) -> Error {
    Error::invalid(
        format!("the range `{part}` leads nowhere"),
        "`1-10 (+3)` counts up, `10-1 (-3)` down; `1-10 [4]` takes 4 values, ends included",
    )
}

/// The values in their order, each once.
pub fn once(mut values: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(value.to_string()));
    values
}

/// The order of two numbers: whole ones by all their digits.
pub fn order(a: &Value, b: &Value) -> Ordering {
    match (a.as_u64(), b.as_u64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
    }
}

/// A range as it was written.
#[derive(Debug, PartialEq)]
struct Range {
    ends: (String, String),
    pace: Pace,
}

#[derive(Debug, PartialEq)]
enum Pace {
    /// Ones, up or down.
    Ones,
    /// A step, as it was written.
    Step(String),
    /// So many values.
    Count(usize),
}

impl Range {
    /// `A-B`, `A-B (+S)`, `A-B (-S)` or `A-B [N]`, with or without blanks.
    fn parse(text: &str) -> Option<Range> {
        let (ends, pace) = match text.find(['(', '[']) {
            Some(at) => (&text[..at], Some(text[at..].trim())),
            None => (text, None),
        };
        let (from, to) = ends.split_once('-')?;
        let ends = (from.trim().to_string(), to.trim().to_string());
        let number = |text: &str| text.parse::<f64>().ok();
        number(&ends.0).and(number(&ends.1))?;
        let pace = match pace {
            None => Pace::Ones,
            Some(pace) => match pace.strip_prefix('(').and_then(|p| p.strip_suffix(')')) {
                Some(step) => number(step.trim()).map(|_| Pace::Step(step.trim().into()))?,
                None => Pace::Count(pace.strip_prefix('[')?.strip_suffix(']')?.trim().parse().ok()?),
            },
        };
        Some(Range { ends, pace })
    }

    /// Its points in real numbers, or `None` where it has none or no end.
    fn real(&self) -> Option<Vec<Value>> {
        let (from, to): (f64, f64) = (self.ends.0.parse().ok()?, self.ends.1.parse().ok()?);
        let spread = |count: usize, point: &dyn Fn(f64) -> f64| {
            // Nine decimals: 0.1 added thrice is 0.3.
            Some((0..count).map(|i| json!((point(i as f64) * 1e9).round() / 1e9)).collect())
        };
        let step = match &self.pace {
            Pace::Ones => {
                if to < from {
                    -1.0
                } else {
                    1.0
                }
            }
            Pace::Step(step) => step.parse().ok()?,
            Pace::Count(0) => return None,
            Pace::Count(1) => return spread(1, &|_| from),
            Pace::Count(count) => {
                let last = (count.min(&(MOST + 1)) - 1) as f64;
                return spread(last as usize + 1, &|i| from + (to - from) * i / last);
            }
        };
        // Half a billionth of slack, so that `0-1 (+0.1)` reaches 1.
        let steps = ((to - from) / step + 1e-9).floor();
        // One point more than the limit is enough for the limit to be named.
        let last = (steps >= 0.0 && steps.is_finite()).then(|| (steps as usize).min(MOST))?;
        spread(last + 1, &|i| from + i * step)
    }

    /// Its points in whole numbers, or `None` where it has none, no end, or a step that is no whole number.
    fn whole(&self) -> Option<Vec<Value>> {
        let end = |text: &str| text.parse::<u64>().ok().map(i128::from);
        let (from, to) = (end(&self.ends.0)?, end(&self.ends.1)?);
        let values =
            |points: &mut dyn Iterator<Item = i128>| points.map(|x| u64::try_from(x).ok().map(Value::from)).collect();
        let step = match &self.pace {
            Pace::Ones => {
                if to < from {
                    -1
                } else {
                    1
                }
            }
            Pace::Step(step) => step.parse::<i64>().ok().map(i128::from).filter(|step| *step != 0)?,
            Pace::Count(0) => return None,
            Pace::Count(1) => return values(&mut std::iter::once(from)),
            Pace::Count(count) => {
                let last = (*count).min(MOST + 1) as i128 - 1;
                // Halves are rounded up.
                return values(
                    &mut (0..=last).map(|i| (2 * (from * last + (to - from) * i) + last).div_euclid(2 * last)),
                );
            }
        };
        let last = ((to - from) / step).min(MOST as i128);
        let leads = (to - from).signum() * step.signum() >= 0;
        leads.then(|| values(&mut (0..=last).map(|i| from + i * step)))?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn floats(text: &str) -> Vec<f64> {
        numbers(text).unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn whole(text: &str) -> Vec<u64> {
        integers(text).unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
    }

    #[test]
    fn lists_and_ranges_are_those_of_the_web_ui() {
        assert_eq!(whole("5,25, 50"), [5, 25, 50]);
        assert_eq!(whole("1-5"), [1, 2, 3, 4, 5]);
        assert_eq!(whole("1-10 (+3)"), [1, 4, 7, 10]);
        assert_eq!(whole("1-9(+3)"), [1, 4, 7]);
        assert_eq!(whole("1-10 [4]"), [1, 4, 7, 10]);
        assert_eq!(whole("1-10 [5]"), [1, 3, 6, 8, 10]);
        assert_eq!(whole("10-1 (-4)"), [10, 6, 2]);
        assert_eq!(whole("3-1"), [3, 2, 1]);
        assert_eq!(whole("1-3, 7, 2"), [1, 2, 3, 7]);
        assert_eq!(floats("1,4,7.5"), [1.0, 4.0, 7.5]);
        assert_eq!(floats("0-1 (+0.1)").len(), 11);
        assert_eq!(floats("0-0.3 (+0.1)"), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(floats("1.5-7.5 [3]"), [1.5, 4.5, 7.5]);
    }

    #[test]
    fn a_seed_keeps_all_its_digits() {
        const LAST: u64 = u64::MAX;
        assert_eq!(whole("18446744073709551615"), [LAST]);
        assert_eq!(whole("18446744073709551613-18446744073709551615"), [LAST - 2, LAST - 1, LAST]);
        assert_eq!(whole("9007199254740993,9007199254740992"), [9007199254740993, 9007199254740992]);
        assert_eq!(whole("9007199254740995-9007199254740992 (-2)"), [9007199254740995, 9007199254740993]);
        assert_eq!(whole("0-18446744073709551615 [3]"), [0, 1 << 63, LAST]);
        assert!(integers("18446744073709551616").is_err());
    }

    #[test]
    fn a_value_that_is_there_twice_counts_once() {
        assert_eq!(whole("1,2,1-3"), [1, 2, 3]);
        assert_eq!(floats("4,4.0,0,-0,4e0"), [4.0, 0.0]);
        assert_eq!(names("a, a,\"a\"").unwrap(), ["a"]);
    }

    #[test]
    fn quotes_hold_commas_together() {
        assert_eq!(split(r#""red, round",green, "say ""hi""" "#).unwrap(), ["red, round", "green", "say \"hi\""]);
        assert!(split("\"red").unwrap_err().to_string().contains("not closed"));
        assert!(split("a,,b").unwrap_err().to_string().contains("empty value"));
        assert_eq!(split_any("a,,\"\", b").unwrap(), ["a", "", "", "b"]);
        assert_eq!(split_at("\"a=b\"=c=d", '='), Some(("\"a=b\"", "c=d")));
        assert_eq!(split_at("\"a=b\"", '='), None);
        assert_eq!(unquoted("\"a, \"\"b\"\"\"").unwrap(), "a, \"b\"");
    }

    #[test]
    fn what_is_no_value_is_named() {
        for (text, message) in [
            ("5,many", "`many` is not a whole number or a range"),
            ("1.5", "`1.5` is not a whole number or a range"),
            ("1-5 (-1)", "the range `1-5 (-1)` leads nowhere"),
            ("1-5 (+0)", "the range `1-5 (+0)` leads nowhere"),
            ("1-5 (+0.5)", "the range `1-5 (+0.5)` leads nowhere"),
            ("1-5 [0]", "the range `1-5 [0]` leads nowhere"),
            ("1.5-3", "the range `1.5-3` leads nowhere"),
            ("0-1000000000", "has 10001 values"),
        ] {
            let error = integers(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!(numbers("-1").is_err() && numbers("nan").is_err() && numbers("inf").is_err());
    }
}
