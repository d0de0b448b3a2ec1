//! Attention in the hand: where a word of the prompt is looked at.

use crate::error::{Error, IoContext, Result};
use crate::export::Outputs;
use crate::export::attention::recorded::{How, Recorded};
use crate::export::attention::track::mean;
use crate::export::attention::words::{self, Word};
use crate::export::attention::{self, Made, Options};
use crate::export::encode::AnimationFormat;
use crate::files::atomic::{make_folder_of, write_atomically};
use crate::record::attention::Prediction;
use crate::show::display;
use crate::trace::reader::Run;
use ndarray::Array2;
use std::fmt;
use std::path::Path;

/// The maps of a word: what share of the attention it gets at each place and step. Pictures are made when they are shown
/// or saved.
#[derive(Debug, Clone)]
pub struct WordMaps {
    run: Run,
    word: Word,
    options: Options,
}

impl Run {
    /// Where a word of the prompt is looked at: `apple`, `red apple`, `apple@2` (its second occurrence), `#5` (what stands
    /// at a place), `<start>`, `<end>` or `<padding>`.
    ///
    /// # Errors
    /// When the run recorded no attention, or the word is not in the prompt.
    pub fn attention_of(&self, word: &str) -> Result<WordMaps> {
        let word: Word = word.parse()?;
        words::check(std::slice::from_ref(&word), &Recorded::open(self, Prediction::TEXT, 0)?.texts()?)?;
        let options = Options { words: vec![word.clone()], ..Options::default() };
        Ok(WordMaps { run: self.clone(), word, options })
    }
}

impl WordMaps {
    /// Divided at each place by what all words of the prompt get there, instead of shares of all attention.
    #[must_use]
    pub fn relative(mut self) -> WordMaps {
        self.options.how.relative = true;
        self
    }

    /// Laid over nothing: the colours alone.
    #[must_use]
    pub fn alone(mut self) -> WordMaps {
        self.options.over = attention::under::Over::Nothing;
        self
    }

    /// Pictures fitted into a square of so many pixels.
    #[must_use]
    pub fn size(mut self, side: u32) -> WordMaps {
        self.options.size = Some(side);
        self
    }

    /// The steps that have a map, in order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn steps(&self) -> Result<Vec<usize>> {
        let recorded = self.recorded()?;
        let has = |step: &usize| recorded.text(*step).is_ok_and(|text| !self.word.columns(text).is_empty());
        Ok(recorded.steps.iter().copied().filter(has).collect())
    }

    /// The map of a step, `[height/8, width/8]`: a share of the attention at each place of the latents.
    ///
    /// # Errors
    /// When the step has none, or cannot be read.
    pub fn map(&self, step: usize) -> Result<Array2<f32>> {
        let steps = self.steps()?;
        let missing = || {
            let (first, last) = (steps.first().copied().unwrap_or(0), steps.last().copied().unwrap_or(0));
            let message = format!("`{}` has no attention to `{}` at step {step}", self.run.name().display(), self.word);
            Error::invalid(message, format!("there are maps of steps {first} to {last}"))
        };
        self.recorded()?.map(step, &self.word, self.how())?.ok_or_else(missing)
    }

    /// What share of all attention the word gets at each step: the mean over the places.
    ///
    /// # Errors
    /// When a step cannot be read.
    pub fn shares(&self) -> Result<Vec<(usize, f64)>> {
        self.steps()?.into_iter().map(|step| Ok((step, mean(&self.map(step)?)))).collect()
    }

    /// Writes it as its name ends, into a folder that is made if need be: `.png`, a sheet of eight steps; `.gif`, `.mp4` or
    /// `.webp`, all of them moving.
    ///
    /// # Errors
    /// When the ending is none of these, when it cannot be drawn or the file not be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let made = match path.extension().and_then(|ending| ending.to_str()) {
            Some("png") => Made::Sheet,
            Some("gif") => Made::Film(AnimationFormat::Gif),
            Some("mp4") => Made::Film(AnimationFormat::Mp4),
            Some("webp") => Made::Film(AnimationFormat::WebP),
            _ => {
                let message = format!("`{}` does not end like a picture or an animation", path.display());
                return Err(Error::invalid(message, "use .png, .gif, .mp4 or .webp"));
            }
        };
        make_folder_of(path)?;
        write_atomically(path, &self.bytes(made)?)
    }

    fn bytes(&self, made: Made) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().at("write in", &std::env::temp_dir())?;
        let mut outputs = Outputs::in_folder(folder.path())?;
        let options = Options { made: vec![made], ..self.options.clone() };
        attention::make(&[&self.run], &options, &mut outputs)?;
        let file = outputs.written().first().ok_or_else(|| Error::Broken("no picture of attention was made".into()))?;
        std::fs::read(file).at("read", file)
    }

    fn recorded(&self) -> Result<Recorded<'_>> {
        Recorded::open(&self.run, Prediction::TEXT, self.options.batch)?.of_pass(self.options.pass)
    }

    fn how(&self) -> &How {
        &self.options.how
    }

    /// Shows eight steps on a sheet where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        display::bytes("image/png", self.bytes(Made::Sheet), &self.to_string());
    }
}

/// `attention to “apple” of 25 steps`.
impl fmt::Display for WordMaps {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let steps = self.steps().map_or(0, |steps| steps.len());
        write!(f, "attention to “{}” of {}", self.word, crate::units::count(steps, "step"))
    }
}
