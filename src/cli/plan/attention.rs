//! What is to be kept of attention, from what was typed.

use crate::cli::args::AttentionArgs;
use crate::error::{Error, Result};
use crate::pipeline::attention;
use crate::record::attention::{AttentionPlan, Detail};

/// What `--attention` and the flags around it mean; nothing where it was not given.
///
/// # Errors
/// When a word is unknown, or a place is none on the picture.
pub(super) fn attention(args: &AttentionArgs) -> Result<Option<AttentionPlan>> {
    let Some(words) = &args.attention else { return Ok(None) };
    let mut plan = AttentionPlan {
        all_tokens: match args.attention_tokens.as_deref() {
            None | Some("summed") => false,
            Some("all") => true,
            Some(other) => return Err(Error::unknown("choice of tokens", other, ["summed", "all"])),
        },
        all_branches: args.attention_branches,
        queries: args.query.iter().map(|typed| place(typed)).collect::<Result<_>>()?,
        ..AttentionPlan::default()
    };
    for word in words.iter().map(|word| word.trim()) {
        match Detail::ALL.into_iter().find(|detail| detail.name() == word) {
            // The more detailed one holds the other.
            Some(detail) => plan.detail = plan.detail.max(Some(detail)),
            None if word == "self" => plan.own = true,
            None => {
                let known = Detail::ALL.map(Detail::name).into_iter().chain(["self"]);
                return Err(Error::unknown("part of attention", word, known));
            }
        }
    }
    attention::check(&plan)?;
    Ok(Some(plan))
}

/// `0.3,0.6`.
fn place(typed: &str) -> Result<[f64; 2]> {
    let numbers: Option<Vec<f64>> = typed.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y]) => Ok([x, y]),
        _ => Err(Error::invalid(
            format!("`{typed}` is no place: two numbers are"),
            "give x and y from 0 to 1, from the upper left corner: `--query 0.5,0.5` is the middle",
        )),
    }
}
