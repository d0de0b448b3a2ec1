//! sdviz shows what happens inside Stable Diffusion: a traced pipeline on libtorch records every step, and exporters
//! turn the record into pictures, videos, tables and plots.
//!
//! `use sdviz::prelude::*;` is all that a program or a notebook's cell needs. [`Model`](draw::model::Model) draws and gives a
//! [`Run`](trace::reader::Run): the record, in memory or in a folder. What a run gives into the hand ([`show`]) is owned,
//! and every mistake is an error with a hint, libtorch's refusals too. This is `examples/tour.rs`, which is a test:
//!
//! ```ignore
#![doc = include_str!("../examples/tour.rs")]
//! ```
//!
//! Behind it stand the rooms: [`pipeline`] with the visible step loop, [`scheduler`] with one algorithm per file, [`model`]
//! with the networks, [`watch`] with observers and editors, [`record`] with what `run.json` holds, [`export`] and [`viz`] with
//! what is drawn from it. Without the feature `libtorch` the library reads, draws and exports recorded runs and nothing
//! more; it needs no libtorch then.

// `say` and `report::print` instead: a reader that has gone away must not end a run.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod cli;
#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod dataset;
#[cfg(feature = "libtorch")]
pub mod draw;
#[cfg(feature = "libtorch")]
pub mod edit;
#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod eval;
pub mod export;
#[doc(hidden)]
pub mod files;
#[cfg(feature = "libtorch")]
pub mod model;
#[cfg(feature = "libtorch")]
pub mod pipeline;
pub mod prelude;
#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod prompt;
pub mod record;
#[cfg(feature = "libtorch")]
pub mod run;
#[doc(hidden)]
pub mod say;
#[cfg(feature = "libtorch")]
pub mod scheduler;
// What schedulers are called stands in records.
#[cfg(not(feature = "libtorch"))]
#[path = "scheduler/kinds.rs"]
pub mod scheduler;
#[cfg(feature = "serve")]
pub mod serve;
pub mod show;
#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod sweep;
pub mod trace;
#[doc(hidden)]
#[cfg(feature = "libtorch")]
pub mod train;
#[cfg(feature = "libtorch")]
pub mod watch;

#[doc(hidden)]
pub use sdviz_base::{arithmetic, numbers, units};
pub use sdviz_base::{error, viz};

// The libraries whose types are given into the hand, so that all of them can be named.
#[cfg(feature = "libtorch")]
pub use tch;
pub use {image, ndarray};
