//! What a program that was handed a run's steps answered, as `run.json` keeps it.

use serde::{Deserialize, Serialize};

/// `on_step` in `run.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnStepRecord {
    /// The command, as it was typed.
    pub command: String,
    /// How often it was started.
    pub calls: usize,
    /// The steps at which it failed.
    pub failures: Vec<StepFailure>,
    /// The step after which it asked the run to stop; none if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<usize>,
}

/// One failure of the command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepFailure {
    /// The step it was handed.
    pub step: usize,
    /// Its exit code; none when it did not end by itself.
    pub exit_code: Option<i32>,
    /// What happened, in words.
    pub message: String,
}
