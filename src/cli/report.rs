//! How the command line speaks: errors with their way out, notes on standard error, tables on standard output.

use crate::error::Error;
use crate::say::{self, say};
pub use crate::units::{size, thousands};
use crate::viz::fonts;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::ProgressBar;
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
            say(text.as_ref());
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
    say(format_args!("error: {error}"));
    let noted = error.downcast_ref::<Noted>();
    if let Some(Noted { note, .. }) = noted {
        say(format_args!("note: {note}"));
    }
    if let Some(hint) = noted.map(|n| &n.error).or(error.downcast_ref::<Error>()).and_then(Error::hint) {
        say(format_args!("hint: {hint}"));
    }
}

/// Prints to standard output; a reader that has gone away (`| head`) is not an error.
pub fn print(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Says which characters of the pictures made so far no font had, if there are any.
pub fn missing_letters(talk: Talk) {
    const SHOWN: usize = 8;
    let missing = fonts::take_missing();
    if missing.is_empty() {
        return;
    }
    let mut letters: Vec<String> =
        missing.iter().take(SHOWN).map(|letter| format!("{letter} (U+{:04X})", u32::from(*letter))).collect();
    if missing.len() > SHOWN {
        letters.push(format!("and {} more", missing.len() - SHOWN));
    }
    talk.warn(format!("no font here has {}: boxes stand for them in the pictures", letters.join(", ")));
    talk.say("hint: install a font that has them, such as one of the Noto family, and make the pictures again");
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
    say::bar(Some(count as u64), "{bar:32} picture {pos}/{len} [{elapsed}, {eta} left]", talk.quiet)
}

/// Keeps Rust's own panic message away: we say it in our way.
pub fn quiet_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}
