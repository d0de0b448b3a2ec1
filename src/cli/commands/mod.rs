//! The verbs, one per file.

pub mod diff;
pub mod export;
pub mod grid;
pub mod inspect;
pub mod plot;
pub mod schedule;
pub mod schedulers;
pub mod shapes;
pub mod sweep;
pub mod tokens;
pub mod trace;
