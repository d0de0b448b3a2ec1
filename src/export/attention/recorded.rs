//! What a run recorded of its attention, step by step, in the form that maps are made of.
//!
//! Enters: a run. Leaves: for each step the text, the latents' size, and what each token gets; for the whole run what each
//! head gives.

use super::maps::{HeadMaps, Method, Mix, QUARTER, SizeMaps, attend_and_excite, daam, p2p, relative, share};
use super::words::{Word, tokens_of};
use crate::error::{Error, Result};
use crate::export::words;
use crate::record::attention::{AttendedText, AttentionRecord, Prediction};
use crate::record::schema::Status;
use crate::trace::attention::Attention;
use crate::trace::reader::Run;
use ndarray::{Array2, Axis};

/// How maps are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct How {
    /// Whose formula.
    pub method: Method,
    /// How sizes and tokens are put together. `p2p` and `a-and-e` take one size, a quarter where none is named; the rest
    /// is for `shares`.
    pub mix: Mix,
    /// Divided at each place by what all words get, of `shares` and `daam`.
    pub relative: bool,
}

/// The attention of one prediction for one picture of a batch.
#[derive(Debug, Clone)]
pub struct Recorded<'a> {
    /// The run.
    pub run: &'a Run,
    /// What it recorded.
    pub attention: Attention<'a>,
    /// The prediction that is looked at.
    pub prediction: Prediction,
    /// Which picture of the batch.
    pub batch: usize,
    /// The steps that are there.
    pub steps: Vec<usize>,
}

impl<'a> Recorded<'a> {
    /// What a run recorded.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] when it recorded no attention, or not of this prediction; when the batch has no such picture.
    pub fn open(run: &'a Run, prediction: Prediction, batch: usize) -> Result<Recorded<'a>> {
        words::check_batch(run, batch)?;
        let attention = run.attention()?;
        let steps = attention.steps()?;
        let Some(first) = steps.first() else {
            return Err(Error::NotRecorded {
                message: format!("`{}` has no step yet whose attention is recorded", run.name().display()),
                hint: match run.record().status {
                    Status::Running => "wait for its first step",
                    _ => "trace again with `--attention`",
                }
                .into(),
            });
        };
        attention.text(prediction, *first)?;
        Ok(Recorded { run, attention, prediction, batch, steps })
    }

    /// The same with the steps of one pass only, 1 or 2; with those of both where none is named.
    ///
    /// # Errors
    /// When the run has no such pass, or none of its steps is there.
    pub fn of_pass(mut self, pass: Option<usize>) -> Result<Recorded<'a>> {
        let Some(pass) = pass else { return Ok(self) };
        let (run, name) = (self.run.record(), self.run.name().display());
        self.steps.retain(|step| run.pass(*step) == pass);
        if !self.steps.is_empty() {
            return Ok(self);
        }
        let passes = if run.hires.is_some() { "its passes are 1 and 2" } else { "it has one pass: leave out `--pass`" };
        let why = format!("{passes}; a second one comes from `sdviz trace … --hires 2`");
        Err(Error::NotRecorded { message: format!("`{name}` has no attention of pass {pass}"), hint: why })
    }

    /// What the record says of it.
    pub fn record(&self) -> &'a AttentionRecord {
        self.attention.record()
    }

    /// The last step that is there.
    pub fn last(&self) -> usize {
        self.steps.last().copied().unwrap_or(0)
    }

    /// The text that holds at a step.
    ///
    /// # Errors
    /// As [`Attention::text`].
    pub fn text(&self, step: usize) -> Result<&'a AttendedText> {
        self.attention.text(self.prediction, step)
    }

    /// All texts that hold at some step that is there.
    ///
    /// # Errors
    /// As [`Attention::text`].
    pub fn texts(&self) -> Result<Vec<&'a AttendedText>> {
        let mut texts: Vec<&AttendedText> = vec![];
        for step in &self.steps {
            let text = self.text(*step)?;
            if !texts.iter().any(|known| std::ptr::eq(*known, text)) {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// Height and width of the latents in a step.
    pub fn latents(&self, step: usize) -> (usize, usize) {
        let [height, width] = self.record().latents(self.run.record().pass(step));
        (height, width)
    }

    /// Checks that the sizes that are asked for are there.
    ///
    /// # Errors
    /// Names the one that is not, and those that are.
    pub fn check_sizes(&self, sizes: &[usize]) -> Result<()> {
        let there = self.record().factors();
        let name = |factor: &usize| format!("f{factor}");
        match sizes.iter().find(|factor| !there.contains(factor)) {
            Some(missing) => Err(Error::unknown("size", &name(missing), there.iter().map(name))),
            None => Ok(()),
        }
    }

    /// The maps of a step by size; `None` where the step has gone.
    ///
    /// # Errors
    /// As [`Attention::maps`].
    pub fn sizes(&self, step: usize, wanted: &[usize]) -> Result<Option<Vec<SizeMaps>>> {
        let mut sizes = vec![];
        for factor in self.record().factors() {
            if !wanted.is_empty() && !wanted.contains(&factor) {
                continue;
            }
            let Some(maps) = self.attention.maps(step, self.prediction, factor)? else { return Ok(None) };
            let heads = self.record().layers_of(factor).map(|layer| layer.heads).sum();
            sizes.push(SizeMaps { factor, heads, maps: maps.index_axis_move(Axis(0), self.batch) });
        }
        Ok(Some(sizes))
    }

    /// What each head gives in the mean over the steps, of the text and the pass of the last step that is there.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] where the run did not come to its end, at which it is written.
    pub fn heads(&self) -> Result<(&'a AttendedText, Vec<HeadMaps>)> {
        let last = self.last();
        let (text, pass) = (self.text(last)?, self.run.record().pass(last));
        let place = self.record().text_at(self.prediction, last).unwrap_or_default();
        let found = self.attention.mean_heads(self.prediction, place, pass)?;
        let found = found.ok_or_else(|| Error::NotRecorded {
            message: format!("`{}` has no heads: they are written when a run ends", self.run.name().display()),
            hint: "trace again with `--attention` to the end, or take what needs no heads: `--method shares`".into(),
        })?;
        let heads = found.into_iter().map(|layer| {
            let known = &self.record().layers[layer.layer];
            let maps = layer.maps.index_axis_move(Axis(0), self.batch);
            let heads = maps.outer_iter().map(|head| head.to_owned()).collect();
            HeadMaps { site: known.site.clone(), factor: known.factor, heads }
        });
        Ok((text, heads.collect()))
    }

    /// The map of a word in a step. `None` where the word is not in the step's text, or the step has gone.
    ///
    /// # Errors
    /// When a method needs what the model does not have, or was not recorded; when a file cannot be read.
    pub fn map(&self, step: usize, word: &Word, how: &How) -> Result<Option<Array2<f32>>> {
        Ok(self.maps(step, std::slice::from_ref(word), how)?.remove(0))
    }

    /// The maps of several words in a step, with one look at its files.
    ///
    /// # Errors
    /// As [`Recorded::map`].
    pub fn maps(&self, step: usize, words: &[Word], how: &How) -> Result<Vec<Option<Array2<f32>>>> {
        let text = self.text(step)?;
        let Some(sizes) = self.sizes(step, &how.mix.sizes)? else { return Ok(vec![None; words.len()]) };
        let (tokens, to) = (tokens_of(text), self.latents(step));
        let all =
            how.relative.then(|| share(&sizes, &tokens, to, &Mix { merge: Default::default(), ..how.mix.clone() }));
        let one = |word: &Word| {
            let columns = word.columns(text);
            if columns.is_empty() {
                return Ok(None);
            }
            match how.method {
                Method::AttendAndExcite => {
                    let among = divided_among(text);
                    if let Some(other) = columns.iter().find(|column| !among.contains(column)) {
                        let what = super::words::spelled(text, &text.columns[*other]);
                        return Err(only_words(how.method, what));
                    }
                    let factor = one_size(&how.mix);
                    let map = attend_and_excite(&sizes, &columns, &among, factor);
                    map.ok_or_else(|| self.no_size(how.method, factor)).map(Some)
                }
                _ => {
                    let map = share(&sizes, &columns, to, &how.mix);
                    Ok(Some(all.as_ref().map_or_else(|| map.clone(), |all| relative(&map, all))))
                }
            }
        };
        words.iter().map(one).collect()
    }

    /// The map of a word over all steps, by a method that takes them together. `None` where the word is not in the text
    /// that holds at the end.
    ///
    /// # Errors
    /// As [`Recorded::heads`]; when the model has no layers of the size that the method looks at.
    pub fn whole(&self, word: &Word, how: &How, heads: &[HeadMaps]) -> Result<Option<Array2<f32>>> {
        let columns = word.columns(self.text(self.last())?);
        if columns.is_empty() {
            return Ok(None);
        }
        match how.method {
            Method::P2p => {
                let factor = one_size(&how.mix);
                p2p(heads, &columns, factor).ok_or_else(|| self.no_size(how.method, factor)).map(Some)
            }
            _ => {
                let to = self.latents(self.last());
                let map = daam(heads, &columns, to);
                if !how.relative {
                    return Ok(Some(map));
                }
                let tokens = tokens_of(self.text(self.last())?);
                // Of all tokens the mean, times as many, is the sum.
                let all = daam(heads, &tokens, to) * tokens.len() as f32;
                Ok(Some(relative(&map, &all)))
            }
        }
    }

    fn no_size(&self, method: Method, factor: usize) -> Error {
        let inner = |site: &str| method == Method::P2p && site.contains("mid_block");
        let mut there: Vec<usize> =
            self.record().layers.iter().filter(|layer| !inner(&layer.site)).map(|layer| layer.factor).collect();
        there.sort_unstable();
        there.dedup();
        let sizes: Vec<String> = there.iter().map(|factor| format!("f{factor}")).collect();
        Error::invalid(
            format!("`{method}` finds no layer of f{factor}"),
            format!("name one of {} with `--sizes`", sizes.join(", ")),
        )
    }
}

/// The one size that a method looks at.
fn one_size(mix: &Mix) -> usize {
    mix.sizes.first().copied().unwrap_or(QUARTER)
}

/// The columns among which Attend-and-Excite divides the attention.
fn divided_among(text: &AttendedText) -> Vec<usize> {
    let each = text.columns.iter().all(|column| column.places <= 1);
    if each && text.columns.len() == text.places { (1..text.places - 1).collect() } else { tokens_of(text) }
}

fn only_words(method: Method, what: &str) -> Error {
    Error::invalid(
        format!("`{method}` divides the attention among the words: it says nothing of `{what}`"),
        "`--method shares` does",
    )
}
