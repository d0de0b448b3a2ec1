//! The verbs, one per file.

pub mod inspect;
pub mod schedulers;
pub mod shapes;
pub mod trace;
