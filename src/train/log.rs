//! The log of a stage: `log.jsonl`, a line every few steps.
//!
//! Enters: what has come together since the line before. Leaves: the file, and its lines when it is read again, after a
//! kill too.

use crate::error::{IoContext, Result};
use crate::files::atomic::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The log's name in the folder of a stage.
pub const LOG: &str = "log.jsonl";

/// A line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    /// The step.
    pub step: u64,
    /// Mean loss since the line before.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of its gradients.
    pub gradient: f64,
    /// Pictures a second since the line before.
    pub pictures_per_second: f64,
    /// Everything else: parts of the loss, figures of the samples.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

impl LogLine {
    fn as_json(&self) -> String {
        serde_json::to_string(self).map(|text| text + "\n").unwrap_or_default()
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "step {}: loss {:.4}", self.step, self.loss)?;
        for (name, value) in &self.more {
            if let Some(value) = value.as_f64() {
                write!(f, ", {} {value:.3}", name.replace('_', " "))?;
            }
        }
        write!(f, ", {:.1} pictures/s", self.pictures_per_second)
    }
}

/// The lines of the log in a stage's folder; none if there is no log.
///
/// # Errors
/// When it cannot be read.
pub fn read(folder: &Path) -> Result<Vec<LogLine>> {
    let path = folder.join(LOG);
    match std::fs::read_to_string(&path) {
        // A killed training may have left half a line.
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(e).at("read", &path),
    }
}

/// Writes one more line.
///
/// # Errors
/// When the file cannot be written.
pub fn append(folder: &Path, line: &LogLine) -> Result<()> {
    let path = folder.join(LOG);
    let mut file = OpenOptions::new().create(true).append(true).open(&path).at("write", &path)?;
    file.write_all(line.as_json().as_bytes()).at("write", &path)
}

/// Drops what it says of steps after this one.
///
/// # Errors
/// When the file cannot be read or written.
pub fn cut(folder: &Path, step: u64) -> Result<()> {
    let lines = read(folder)?;
    if lines.iter().any(|line| line.step > step) {
        let kept: Vec<String> = lines.iter().filter(|line| line.step <= step).map(LogLine::as_json).collect();
        write_atomically(&folder.join(LOG), kept.concat().as_bytes())?;
    }
    Ok(())
}
