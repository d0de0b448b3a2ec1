//! How attention is shown: what, by which formula, over which pictures, in which files.

use super::maps::Method;
use super::paint::Colours;
use super::recorded::How;
use super::under::Over;
use super::words::Word;
use crate::error::{Error, Result};
use crate::export::animate::Pace;
use crate::export::encode::AnimationFormat;
use crate::export::latents;
use crate::record::attention::Prediction;
use crate::units::count;
use crate::viz::normalise::Normalisation;

/// The most steps on a sheet.
pub const MOST_STEPS: usize = 64;

/// What is shown.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Words, through the steps.
    Words,
    /// Words in each head, in the mean over the steps.
    Heads,
    /// Where places look, through the steps; those that were recorded where none is named.
    Places(Vec<[f64; 2]>),
    /// Three components of where all places look, as red, green and blue.
    Parts,
}

/// Which file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Some steps on a picture.
    Sheet,
    /// All steps, moving.
    Film(AnimationFormat),
}

/// How attention is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What is shown.
    pub what: What,
    /// The words; none for all of the prompt.
    pub words: Vec<Word>,
    /// How maps are made.
    pub how: How,
    /// How their range is chosen.
    pub normalise: Normalisation,
    /// How they look.
    pub colours: Colours,
    /// What they lie over.
    pub over: Over,
    /// Which prediction is looked at.
    pub prediction: Prediction,
    /// Which picture of the batch.
    pub batch: usize,
    /// Of a run with a second pass, the one whose steps are shown, 1 or 2; none for both, which of what takes all steps
    /// together is the one that came last.
    pub pass: Option<usize>,
    /// The steps on a sheet, and of a film where they are named; none for some or all.
    pub steps: Vec<usize>,
    /// Speed and steps of a film.
    pub pace: Pace,
    /// The files to make.
    pub made: Vec<Made>,
    /// The square that each picture is fitted into; none for 512 where it is alone, 256 among others.
    pub size: Option<u32>,
    /// Words with the pictures.
    pub captions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            what: What::Words,
            words: vec![],
            how: How::default(),
            normalise: Normalisation::Run,
            colours: Colours::default(),
            over: Over::Best,
            prediction: Prediction::TEXT,
            batch: 0,
            pass: None,
            steps: vec![],
            pace: Pace::default(),
            made: vec![Made::Sheet, Made::Film(AnimationFormat::Gif), Made::Film(AnimationFormat::Mp4)],
            size: None,
            captions: true,
        }
    }
}

impl Options {
    /// Checks what can be checked without a run.
    ///
    /// # Errors
    /// Names what cannot be.
    pub fn check(&self) -> Result<()> {
        self.pace.check()?;
        if let Some(size) = self.size {
            latents::check_size(size)?;
        }
        if !(0.0..=1.0).contains(&self.colours.alpha) {
            let message = format!("maps cannot hide `{}` of a picture", self.colours.alpha);
            return Err(Error::invalid(
                message,
                "`--alpha` goes from 0, nothing, to 1, all of it where a map is strongest",
            ));
        }
        if self.steps.len() > MOST_STEPS {
            let message = format!("{} do not fit on a sheet", count(self.steps.len(), "step"));
            return Err(Error::invalid(message, format!("name {MOST_STEPS} at most, or make a film")));
        }
        let (method, shares) = (self.how.method, self.how.method == Method::Shares);
        if !shares && method != Method::Daam && self.how.relative {
            return Err(Error::invalid(
                format!("`--relative` goes with shares and `daam`, not with `{method}`"),
                "leave out `--method`",
            ));
        }
        let sizes = self.how.mix.sizes.len();
        if self.what == What::Words && (method == Method::Daam && sizes > 0 || !shares && sizes > 1) {
            let own = if method == Method::Daam { "all sizes but f8" } else { "one size" };
            return Err(Error::invalid(
                format!("`{method}` looks at {own}"),
                "leave out `--sizes`, or name one that it takes",
            ));
        }
        Ok(())
    }
}
