//! Edits: what is changed on a run's way, where and when, as data.
//!
//! Enters: what was typed, `zero unet.mid_block steps=1-5 branch=both`, or a file of such. Leaves: [`Edit`]s, and once they
//! have met a model, a prompt and a schedule ([`resolve`]), an [`Editor`](crate::watch::editor::Editor) that carries them out
//! ([`edits::Edits`]). Patterns, words and steps are resolved before anything is computed; what matches nothing is an error.

mod apply;
pub mod armed;
mod blend;
pub mod copy;
pub mod edits;
pub mod file;
mod freeu;
mod grain;
mod keys;
pub mod layout;
pub mod op;
mod parse;
pub mod preset;
pub mod resolve;
pub mod selector;
pub mod site;
pub mod tensor_file;
pub mod token_map;
pub mod words;

pub use op::Op;
pub use selector::Selector;

/// One edit, as data: what is done, and to what.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// What is done.
    pub op: Op,
    /// To what, and when.
    pub at: Selector,
}
