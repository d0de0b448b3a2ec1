//! Prompts: from text to token ids.

pub mod tokenizer;
