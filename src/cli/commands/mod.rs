//! The verbs, one per file.

pub mod convert;
pub mod dataset;
pub mod diff;
pub mod eval;
pub mod export;
pub mod fetch;
pub mod filmstrip;
pub mod frames;
pub mod grid;
pub mod inspect;
pub mod latents;
pub mod merge;
pub mod metadata;
pub mod models;
pub mod plot;
pub mod plugins;
pub mod preview;
pub mod report;
pub mod schedule;
pub mod schedulers;
pub mod shapes;
pub mod sweep;
pub mod tokens;
pub mod trace;
pub mod train;
pub mod video;
