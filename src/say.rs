//! Talk on standard error. Nobody need listen: a reader that has gone away (`2>&1 | head`), a terminal that was closed, a
//! full disk behind a log must not end a run, as `eprintln!` would by its panic.

use std::io::Write;

/// Says a line.
pub fn say(text: impl std::fmt::Display) {
    // One write for the whole line, so that those of two threads or processes do not mix.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
