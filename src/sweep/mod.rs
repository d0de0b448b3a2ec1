//! Sweeps: one traced run for every combination of some settings, and the pictures beside each other.
//!
//! Enters: the values of some axes. Leaves: a sweep directory, `docs/sweeps.md`: `sweep.json` with axes and cells, and one
//! complete run directory per cell, named by a hash of what is drawn in it. What is there is never made again, so a sweep
//! can be stopped, widened, and made by several processes at once. The grid is drawn from whatever is there.

pub mod axis;
pub mod claim;
pub mod estimate;
pub mod field;
pub mod identity;
pub mod imagefolder;
pub mod motion;
pub mod picture;
pub mod plan;
pub mod record;
pub mod replace;
pub mod runner;
pub mod sheet;
pub mod split;
pub mod status;
pub mod store;
pub mod values;
pub mod view;
