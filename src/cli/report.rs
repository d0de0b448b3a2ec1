//! How the command line speaks: errors with their way out, notes on standard error, tables on standard output.

use crate::error::{Error, panic_text};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;

/// Notes for the user on standard error.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Whether to keep silent.
    pub quiet: bool,
}

impl Talk {
    /// Says a line, unless told to be quiet.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Warns, unless told to be quiet.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.say(format!("warning: {}", text.as_ref()));
    }
}

/// An error with a note on what is left.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Noted {
    /// The error.
    pub error: Error,
    /// What is left, in a line.
    pub note: String,
}

/// Prints an error as `error: …`, with what is left as `note: …` and its way out as `hint: …`.
pub fn print_error(error: &anyhow::Error) {
    // The library's errors say their cause themselves.
    eprintln!("error: {error}");
    let noted = error.downcast_ref::<Noted>();
    if let Some(Noted { note, .. }) = noted {
        eprintln!("note: {note}");
    }
    if let Some(hint) = noted.map(|n| &n.error).or(error.downcast_ref::<Error>()).and_then(Error::hint) {
        eprintln!("hint: {hint}");
    }
}

/// Prints to standard output; a reader that has gone away (`| head`) is not an error.
pub fn print(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A plain table with these column titles.
pub fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(titles);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Sets these columns of a table to the right, as numbers stand.
pub fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
}

/// Prints a table without the blanks at the ends of its lines.
pub fn print_table(table: &Table) {
    print(table.lines().map(|line| line.trim_end().to_string()).collect::<Vec<_>>().join("\n"));
}

/// A progress bar over `count` pictures on standard error, if that is a terminal.
pub fn bar(count: usize, talk: Talk) -> ProgressBar {
    let target = if talk.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(count as u64), target);
    let style = ProgressStyle::with_template("{bar:32} picture {pos}/{len} [{elapsed}, {eta} left]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// `3,438,167`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|c| std::str::from_utf8(c).ok()).collect();
    groups.join(",")
}

/// `350 kB`, `12 MB`, `3.4 GB`.
pub fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// Keeps Rust's own panic message away: [`print_panic`] says it in our way.
pub fn quiet_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

/// Prints a panic as an error. libtorch's refusals, out of memory above all, arrive as such.
pub fn print_panic(panic: &(dyn std::any::Any + Send)) {
    let text = panic_text(panic);
    eprintln!("error: {text}");
    if text.to_lowercase().contains("memory") || text.contains("allocate") {
        eprintln!("hint: ask for a smaller picture or batch, or use `--dtype bf16`");
    } else {
        eprintln!("hint: run again with RUST_BACKTRACE=1 for the place, and report it");
    }
}
