//! What maps of words say in numbers: shares, how spread they are, where their middle is, how far two of them overlap.
//!
//! Enters: a run's attention. Leaves: numbers for each step. In words, with `m` a map of shares at the latents' size and
//! p = m / Σm:
//!
//! ```text
//! share    mean of m over the places
//! spread   -Σ p · log p / log(places): 1 where all places get alike, 0 where one gets everything
//! middle   Σ p · (x, y), with x and y from 0 to 1; drift: its distance from where it is in the last step
//! area     where m is above 0.4 of the way from its least to its greatest number, as DAAM's authors cut
//! overlap  places in both areas / places in one of them
//! ```

use super::maps::{Mix, share};
use super::recorded::{How, Recorded};
use super::track::mean;
use super::words::{Word, words_of};
use crate::error::Result;
use crate::record::attention::ColumnKind;
use ndarray::Array2;

/// How far above its least number a map counts as the word's area, as a share of the way to its greatest.
pub const CUT: f64 = 0.4;

/// How spread a map is, 0 to 1; `None` of one without any attention, or of one place.
pub fn spread(map: &Array2<f32>) -> Option<f64> {
    let sum: f64 = map.iter().map(|value| f64::from(*value)).sum();
    if sum.is_nan() || sum <= 0.0 || map.len() < 2 {
        return None;
    }
    let parts = map.iter().map(|value| f64::from(*value) / sum).filter(|part| *part > 0.0);
    Some(-parts.map(|part| part * part.ln()).sum::<f64>() / (map.len() as f64).ln())
}

/// The middle of a map, x and y from 0 to 1; `None` of one without any attention.
pub fn middle(map: &Array2<f32>) -> Option<[f64; 2]> {
    let (height, width) = map.dim();
    let sum: f64 = map.iter().map(|value| f64::from(*value)).sum();
    if sum.is_nan() || sum <= 0.0 {
        return None;
    }
    let mut middle = [0.0; 2];
    for ((y, x), value) in map.indexed_iter() {
        let part = f64::from(*value) / sum;
        middle[0] += part * (x as f64 + 0.5) / width as f64;
        middle[1] += part * (y as f64 + 0.5) / height as f64;
    }
    Some(middle)
}

/// Where a map is above `cut` of the way from its least to its greatest number; nowhere where it is flat.
pub fn area(map: &Array2<f32>, cut: f64) -> Array2<bool> {
    let least = map.iter().copied().fold(f32::INFINITY, f32::min);
    let most = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let from = f64::from(least) + cut * (f64::from(most) - f64::from(least));
    map.mapv(|value| most > least && f64::from(value) > from)
}

/// Places in both areas over places in one of them; `None` of two that are empty.
pub fn overlap(a: &Array2<bool>, b: &Array2<bool>) -> Option<f64> {
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    let one = a.iter().zip(b).filter(|(a, b)| **a || **b).count();
    (one > 0).then(|| both as f64 / one as f64)
}

/// Who gets the attention at each step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shares {
    /// The steps.
    pub steps: Vec<usize>,
    /// The rows, from the start to the padding, with a share for each step; together 1 at each.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Who gets the attention: the start, the words, those among them that are not named, the end and the padding. Without
/// names the `most` words that get the most, articles and the like apart.
///
/// # Errors
/// When a step cannot be read.
pub fn shares(recorded: &Recorded, named: &[Word], most: usize) -> Result<Shares> {
    let mut words = named.to_vec();
    if words.is_empty() {
        words = strongest(recorded, most)?;
    }
    let kind = |kind| Word::Kind(kind);
    let mut shares = Shares::default();
    let names = words.iter().map(Word::to_string);
    let names: Vec<String> =
        [vec!["<start>".into()], names.collect(), vec!["other tokens".into(), "<end>".into(), "<padding>".into()]]
            .concat();
    let mut rows = vec![vec![]; names.len()];
    for &step in &recorded.steps {
        let Some(sizes) = recorded.sizes(step, &[])? else { continue };
        let (text, to) = (recorded.text(step)?, recorded.latents(step));
        let of = |columns: &[usize]| mean(&share(&sizes, columns, to, &Mix::default()));
        let taken: Vec<Vec<usize>> = words.iter().map(|word| word.columns(text)).collect();
        let all = text.columns.iter().enumerate();
        let others = all.filter(|(at, column)| {
            column.kind == ColumnKind::Word && !taken.iter().any(|columns| columns.contains(at))
        });
        let others: Vec<usize> = others.map(|(at, _)| at).collect();
        let ends = [ColumnKind::Start, ColumnKind::End, ColumnKind::Padding].map(|k| of(&kind(k).columns(text)));
        rows[0].push(ends[0]);
        taken.iter().zip(&mut rows[1..]).for_each(|(columns, row)| row.push(of(columns)));
        let behind = rows.len() - 3;
        [of(&others), ends[1], ends[2]].into_iter().zip(&mut rows[behind..]).for_each(|(share, row)| row.push(share));
        shares.steps.push(step);
    }
    shares.rows = names.into_iter().zip(rows).filter(|(_, row)| row.iter().any(|share| *share > 0.0)).collect();
    Ok(shares)
}

/// Articles, prepositions and `and`: not chosen where nobody names a word.
const SMALL: [&str; 16] =
    ["a", "an", "the", "and", "or", "of", "on", "in", "at", "to", "by", "for", "with", "from", "its", "is"];

fn is_small(word: &Word) -> bool {
    SMALL.contains(&word.to_string().as_str())
}

/// The words that get the most over all steps, without the small ones, in the order of the text.
fn strongest(recorded: &Recorded, most: usize) -> Result<Vec<Word>> {
    let mut words: Vec<Word> = vec![];
    for word in recorded.texts()?.iter().flat_map(|text| words_of(text)) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    // `a` and `on` often get the most, and say the least.
    if words.iter().any(|word| !is_small(word)) {
        words.retain(|word| !is_small(word));
    }
    let mut sums = vec![0.0; words.len()];
    for &step in &recorded.steps {
        let maps = recorded.maps(step, &words, &How::default())?;
        maps.iter().zip(&mut sums).for_each(|(map, sum)| *sum += map.as_ref().map_or(0.0, mean));
    }
    let mut order: Vec<usize> = (0..words.len()).collect();
    order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]));
    order.truncate(most);
    order.sort_unstable();
    Ok(order.into_iter().map(|at| words[at].clone()).collect())
}

/// A number for each step.
pub type ByStep = Vec<(usize, f64)>;

/// What the maps of some words say at each step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ways {
    /// The words.
    pub words: Vec<Word>,
    /// How spread each is, by step.
    pub spread: Vec<ByStep>,
    /// How far its middle is from where it ends, by step, in widths and heights of the picture.
    pub drift: Vec<ByStep>,
    /// The overlap of each two of them, by step.
    pub overlap: Vec<((usize, usize), ByStep)>,
}

/// The way of words through the steps; without names that of the `most` words that get the most.
///
/// # Errors
/// When a step cannot be read.
pub fn ways(recorded: &Recorded, named: &[Word], most: usize) -> Result<Ways> {
    let words = if named.is_empty() { strongest(recorded, most)? } else { named.to_vec() };
    let count = words.len();
    let mut ways = Ways { spread: vec![vec![]; count], ..Ways::default() };
    let mut middles: Vec<Vec<(usize, [f64; 2])>> = vec![vec![]; count];
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    ways.overlap = pairs.map(|pair| (pair, vec![])).collect();
    for &step in &recorded.steps {
        let maps = recorded.maps(step, &words, &How::default())?;
        for (at, map) in maps.iter().enumerate() {
            let Some(map) = map else { continue };
            ways.spread[at].extend(spread(map).map(|value| (step, value)));
            middles[at].extend(middle(map).map(|value| (step, value)));
        }
        let areas: Vec<Option<Array2<bool>>> = maps.iter().map(|map| map.as_ref().map(|map| area(map, CUT))).collect();
        for ((a, b), values) in &mut ways.overlap {
            if let (Some(a), Some(b)) = (&areas[*a], &areas[*b]) {
                values.extend(overlap(a, b).map(|value| (step, value)));
            }
        }
    }
    let drift = |middles: &Vec<(usize, [f64; 2])>| {
        let end = middles.last().map_or([0.0; 2], |(_, end)| *end);
        middles.iter().map(|(step, [x, y])| (*step, (x - end[0]).hypot(y - end[1]))).collect()
    };
    ways.drift = middles.iter().map(drift).collect();
    ways.words = words;
    Ok(ways)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::arr2;

    #[test]
    fn spread_is_one_where_all_get_alike() {
        assert!((spread(&Array2::from_elem((4, 4), 0.1)).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(spread(&arr2(&[[0.0f32, 3.0], [0.0, 0.0]])), Some(0.0));
        assert!((spread(&arr2(&[[1.0f32, 1.0], [0.0, 0.0]])).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!((spread(&Array2::zeros((2, 2))), middle(&Array2::zeros((2, 2)))), (None, None));
    }

    #[test]
    fn the_middle_is_where_the_weight_is() {
        assert_eq!(middle(&arr2(&[[0.0f32, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])), Some([0.375, 0.5]));
        assert_eq!(middle(&arr2(&[[1.0f32, 0.0], [1.0, 2.0]])), Some([0.5, 0.625]));
    }

    #[test]
    fn areas_overlap() {
        let a = area(&arr2(&[[0.1f32, 0.2, 0.5], [0.1, 0.3, 0.5]]), CUT);
        assert_eq!(a, arr2(&[[false, false, true], [false, true, true]]));
        let b = area(&arr2(&[[1.0f32, 0.0, 1.0], [0.0, 0.0, 1.0]]), CUT);
        assert_eq!(overlap(&a, &b), Some(0.5));
        let flat = area(&Array2::from_elem((2, 3), 0.2), CUT);
        assert_eq!((overlap(&flat, &a), overlap(&flat, &flat)), (Some(0.0), None));
    }
}
