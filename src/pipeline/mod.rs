//! The pipeline: a model loaded and ready (`load`), a plan resolved to a record with it (`resolve`), and the way from there
//! to pictures (`generate`).
//!
//! Enters: a model and a plan. Leaves: pictures, latents, and on the way events for whoever watches. The step loop itself
//! stands in [`denoise`].

mod again;
pub mod attention;
pub mod attribution;
mod back;
pub mod batch;
pub mod clock;
pub mod conditioning;
pub mod denoise;
pub mod device;
pub mod donors;
mod edited;
mod generate;
pub mod guidance;
pub mod hires;
pub mod init_image;
mod inversion;
pub mod limits;
mod load;
pub mod noise;
pub mod past;
pub mod preview;
mod resolve;
mod sentinel;
mod settle;
pub mod shared;
pub mod start;
mod step_reporter;
mod taking;

pub use generate::Outcome;
pub use load::{LoadOptions, Pipeline};
pub use resolve::Resolved;
