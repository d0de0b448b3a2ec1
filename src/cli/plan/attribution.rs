//! What is to be found out of the words, from what was typed.

use crate::cli::args::AttributeArgs;
use crate::edit::selector::Area;
use crate::error::{Error, Result};
use crate::record::attribution::Asked;
use crate::record::words::Word;

/// What can be found out.
const KINDS: [&str; 2] = ["drop", "gradient"];

/// What `--attribute` and the flags around it mean; nothing where it was not given.
///
/// # Errors
/// When a word is unknown, or the area is none.
pub fn typed(args: &AttributeArgs) -> Result<Option<Asked>> {
    let Some(kinds) = &args.attribute else { return Ok(None) };
    asked(kinds, &args.words, &args.at, (args.drop.as_deref(), args.area.as_deref())).map(Some)
}

/// What a list of kinds means, for some words and steps.
///
/// # Errors
/// As [`typed`].
pub fn asked(
    kinds: &[String],
    words: &[String],
    steps: &[usize],
    (drop, area): (Option<&str>, Option<&str>),
) -> Result<Asked> {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.trim()).collect();
    if let Some(other) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Error::unknown("kind of attribution", other, KINDS));
    }
    let (dropped, gradient) = (kinds.contains(&"drop"), kinds.contains(&"gradient"));
    let lone = [("--drop", drop.is_some() && !dropped, "drop"), ("--area", area.is_some() && !gradient, "gradient")];
    if let Some((flag, _, kind)) = lone.into_iter().find(|(_, lone, _)| *lone) {
        return Err(Error::invalid(
            format!("`{flag}` goes with `--attribute {kind}`"),
            "add it, or leave the other out",
        ));
    }
    let dropping = drop.map_or(Ok(Default::default()), str::parse)?;
    Ok(Asked {
        dropping: dropped.then_some(dropping),
        gradient,
        words: words.iter().map(|word| word.parse()).collect::<Result<Vec<Word>>>()?,
        steps: steps.to_vec(),
        area: area.map(rectangle).transpose()?,
    })
}

fn rectangle(text: &str) -> Result<[f64; 4]> {
    let hint = "write left, top, right and bottom as shares from 0 to 1: `--area 0.2,0.2,0.6,0.8`";
    match text.parse::<Area>() {
        Ok(Area::Rectangle(sides)) => Ok(sides),
        _ => Err(Error::invalid(format!("`{text}` is no part of the picture"), hint)),
    }
}
