//! sdviz shows what happens inside Stable Diffusion: a traced pipeline on libtorch records every step, and exporters
//! turn the record into pictures, videos, tables and plots.

// `say` and `report::print` instead: a reader that has gone away must not end a run.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod arithmetic;
pub mod cli;
pub mod dataset;
pub mod draw;
pub mod error;
pub mod eval;
pub mod export;
pub mod files;
pub mod model;
pub mod pipeline;
pub mod prelude;
pub mod prompt;
pub mod record;
pub mod run;
pub mod say;
pub mod scheduler;
pub mod show;
pub mod sweep;
pub mod trace;
pub mod train;
pub mod units;
pub mod viz;
pub mod watch;
