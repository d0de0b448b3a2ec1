//! What a run directory holds, as data: what was asked for, what it means, how it ended. Knows neither libtorch nor a model.

pub mod answers;
pub mod attention;
pub mod attribution;
pub mod conditions;
pub mod edits;
pub mod hires;
pub mod inputs;
pub mod inversion;
pub mod layers;
pub mod model;
pub mod numbers;
pub mod plan;
pub mod preview;
pub mod schema;
pub mod sigmas;
pub mod words;
