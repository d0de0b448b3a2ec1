//! Lists and ranges as they are typed: `5,25,50`, `1-10 (+3)`, `1-10 [4]`, `"red, round",green`.
//!
//! Enters: the text of a flag. Leaves: the values in the order they were written, each once. The syntax of ranges is that
//! of the X/Y/Z plot in AUTOMATIC1111's web UI: a step in round brackets, a count in square ones.

use crate::error::{Error, Result};
use serde_json::{Value, json};

/// More values than this on one axis are taken for a slip of the finger.
const MOST: usize = 10_000;

/// The parts of a list: commas part them, except inside double quotes, of which `""` means one.
///
/// # Errors
/// When a part is empty or a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>> {
    let (mut parts, mut part, mut quoted) = (vec![], String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    if quoted {
        return Err(Error::invalid(format!("a quote is not closed in `{text}`"), "close it with another `\"`"));
    }
    let parts: Vec<String> = parts.iter().map(|p| p.trim().to_string()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(Error::invalid(
            format!("an empty value in `{text}`"),
            "part the values by single commas: `5,25,50`",
        ));
    }
    Ok(parts)
}

/// A list of names.
///
/// # Errors
/// As [`split`].
pub fn names(text: &str) -> Result<Vec<Value>> {
    Ok(once(split(text)?.into_iter().map(Value::from).collect()))
}

/// Whole numbers from 0 up, ranges among them; an even spread (`1-10 [4]`) is rounded.
///
/// # Errors
/// Names the part that is no whole number or no range.
pub fn integers(text: &str) -> Result<Vec<Value>> {
    expand(text, "a whole number", |part| part.parse::<u64>().ok().map(Value::from), |x| json!(x.round() as u64))
}

/// Numbers from 0 up, ranges among them.
///
/// # Errors
/// Names the part that is no number or no range.
pub fn numbers(text: &str) -> Result<Vec<Value>> {
    let number = |part: &str| part.parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0).map(Value::from);
    // Nine decimals: 0.1 added thrice is 0.3.
    expand(text, "a number from 0 up", number, |x| json!((x * 1e9).round() / 1e9))
}

/// Each part one value, or a range of them.
fn expand(
    text: &str,
    kind: &str,
    one: impl Fn(&str) -> Option<Value>,
    within: impl Fn(f64) -> Value,
) -> Result<Vec<Value>> {
    let mut values = vec![];
    for part in split(text)? {
        match (one(&part), Range::parse(&part)) {
            (Some(value), _) => values.push(value),
            (None, Some(range)) => {
                let ends_fit = one(&range.ends.0).is_some() && one(&range.ends.1).is_some();
                let points = range.points().filter(|_| ends_fit).ok_or_else(|| bad_range(&part))?;
                values.extend(points.into_iter().map(&within));
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
fn once(values: Vec<Value>) -> Vec<Value> {
    let mut unique: Vec<Value> = vec![];
    for value in values {
        if !unique.contains(&value) {
            unique.push(value);
        }
    }
    unique
}

/// A range as it was written.
#[derive(Debug, PartialEq)]
struct Range {
    ends: (String, String),
    pace: Pace,
}

#[derive(Debug, PartialEq)]
enum Pace {
    Step(f64),
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
        let numbers: (f64, f64) = (ends.0.parse().ok()?, ends.1.parse().ok()?);
        let pace = match pace {
            None => Pace::Step(if numbers.1 < numbers.0 { -1.0 } else { 1.0 }),
            Some(pace) => match pace.strip_prefix('(').and_then(|p| p.strip_suffix(')')) {
                Some(step) => Pace::Step(step.trim().parse().ok()?),
                None => Pace::Count(pace.strip_prefix('[')?.strip_suffix(']')?.trim().parse().ok()?),
            },
        };
        Some(Range { ends, pace })
    }

    /// Its points, or `None` where it has none or no end.
    fn points(&self) -> Option<Vec<f64>> {
        let (from, to): (f64, f64) = (self.ends.0.parse().ok()?, self.ends.1.parse().ok()?);
        match self.pace {
            Pace::Step(step) => {
                // Half a billionth of slack, so that `0-1 (+0.1)` reaches 1.
                let steps = ((to - from) / step + 1e-9).floor();
                // One point more than the limit is enough for the limit to be named.
                let count = (steps >= 0.0 && steps.is_finite()).then(|| (steps as usize).min(MOST))?;
                Some((0..=count).map(|i| from + i as f64 * step).collect())
            }
            Pace::Count(0) => None,
            Pace::Count(1) => Some(vec![from]),
            Pace::Count(count) => {
                let count = count.min(MOST + 1);
                Some((0..count).map(|i| from + (to - from) * i as f64 / (count - 1) as f64).collect())
            }
        }
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
        assert_eq!(whole("18446744073709551615"), [u64::MAX]);
    }

    #[test]
    fn quotes_hold_commas_together() {
        assert_eq!(split(r#""red, round",green, "say ""hi""" "#).unwrap(), ["red, round", "green", "say \"hi\""]);
        assert!(split("\"red").unwrap_err().to_string().contains("not closed"));
        assert!(split("a,,b").unwrap_err().to_string().contains("empty value"));
    }

    #[test]
    fn what_is_no_value_is_named() {
        for (text, message) in [
            ("5,many", "`many` is not a whole number or a range"),
            ("1.5", "`1.5` is not a whole number or a range"),
            ("1-5 (-1)", "the range `1-5 (-1)` leads nowhere"),
            ("1-5 (+0)", "the range `1-5 (+0)` leads nowhere"),
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
