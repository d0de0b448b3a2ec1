//! Prompts joined by `AND`, each with a weight of its own (composable diffusion, Liu et al. 2022, arXiv 2206.01714).
//!
//! Enters: a prompt. Leaves: its parts. `a cat :1.2 AND a dog` is two parts, of weights 1.2 and 1. As in AUTOMATIC1111's
//! web UI, a `: number` at the very end is a weight also where there is no `AND`.

use regex::Regex;
use std::sync::OnceLock;

/// A prompt and how much it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedPrompt {
    /// The prompt, without its weight.
    pub text: String,
    /// Its weight.
    pub weight: f64,
}

/// The parts of a prompt: always one at least.
pub fn parse(prompt: &str) -> Vec<WeightedPrompt> {
    static PATTERNS: OnceLock<Option<(Regex, Regex)>> = OnceLock::new();
    let compiled = || {
        let and = Regex::new(r"\bAND\b").ok()?;
        Some((and, Regex::new(r"(?s)^(.*?)(?:\s*:\s*([-+]?(?:[0-9]+\.?|[0-9]*\.[0-9]+)))?\s*$").ok()?))
    };
    let Some((and, weight)) = PATTERNS.get_or_init(compiled) else { return vec![] };
    let part = |text: &str| {
        let found = weight.captures(text);
        let group = |i| found.as_ref().and_then(|f| f.get(i)).map(|m| m.as_str());
        let weight = group(2).and_then(|w| w.parse().ok()).unwrap_or(1.0);
        WeightedPrompt { text: group(1).unwrap_or(text).into(), weight }
    };
    and.split(prompt).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prompt: &str, expected: &[(&str, f64)]) {
        let found = parse(prompt);
        let found: Vec<(&str, f64)> = found.iter().map(|part| (part.text.as_str(), part.weight)).collect();
        assert_eq!(found, expected, "{prompt}");
    }

    #[test]
    fn parts_have_weights() {
        check("a cat", &[("a cat", 1.0)]);
        check("a cat AND a dog", &[("a cat", 1.0), (" a dog", 1.0)]);
        check("a cat :1.2 AND a dog AND a penguin : -2.", &[("a cat", 1.2), (" a dog", 1.0), (" a penguin", -2.0)]);
        check("a\ncat:.5\nAND b", &[("a\ncat", 0.5), (" b", 1.0)]);
        check("a cat :0.5", &[("a cat", 0.5)]);
    }

    #[test]
    fn what_only_looks_like_it_is_text() {
        check("HANDS and SAND", &[("HANDS and SAND", 1.0)]);
        check("(a cat:1.2)", &[("(a cat:1.2)", 1.0)]);
        check("a cat: two", &[("a cat: two", 1.0)]);
        // Full-width digits are text, as in other places.
        check("猫:１.２", &[("猫:１.２", 1.0)]);
        check("（猫:１.２） AND 犬", &[("（猫:１.２）", 1.0), (" 犬", 1.0)]);
    }
}
