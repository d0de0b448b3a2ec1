//! What can be looked at in the hand: a run's pictures, latents, animations, figures and tables, as values that a program
//! keeps, saves and passes on, and that a notebook shows.
//!
//! Enters: a [`Run`](crate::trace::reader::Run), in a folder or in memory. Leaves: owned values. Each has `evcxr_display`,
//! which shows it where a notebook's cell ends in it, and where a file makes sense, `save`. Nothing here knows a model or
//! libtorch.

pub mod animation;
pub mod attention;
pub(crate) mod display;
pub mod figure;
pub mod latents;
pub mod picture;
pub mod pictures;
pub mod preview;
mod run;
pub mod shapes;
pub mod table;
