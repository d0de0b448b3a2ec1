//! Fills figures into a text: what stands between `<!--3 early.object %-->` and `<!---->` is the figure of that experiment
//! and name.
//!
//! Enters: a text with such marks, and figures. Leaves: the text with the figures as they are now. The unit says how a figure
//! is written: `%` of a share, `dB`, `step`, or plain with so many decimals, `.2`; `n` is how many pictures it is of, `of` that
//! with the prompts.

use super::figures::{Figure, Figures};
use sdviz::error::{Error, Result};
use sdviz::units::{count, decimal};

const OPEN: &str = "<!--";
const CLOSE: &str = "-->";
const END: &str = "<!---->";

/// The text with all of its figures.
///
/// # Errors
/// When a mark names no figure, or is not closed.
pub fn fill(text: &str, figures: &Figures) -> Result<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(OPEN) {
        let (before, mark) = rest.split_at(at);
        let broken = |what: &str| Error::invalid(format!("a mark {what}: `{}`", first_line(mark)), "see document.rs");
        let (inside, after) = mark[OPEN.len()..].split_once(CLOSE).ok_or_else(|| broken("is not closed"))?;
        let end = after.find(END).ok_or_else(|| broken("has no end"))?;
        let parts = inside.split_once(' ').and_then(|(first, rest)| Some((first, rest.rsplit_once(' ')?)));
        let (experiment, (name, unit)) = parts.ok_or_else(|| broken("is not `experiment name unit`"))?;
        let figure = figures.get(experiment, name).ok_or_else(|| broken("names no figure"))?;
        filled += &format!(
            "{before}{OPEN}{inside}{CLOSE}{}{END}",
            written(figure, unit).ok_or_else(|| broken("has no such unit"))?
        );
        rest = &after[end + END.len()..];
    }
    Ok(filled + rest)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn written(figure: Figure, unit: &str) -> Option<String> {
    let number = |scale: f64, decimals: usize, unit: &str| {
        let error = format!(" ± {:.decimals$}", figure.error * scale);
        // Of a single subject there is no error to tell.
        let error = if figure.prompts > 1 { error } else { String::new() };
        format!("{}{error}{unit}", decimal(figure.mean * scale, decimals))
    };
    Some(match unit {
        "%" => number(100.0, 0, " %"),
        "%1" => number(100.0, 1, " %"),
        "dB" => number(1.0, 1, " dB"),
        "step" => number(1.0, 1, ""),
        "n" => figure.pictures.to_string(),
        "of" => format!("{} of {}", count(figure.pictures, "picture"), count(figure.prompts, "prompt")),
        _ => number(1.0, unit.strip_prefix('.')?.parse().ok()?, ""),
    })
}
