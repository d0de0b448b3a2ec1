//! The trace: what can be watched while a picture is made, who watches it, and the record on disk.

pub mod observer;
pub mod reader;
pub mod schema;
