//! Exporters: from a run's record to what people look at.
//!
//! Enters: a run directory, or pictures drawn from it. Leaves: files. Nothing here knows a model or libtorch.

pub mod encode;
