//! Drawing in the hand: a loaded model, a drawing that is asked for in a chain of words, and the steps on the way as calls
//! of their own.
//!
//! Enters: a model's name, a prompt. Leaves: a [`Run`](crate::trace::reader::Run), in memory or in a folder. Everything is
//! owned, no gradients are kept, and libtorch's refusals leave as errors.

mod attribution;
mod begin;
mod branch;
pub mod drawing;
mod floor;
mod invert;
pub mod keep;
mod like;
pub mod merge;
pub mod model;
pub mod teach;
mod tensors;
pub mod tokens;

pub use begin::Source;
pub use floor::{guided, no_noise};
