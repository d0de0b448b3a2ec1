//! What pictures of attention are called, and what stands on them.
//!
//! Enters: how they are made. Leaves: words, and names of files.

use super::maps::{Merge, Method, QUARTER};
use super::recorded::How;
use super::words::Word;
use super::{Options, What};
use crate::export::footer::FOOTER_PROMPT;
use crate::export::settings::{about, common};
use crate::export::words;
use crate::record::attention::Prediction;
use crate::trace::reader::Run;
use crate::viz::normalise::Normalisation;

/// What the numbers are, in words.
pub(super) fn describe(options: &Options) -> String {
    let How { method, mix, relative } = &options.how;
    let sizes: Vec<String> = mix.sizes.iter().map(|factor| format!("f{factor}")).collect();
    let of_sizes = match (sizes.is_empty(), method) {
        (false, _) => format!(" in layers of {}", sizes.join(", ")),
        (true, Method::P2p | Method::AttendAndExcite) => format!(" in layers of f{QUARTER}"),
        _ => String::new(),
    };
    let what = match (&options.what, method, relative) {
        (What::Places(_), ..) => format!("where a place looks{of_sizes}: self-attention, mean over heads"),
        (What::Parts, ..) => format!("where all places look{of_sizes}: self-attention, three components"),
        (_, Method::Shares, false) => format!("share of the attention{of_sizes}"),
        (_, Method::Shares, true) => format!("share of what all words get{of_sizes}"),
        (_, Method::Daam, false) => "attention as DAAM has it, mean over heads and steps".into(),
        (_, Method::Daam, true) => "attention as DAAM has it, share of what all words get".into(),
        (_, Method::P2p, _) => format!("attention as prompt-to-prompt shows it{of_sizes}, mean over steps"),
        (_, Method::AttendAndExcite, _) => format!("attention as Attend-and-Excite has it{of_sizes}"),
    };
    let merged = if mix.merge == Merge::Mean { ", mean over a word’s tokens" } else { "" };
    let branch = match options.prediction {
        Prediction::TEXT => String::new(),
        other => format!(" of `{other}`"),
    };
    let pass = options.pass.map(|pass| format!(", pass {pass}")).unwrap_or_default();
    format!("{what}{merged}{branch}{pass}")
}

/// What made the runs.
pub(super) fn about_runs(runs: &[&Run], batch: usize) -> String {
    match runs {
        [run] => about(run, batch, FOOTER_PROMPT),
        _ => common(runs, batch, FOOTER_PROMPT),
    }
}

/// The file's name without its extension: what is not usual stands in it.
pub(super) fn file_name(options: &Options, several: bool) -> String {
    let what = match &options.what {
        What::Parts => "components".into(),
        What::Places(places) if places.is_empty() => "places".into(),
        What::Places(places) => places.iter().map(|[x, y]| format!("at-{x}-{y}")).collect::<Vec<_>>().join("-"),
        _ if options.words.is_empty() => "words".into(),
        _ => slug(&options.words.iter().map(Word::to_string).collect::<Vec<_>>().join("-")),
    };
    format!("attention-{what}{}{}", if several { "-compared" } else { "" }, suffix(options))
}

/// What in a file's name tells settings apart.
pub(super) fn suffix(options: &Options) -> String {
    let How { method, mix, relative } = &options.how;
    let mut parts: Vec<String> = vec![];
    parts.extend((*method != Method::Shares).then(|| method.to_string()));
    parts.extend((mix.merge == Merge::Mean).then(|| "mean".into()));
    parts.extend(mix.sizes.iter().map(|factor| format!("f{factor}")));
    parts.extend(relative.then(|| "relative".into()));
    parts.extend(options.pass.map(|pass| format!("pass{pass}")));
    parts.extend((options.prediction != Prediction::TEXT).then(|| options.prediction.to_string()));
    if options.normalise != Normalisation::Run {
        parts.push(options.normalise.to_string().replace(':', "").replace(',', "_"));
    }
    let parts: String = parts.iter().map(|part| format!("-{part}")).collect();
    format!("{parts}{}", words::batch_suffix(options.batch))
}

/// Letters and digits of a text, what lies between as one dash; at most 40 characters.
pub(super) fn slug(text: &str) -> String {
    let kept: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = kept.split('-').filter(|part| !part.is_empty()).collect();
    let slug: String = parts.join("-").chars().take(40).collect();
    if slug.is_empty() { "word".into() } else { slug }
}
