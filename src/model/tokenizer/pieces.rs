//! Pieces of the vocabulary as people read them.
//!
//! Enters: the pieces of a text, in their order. CLIP's vocabulary is one of bytes: each byte stands as a character of its
//! own (`Ġ` for a blank, `ç` for 0xE7), and what is not ASCII looks like noise. Leaves: the characters that the bytes
//! spell, `<0xE7>` for a byte that is only a part of one, and for such parts the character that they belong to.

use super::WORD_END;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A piece for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    /// Its characters; `<0xE7>` where it ends inside of one.
    pub text: String,
    /// The characters that it has only some bytes of.
    pub part_of: String,
}

/// The byte that each character of a piece stands for: printable Latin-1 for itself, the rest from U+0100 on, as in GPT-2's
/// `bytes_to_unicode`.
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let (own, others): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(printable);
    let moved = ('\u{100}'..).zip(others);
    own.into_iter().map(|byte| (char::from(byte), byte)).chain(moved).collect()
});

/// The pieces of one text, read together: a character may be spread over several.
pub fn readable<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<Readable> {
    let split = |piece: &'a str| match piece.strip_suffix(WORD_END) {
        Some(stem) => (stem, WORD_END),
        None => (piece, ""),
    };
    let pieces: Vec<(&str, &str)> = pieces.into_iter().map(split).collect();
    let spelt: Vec<Option<Vec<u8>>> = pieces.iter().map(|(stem, _)| bytes(stem)).collect();
    let mut read = vec![];
    for (place, (stem, end)) in pieces.iter().enumerate() {
        let own = match &spelt[place] {
            Some(own) if !own.is_ascii() => own,
            // A word that was added to the vocabulary is no bytes but itself.
            _ => {
                read.push(Readable { text: format!("{stem}{end}"), part_of: String::new() });
                continue;
            }
        };
        let flat = |piece: &Option<Vec<u8>>| piece.clone().unwrap_or_default();
        let before: Vec<u8> = spelt[..place].iter().flat_map(flat).collect();
        let whole: Vec<u8> = spelt.iter().flat_map(flat).collect();
        let mine = before.len()..before.len() + own.len();
        let (mut text, mut part_of) = (String::new(), String::new());
        for (span, letter) in characters(&whole) {
            match letter {
                Some(letter) if mine.start <= span.start && span.end <= mine.end => text.push(letter),
                letter => {
                    let shared: Vec<usize> = span.filter(|at| mine.contains(at)).collect();
                    text.extend(shared.iter().map(|at| format!("<0x{:02X}>", whole[*at])));
                    part_of.extend(letter.filter(|_| !shared.is_empty()));
                }
            }
        }
        read.push(Readable { text: text + end, part_of });
    }
    read
}

/// The bytes of a piece; none if it has a character that stands for no byte.
fn bytes(stem: &str) -> Option<Vec<u8>> {
    stem.chars().map(|letter| BYTES.get(&letter).copied()).collect()
}

/// The characters that bytes spell, each with its place; none for bytes that spell none.
fn characters(bytes: &[u8]) -> Vec<(std::ops::Range<usize>, Option<char>)> {
    let (mut all, mut at) = (vec![], 0);
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            all.push((at..at + letter.len_utf8(), Some(letter)));
            at += letter.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            all.push((at..at + chunk.invalid().len(), None));
            at += chunk.invalid().len();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[&str]) -> Vec<(String, String)> {
        readable(pieces.iter().copied()).into_iter().map(|piece| (piece.text, piece.part_of)).collect()
    }

    fn both(text: &str, part_of: &str) -> (String, String) {
        (text.into(), part_of.into())
    }

    #[test]
    fn english_is_left_as_it_is() {
        let pieces = ["<|startoftext|>", "apple</w>", "'s</w>", "<|endoftext|>"];
        assert_eq!(texts(&pieces), pieces.map(|piece| both(piece, "")));
        // A word of the user's own, with what stands for no byte.
        assert_eq!(texts(&["<猫>"]), [both("<猫>", "")]);
    }

    #[test]
    fn bytes_become_the_characters_that_they_spell() {
        // é is C3 A9, 猫 is E7 8C AB, 🍎 is F0 9F 8D 8E.
        assert_eq!(texts(&["caf", "Ã©</w>"]), [both("caf", ""), both("é</w>", "")]);
        assert_eq!(texts(&["ç", "Į", "«</w>"]), [both("<0xE7>", "猫"), both("<0x8C>", "猫"), both("<0xAB></w>", "猫")]);
        assert_eq!(texts(&["ðŁ", "įİ</w>"]), [both("<0xF0><0x9F>", "🍎"), both("<0x8D><0x8E></w>", "🍎")]);
        assert_eq!(texts(&["ðŁįİ</w>"]), [both("🍎</w>", "")]);
        // A piece that ends one character and begins the next, and bytes that spell nothing.
        assert_eq!(
            texts(&["ç", "Į«ç", "Į«"]),
            [both("<0xE7>", "猫"), both("<0x8C><0xAB><0xE7>", "猫猫"), both("<0x8C><0xAB>", "猫")]
        );
        assert_eq!(texts(&["ç"]), [both("<0xE7>", "")]);
    }
}
