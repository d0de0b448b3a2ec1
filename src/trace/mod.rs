//! The trace: what can be watched while a picture is made, who watches it, and the record on disk.

pub mod answers;
pub mod conditions;
pub mod editor;
pub mod files;
pub mod hires;
pub mod inputs;
pub mod lock;
pub mod metadata;
pub mod numbers;
pub mod observer;
pub mod on_step;
pub mod parameters;
pub mod pictures;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod reservoir;
pub mod samplers;
pub mod schema;
pub mod shapes;
pub mod site;
pub mod texts;
pub mod writer;
