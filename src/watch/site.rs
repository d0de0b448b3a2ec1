//! Sites: the places where tensors arise, by name, and what is known of a tensor beside its numbers.
//!
//! A name is the component and the diffusers key path, `unet.mid_block.attentions.0`; what has no module of its own hangs
//! below one (`….attn2.probs`, `….resnets.0.skip`).

use std::ops::Range;

/// Height and width of the image that places in a row belong to.
pub type Grid = (i64, i64);

/// What the dimensions of a tensor mean, so that its shape can be written in symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// `[rows, channels, height, width]`.
    Image,
    /// The same, of one of the tiles in which the autoencoder decodes.
    Tile,
    /// `[rows, height·width, channels]`: an image's places in a row, for attention.
    Places(Grid),
    /// `[prompts, tokens, …]`: the negative prompt and the prompt, once whatever the batch.
    Prompts,
    /// `[rows, tokens, …]`, or any other shape that does not depend on the picture's size.
    Text,
    /// `[rows, heads, queries, keys]`: attention scores and probabilities. The queries lie on the grid.
    Attention(Grid),
    /// `[rows, heads, height·width, width of a head]`: what each head of an attention says.
    Heads(Grid),
}

impl Axes {
    /// Height and width of the image it lies on, if it lies on one, for a tensor of this shape.
    pub fn grid(self, shape: &[i64]) -> Option<Grid> {
        match (self, shape) {
            (Axes::Image | Axes::Tile, [_, _, height, width]) => Some((*height, *width)),
            (Axes::Places(grid) | Axes::Attention(grid) | Axes::Heads(grid), _) => Some(grid),
            _ => None,
        }
    }
}

/// What a model was told in a row of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Branch {
    /// The negative prompt, or nothing.
    Uncond,
    /// A part of the prompt, counted from 0: there are several where `AND` joins them.
    Text(usize),
    /// Another run's prompt, on that run's latents.
    Donor(usize),
}

/// Whose the rows of a batch are: all pictures of the first branch, then all of the second, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The number of the first picture in the run's batch: the autoencoder takes them one by one.
    pub first: i64,
    /// Pictures.
    pub batch: i64,
    /// What each group of `batch` rows was told; empty where a row is a picture and nothing else (the latents, the
    /// autoencoder) or a prompt (the text encoder).
    pub branches: Vec<Branch>,
}

impl Rows {
    /// Rows that are pictures, or whatever else comes once each.
    pub fn plain(batch: i64) -> Rows {
        Rows { first: 0, batch, branches: vec![] }
    }

    /// One picture of a batch.
    pub fn one(first: i64) -> Rows {
        Rows { first, ..Rows::plain(1) }
    }

    /// How many rows there are.
    pub fn count(&self) -> i64 {
        self.batch * self.branches.len().max(1) as i64
    }

    /// The rows of a branch.
    pub fn of(&self, branch: Branch) -> Option<Range<i64>> {
        let index = self.branches.iter().position(|known| *known == branch)? as i64;
        Some(index * self.batch..(index + 1) * self.batch)
    }
}

/// Where a tensor arises, and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its dimensions mean.
    pub axes: Axes,
    /// The step during which it arises (0: before the first).
    pub step: usize,
    /// Whose its rows are.
    pub rows: &'a Rows,
    /// Height and width of the image it lies on, if it lies on one.
    pub grid: Option<Grid>,
    /// The place of the first query, for attention scores and probabilities: large ones come in pieces, some queries at a
    /// time. 0 for all others.
    pub first_query: i64,
}

/// What hangs below the sites that are modules: seen by whoever asks for it by name, not by who wants every output.
const INNER: [&str; 13] = [
    ".in",
    ".conv2",
    ".skip",
    ".backbone",
    ".context",
    ".to_q",
    ".to_k",
    ".to_v",
    ".scores",
    ".probs",
    ".heads",
    ".self_attn",
    ".mlp",
];

/// Whether a site lies inside a module, rather than being its output.
pub fn is_inner(name: &str) -> bool {
    name == GUIDANCE_SCALE || INNER.iter().any(|end| name.ends_with(end)) || name.ends_with("attentions.0.to_out")
}

/// The site of the guidance scale: a number, which an editor may exchange at each step.
pub const GUIDANCE_SCALE: &str = "guidance_scale";

/// A pattern over site names: `*` stands for one part between dots, `**` for any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Any text is a pattern.
    pub fn new(text: &str) -> Pattern {
        Pattern(text.split('.').map(String::from).collect())
    }

    /// Whether a name fits.
    pub fn matches(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('.').collect();
        // Which prefixes of the name the pattern read so far fits.
        let mut fits = vec![false; parts.len() + 1];
        fits[0] = true;
        for part in &self.0 {
            let mut next = vec![false; parts.len() + 1];
            for (end, fit) in next.iter_mut().enumerate() {
                *fit = match part.as_str() {
                    "**" => fits[..=end].contains(&true),
                    "*" => end > 0 && fits[end - 1],
                    word => end > 0 && fits[end - 1] && parts[end - 1] == word,
                };
            }
            fits = next;
        }
        fits[parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_parts_of_names() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
        assert!(fits("unet.mid_block", "unet.mid_block") && !fits("unet.mid", "unet.mid_block"));
        assert!(fits("unet.*.0.attentions", "unet.up_blocks.0.attentions") && !fits("unet.*", "unet.a.b"));
        assert!(fits("**.attn2", "unet.a.b.attn2") && fits("**.attn2", "attn2") && !fits("**.attn2", "a.attn2.probs"));
        assert!(fits("unet.**", "unet") && fits("unet.**.0.**.probs", "unet.x.0.probs") && fits("**", "latents"));
        assert!(!fits("unet.**.0.**.probs", "unet.x.1.probs") && !fits("*", "a.b"));
    }

    #[test]
    fn rows_are_counted_branch_by_branch() {
        let rows = Rows { first: 0, batch: 3, branches: vec![Branch::Uncond, Branch::Text(0), Branch::Text(1)] };
        assert_eq!((rows.count(), rows.of(Branch::Text(0)), rows.of(Branch::Donor(0))), (9, Some(3..6), None));
        assert_eq!((Rows::plain(2).count(), Rows::plain(2).of(Branch::Uncond)), (2, None));
    }
}
