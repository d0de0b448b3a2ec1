//! What the dimensions of a site's tensor are, as far as an edit can select by them.
//!
//! Enters: a site's name, its axes and a tensor's number of dimensions. Leaves: which dimension has heads, places, tokens,
//! channels. The first dimension is always the rows.

use crate::watch::site::Axes;

/// Which dimension is what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// An attention's heads.
    pub heads: Option<usize>,
    /// Where the places of an image lie: the first of two dimensions of an image, or the one of places in a row.
    pub places: Option<Places>,
    /// The tokens of a text.
    pub tokens: Option<usize>,
    /// The keys of an attention, whatever they are.
    pub keys: Option<usize>,
    /// Channels.
    pub channels: Option<usize>,
}

/// How an image's places lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// In height and width, from this dimension on.
    Image(usize),
    /// In a row, in this dimension.
    Row(usize),
}

impl Layout {
    /// Of a tensor of so many dimensions at a site.
    pub fn of(name: &str, axes: Axes, dimensions: usize) -> Layout {
        let none = Layout::default();
        let is_weights = [".scores", ".probs"].iter().any(|end| name.ends_with(end));
        match (axes, dimensions) {
            (Axes::Image | Axes::Tile, 4) => Layout { channels: Some(1), places: Some(Places::Image(2)), ..none },
            (Axes::Places(_), 3) => Layout { places: Some(Places::Row(1)), channels: Some(2), ..none },
            (Axes::Heads(_), 4) => Layout { heads: Some(1), places: Some(Places::Row(2)), channels: Some(3), ..none },
            (Axes::Attention(_), 4) => {
                let tokens = looks_at_text(name).then_some(3);
                Layout { heads: Some(1), places: Some(Places::Row(2)), tokens, keys: Some(3), ..none }
            }
            (Axes::Prompts, 4) if is_weights => Layout { heads: Some(1), tokens: Some(3), keys: Some(3), ..none },
            (Axes::Prompts, 4) => Layout { heads: Some(1), tokens: Some(2), channels: Some(3), ..none },
            (Axes::Text | Axes::Prompts, 3) => Layout { tokens: Some(1), channels: Some(2), ..none },
            (Axes::Text, 2) => Layout { channels: Some(1), ..none },
            _ => none,
        }
    }
}

/// Whether an attention's keys are the tokens of a text: diffusers calls it `attn2`.
pub fn looks_at_text(name: &str) -> bool {
    name.split('.').any(|part| part == "attn2")
}
