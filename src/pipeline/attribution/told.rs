//! The texts of a run's prompt, each as it is and without each of its words, as the model is told them.
//!
//! Enters: a record and the words. Leaves: embeddings `[1, places, width]`, encoded once for the whole run.

use super::super::conditioning::TextRequest;
use super::super::load::Pipeline;
use super::no_token;
use crate::error::Result;
use crate::prompt::columns::Columns;
use crate::record::attention::AttendedText;
use crate::record::attribution::{Asked, Dropping};
use crate::record::conditions::{Phase, Text, WeightedToken, at};
use crate::record::schema::{RunRecord, Token};
use crate::record::words::{self, Word, words_of};
use crate::watch::probe::Probe;
use crate::watch::site::Branch;
use std::collections::BTreeSet;
use tch::Tensor;

/// A text of the prompt.
#[derive(Debug)]
pub(super) struct Told {
    /// Its columns.
    pub(super) text: AttendedText,
    /// Those of the words that it has.
    pub(super) words: Vec<Word>,
    /// What the run tells the model.
    pub(super) embedding: Tensor,
    /// The same without each of the words, where words are dropped.
    pub(super) without: Vec<Tensor>,
    /// The empty prompt's, of as many windows.
    pub(super) empty: Tensor,
    /// The negative prompt's, or where there is no guidance the empty prompt's.
    pub(super) uncond: Tensor,
}

/// All texts that the prompt has at the steps that are looked at.
#[derive(Debug)]
pub(super) struct Tolds {
    /// The words that were asked for, or all.
    pub(super) words: Vec<Word>,
    all: Vec<Told>,
    schedule: Vec<Phase>,
}

impl Tolds {
    /// Encodes them.
    pub(super) fn of(pipeline: &Pipeline, record: &RunRecord, asked: &Asked, steps: &BTreeSet<usize>) -> Result<Tolds> {
        let always = || vec![Phase { until: usize::MAX, text: 0 }];
        let part = record.conditions.as_ref().and_then(|conditions| conditions.prompt.first());
        let schedule = part.map_or_else(always, |part| part.schedule.clone());
        // By its place among the run's texts, the first step that it holds for.
        let mut first_steps: Vec<(usize, usize)> = vec![];
        for step in steps {
            let text = at(&schedule, *step);
            if first_steps.iter().all(|(known, _)| *known != text) {
                first_steps.push((text, *step));
            }
        }
        let request = TextRequest::of(record, &pipeline.tokenizer)?;
        let columns = Columns { tokenizer: &pipeline.tokenizer, chunks: request.chunks(), all: false };
        let texts: Vec<Text> = first_steps.iter().map(|(place, _)| text_of(record, *place)).collect();
        let attended = |text: &Text| match record.conditions {
            Some(_) => columns.weighted(text),
            None => columns.plain(&text.text),
        };
        let attended: Vec<AttendedText> = texts.iter().map(attended).collect::<Result<_>>()?;
        let words = chosen(&asked.words, &attended)?;
        let schedule = schedule
            .into_iter()
            .map(|phase| Phase { text: first_steps.iter().position(|(t, _)| *t == phase.text).unwrap_or(0), ..phase });
        let mut tolds = Tolds { words, all: vec![], schedule: schedule.collect() };
        let encoder = Encoder { pipeline, record, chunks: request.chunks() };
        let conditioning = {
            let encoded = request.encode(&pipeline.text_encoder, pipeline.device(), &Probe::silent())?;
            request.arrange(&encoded, 1, &Probe::silent())?
        };
        let branches = conditioning.branches();
        let row = |step: usize, branch: Branch| {
            let place = branches.iter().position(|known| *known == branch)?;
            Some(conditioning.at(step).narrow(0, place as i64, 1))
        };
        let empty = encoder.encode(Text::default())?;
        for ((text, attended), (_, step)) in texts.iter().zip(attended).zip(&first_steps) {
            let embedding = row(*step, Branch::Text(0)).unwrap_or_else(|| empty.shallow_clone());
            let uncond = row(*step, Branch::Uncond).unwrap_or_else(|| empty.shallow_clone());
            let own: Vec<Word> =
                tolds.words.iter().filter(|word| !word.columns(&attended).is_empty()).cloned().collect();
            let without = match asked.dropping {
                None => vec![],
                Some(Dropping::Rows) => {
                    own.iter().map(|word| without_rows(&embedding, &empty, &word.places(&attended))).collect()
                }
                Some(Dropping::Retokenise) => {
                    let shorter = |word| without_tokens(text, word, &attended, encoder.window());
                    own.iter().map(|word| encoder.encode(shorter(word)?)).collect::<Result<_>>()?
                }
            };
            let empty = empty.shallow_clone();
            tolds.all.push(Told { text: attended, words: own, embedding, without, empty, uncond });
        }
        Ok(tolds)
    }

    /// The text that holds at a step.
    pub(super) fn at(&self, step: usize) -> &Told {
        &self.all[at(&self.schedule, step).min(self.all.len() - 1)]
    }
}

/// The words that were asked for, or all of the texts, in their order.
fn chosen(asked: &[Word], texts: &[AttendedText]) -> Result<Vec<Word>> {
    let all: Vec<&AttendedText> = texts.iter().collect();
    words::check(asked, &all)?;
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let mut found: Vec<Word> = vec![];
    for word in texts.iter().flat_map(words_of) {
        if !found.contains(&word) {
            found.push(word);
        }
    }
    Ok(found)
}

/// A text of the prompt as its tokens, by its place among the run's texts.
fn text_of(record: &RunRecord, place: usize) -> Text {
    if let Some(conditions) = &record.conditions {
        return conditions.texts.get(place).cloned().unwrap_or_default();
    }
    let tokens = &record.tokens.prompt;
    let inner = tokens.get(1..tokens.len().saturating_sub(1)).unwrap_or_default();
    let weighted = |token: &Token| WeightedToken { id: token.id, piece: token.piece.clone(), weight: 1.0 };
    Text { text: record.plan.prompt.clone(), chunks: vec![inner.iter().map(weighted).collect()] }
}

/// An embedding whose rows at some places are those of another, `[1, places, width]` both.
fn without_rows(embedding: &Tensor, other: &Tensor, places: &[usize]) -> Tensor {
    let places: Vec<i64> = places.iter().map(|place| *place as i64).collect();
    let places = Tensor::from_slice(&places).to_device(embedding.device());
    embedding.index_copy(1, &places, &other.index_select(1, &places))
}

/// A text without the tokens of a word.
fn without_tokens(text: &Text, word: &Word, attended: &AttendedText, window: usize) -> Result<Text> {
    let mut places = word.places(attended);
    places.sort_unstable();
    let mut left = text.clone();
    // From the last to the first, so that those before keep their places.
    for place in places.into_iter().rev() {
        let chunk = left.chunks.get_mut(place / window);
        let index = (place % window).checked_sub(1);
        match chunk.zip(index).filter(|(chunk, index)| index < &chunk.len()) {
            Some((chunk, index)) => drop(chunk.remove(index)),
            None => return Err(no_token(&word.to_string(), Dropping::Retokenise)),
        }
    }
    Ok(left)
}

/// Encodes texts as the run's own are.
struct Encoder<'a> {
    pipeline: &'a Pipeline,
    record: &'a RunRecord,
    chunks: usize,
}

impl Encoder<'_> {
    fn window(&self) -> usize {
        self.pipeline.tokenizer.window()
    }

    /// One text of as many windows as the run's, `[1, places, width]`.
    fn encode(&self, mut text: Text) -> Result<Tensor> {
        text.chunks.resize(self.chunks, vec![]);
        let request = TextRequest::of_text(&self.record.plan, text, &self.pipeline.tokenizer);
        request.encode(&self.pipeline.text_encoder, self.pipeline.device(), &Probe::silent())
    }
}
