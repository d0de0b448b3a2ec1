//! Words and steps as numbers: what is printed, written as CSV and JSON, and drawn as a heat map.

use super::{Everything, Options};
use crate::error::{Error, Result};
use crate::export::Outputs;
use crate::export::footer::FOOTER_PROMPT;
use crate::export::settings::about;
use crate::record::attribution::Dropping;
use crate::record::words::Word;
use crate::trace::metadata::png_bytes;
use crate::viz::colour::ColourMap;
use crate::viz::heatmap::HeatMap;
use crate::viz::normalise::Range;
use ndarray::Array2;
use serde::Serialize;
use std::path::PathBuf;

/// What the numbers are, in the table's head.
const ABOUT: &str = "share: how far the prediction moves without the word, of how far it moves without the prompt";
/// The same of gradients.
const ABOUT_GRADIENT: &str = "gradient: the word’s share of the gradients of all places of the text";

/// A word at a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The word.
    pub word: String,
    /// The step.
    pub step: usize,
    /// Its timestep.
    pub timestep: Option<f64>,
    /// How far the prediction moves without the word.
    pub norm: Option<f64>,
    /// As a share of how far it moves without the prompt.
    pub share: Option<f64>,
    /// As a share of the prediction's own norm.
    pub relative: Option<f64>,
    /// The word's share of the gradients.
    pub gradient: Option<f64>,
    /// The mean over the picture of its share of the attention.
    pub attention: Option<f64>,
    /// How alike map and attention are.
    pub correlation: Option<f64>,
}

/// One of a row's numbers.
pub type Number = fn(&Row) -> Option<f64>;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// The run.
    pub run: PathBuf,
    /// Its prompt.
    pub prompt: String,
    /// Which picture of the batch.
    pub batch: usize,
    /// How words were dropped, where they were.
    pub dropping: Option<Dropping>,
    /// Of which part of the picture gradients are, where not of all.
    pub area: Option<[f64; 4]>,
    /// The formulas.
    pub formula: [&'static str; 3],
    /// Word by word, step by step.
    pub rows: Vec<Row>,
    #[serde(skip)]
    steps: Vec<usize>,
    #[serde(skip)]
    words: Vec<String>,
    #[serde(skip)]
    title: String,
}

impl Table {
    /// The numbers of everything.
    pub fn of(everything: &Everything, options: &Options) -> Table {
        let run = everything.run;
        let mut rows = vec![];
        for (word, found) in everything.words.iter().zip(&everything.found) {
            for (attribution, found) in everything.all.iter().zip(found) {
                let Some(found) = found else { continue };
                let norm = found.drop.as_ref().map(|(_, norm)| *norm);
                let of = |whole: Option<f64>| Some(norm? / whole.filter(|whole| *whole > 0.0)?);
                rows.push(Row {
                    word: word.to_string(),
                    step: attribution.about.step,
                    timestep: attribution.about.timestep,
                    norm,
                    share: of(found.whole),
                    relative: of(found.text_norm),
                    gradient: found.gradient,
                    attention: found.attention.as_ref().map(crate::export::attention::track::mean),
                    correlation: found.correlation(),
                });
            }
        }
        let first = everything.all.first().map(|attribution| &attribution.about);
        Table {
            run: run.name().to_path_buf(),
            prompt: run.record().plan.prompt.clone(),
            batch: options.batch,
            dropping: first.and_then(|about| about.dropping),
            area: everything.all.iter().find_map(|attribution| attribution.about.area),
            formula: [
                "norm = ‖ε(e) - ε(e without the word)‖, share = norm / ‖ε(e) - ε(empty prompt)‖",
                "gradient = Σ over the word's places / Σ over all places of ‖∂s/∂e ⊙ e‖, s = Σ |ε(e) - ε(uncond)|²",
                "correlation = Pearson's over the places, of the map and of the word's share of the attention",
            ],
            rows,
            steps: everything.steps.clone(),
            words: everything.words.iter().map(Word::to_string).collect(),
            title: about(run, options.batch, FOOTER_PROMPT),
        }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[usize] {
        &self.steps
    }

    /// The words, in order.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// A word at a step.
    pub fn at(&self, word: &str, step: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.word == word && row.step == step)
    }

    /// The mean over the steps of a word's correlations.
    pub fn mean_correlation(&self, word: &str) -> Option<f64> {
        let all: Vec<f64> = self.rows.iter().filter(|row| row.word == word).filter_map(|row| row.correlation).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }

    /// Writes the table as JSON, CSV and a picture.
    pub(super) fn write(&self, name: &str, outputs: &mut Outputs) -> Result<()> {
        let bad = |e: serde_json::Error| Error::Broken(e.to_string());
        outputs.write(&format!("{name}.csv"), self.csv().as_bytes())?;
        let json = serde_json::to_string_pretty(self).map_err(bad)? + "\n";
        outputs.write(&format!("{name}.json"), json.as_bytes())?;
        let pictures: [(&str, &str, Number); 2] =
            [("table", ABOUT, |row| row.share), ("gradient", ABOUT_GRADIENT, |row| row.gradient)];
        for (suffix, title, of) in pictures {
            if let Some(picture) = self.heat_map(title, of) {
                outputs.write(&format!("{name}-{suffix}.png"), &png_bytes(&picture)?)?;
            }
        }
        Ok(())
    }

    fn csv(&self) -> String {
        let mut text = "word,step,timestep,norm,share,relative,gradient,attention,correlation\n".to_string();
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for row in &self.rows {
            let numbers = [row.norm, row.share, row.relative, row.gradient, row.attention, row.correlation].map(number);
            let word = format!("\"{}\"", row.word.replace('"', "\"\""));
            text += &format!("{word},{},{},{}\n", row.step, number(row.timestep), numbers.join(","));
        }
        text
    }

    /// Words by steps; none where there is no such number.
    fn heat_map(&self, title: &str, of: fn(&Row) -> Option<f64>) -> Option<image::RgbImage> {
        let value = |(word, step): (usize, usize)| {
            self.at(&self.words[word], self.steps[step]).and_then(of).map_or(f32::NAN, |value| value as f32)
        };
        let values = Array2::from_shape_fn((self.words.len(), self.steps.len()), value);
        let found = Range::of(values.iter().copied().filter(|value| value.is_finite()))?;
        let map = HeatMap {
            title: format!("{title} · {}", self.title),
            rows: self.words.clone(),
            columns: self.steps.iter().map(|step| format!("step {step}")).collect(),
            values,
            map: ColourMap::Viridis,
            range: Range { lo: found.lo.min(0.0), ..found },
            decimals: 2,
        };
        Some(map.draw())
    }
}
