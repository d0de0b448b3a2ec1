//! Spoils JSON, JSON Lines and TOML so that much of it still makes sense: one value, key or line at a time.

use crate::hostile::{Dice, pick};
use rand::Rng;
use serde_json::{Map, Value};

/// Stands in a text for what JSON cannot say until it is written.
const HOLE: &str = "\u{e000}hole";

/// Values that stand where another was expected.
const ODD: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1",
    "7",
    "0.5",
    "-0.0",
    "1e-320",
    "1e308",
    "-1e308",
    "1e999",
    "NaN",
    "Infinity",
    "100000",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    r#""""#,
    r#""x""#,
    r#"" ""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""../../x""#,
    r#""/""#,
    r#""１２""#,
    r#""1e9""#,
    "[]",
    "{}",
    "[null]",
    "[0]",
    "[-1,1]",
    "[1,2,3,4,5,6,7,8,9]",
    r#"["x","x"]"#,
    "[[[[1]]]]",
    r#"{"a":1}"#,
    r#"{"a":1,"a":2}"#,
];

fn odd(dice: &mut Dice) -> String {
    match dice.random_range(0..40) {
        0 => "[".repeat(100_000) + &"]".repeat(100_000),
        1 => r#"{"a":"#.repeat(200) + "1" + &"}".repeat(200),
        2 => format!("\"{}\"", "long ".repeat(200_000)),
        3 => format!("[{}0]", "0,".repeat(100_000)),
        _ => (*pick(dice, ODD)).into(),
    }
}

/// The text with one thing changed, and what was changed.
pub fn spoil(dice: &mut Dice, text: &str) -> (String, String) {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return (odd(dice), "another value".into()) };
    let mut places = vec![];
    collect(&value, String::new(), &mut places);
    let place = pick(dice, &places).clone();
    let elsewhere = value.pointer(pick(dice, &places).as_str()).cloned().unwrap_or_default();
    let node = value.pointer_mut(&place).unwrap();
    let (hole, what) = change(dice, node, elsewhere);
    let text = serde_json::to_string(&value).unwrap().replace(&format!("\"{HOLE}\""), &hole);
    (text, format!("{place} {what}"))
}

/// Every place in a value, as JSON pointers.
fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, v)| collect(v, format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")), places)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| collect(v, format!("{place}/{i}"), places)),
        _ => {}
    }
    places.push(place);
}

/// Changes a node; what to put where the hole is, and what was done.
fn change(dice: &mut Dice, node: &mut Value, elsewhere: Value) -> (String, String) {
    let kind = dice.random_range(0..10);
    let (new, what) = match node {
        Value::Object(map) if kind < 7 && !map.is_empty() => return change_object(dice, map),
        Value::Array(list) if kind < 7 && !list.is_empty() => return change_array(dice, list, elsewhere),
        Value::Number(number) if kind < 4 => {
            let old = number.as_f64().unwrap();
            let new = [old + 1.0, old - 1.0, -old, 2.0 * old, old / 2.0, 3.0 * old, 1e3 * old, 1e6 * old];
            let new = pick(dice, &new);
            (if new.fract() == 0.0 { format!("{new:.0}") } else { new.to_string() }, "scaled")
        }
        _ if kind < 2 => (elsewhere.to_string(), "from elsewhere"),
        _ => (odd(dice), "odd"),
    };
    *node = Value::String(HOLE.into());
    let what = format!("{what}: {}", start(&new));
    (new, what)
}

fn change_object(dice: &mut Dice, map: &mut Map<String, Value>) -> (String, String) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = pick(dice, &keys);
    let what = match dice.random_range(0..4) {
        0 => {
            map.remove(key);
            "is gone"
        }
        1 => {
            let value = map[key].clone();
            map.insert(HOLE.into(), value);
            return (serde_json::to_string(key).unwrap(), format!("{key} is there twice"));
        }
        2 => {
            let value = map.remove(key).unwrap();
            map.insert(format!("{key}x"), value);
            "is called otherwise"
        }
        _ => {
            let other = map[pick(dice, &keys)].clone();
            map.insert(key.clone(), other);
            "is as another"
        }
    };
    (String::new(), format!("{key} {what}"))
}

fn change_array(dice: &mut Dice, list: &mut Vec<Value>, elsewhere: Value) -> (String, String) {
    let at = dice.random_range(0..list.len());
    let what = match dice.random_range(0..5) {
        0 => {
            list.remove(at);
            "is gone"
        }
        1 => {
            list.insert(at, list[at].clone());
            "is there twice"
        }
        2 => {
            list.insert(at, elsewhere);
            "comes from elsewhere"
        }
        3 => {
            list.reverse();
            "and all are reversed"
        }
        _ => {
            list.insert(at, Value::String(HOLE.into()));
            "is odd"
        }
    };
    (odd(dice), format!("[{at}] {what}"))
}

/// One line spoiled as JSON, doubled, taken away, or put elsewhere.
pub fn spoil_lines(dice: &mut Dice, text: &str) -> (String, String) {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    if lines.is_empty() {
        return (odd(dice), "a line".into());
    }
    let at = dice.random_range(0..lines.len());
    let what = match dice.random_range(0..8) {
        0 => {
            lines.remove(at);
            "is gone".into()
        }
        1 => {
            lines.insert(0, lines[at].clone());
            "is there twice".into()
        }
        2 => {
            lines.insert(at, odd(dice));
            "odd".into()
        }
        _ => {
            let (line, what) = spoil(dice, &lines[at]);
            lines[at] = line;
            what
        }
    };
    (lines.join("\n") + "\n", format!("line {}: {what}", at + 1))
}

/// TOML values that stand where another was expected.
const ODD_TOML: &[&str] = &[
    "-1",
    "0",
    "1",
    "0.5",
    "-0.0",
    "1e308",
    "nan",
    "inf",
    "100000",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "\"\"",
    "\"x\"",
    "[]",
    "[0]",
    "[-1, 8]",
    "[1, 2, 3, 4, 5, 6, 7, 8]",
    "[\"x\"]",
    "{}",
    "true",
    "1979-05-27",
];

/// One line of TOML changed: its value, its key, or the line as a whole.
pub fn spoil_toml(dice: &mut Dice, text: &str) -> (String, String) {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let full: Vec<usize> = (0..lines.len()).filter(|i| !lines[*i].is_empty()).collect();
    let Some(&at) = full.get(dice.random_range(0..full.len().max(1))) else { return ("=".into(), "no TOML".into()) };
    let what = match dice.random_range(0..8) {
        0 => lines.remove(at),
        1 => {
            lines.insert(at, lines[at].clone());
            "is there twice".into()
        }
        2 => {
            let other = dice.random_range(0..lines.len());
            lines.swap(at, other);
            format!("changes place with {other}")
        }
        _ => {
            let value = *pick(dice, ODD_TOML);
            // The last `=`: tables stand on one line, too.
            let key = lines[at].rsplit_once('=').map_or("x", |(key, _)| key).to_string();
            let close = "}".repeat(key.matches('{').count().saturating_sub(key.matches('}').count()));
            lines[at] = format!("{key}= {value}{close}");
            lines[at].clone()
        }
    };
    (lines.join("\n") + "\n", format!("line {}: {what}", at + 1))
}

/// The beginning of a text, for messages.
pub fn start(text: &str) -> String {
    text.chars().take(60).collect()
}
