//! What was found out of a run's words, as pictures and numbers: a sheet of maps over the run's pictures, a table of words
//! and steps, and where attention was recorded, how alike the two are.
//!
//! Enters: a run with files in `attribution/`. Leaves: `attribution.png`, `attribution-table.png`, `attribution.csv` and
//! `attribution.json`. Nothing here knows a model. In words:
//!
//! ```text
//! norm         ‖ε(e) - ε(e∖w)‖ over all places            share      norm / ‖ε(e) - ε(∅)‖
//! relative     norm / ‖ε(e)‖                               gradient   Σ over the word's places / Σ over all places
//! correlation  Pearson's, over the places, of the map and of the word's share of the attention
//! ```

mod sheet;
mod table;

use super::Outputs;
use super::attention::paint::Colours;
use super::attention::recorded::{How, Recorded};
use super::attention::under::Over;
use crate::arithmetic::correlation;
use crate::error::{Error, Result};
use crate::export::{latents, words as words_of_runs};
use crate::record::attention::Prediction;
use crate::record::attribution::ATTRIBUTION_FOLDER;
use crate::record::words::{self, Word, words_of};
use crate::trace::attributed::{Attribution, Gradient};
use crate::trace::reader::Run;
use crate::units::count;
use crate::viz::normalise::Normalisation;
use ndarray::{Array2, Axis};
pub use table::{Number, Row, Table};

/// The most words of a sheet.
const MOST_WORDS: usize = 24;

/// What is shown, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The words; none for all that were dropped.
    pub words: Vec<Word>,
    /// The steps; none for all that are there.
    pub steps: Vec<usize>,
    /// Whether recorded attention stands beside it.
    pub attention: bool,
    /// What the maps lie over.
    pub over: Over,
    /// How their range is chosen.
    pub normalise: Normalisation,
    /// How they look.
    pub colours: Colours,
    /// Which picture of the batch.
    pub batch: usize,
    /// The square that each picture is fitted into; none for 256.
    pub size: Option<u32>,
    /// Words with the pictures.
    pub captions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            words: vec![],
            steps: vec![],
            attention: false,
            over: Over::Best,
            normalise: Normalisation::Frame,
            colours: Colours::default(),
            batch: 0,
            size: None,
            captions: true,
        }
    }
}

/// What is known of a word at a step.
#[derive(Debug, Clone)]
pub struct Found {
    /// How far the prediction moves at each place, and over all places.
    pub drop: Option<(Array2<f32>, f64)>,
    /// The same of the whole prompt.
    pub whole: Option<f64>,
    /// The prediction's own norm.
    pub text_norm: Option<f64>,
    /// Share of the gradients of all places.
    pub gradient: Option<f64>,
    /// The word's share of the attention at each place.
    pub attention: Option<Array2<f32>>,
}

impl Found {
    /// How alike the map and the attention are.
    pub fn correlation(&self) -> Option<f64> {
        let ((map, _), attention) = (self.drop.as_ref()?, self.attention.as_ref()?);
        (map.dim() == attention.dim()).then(|| correlation(map, attention)).flatten()
    }
}

/// Everything that is shown of a run.
#[derive(Debug)]
pub struct Everything<'a> {
    /// The run.
    pub run: &'a Run,
    /// The words, from top to bottom.
    pub words: Vec<Word>,
    /// The steps, from left to right.
    pub steps: Vec<usize>,
    /// By word and step; none where the step's text does not have the word.
    pub found: Vec<Vec<Option<Found>>>,
    /// The files' own words.
    all: Vec<Attribution>,
}

impl<'a> Everything<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] where nothing, or not of what is asked, was found out; when a file cannot be read.
    pub fn open(run: &'a Run, options: &Options) -> Result<Everything<'a>> {
        words_of_runs::check_batch(run, options.batch)?;
        let steps = steps(run, &options.steps)?;
        let mut all = vec![];
        for step in &steps {
            all.extend(run.attribution(*step)?);
        }
        let words = chosen(run, &all, &options.words)?;
        let recorded = match options.attention {
            true => Some(Recorded::open(run, Prediction::TEXT, options.batch)?),
            false => None,
        };
        let mut found = vec![vec![]; words.len()];
        for attribution in &all {
            let step = attribution.about.step;
            let attended = match &recorded {
                Some(recorded) if recorded.steps.contains(&step) => recorded.maps(step, &words, &How::default())?,
                _ => vec![None; words.len()],
            };
            for ((word, attended), found) in words.iter().zip(attended).zip(&mut found) {
                found.push(of_word(attribution, word, options.batch, attended));
            }
        }
        Ok(Everything { run, words, steps, found, all })
    }
}

/// The steps that are shown, all of which are there.
fn steps(run: &Run, asked: &[usize]) -> Result<Vec<usize>> {
    let (there, folder) = (run.attribution_steps()?, run.name().join(ATTRIBUTION_FOLDER));
    let list = || there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if there.is_empty() {
        return Err(Error::NotRecorded {
            message: format!("`{}` has no step: what the words cause is not there", folder.display()),
            hint: "record it with `sdviz trace … --attribute`, or find it out now: `sdviz attribution RUN --at 6,12`"
                .into(),
        });
    }
    if let Some(missing) = asked.iter().find(|step| !there.contains(step)) {
        return Err(Error::NotRecorded {
            message: format!("`{}` does not have what its words cause in step {missing}", run.name().display()),
            hint: format!("it has that of steps {}; `--at {missing}` finds it out", list()),
        });
    }
    Ok(if asked.is_empty() { there } else { asked.to_vec() })
}

/// The words that are shown: those that were named, or all.
fn chosen(run: &Run, all: &[Attribution], named: &[Word]) -> Result<Vec<Word>> {
    let mut there: Vec<Word> = vec![];
    for attribution in all {
        let about = &attribution.about;
        let own = match about.dropping {
            Some(_) => about.words.iter().map(|word| word.parse()).collect::<Result<Vec<Word>>>()?,
            None => words_of(&about.text),
        };
        own.into_iter().for_each(|word| {
            if !there.contains(&word) {
                there.push(word);
            }
        });
    }
    // A gradient has all tokens: any word of the text will do.
    let has_gradients = all.iter().any(|attribution| attribution.gradient.is_some());
    let texts: Vec<_> = all.iter().map(|attribution| &attribution.about.text).collect();
    words::check(named, &texts)?;
    if let Some(missing) = named.iter().find(|word| !there.contains(word) && !has_gradients) {
        let known: Vec<String> = there.iter().map(ToString::to_string).collect();
        return Err(Error::NotRecorded {
            message: format!("`{}` was not made without `{missing}`", run.name().display()),
            hint: format!("it was without {}; `--at STEPS --words {missing}` finds it out", known.join(", ")),
        });
    }
    let words = if named.is_empty() { there } else { named.to_vec() };
    match words.len() {
        0 => Err(Error::invalid("the prompt has no words", "`--words \"<end>\",\"<padding>\"` can be dropped")),
        many if many > MOST_WORDS => Err(Error::invalid(
            format!("{} are too many for one picture", count(many, "word")),
            format!("name {MOST_WORDS} at most with `--words`"),
        )),
        _ => Ok(words),
    }
}

/// What is known of a word at a step; none where the text does not have it.
fn of_word(attribution: &Attribution, word: &Word, batch: usize, attention: Option<Array2<f32>>) -> Option<Found> {
    let about = &attribution.about;
    if word.columns(&about.text).is_empty() {
        return None;
    }
    let dropped = attribution.drop.as_ref();
    let place = about.words.iter().position(|known| *known == word.to_string());
    let drop = dropped.zip(place).map(|(dropped, place)| {
        let map = dropped.maps.index_axis(Axis(0), batch).index_axis_move(Axis(0), place).to_owned();
        (map, f64::from(dropped.norms[[batch, place]]))
    });
    let gradient = attribution.gradient.as_ref().map(|gradient| share(gradient, &word.places(&about.text), batch));
    Some(Found {
        drop,
        whole: dropped.map(|dropped| f64::from(dropped.whole_norm[batch])),
        text_norm: dropped.map(|dropped| f64::from(dropped.text_norm[batch])),
        gradient,
        attention,
    })
}

/// The share of some places among the gradients of all.
fn share(gradient: &Gradient, places: &[usize], batch: usize) -> f64 {
    let row = gradient.tokens.index_axis(Axis(0), batch);
    let own: f64 = places.iter().filter_map(|place| row.get(*place)).map(|score| f64::from(*score)).sum();
    own / row.iter().map(|score| f64::from(*score)).sum::<f64>()
}

/// Makes the files, and gives the table.
///
/// # Errors
/// As [`Everything::open`]; when a file cannot be written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<Table> {
    if let Some(size) = options.size {
        latents::check_size(size)?;
    }
    let everything = Everything::open(run, options)?;
    let table = Table::of(&everything, options);
    let name = format!("attribution{}", words_of_runs::batch_suffix(options.batch));
    if everything.found.iter().flatten().flatten().any(|found| found.drop.is_some()) {
        sheet::write(&everything, options, &name, outputs)?;
    }
    table.write(&name, outputs)?;
    let last = run.steps()?.last().copied().unwrap_or(0);
    words_of_runs::unfinished(run, last).into_iter().for_each(|note| outputs.remark(note));
    Ok(table)
}
