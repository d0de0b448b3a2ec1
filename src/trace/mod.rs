//! The trace: what can be watched while a picture is made, who watches it, and the record on disk.

mod folder;
pub mod memory;
pub mod metadata;
pub mod on_step;
pub mod parameters;
pub mod progress;
pub mod reader;
pub mod reservoir;
pub mod samplers;
pub mod shapes;
pub mod texts;
pub mod writer;
