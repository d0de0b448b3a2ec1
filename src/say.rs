//! Talk on standard error. Nobody need listen: a reader that has gone away (`2>&1 | head`), a terminal that was closed, a
//! full disk behind a log must not end a run, as `eprintln!` would by its panic.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;

/// Says a line.
pub fn say(text: impl std::fmt::Display) {
    // One write for the whole line, so that those of two threads or processes do not mix.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// A progress bar on standard error, if that is a terminal and somebody wants to see it; `template` says what stands in
/// it, as `indicatif` has it.
pub fn bar(length: Option<u64>, template: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
