//! Recorded attention for a page: what there is of it, and how its maps are packed.
//!
//! Enters: a run, and the room that its maps may take. Leaves: what the page is told of them, and a block for each step,
//! with all columns of all sizes, the largest image first. Maps are halves as they were recorded; where that is too much
//! each is 256 levels from its least to its greatest number, then one step in 2 and in 4 is kept, then none. Of what room
//! is left then the heads get theirs: their means over the steps, a block for each layer.

use super::super::attention::maps::{HeadMaps, SizeMaps};
use super::super::attention::measures::{self, Shares};
use super::super::attention::recorded::Recorded;
use super::super::attention::words::{Word, words_of};
use super::super::measures::Curve;
use super::budget::{Block, SAMPLES, TAGS, reduction, thinned};
use super::describe::{ReductionKind, RunData, recorded};
use super::tensors::{self, Precision};
use crate::error::Result;
use crate::record::attention::{AttendedText, ColumnKind, Prediction};
use crate::trace::reader::Run;
use ndarray::{Array3, Array4, Axis, stack};
use rayon::prelude::*;
use serde::Serialize;

/// The most words whose share of the attention is drawn by itself.
const MOST_SHARES: usize = 12;
/// What the maps are called where it is said that they were reduced.
const MAPS: &str = "attention";
/// What the heads' are called.
const HEADS: &str = "attention heads";

/// The attention that is there: with the prompt, or with the first of the parts that `AND` joins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptAttention {
    /// `f16` as it was recorded, or `u8`: each map in 256 levels from its least to its greatest number. On a server `f32`.
    pub dtype: &'static str,
    /// The steps that have maps.
    pub steps: Vec<usize>,
    /// The sizes, the largest image first.
    pub sizes: Vec<KeptSize>,
    /// For each text of the record, what can be looked at.
    pub texts: Vec<Vec<KeptWord>>,
    /// Who gets how much at each step, in the order of the prompt; together 1.
    pub shares: Vec<KeptShare>,
    /// Each head's maps, where the run came to its end.
    pub heads: Option<KeptHeads>,
}

/// The layers whose image is equally large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KeptSize {
    /// How many times smaller than the latents.
    pub factor: usize,
    /// Heads of all its layers, of which its maps are the mean.
    pub heads: usize,
}

/// A word of a text, or its start, end or padding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptWord {
    /// As `sdviz attention` takes it: `apple`, `<padding>`.
    pub word: String,
    /// What it is.
    pub kind: ColumnKind,
    /// Its columns.
    pub columns: Vec<usize>,
}

/// The share of a word, or of what is no word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptShare {
    /// The word, `<start>`, `other tokens`, `<end>` or `<padding>`.
    pub of: String,
    /// The mean over the places, by step.
    pub points: Curve,
}

/// The heads' means over the steps that told the last text, in the last pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptHeads {
    /// `f32` as it was recorded, `f16` or `u8`.
    pub dtype: &'static str,
    /// The text, by its place in the record.
    pub text: usize,
    /// The pass, 1 or 2.
    pub pass: usize,
    /// How many layers there are: those of the record, in their order.
    pub layers: usize,
}

/// What there is of a run's attention; none where it recorded none, or has no step yet.
///
/// # Errors
/// When a step cannot be read.
pub(super) fn describe(run: &Run, batch: usize, steps: &[usize]) -> Result<Option<KeptAttention>> {
    let Some(mut own) = recorded(Recorded::open(run, Prediction::TEXT, batch))? else { return Ok(None) };
    // A step's maps are there a moment before the step itself.
    own.steps.retain(|step| steps.binary_search(step).is_ok());
    if own.steps.is_empty() {
        return Ok(None);
    }
    let record = own.record();
    let size = |factor| KeptSize { factor, heads: record.layers_of(factor).map(|layer| layer.heads).sum() };
    let sizes = record.factors().into_iter().map(size).collect();
    let texts: Vec<Vec<KeptWord>> = record.texts.iter().map(shown).collect();
    let last = own.last();
    let heads = recorded(own.heads())?.map(|(_, layers)| KeptHeads {
        dtype: Precision::Single.name(),
        text: record.text_at(Prediction::TEXT, last).unwrap_or_default(),
        pass: run.record().pass(last),
        layers: layers.len(),
    });
    Ok(Some(KeptAttention { dtype: "f32", steps: own.steps.clone(), sizes, texts, shares: shares(&own)?, heads }))
}

/// What of a text can be looked at: its words, and what stands around them.
fn shown(text: &AttendedText) -> Vec<KeptWord> {
    let kept = |word: Word, kind| KeptWord { columns: word.columns(text), word: word.to_string(), kind };
    let special = |kind| kept(Word::Kind(kind), kind);
    let words = words_of(text).into_iter().map(|word| kept(word, ColumnKind::Word));
    let around = [ColumnKind::End, ColumnKind::Padding].map(special);
    let all = std::iter::once(special(ColumnKind::Start)).chain(words).chain(around);
    all.filter(|word| !word.columns.is_empty()).collect()
}

/// Who gets how much. Of a prompt of many words those that get the most.
fn shares(own: &Recorded) -> Result<Vec<KeptShare>> {
    let mut words: Vec<Word> = vec![];
    for word in own.texts()?.into_iter().flat_map(words_of) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.len() > MOST_SHARES {
        words.clear();
    }
    let Shares { steps, rows } = measures::shares(own, &words, MOST_SHARES)?;
    let kept = |(of, row): (String, Vec<f64>)| KeptShare { of, points: steps.iter().copied().zip(row).collect() };
    Ok(rows.into_iter().map(kept).collect())
}

/// All maps of a step: `[columns, height, width]` of each size, the largest image first. `None` where the step has none.
///
/// # Errors
/// When it cannot be read.
pub fn maps_of(run: &Run, step: usize, batch: usize) -> Result<Option<Vec<Array3<f32>>>> {
    let Some(own) = recorded(Recorded::open(run, Prediction::TEXT, batch))? else { return Ok(None) };
    if !own.steps.contains(&step) {
        return Ok(None);
    }
    let maps = |sizes: Vec<SizeMaps>| sizes.into_iter().map(|size| size.maps).collect();
    Ok(own.sizes(step, &[])?.map(maps))
}

/// The maps of a layer's heads in the mean over the steps, `[heads, columns, height, width]`; the layer by its place in the
/// record. `None` where they are not there.
///
/// # Errors
/// When they cannot be read.
pub fn heads_of(run: &Run, layer: usize, batch: usize) -> Result<Option<Array4<f32>>> {
    let layers = all_heads(run, batch)?;
    Ok(layers.into_iter().nth(layer))
}

/// Those of all layers, in their order; none where they are not there.
fn all_heads(run: &Run, batch: usize) -> Result<Vec<Array4<f32>>> {
    let Some(own) = recorded(Recorded::open(run, Prediction::TEXT, batch))? else { return Ok(vec![]) };
    let Some((_, layers)) = recorded(own.heads())? else { return Ok(vec![]) };
    let stacked = |layer: &HeadMaps| {
        let heads: Vec<_> = layer.heads.iter().map(|head| head.view()).collect();
        // Heads of a layer have one shape.
        stack(Axis(0), &heads).unwrap_or_default()
    };
    Ok(layers.iter().map(stacked).collect())
}

/// How maps are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As numbers.
    Numbers(Precision),
    /// In 256 levels, each map from its least to its greatest number.
    Levels,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Numbers(precision) => precision.name(),
            Form::Levels => "u8",
        }
    }

    /// Bytes of a number.
    fn bytes(self) -> u64 {
        match self {
            Form::Numbers(Precision::Single) => 4,
            Form::Numbers(Precision::Half) => 2,
            Form::Levels => 1,
        }
    }

    /// The text of a block of maps, each of `area` numbers in `numbers`.
    fn pack<'a>(self, maps: impl Iterator<Item = (&'a [f32], usize)>) -> Result<String> {
        match self {
            Form::Numbers(precision) => {
                let all: Vec<f32> = maps.flat_map(|(numbers, _)| numbers).copied().collect();
                tensors::pack_all(all.into_iter(), precision)
            }
            Form::Levels => tensors::deflated(&levels(maps.flat_map(|(numbers, area)| numbers.chunks(area.max(1))))),
        }
    }
}

/// Maps in 256 levels: least and greatest number of each as f32, then a byte for each number. Bytes are differences to the
/// one before: neighbours are alike, and that deflates.
fn levels<'a>(maps: impl Iterator<Item = &'a [f32]>) -> Vec<u8> {
    let (mut ends, mut bytes) = (vec![], vec![]);
    for map in maps {
        let finite = map.iter().copied().filter(|value| value.is_finite());
        let (lo, hi) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let (lo, hi) = if lo <= hi { (lo, hi) } else { (0.0, 0.0) };
        ends.extend([lo.to_le_bytes(), hi.to_le_bytes()].concat());
        let mut before = 0u8;
        for value in map {
            let unit = if hi > lo { (value - lo) / (hi - lo) } else { 0.0 };
            let level = (unit * 255.0 + 0.5) as u8;
            bytes.push(level.wrapping_sub(before));
            before = level;
        }
    }
    [ends, bytes].concat()
}

/// Packs a run's attention into `room` bytes, or whole where there is no limit, and says in the data how it is kept.
///
/// # Errors
/// When a step cannot be read.
pub(super) fn keep(run: &Run, data: &mut RunData, room: Option<u64>) -> Result<Vec<Block>> {
    let Some(mut kept) = data.attention.take() else { return Ok(vec![]) };
    let half = Form::Numbers(Precision::Half);
    let ladder = [(half, 1), (Form::Levels, 1), (Form::Levels, 2), (Form::Levels, 4)];
    for (form, every) in ladder {
        if room.is_some_and(|room| form == half && estimate(run, &kept, data.batch, form).is_ok_and(|size| size > room))
        {
            continue;
        }
        let steps = thinned(&kept.steps, every);
        let blocks = pack_steps(run, data, &steps, form)?;
        let size: u64 = blocks.iter().map(Block::size).sum();
        if room.is_some_and(|room| size > room) {
            continue;
        }
        (kept.steps, kept.dtype) = (steps, form.name());
        if form == Form::Levels {
            data.reduced.push(reduction(ReductionKind::Levels, vec![MAPS], None));
        }
        if every > 1 {
            data.reduced.push(reduction(ReductionKind::Thinned, vec![MAPS], Some(every as u32)));
        }
        let heads = keep_heads(run, data, &mut kept, room.map(|room| room - size))?;
        data.attention = Some(kept);
        return Ok(blocks.into_iter().chain(heads).collect());
    }
    // Who gets how much stays: it is a handful of numbers.
    kept.steps.clear();
    kept.heads = None;
    data.attention = Some(kept);
    data.reduced.push(reduction(ReductionKind::Dropped, vec![MAPS], None));
    Ok(vec![])
}

/// About how many bytes the maps take, from some of their steps.
fn estimate(run: &Run, kept: &KeptAttention, batch: usize, form: Form) -> Result<u64> {
    let sampled = super::super::words::spread(&kept.steps, SAMPLES);
    let mut sum = 0;
    for step in &sampled {
        sum += pack_step(run, *step, batch, form)?.map_or(0, |text| text.len() as u64 + TAGS);
    }
    Ok(sum * kept.steps.len() as u64 / sampled.len().max(1) as u64)
}

fn pack_steps(run: &Run, data: &RunData, steps: &[usize], form: Form) -> Result<Vec<Block>> {
    let packed = steps.par_iter().map(|step| -> Result<Option<Block>> {
        let text = pack_step(run, *step, data.batch, form)?;
        Ok(text.map(|text| Block { id: format!("a-{}-{step}", data.id), text }))
    });
    Ok(packed.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn pack_step(run: &Run, step: usize, batch: usize, form: Form) -> Result<Option<String>> {
    let Some(maps) = maps_of(run, step, batch)? else { return Ok(None) };
    let maps: Vec<Array3<f32>> = maps.into_iter().map(|map| map.as_standard_layout().into_owned()).collect();
    let parts = maps.iter().filter_map(|map| Some((map.as_slice()?, map.len_of(Axis(1)) * map.len_of(Axis(2)))));
    form.pack(parts).map(Some)
}

/// Packs the heads into what room there is, by the most that they can take.
fn keep_heads(run: &Run, data: &mut RunData, kept: &mut KeptAttention, room: Option<u64>) -> Result<Vec<Block>> {
    let Some(heads) = &mut kept.heads else { return Ok(vec![]) };
    let layers = all_heads(run, data.batch)?;
    let numbers: u64 = layers.iter().map(|layer| layer.len() as u64).sum();
    let most = |form: Form| numbers * form.bytes() * 4 / 3 + layers.len() as u64 * (TAGS + 64);
    let forms = [Form::Numbers(Precision::Single), Form::Numbers(Precision::Half), Form::Levels];
    let form = forms.into_iter().find(|form| room.is_none_or(|room| most(*form) <= room));
    let Some(form) = form.filter(|_| !layers.is_empty()) else {
        kept.heads = None;
        data.reduced.push(reduction(ReductionKind::Dropped, vec![HEADS], None));
        return Ok(vec![]);
    };
    heads.dtype = form.name();
    match form {
        Form::Numbers(Precision::Single) => {}
        Form::Numbers(Precision::Half) => data.reduced.push(reduction(ReductionKind::F16, vec![HEADS], None)),
        Form::Levels => data.reduced.push(reduction(ReductionKind::Levels, vec![HEADS], None)),
    }
    let packed = layers.par_iter().enumerate().map(|(layer, maps)| -> Result<Block> {
        let maps = maps.as_standard_layout();
        let area = maps.len_of(Axis(2)) * maps.len_of(Axis(3));
        let text = form.pack(maps.as_slice().map(|numbers| (numbers, area)).into_iter())?;
        Ok(Block { id: format!("h-{}-{layer}", data.id), text })
    });
    packed.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_are_within_half_of_one() {
        let maps = [vec![0.25f32, 0.5, 0.3, 0.251], vec![0.1; 4], vec![f32::NAN, 0.0, 1.0, 0.5]];
        let bytes = levels(maps.iter().map(Vec::as_slice));
        assert_eq!(bytes.len(), 3 * 8 + 12);
        let number = |at: usize| f32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap());
        for (place, map) in maps.iter().enumerate() {
            let (lo, hi) = (number(2 * place), number(2 * place + 1));
            let mut level = 0u8;
            for (value, step) in map.iter().zip(&bytes[24 + 4 * place..]) {
                level = level.wrapping_add(*step);
                let back = lo + f32::from(level) / 255.0 * (hi - lo);
                assert!(value.is_nan() || (back - value).abs() <= (hi - lo) / 509.0, "{value} {back}");
            }
        }
        assert_eq!((number(2), number(3)), (0.1, 0.1));
    }
}
