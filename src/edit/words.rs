//! Words as tokens: where in the text encoder's window they stand, for each text that a run is told.
//!
//! Enters: words as they were typed, the tokens of a run's texts. Leaves: places, `77·chunk + place` for long prompts.

use crate::edit::selector::{Branches, Word};
use crate::error::{Error, Result};
use crate::model::tokenizer::Tokenizer;
use crate::record::conditions::{Conditions, at};
use crate::record::schema::RunRecord;
use crate::watch::site::Branch;

/// The places of an edit's words in each text of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WordPlaces {
    /// By text: the negative prompt and the prompt, or those of the run's conditions.
    per_text: Vec<Vec<i64>>,
    /// Which text holds when, where the prompts are not plain.
    conditions: Option<Conditions>,
}

/// What stands at a place of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Start,
    Token(u32),
    End,
    Padding,
}

/// The texts of a run as places, each with a name for the record.
struct Texts {
    names: Vec<String>,
    places: Vec<Vec<Stands>>,
    /// Which of them the predictions with and without the prompt are told.
    text: Vec<usize>,
    uncond: Vec<usize>,
}

impl Texts {
    fn of(record: &RunRecord) -> Texts {
        let window = record.tokens.window;
        match &record.conditions {
            None => {
                let ids = |tokens: &[crate::record::schema::Token]| {
                    let inner = tokens.get(1..tokens.len().saturating_sub(1)).unwrap_or_default();
                    window_of(inner.iter().map(|token| token.id), window)
                };
                Texts {
                    names: vec!["negative".into(), "prompt".into()],
                    places: vec![ids(&record.tokens.negative_prompt), ids(&record.tokens.prompt)],
                    text: vec![1],
                    uncond: vec![0],
                }
            }
            Some(conditions) => {
                let chunks = conditions.chunks();
                let places = |text: &crate::record::conditions::Text| {
                    let chunk = |index: usize| {
                        let tokens = text.chunks.get(index).map_or(&[][..], Vec::as_slice);
                        window_of(tokens.iter().map(|token| token.id), window)
                    };
                    (0..chunks).flat_map(chunk).collect()
                };
                Texts {
                    names: (0..conditions.texts.len()).map(|index| index.to_string()).collect(),
                    places: conditions.texts.iter().map(places).collect(),
                    text: conditions.prompt.iter().flat_map(|part| &part.schedule).map(|phase| phase.text).collect(),
                    uncond: conditions.negative_prompt.iter().map(|phase| phase.text).collect(),
                }
            }
        }
    }

    /// Those that these predictions are told.
    fn told(&self, branch: Branches) -> Vec<usize> {
        let mut told = match branch {
            Branches::Text => self.text.clone(),
            Branches::Uncond => self.uncond.clone(),
            Branches::Both => [self.uncond.as_slice(), &self.text].concat(),
        };
        told.sort_unstable();
        told.dedup();
        told
    }
}

fn window_of(ids: impl Iterator<Item = u32>, window: usize) -> Vec<Stands> {
    let mut places: Vec<Stands> =
        [Stands::Start].into_iter().chain(ids.map(Stands::Token)).chain([Stands::End]).collect();
    places.resize(window, Stands::Padding);
    places
}

impl WordPlaces {
    /// Where these words stand in the texts that the predictions of `branch` are told; and their tokens for the record,
    /// `prompt:3`.
    ///
    /// # Errors
    /// When a word stands in none of them.
    pub fn find(
        words: &[Word],
        branch: Branches,
        record: &RunRecord,
        tokenizer: &Tokenizer,
    ) -> Result<(WordPlaces, Vec<String>)> {
        let texts = Texts::of(record);
        let told = texts.told(branch);
        let mut per_text = vec![vec![]; texts.places.len()];
        for word in words {
            let mut found = false;
            for text in &told {
                let places = places_of(word, &texts.places[*text], tokenizer)?;
                found |= !places.is_empty();
                per_text[*text].extend(places);
            }
            if !found {
                return Err(missing(word, branch));
            }
        }
        for places in &mut per_text {
            places.sort_unstable();
            places.dedup();
        }
        let named = |(text, places): (usize, &Vec<i64>)| {
            places.iter().map(|place| format!("{}:{place}", texts.names[text])).collect::<Vec<_>>()
        };
        let tokens = per_text.iter().enumerate().flat_map(named).collect();
        Ok((WordPlaces { per_text, conditions: record.conditions.clone() }, tokens))
    }

    /// Where they stand in what a prediction is told at a step.
    pub fn at(&self, branch: Branch, step: usize) -> &[i64] {
        let text = match (&self.conditions, branch) {
            (None, Branch::Uncond) => 0,
            (None, _) => 1,
            (Some(all), Branch::Uncond) => at(&all.negative_prompt, step),
            (Some(all), Branch::Text(part)) => all.prompt.get(part).map_or(0, |part| at(&part.schedule, step)),
            (Some(_), Branch::Donor(_)) => return &[],
        };
        self.per_text.get(text).map_or(&[], Vec::as_slice)
    }

    /// Whether they fill the window of a text: then there is nothing else to look at.
    pub fn fill(&self, window: usize) -> bool {
        self.per_text.iter().any(|places| places.len() >= window)
    }
}

/// Where some words stand in a plain prompt, in their order; words that are not in it are passed over.
///
/// # Errors
/// When the tokenizer refuses one.
pub fn in_prompt(words: &[Word], prompt: &str, tokenizer: &Tokenizer) -> Result<Vec<i64>> {
    let ids = tokenizer.tokens(prompt)?;
    let text = window_of(ids.iter().map(|token| token.id), tokenizer.window());
    let places = words.iter().map(|word| places_of(word, &text, tokenizer)).collect::<Result<Vec<_>>>()?;
    Ok(places.concat())
}

/// The places of a word in a text.
fn places_of(word: &Word, text: &[Stands], tokenizer: &Tokenizer) -> Result<Vec<i64>> {
    let all = |wanted: &dyn Fn(&Stands) -> bool| {
        text.iter().enumerate().filter(|(_, stands)| wanted(stands)).map(|(place, _)| place as i64).collect()
    };
    Ok(match word {
        Word::Start => all(&|stands| *stands == Stands::Start),
        Word::Words => all(&|stands| matches!(stands, Stands::Token(_))),
        Word::End => all(&|stands| *stands == Stands::End),
        Word::Padding => all(&|stands| *stands == Stands::Padding),
        Word::Place(place) => {
            if *place < text.len() {
                vec![*place as i64]
            } else {
                vec![]
            }
        }
        Word::Text(word, time) => {
            let run: Vec<Stands> = tokenizer.tokens(word)?.iter().map(|token| Stands::Token(token.id)).collect();
            if run.is_empty() {
                return Ok(vec![]);
            }
            let begins = text.windows(run.len()).enumerate().filter(|(_, some)| *some == run).map(|(place, _)| place);
            let chosen: Vec<usize> = match time {
                None => begins.collect(),
                Some(time) => begins.skip(time - 1).take(1).collect(),
            };
            chosen.iter().flat_map(|place| (*place..place + run.len()).map(|place| place as i64)).collect()
        }
    })
}

fn missing(word: &Word, branch: Branches) -> Error {
    let told = match branch {
        Branches::Text => "the prompt",
        Branches::Uncond => "the negative prompt",
        Branches::Both => "prompt and negative prompt",
    };
    Error::invalid(
        format!("`{word}` is not among the tokens of {told}"),
        "write words as the prompt has them; `sdviz tokens PROMPT` shows the tokens, and `words=#5` names one by its place",
    )
}
