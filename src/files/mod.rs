//! Files that are there whole or not at all, and folders that one process writes in.

pub mod atomic;
pub mod lock;
pub mod pictures;
