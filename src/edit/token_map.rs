//! How the tokens of one prompt belong to those of another, for attention that is copied between them: prompt-to-prompt's
//! two ways (Hertz et al. 2022, arXiv 2208.01626; its `seq_aligner.py`).
//!
//! Enters: both prompts and a tokenizer. Leaves: what a token's share is made of.

use crate::edit::op::TokenMap;
use crate::error::{Error, Result};
use crate::model::tokenizer::Tokenizer;
use tch::{Device, Kind, Tensor};

/// The shares `[…, target tokens]` are `donor · shares + own · kept`.
#[derive(Debug)]
pub struct Mapped {
    /// `[window, window]`: how much of a donor's token a token has.
    pub shares: Tensor,
    /// `[window]`: 1 for a token that keeps its own share, else 0.
    pub kept: Tensor,
}

impl Mapped {
    /// For attention copied from a run with the prompt `theirs` to one with the prompt `ours`.
    ///
    /// # Errors
    /// When the tokenizer refuses a prompt, or the prompts have other numbers of words and are to be mapped word by word.
    pub fn of(map: TokenMap, theirs: &str, ours: &str, tokenizer: &Tokenizer) -> Result<Mapped> {
        let (from, to) = (words(theirs, tokenizer)?, words(ours, tokenizer)?);
        let by_words = match map {
            TokenMap::Words => from.len() == to.len(),
            TokenMap::Replace if from.len() != to.len() => {
                return Err(Error::invalid(
                    format!("`{theirs}` has {} words, `{ours}` has {}", from.len(), to.len()),
                    "`map=refine` goes by the tokens that both have",
                ));
            }
            TokenMap::Replace => true,
            TokenMap::Refine | TokenMap::Same => false,
        };
        Ok(if by_words {
            replacement(&from, &to, tokenizer.window())
        } else {
            refinement(&from, &to, tokenizer.window())
        })
    }

    /// On a device.
    pub fn to(&self, device: Device) -> Mapped {
        Mapped { shares: self.shares.to_device(device), kept: self.kept.to_device(device) }
    }
}

/// The token ids of each word of a prompt: what stands between blanks.
fn words(prompt: &str, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let ids = |word: &str| Ok(tokenizer.tokens(word)?.iter().map(|token| token.id).collect());
    prompt.split_whitespace().map(ids).collect()
}

/// Word by word: a word's share is that of the word in its place, whose tokens' shares are added up and split evenly where
/// the two have different numbers of tokens. What stands behind the words follows in its order.
fn replacement(from: &[Vec<u32>], to: &[Vec<u32>], window: usize) -> Mapped {
    let mut shares = vec![vec![0f32; window]; window];
    let mut put = |i: usize, j: usize, share: f32| {
        if i < window && j < window {
            shares[i][j] += share;
        }
    };
    put(0, 0, 1.0);
    let (mut i, mut j) = (1, 1);
    for (theirs, ours) in from.iter().zip(to) {
        let even = theirs.len() != ours.len();
        for (a, b) in (0..theirs.len()).flat_map(|a| (0..ours.len()).map(move |b| (a, b))) {
            if even {
                put(i + a, j + b, 1.0 / ours.len() as f32);
            } else if a == b {
                put(i + a, j + b, 1.0);
            }
        }
        (i, j) = (i + theirs.len(), j + ours.len());
    }
    // The end and the padding; what has no place left goes to the last.
    (i..window).for_each(|place| put(place, (j + place - i).min(window - 1), 1.0));
    mapped(shares, vec![0.0; window])
}

/// By the tokens that both have, in the order of the alignment with most of them (Needleman and Wunsch: a match counts 1, a
/// mismatch −1, a gap 0). A token that only the new prompt has keeps its own share.
fn refinement(from: &[Vec<u32>], to: &[Vec<u32>], window: usize) -> Mapped {
    // Begin and end of text stand around both, and belong together.
    let whole = |words: &[Vec<u32>]| {
        let inner = words.iter().flatten().map(|id| i64::from(*id)).take(window.saturating_sub(2));
        [-1].into_iter().chain(inner).chain([-2]).collect::<Vec<i64>>()
    };
    let (x, y) = (whole(from), whole(to));
    let aligned = align(&x, &y);
    let (mut shares, mut kept) = (vec![vec![0f32; window]; window], vec![0.0; window]);
    for place in 0..window {
        match aligned.get(place).copied().unwrap_or(Some(place)) {
            Some(theirs) => shares[theirs][place] = 1.0,
            None => kept[place] = 1.0,
        }
    }
    mapped(shares, kept)
}

/// For each token of `y` the one of `x` that it belongs to.
fn align(x: &[i64], y: &[i64]) -> Vec<Option<usize>> {
    let mut best = vec![vec![0i64; y.len() + 1]; x.len() + 1];
    let diagonal =
        |best: &[Vec<i64>], i: usize, j: usize| best[i - 1][j - 1] + if x[i - 1] == y[j - 1] { 1 } else { -1 };
    for i in 1..=x.len() {
        for j in 1..=y.len() {
            best[i][j] = best[i][j - 1].max(best[i - 1][j]).max(diagonal(&best, i, j));
        }
    }
    let mut found = vec![None; y.len()];
    let (mut i, mut j) = (x.len(), y.len());
    while i > 0 || j > 0 {
        if j > 0 && (i == 0 || best[i][j] == best[i][j - 1]) {
            j -= 1;
        } else if i > 0 && (j == 0 || best[i][j] == best[i - 1][j]) {
            i -= 1;
        } else {
            (i, j) = (i - 1, j - 1);
            found[j] = Some(i);
        }
    }
    found
}

fn mapped(shares: Vec<Vec<f32>>, kept: Vec<f32>) -> Mapped {
    let side = kept.len() as i64;
    let shares = Tensor::from_slice(&shares.concat()).view([side, side]);
    Mapped { shares: shares.to_kind(Kind::Float), kept: Tensor::from_slice(&kept) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(mapped: &Mapped, place: i64) -> Vec<f32> {
        Vec::try_from(mapped.shares.select(1, place).contiguous()).unwrap()
    }

    #[test]
    fn words_take_the_shares_of_the_words_in_their_places() {
        // "a cat", "a big-dog" of two tokens: start, a, cat | big, dog, end, padding.
        let mapped = replacement(&[vec![1], vec![2]], &[vec![1], vec![3, 4]], 8);
        assert_eq!(column(&mapped, 1), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        for place in [2, 3] {
            assert_eq!(column(&mapped, place), [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
        assert_eq!(column(&mapped, 4)[3], 1.0, "the end is the end");
        let sums = Vec::<f32>::try_from(mapped.shares.sum_dim_intlist(1, false, Kind::Float)).unwrap();
        assert_eq!(sums, [1.0; 8], "nothing of the donor's attention is lost");
        // With as many tokens everywhere it is the identity: one token for one token.
        let same = replacement(&[vec![1], vec![2, 5]], &[vec![3], vec![4, 6]], 8);
        assert!(same.shares.equal(&Tensor::eye(8, (Kind::Float, Device::Cpu))));
    }

    #[test]
    fn tokens_that_both_have_belong_together_and_new_ones_keep_their_own() {
        // "a cat" and "a red cat".
        let mapped = refinement(&[vec![1], vec![2]], &[vec![1], vec![9], vec![2]], 8);
        assert_eq!(Vec::<f32>::try_from(&mapped.kept).unwrap(), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!((column(&mapped, 3)[2], column(&mapped, 4)[3], column(&mapped, 6)[6]), (1.0, 1.0, 1.0));
        assert_eq!(align(&[-1, 5, -2], &[-1, 7, -2]), [Some(0), None, Some(2)]);
    }
}
