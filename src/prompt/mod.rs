//! Prompts: from text to token ids, and what AUTOMATIC1111's web UI reads in a text before that.
//!
//! Each file of the web UI's syntax is a pure function from text to data: [`extras`] takes out what is not to be drawn,
//! [`compose`] takes `AND` apart, [`schedule`] says which text holds at which step, [`attention`] which words weigh how
//! much, [`chunks`] cuts tokens to windows, and [`conditions`] puts the five together.

pub mod attention;
pub mod chunks;
pub mod columns;
pub mod compose;
pub mod conditions;
pub mod extras;
pub mod schedule;
