//! `sdviz tokens`: a prompt as the text encoder sees it, and in a web UI's syntax how it changes on the way. Reads the
//! tokenizer and a configuration, no weights.

use crate::cli::args::TokensArgs;
use crate::cli::report;
use crate::error::Error;
use crate::model::components::TEXT_ENCODER;
use crate::model::config::TextConfig;
use crate::model::embedding::{Embedding, EmbeddingChoice};
use crate::model::resolve::{self, ModelChoice};
use crate::model::tokenizer::pieces::{self, Readable};
use crate::model::tokenizer::{Encoded, Tokenizer};
use crate::prompt::conditions;
use crate::record::conditions::{Conditions, Phase, PromptSyntax, Text};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints the tokens.
pub fn run(args: &TokensArgs) -> Result<ExitCode> {
    let syntax: PromptSyntax = args.prompt_syntax.parse()?;
    let choice = resolve::resolve(args.model.as_deref())?;
    let config: TextConfig = choice.files.config(&TEXT_ENCODER)?;
    let mut tokenizer = Tokenizer::of_model(&choice.files, &config)?;
    for text in &args.embedding {
        let record = Embedding::open(&EmbeddingChoice::parse(text)?, config.hidden_size)?.record;
        tokenizer.add_embedding(&record.name, record.vectors)?;
    }
    if syntax == PromptSyntax::A1111 {
        return run_a1111(args, &choice, &tokenizer);
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
    print_model(&choice, &tokenizer);
    for (name, text, encoded) in &prompts {
        print_prompt(name, text, encoded);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_model(choice: &ModelChoice, tokenizer: &Tokenizer) {
    report::print(format!(
        "{} ({}), {} pieces in its vocabulary",
        choice.id,
        choice.chosen_by,
        report::thousands(tokenizer.vocabulary_size() as u64)
    ));
}

fn print_prompt(name: &str, text: &str, encoded: &Encoded) {
    let (used, window) = (encoded.tokens.len(), encoded.ids.len());
    report::print(format!("\n{name}: `{text}`"));
    let mut table = report::table(&["place", "id", "piece", ""]);
    let read = pieces::readable(encoded.tokens.iter().map(|token| token.piece.as_str()));
    for (place, (token, piece)) in encoded.tokens.iter().zip(read).enumerate() {
        let note = match place {
            0 => "begin of text".into(),
            place if place + 1 == used => "end of text".into(),
            _ => part_of(&piece),
        };
        table.add_row([place.to_string(), token.id.to_string(), piece.text, note]);
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

/// What is said of a piece that is not whole characters.
fn part_of(piece: &Readable) -> String {
    if piece.part_of.is_empty() { String::new() } else { format!("part of {}", piece.part_of) }
}

fn as_json(text: &str, encoded: &Encoded) -> Value {
    let read = pieces::readable(encoded.tokens.iter().map(|token| token.piece.as_str()));
    let tokens: Vec<Value> = encoded
        .tokens
        .iter()
        .zip(read)
        .enumerate()
        .map(|(place, (token, read))| json!({ "place": place, "id": token.id, "piece": token.piece, "reads": read.text }))
        .collect();
    json!({
        "text": text, "tokens": tokens, "used": encoded.tokens.len(),
        "free": encoded.ids.len() - encoded.tokens.len(), "cut": encoded.cut, "ids": encoded.ids,
    })
}

/// The prompts as AUTOMATIC1111's web UI reads them.
fn run_a1111(args: &TokensArgs, choice: &ModelChoice, tokenizer: &Tokenizer) -> Result<ExitCode> {
    if args.steps == 0 {
        return Err(Error::invalid("a run of 0 steps", "ask for at least one: `--steps 25` is usual").into());
    }
    let negative = args.negative.as_deref().unwrap_or_default();
    let all = conditions::read(tokenizer, &args.prompt, negative, args.steps)?;
    if args.json {
        let json = json!({
            "model": choice.id, "window": tokenizer.window(), "vocabulary": tokenizer.vocabulary_size(),
            "prompt_syntax": PromptSyntax::A1111, "steps": args.steps, "prompt": args.prompt,
            "negative_prompt": args.negative, "conditions": all,
        });
        report::print(serde_json::to_string_pretty(&json)?);
        return Ok(ExitCode::SUCCESS);
    }
    print_model(choice, tokenizer);
    report::print(format!("\nprompt: `{}`", args.prompt));
    for (index, part) in all.prompt.iter().enumerate() {
        if all.prompt.len() > 1 || part.weight != 1.0 {
            report::print(format!("part {} of {}, weight {}", index + 1, all.prompt.len(), part.weight));
        }
        print_schedule(&part.schedule, &all);
    }
    if args.negative.is_some() {
        report::print(format!("\nnegative prompt: `{negative}`"));
        print_schedule(&all.negative_prompt, &all);
    }
    // Without a negative prompt its empty text is the first, and nothing to look at.
    for text in all.texts.iter().filter(|text| args.negative.is_some() || !text.text.is_empty()) {
        print_text(text, tokenizer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Which text holds at which steps: `steps 1–12: …`, or for turns `steps 1, 3, 5, …`.
fn print_schedule(schedule: &[Phase], all: &Conditions) {
    const SHOWN: usize = 5;
    let mut spans: Vec<(usize, Vec<String>)> = vec![];
    let mut begin = 1;
    for phase in schedule {
        let span = if phase.until > begin { format!("{begin}–{}", phase.until) } else { begin.to_string() };
        begin = phase.until + 1;
        match spans.iter_mut().find(|(text, _)| *text == phase.text) {
            Some((_, known)) => known.push(span),
            None => spans.push((phase.text, vec![span])),
        }
    }
    for (text, mut spans) in spans {
        if spans.len() > SHOWN {
            spans.truncate(SHOWN);
            spans.push("…".into());
        }
        report::print(format!("  steps {}: `{}`", spans.join(", "), all.texts[text].text));
    }
}

/// A text's tokens with their weights, chunk by chunk.
fn print_text(text: &Text, tokenizer: &Tokenizer) {
    report::print(format!("\ntext `{}`", text.text));
    let mut table = report::table(&["chunk", "place", "id", "piece", "weight", ""]);
    let ends = tokenizer.ends();
    let last = tokenizer.window().saturating_sub(1);
    for (chunk, tokens) in text.chunks.iter().enumerate() {
        let mut row = |place: String, id: String, piece: &str, weight: String, note: &str| {
            table.add_row([chunk.to_string(), place, id, piece.into(), weight, note.into()]);
        };
        row("0".into(), ends[0].id.to_string(), &ends[0].piece, "1".into(), "begin of text");
        let read = pieces::readable(tokens.iter().map(|token| token.piece.as_str()));
        for (index, (token, piece)) in tokens.iter().zip(read).enumerate() {
            let place = (index + 1).to_string();
            row(place, token.id.to_string(), &piece.text, weight(token.weight), &part_of(&piece));
        }
        let end = tokens.len() + 1;
        row(end.to_string(), ends[1].id.to_string(), &ends[1].piece, "1".into(), "end of text");
        if end < last {
            let places = if end + 1 == last { last.to_string() } else { format!("{}–{last}", end + 1) };
            let padding = tokenizer.places([]).last().copied().unwrap_or_default();
            row(places, padding.to_string(), "", "1".into(), "padding");
        }
    }
    report::align_right(&mut table, 0..3);
    report::print_table(&table);
    let used: usize = text.chunks.iter().map(Vec::len).sum();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let chunks = text.chunks.len();
    report::print(format!("{used} token{} in {chunks} chunk{}", plural(used), plural(chunks)));
}

/// A weight to three decimals, without zeros at the end.
fn weight(weight: f64) -> String {
    ((weight * 1000.0).round() / 1000.0).to_string()
}
