//! Watching and changing a run: the sites where tensors arise, observers, editors, and the probe that modules hold their
//! tensors up to.

pub mod editor;
pub mod observer;
pub mod probe;
pub mod recorded;
pub mod site;
