//! The trace: what can be watched while a picture is made, who watches it, and the record on disk.

pub mod answers;
pub mod conditions;
pub mod editor;
pub mod hires;
pub mod inputs;
pub mod metadata;
pub mod observer;
pub mod on_step;
pub mod parameters;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod reservoir;
pub mod schema;
pub mod shapes;
pub mod site;
pub mod texts;
pub mod writer;
