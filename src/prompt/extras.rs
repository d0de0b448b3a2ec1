//! What stands in a web UI's prompt and is not to be drawn: comments, and the tags of networks to load.
//!
//! Enters: a prompt as it was typed. Leaves: what is left of it to read, and the tags.

use regex::Regex;
use std::sync::OnceLock;

/// A prompt without its comments: each goes from `#` to the end of its line, as AUTOMATIC1111's web UI has it.
pub fn without_comments(prompt: &str) -> String {
    static PATTERNS: OnceLock<Option<[Regex; 2]>> = OnceLock::new();
    // First the lines that are comments altogether, which leave one line break, then those that end in one.
    let compiled = || Some([Regex::new(r"(^|\n)#[^\n]*(\n|$)").ok()?, Regex::new(r"#[^\n]*(\n|$)").ok()?]);
    let Some([whole, ends]) = PATTERNS.get_or_init(compiled) else { return prompt.into() };
    ends.replace_all(&whole.replace_all(prompt, "\n"), "\n").into_owned()
}

/// A prompt without its tags (`<lora:wood:0.7>`, `<hypernet:…>`, `<lyco:…>`), and the tags, in their order.
pub fn without_tags(prompt: &str) -> (String, Vec<String>) {
    static PATTERN: OnceLock<Option<Regex>> = OnceLock::new();
    let Some(pattern) = PATTERN.get_or_init(|| Regex::new(r"<\w+:[^>]+>").ok()) else {
        return (prompt.into(), vec![]);
    };
    let tags = pattern.find_iter(prompt).map(|tag| tag.as_str().to_string()).collect();
    (pattern.replace_all(prompt, "").into_owned(), tags)
}

/// The flag that stands for a tag: `--lora wood.safetensors:0.7` for `<lora:wood:0.7>`.
pub fn flag(tag: &str) -> String {
    let mut words = tag.trim_matches(['<', '>']).split(':').skip(1);
    let name = words.next().unwrap_or("FILE");
    match words.next().and_then(|weight| weight.trim().parse::<f64>().ok()) {
        Some(weight) if weight != 1.0 => format!("--lora {name}.safetensors:{weight}"),
        _ => format!("--lora {name}.safetensors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the web UI's `strip_comments` gives.
    #[test]
    fn comments_end_with_their_line() {
        for (prompt, left) in [
            ("a cat", "a cat"),
            ("a cat # black\nand a dog", "a cat \nand a dog"),
            ("# cats\na cat", "\na cat"),
            ("a\n# one\nb", "a\nb"),
            ("a\n# one\n# two\nb", "a\n\nb"),
            ("a #1 # 2", "a \n"),
            ("#", "\n"),
            ("", ""),
        ] {
            assert_eq!(without_comments(prompt), left, "{prompt:?}");
        }
    }

    #[test]
    fn tags_are_taken_out_whole() {
        let (left, tags) = without_tags("a <lora:wood:0.7> house <hypernet:x> <3 <b> <lora:>");
        assert_eq!(
            (left.as_str(), tags.join(" ").as_str()),
            ("a  house  <3 <b> <lora:>", "<lora:wood:0.7> <hypernet:x>")
        );
        assert_eq!(flag("<lora:wood:0.7>"), "--lora wood.safetensors:0.7");
        assert_eq!(flag("<lora:wood:1>"), "--lora wood.safetensors");
        assert_eq!(flag("<lora:wood>"), "--lora wood.safetensors");
    }
}
