//! What must not be guessed: run ids, join codes, visitors' tokens.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Letters of codes that people read out and type: none is like another.
const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// 64 random bits.
pub fn number() -> u64 {
    static SOURCE: OnceLock<Mutex<ChaCha20Rng>> = OnceLock::new();
    let source = SOURCE.get_or_init(|| {
        // The standard library's hashers have their keys from the system.
        let mut seed = [0; 32];
        for (part, bytes) in seed.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&RandomState::new().hash_one(part).to_le_bytes());
        }
        Mutex::new(ChaCha20Rng::from_seed(seed))
    });
    source.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
}

/// 128 random bits as 32 hexadecimal digits.
pub fn token() -> String {
    format!("{:016x}{:016x}", number(), number())
}

/// Six letters and digits that are not mistaken for each other.
pub fn code() -> String {
    (0..6).map(|_| char::from(LETTERS[(number() % LETTERS.len() as u64) as usize])).collect()
}

/// Whether a code can be typed by those who are told it: four letters or digits or more.
pub fn is_code(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_comes_twice() {
        let tokens: HashSet<String> = (0..1000).map(|_| token()).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(is_code(&code()) && !is_code("abc") && !is_code("a b c d"));
    }
}
