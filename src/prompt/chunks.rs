//! Prompts longer than the text encoder's window, cut into several windows.
//!
//! Enters: tokens with weights, and breaks among them. Leaves: chunks of at most 75 tokens, as AUTOMATIC1111's web UI cuts
//! them. Begin-of-text, end-of-text and padding come later, to each chunk its own.

use crate::record::conditions::WeightedToken;

/// How many tokens a chunk gives back to the next one at most, so that it ends with a comma.
const BACKTRACK: usize = 20;

/// What chunks are filled with.
#[derive(Debug, Clone, PartialEq)]
pub enum Unit {
    /// A token, or all those of a learned word, which stay together.
    Word(Vec<WeightedToken>),
    /// The end of the chunk, full or not.
    Break,
}

/// Chunks of at most `size` tokens, one at least. Where a chunk is full and the last comma, whose id is `comma`, is at
/// most 20 tokens back, what follows the comma goes to the next chunk. A word of several tokens that does not fit opens the
/// next one; only a word longer than a chunk is cut.
pub fn split(units: impl IntoIterator<Item = Unit>, size: usize, comma: Option<u32>) -> Vec<Vec<WeightedToken>> {
    let (mut chunks, mut chunk): (Vec<Vec<WeightedToken>>, Vec<WeightedToken>) = (vec![], vec![]);
    for unit in units {
        let Unit::Word(word) = unit else {
            chunks.push(std::mem::take(&mut chunk));
            continue;
        };
        if chunk.len() == size {
            // Only commas within reach: a comma that opens the next chunk leaves this one as it is.
            let last = chunk.iter().rposition(|t| Some(t.id) == comma);
            let opens = word.first().map(|token| token.id);
            let near = last.filter(|at| size - at <= BACKTRACK && (opens.is_none() || opens != comma));
            let carried = near.map_or(vec![], |at| chunk.split_off(at + 1));
            chunks.push(std::mem::replace(&mut chunk, carried));
        }
        if chunk.len() + word.len() > size && !chunk.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
        }
        for token in word {
            if chunk.len() == size {
                chunks.push(std::mem::take(&mut chunk));
            }
            chunk.push(token);
        }
    }
    if !chunk.is_empty() || chunks.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMA: u32 = 267;

    fn token(id: u32) -> Unit {
        word(&[id])
    }

    fn word(ids: &[u32]) -> Unit {
        Unit::Word(ids.iter().map(|id| WeightedToken { id: *id, piece: String::new(), weight: 1.0 }).collect())
    }

    /// The lengths of the chunks of `length` tokens with commas at these places.
    fn lengths(length: u32, commas: &[u32]) -> Vec<usize> {
        let units = (0..length).map(|i| token(if commas.contains(&i) { COMMA } else { 1000 + i }));
        split(units, 75, Some(COMMA)).iter().map(Vec::len).collect()
    }

    #[test]
    fn chunks_are_full_unless_a_comma_is_near() {
        assert_eq!(lengths(0, &[]), [0]);
        assert_eq!(lengths(75, &[]), [75]);
        assert_eq!(lengths(76, &[]), [75, 1]);
        assert_eq!(lengths(160, &[]), [75, 75, 10]);
        // 20 tokens back from the end of the chunk is place 55.
        assert_eq!(lengths(100, &[54]), [75, 25]);
        assert_eq!(lengths(100, &[55]), [56, 44]);
        assert_eq!(lengths(100, &[20, 60, 70]), [71, 29]);
        assert_eq!(lengths(100, &[74]), [75, 25]);
        // A comma just behind a full chunk opens the next one.
        assert_eq!(lengths(100, &[60, 75]), [75, 25]);
        assert_eq!(lengths(160, &[60]), [61, 75, 24]);
    }

    /// As the web UI puts an embedding of several vectors: without going back to a comma.
    #[test]
    fn a_word_of_several_tokens_stays_whole() {
        let behind = |before: u32, length: u32| {
            let units = (0..before).map(|i| token(if i == 60 { COMMA } else { 1000 + i }));
            let learned: Vec<u32> = (5000..5000 + length).collect();
            split(units.chain([word(&learned), token(1)]), 75, Some(COMMA)).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(behind(71, 4), [61, 15]);
        assert_eq!(behind(70, 4), [75]);
        assert_eq!(behind(73, 4), [73, 5]);
        assert_eq!(behind(75, 4), [61, 19]);
        assert_eq!(behind(0, 80), [75, 6]);
    }

    #[test]
    fn a_break_ends_a_chunk_however_short() {
        let chunks = split([token(1), Unit::Break, Unit::Break, token(2)], 75, None);
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!(split([token(1), Unit::Break], 75, None).len(), 1);
    }
}
