//! What a record says of attention: how much of it is kept, of which layers and sizes, and what each column of a map
//! stands for.
//!
//! Enters and leaves: parts of `run.json`, and the names of the files in `attention/`. A run without `--attention` has none
//! of it.

mod asked;
mod prediction;

use crate::record::conditions::{Phase, at};
pub use asked::{AttentionPlan, Detail};
pub use prediction::Prediction;
use serde::{Deserialize, Serialize};

/// The folder of everything that is kept of attention.
pub const ATTENTION_FOLDER: &str = "attention";
/// Where the maps of cross-attention are, a file a step.
pub const CROSS_FOLDER: &str = "attention/cross";
/// Where each head's are, a file a step.
pub const HEADS_FOLDER: &str = "attention/heads";
/// Where self-attention is, a file a step.
pub const SELF_FOLDER: &str = "attention/self";
/// Each head's maps as the mean over the steps, written once at the end.
pub const MEAN_HEADS_FILE: &str = "attention/heads.safetensors";

/// Most places of an image of which self-attention is kept whole: 24×24. From there on it grows with the fourth power of
/// the side.
pub const MOST_SELF_PLACES: usize = 576;

/// The maps of cross-attention of a step: `attention/cross/007.safetensors`.
pub fn cross_file(step: usize) -> String {
    format!("{CROSS_FOLDER}/{step:03}.safetensors")
}

/// Each head's maps of a step: `attention/heads/007.safetensors`.
pub fn heads_file(step: usize) -> String {
    format!("{HEADS_FOLDER}/{step:03}.safetensors")
}

/// Self-attention of a step: `attention/self/007.safetensors`.
pub fn self_file(step: usize) -> String {
    format!("{SELF_FOLDER}/{step:03}.safetensors")
}

/// What is kept of a run's attention.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionRecord {
    /// Into how much detail cross-attention goes.
    pub detail: Detail,
    /// Height and width of the latents, `[h, w]`.
    pub latents: [usize; 2],
    /// Those of a second pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_latents: Option<[usize; 2]>,
    /// The predictions that are kept, and what each was told.
    pub predictions: Vec<Attending>,
    /// The texts that they look at.
    pub texts: Vec<AttendedText>,
    /// The layers of cross-attention, in the order of computation.
    pub layers: Vec<Layer>,
    /// The layers of self-attention, where any of it is kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub self_layers: Vec<Layer>,
    /// Whether self-attention is kept whole, of the sizes of at most [`MOST_SELF_PLACES`] places.
    #[serde(rename = "self", skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
    /// The places whose rows of self-attention are kept, x and y in 0..1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<[f64; 2]>,
}

/// A prediction, and which text it is told when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attending {
    /// Which prediction.
    pub prediction: Prediction,
    /// Up to which step which text holds, by its place in [`AttentionRecord::texts`].
    pub schedule: Vec<Phase>,
}

/// A text as cross-attention sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttendedText {
    /// What the tokens spell: the prompt as it was written, without the brackets, weights and breaks of the web UI's
    /// syntax.
    pub text: String,
    /// Places of the text encoder's windows in a row, one for each key: 77 for each chunk.
    pub places: usize,
    /// What is kept, from the first place to the last.
    pub columns: Vec<Column>,
}

/// A column of a map: a place of the text, or several neighbouring ones together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Column {
    /// Its first place among the keys: 77·chunk + the place in its window.
    pub place: usize,
    /// How many places are added up in it: 1 but for the padding.
    pub places: usize,
    /// Which window it is in.
    pub chunk: usize,
    /// What stands there.
    pub kind: ColumnKind,
    /// The token's id.
    pub id: u32,
    /// The vocabulary's piece, `</w>` at a word's end.
    pub piece: String,
    /// Which word of the text it belongs to, counted from 0; words are what blanks part. None for start, end and padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<usize>,
    /// Which bytes of [`AttendedText::text`] it stands for, from the first to the one behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<[usize; 2]>,
}

/// What stands at a place of the text encoder's window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// Begin-of-text.
    Start,
    /// A token of the text.
    #[default]
    Word,
    /// The first end-of-text.
    End,
    /// What fills the window behind it.
    Padding,
}

/// A layer of attention.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// Its site: `unet.mid_block.attentions.0.transformer_blocks.0.attn2`.
    pub site: String,
    /// How often its image is halved, as a power of two: 1 for the latents' own size, 2, 4, 8.
    pub factor: usize,
    /// Its heads.
    pub heads: usize,
    /// Height of its image in the first pass: the latents' divided by `factor`, rounded up.
    pub h: usize,
    /// Its width.
    pub w: usize,
}

/// A side of the latents in a layer.
pub fn side(latents: usize, factor: usize) -> usize {
    latents.div_ceil(factor.max(1))
}

impl AttentionRecord {
    /// Height and width of the latents in a pass, 1 or 2.
    pub fn latents(&self, pass: usize) -> [usize; 2] {
        if pass > 1 { self.second_latents.unwrap_or(self.latents) } else { self.latents }
    }

    /// Height and width of the image of the layers of a size, in a pass.
    pub fn grid(&self, factor: usize, pass: usize) -> [usize; 2] {
        self.latents(pass).map(|latents| side(latents, factor))
    }

    /// The sizes that have cross-attention, the largest image first.
    pub fn factors(&self) -> Vec<usize> {
        factors(&self.layers)
    }

    /// The sizes whose self-attention is kept whole in a pass, the largest image first.
    pub fn self_factors(&self, pass: usize) -> Vec<usize> {
        let small = |factor: &usize| self.grid(*factor, pass).iter().product::<usize>() <= MOST_SELF_PLACES;
        if self.own { factors(&self.self_layers).into_iter().filter(small).collect() } else { vec![] }
    }

    /// The layers of a size.
    pub fn layers_of(&self, factor: usize) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.factor == factor)
    }

    /// The place in `texts` of the text that a prediction is told at a step; `None` where the prediction is not kept.
    pub fn text_at(&self, prediction: Prediction, step: usize) -> Option<usize> {
        let kept = self.predictions.iter().find(|kept| kept.prediction == prediction)?;
        Some(at(&kept.schedule, step)).filter(|text| *text < self.texts.len())
    }

    /// The text that a prediction is told at a step.
    pub fn text(&self, prediction: Prediction, step: usize) -> Option<&AttendedText> {
        self.texts.get(self.text_at(prediction, step)?)
    }

    /// What the numbers of the steps take on disk, in bytes, for a batch of so many pictures; each step with its pass.
    pub fn bytes(&self, batch: usize, steps: &[(usize, usize)]) -> usize {
        let per_step: usize = steps.iter().map(|(step, pass)| self.step_bytes(*step, *pass)).sum();
        let mut means: Vec<(usize, Prediction, usize)> = vec![];
        for (step, pass) in steps {
            let told = self.predictions.iter().map(|kept| kept.prediction);
            means.extend(told.filter_map(|told| Some((*pass, told, self.text_at(told, *step)?))));
        }
        means.sort_unstable();
        means.dedup();
        let mean =
            |(pass, _, text): &(usize, Prediction, usize)| self.heads_numbers(self.texts[*text].columns.len(), *pass);
        batch * (per_step + 4 * means.iter().map(mean).sum::<usize>())
    }

    /// What lies in memory while it is recorded, in bytes, for a batch of so many pictures: of one step, and from step to step.
    /// In the pass that takes most, for the text that has most columns.
    pub fn memory(&self, batch: usize) -> (usize, usize) {
        let of_pass = |pass: usize| {
            let area = |factor: usize| self.grid(factor, pass).iter().product::<usize>();
            let columns = self.texts.iter().map(|text| text.columns.len()).max().unwrap_or_default();
            let heads = self.heads_numbers(columns, pass);
            let own: usize = self.self_factors(pass).into_iter().map(|factor| area(factor).pow(2)).sum();
            let queries = self.queries.len() * self.self_layers.len() * area(1);
            (heads + own + queries, heads)
        };
        let (first, second) = (of_pass(1), of_pass(2));
        let each = 4 * batch * self.predictions.len();
        (each * first.0.max(second.0), each * first.1.max(second.1))
    }

    /// Numbers of all heads' maps of so many columns.
    fn heads_numbers(&self, columns: usize, pass: usize) -> usize {
        let layer = |layer: &Layer| layer.heads * self.grid(layer.factor, pass).iter().product::<usize>();
        columns * self.layers.iter().map(layer).sum::<usize>()
    }

    /// A step's bytes for one picture: two for a number.
    fn step_bytes(&self, step: usize, pass: usize) -> usize {
        let area = |factor: usize| self.grid(factor, pass).iter().product::<usize>();
        let sizes: usize = self.factors().into_iter().map(area).sum();
        let layers: usize = self.layers.iter().map(|layer| area(layer.factor)).sum();
        let own: usize = self.self_factors(pass).into_iter().map(|factor| area(factor).pow(2)).sum();
        let queries = self.queries.len() * self.self_layers.len() * area(1);
        let columns = |kept: &Attending| self.text(kept.prediction, step).map_or(0, |text| text.columns.len());
        let numbers = |kept: &Attending| {
            let columns = columns(kept);
            let cross = match self.detail {
                Detail::Sizes => columns * sizes,
                Detail::Layers => columns * (sizes + layers),
                Detail::HeadsPerStep => columns * sizes + self.heads_numbers(columns, pass),
            };
            cross + own + queries
        };
        2 * self.predictions.iter().map(numbers).sum::<usize>()
    }
}

fn factors(layers: &[Layer]) -> Vec<usize> {
    let mut factors: Vec<usize> = layers.iter().map(|layer| layer.factor).collect();
    factors.sort_unstable();
    factors.dedup();
    factors
}

#[cfg(test)]
mod tests;
