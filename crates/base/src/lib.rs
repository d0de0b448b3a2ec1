//! What the rooms of sdviz stand on: arithmetic, errors, pictures from numbers, animations from pictures.
//!
//! It is a crate of its own because its loops over pixels are where a program without optimisation would lose its time:
//! it is small, seldom changed, and compiled with full optimisation always, so that everything above it need not be.
//! sdviz hands its modules on under their own names.

pub mod arithmetic;
pub mod encode;
pub mod error;
pub mod numbers;
pub mod units;
pub mod viz;
