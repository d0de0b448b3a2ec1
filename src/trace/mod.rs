//! The trace: what can be watched while a picture is made, who watches it, and the record on disk.

pub mod attention;
#[cfg(feature = "libtorch")]
pub mod attention_file;
#[cfg(feature = "libtorch")]
pub mod attention_log;
#[cfg(feature = "libtorch")]
pub mod attention_maps;
pub mod attributed;
#[cfg(feature = "libtorch")]
pub mod attribution;
#[cfg(feature = "libtorch")]
pub mod blocks;
mod floats;
mod folder;
mod header;
pub mod memory;
pub mod metadata;
#[cfg(feature = "libtorch")]
pub mod on_step;
#[cfg(feature = "libtorch")]
mod out;
pub mod parameters;
#[cfg(feature = "libtorch")]
pub mod progress;
pub mod reader;
#[cfg(feature = "libtorch")]
pub mod recorded;
#[cfg(feature = "libtorch")]
pub mod reservoir;
pub mod samplers;
#[cfg(feature = "libtorch")]
pub mod shapes;
mod site_file;
#[cfg(feature = "libtorch")]
pub mod sites;
#[cfg(feature = "libtorch")]
pub mod stopwatch;
pub mod texts;
#[cfg(feature = "libtorch")]
pub mod writer;
