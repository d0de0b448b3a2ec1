//! How well a model obeys: pictures are drawn from prompts and judged by something that is not the model.
//!
//! Enters: a model, a judge, a data set. Leaves: reports of counts, as tables, JSON and sheets.

pub mod ablation;
pub mod attention;
pub mod attribution;
pub mod judge;
pub mod likeness;
pub mod measure;
pub mod prompts;
pub mod reconstruct;
pub mod report;
