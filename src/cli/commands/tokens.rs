//! `sdviz tokens`: a prompt as the text encoder sees it. Reads the tokenizer and a configuration, no weights.

use crate::cli::args::TokensArgs;
use crate::cli::report;
use crate::config::{Config, TextConfig};
use crate::model::embedding::{Embedding, EmbeddingChoice};
use crate::model::resolve;
use crate::prompt::tokenizer::{Encoded, Tokenizer};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints the tokens.
pub fn run(args: &TokensArgs) -> Result<ExitCode> {
    let choice = resolve::resolve(args.model.as_deref())?;
    let name = "text_encoder/config.json";
    let config = TextConfig::parse(&choice.files.required_text(name)?, &choice.files.path(name))?;
    let mut tokenizer = Tokenizer::load(&choice.files, config.max_position_embeddings as usize)?;
    for text in &args.embedding {
        let record = Embedding::open(&EmbeddingChoice::parse(text)?, config.hidden_size)?.record;
        tokenizer.add_embedding(&record.name, record.vectors)?;
    }
    let mut prompts = vec![("prompt", args.prompt.as_str(), tokenizer.encode(&args.prompt)?)];
    if let Some(negative) = &args.negative {
        prompts.push(("negative prompt", negative, tokenizer.encode(negative)?));
    }
    if args.json {
        let mut all = json!({
            "model": choice.id, "window": tokenizer.window(), "vocabulary": tokenizer.vocabulary_size(),
        });
        for (name, text, encoded) in &prompts {
            all[name.replace(' ', "_")] = as_json(text, encoded);
        }
        report::print(serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    report::print(format!(
        "{} ({}), {} pieces in its vocabulary",
        choice.id,
        choice.chosen_by,
        report::thousands(tokenizer.vocabulary_size() as u64)
    ));
    for (name, text, encoded) in &prompts {
        print_prompt(name, text, encoded);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_prompt(name: &str, text: &str, encoded: &Encoded) {
    let (used, window) = (encoded.tokens.len(), encoded.ids.len());
    report::print(format!("\n{name}: `{text}`"));
    let mut table = report::table(&["place", "id", "piece", ""]);
    for (place, token) in encoded.tokens.iter().enumerate() {
        let note = match place {
            0 => "begin of text",
            place if place + 1 == used => "end of text",
            _ => "",
        };
        table.add_row([place.to_string(), token.id.to_string(), token.piece.clone(), note.into()]);
    }
    if let Some(padding) = encoded.ids.get(used) {
        let places = if used + 1 == window { used.to_string() } else { format!("{used}–{}", window - 1) };
        table.add_row([places, padding.to_string(), String::new(), "padding".into()]);
    }
    report::align_right(&mut table, 0..2);
    report::print_table(&table);
    report::print(format!("{used} of {window} places used, {} free", window - used));
    match &encoded.cut {
        Some(cut) => report::print(format!("cut, not seen by the model: `{cut}`")),
        None => report::print("nothing is cut"),
    }
}

fn as_json(text: &str, encoded: &Encoded) -> Value {
    let tokens = encoded.tokens.iter().enumerate();
    let tokens: Vec<Value> =
        tokens.map(|(place, token)| json!({ "place": place, "id": token.id, "piece": token.piece })).collect();
    json!({
        "text": text, "tokens": tokens, "used": encoded.tokens.len(),
        "free": encoded.ids.len() - encoded.tokens.len(), "cut": encoded.cut, "ids": encoded.ids,
    })
}
