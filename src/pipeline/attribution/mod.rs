//! What each word of a prompt causes: a prediction is made once more without it, from the same latents.
//!
//! Enters: a run's record, what was asked, and the scaled latents that entered a step's prediction. Leaves: how far the
//! prediction moves at each place without each word, and how much of a score each token's gradient carries. In words, with
//! ε(e) what the model predicts when it is told the embedding e, e∖w that embedding without the word w, ∅ the empty
//! prompt's:
//!
//! ```text
//! drop        D_w(p) = ‖ε(e) - ε(e∖w)‖ over the channels at place p          drop_norm  √(Σ_p D_w(p)²)
//! whole       the same for ∅ in place of e∖w                                  text_norm  ‖ε(e)‖
//! gradient    ‖∂s/∂e ⊙ e‖ over the channels of each token, s = Σ over an area of |ε(e) - ε(uncond)|²
//! ```
//!
//! These predictions are made beside the run, in batches of their own, so that the run keeps its bits: the batch that a row
//! stands in decides how its sums are rounded. ε(e) is predicted again in each of these batches, for rounding to cancel.

mod gradient;
mod told;

use super::device::dtype_name;
use super::load::Pipeline;
use super::sentinel;
use crate::error::{Error, Result};
use crate::record::attribution::{About, Asked, DROP_NORM, Dropping, GRADIENT, WHOLE_NORM};
use crate::record::schema::{RunRecord, SCHEMA_VERSION};
use crate::watch::probe::Probe;
pub use gradient::gradient_bytes;
use std::collections::BTreeSet;
use tch::{Kind, Tensor};
use told::{Told, Tolds};

/// Steps that are looked at where none is named.
const USUAL_STEPS: usize = 8;
/// Places of the latents in one batch: eight rows of Stable Diffusion's 64×64. Memory stays that of so many.
const MOST_PLACES: i64 = 8 * 64 * 64;
/// Rows of one batch at the most, however small they are.
const MOST_ROWS: i64 = 64;

/// Finds out what words cause, for one run.
#[derive(Debug)]
pub struct Attributor<'a> {
    pipeline: &'a Pipeline,
    asked: Asked,
    steps: BTreeSet<usize>,
    tolds: Tolds,
}

/// What was found out of a step, on the pipeline's device, f32.
#[derive(Debug)]
pub struct Attributed {
    /// What it is.
    pub about: About,
    /// Without each word.
    pub drop: Option<Dropped>,
    /// What each token's gradient carries.
    pub gradient: Option<Gradient>,
}

/// How far predictions move.
#[derive(Debug)]
pub struct Dropped {
    /// Without each word at each place, `[batch, words, h, w]`.
    pub maps: Tensor,
    /// The same over all places, `[batch, words]`.
    pub norms: Tensor,
    /// Without the prompt at each place, `[batch, h, w]`.
    pub whole: Tensor,
    /// The same over all places, `[batch]`.
    pub whole_norm: Tensor,
    /// The norm of the prediction itself, `[batch]`.
    pub text_norm: Tensor,
}

/// What the gradient of a score carries.
#[derive(Debug)]
pub struct Gradient {
    /// Gradient times input of each place of the text, `[batch, places]`.
    pub tokens: Tensor,
    /// The score, `[batch]`.
    pub score: Tensor,
}

impl Pipeline {
    /// Makes ready to find out what the words of a run's prompt cause, in the predictions of steps from `first` on. Checks
    /// all that was asked, and encodes the texts.
    ///
    /// # Errors
    /// When a word is not in the prompt, a step makes no prediction, the run is changed by edits or has a prompt of several
    /// parts; for gradients when the model does not compute in f32 or the memory does not suffice.
    pub fn attributor(&self, record: &RunRecord, asked: &Asked, first: usize) -> Result<Attributor<'_>> {
        let _no_gradients = tch::no_grad_guard();
        check_run(record)?;
        if asked.gradient {
            gradient::check(self, record, asked.area)?;
        }
        let steps = steps(record, asked, first)?;
        let tolds = Tolds::of(self, record, asked, &steps)?;
        Ok(Attributor { pipeline: self, asked: asked.clone(), steps, tolds })
    }
}

/// Refuses runs whose predictions are not those of the model told one text.
fn check_run(record: &RunRecord) -> Result<()> {
    if record.conditions.as_ref().is_some_and(|conditions| conditions.prompt.len() > 1) {
        return Err(Error::invalid(
            "a prompt of several parts: what a word causes is found out of a prompt without `AND`",
            "leave `AND` out, or trace each part by itself",
        ));
    }
    match (record.plan.edits.first(), record.plan.donors.is_empty()) {
        (None, true) => Ok(()),
        (edit, _) => {
            let what = edit.map_or("donors".to_string(), |edit| format!("the edit `{}`", edit.edit));
            Err(Error::invalid(
                format!("{what}: what a word causes is found out of predictions that nobody changes"),
                "leave out `--attribute`, or the edits and donors",
            ))
        }
    }
}

/// The steps that are looked at, each of which makes a prediction.
fn steps(record: &RunRecord, asked: &Asked, first: usize) -> Result<BTreeSet<usize>> {
    let predicts = |step: &usize| record.schedule.get(step - 1).is_some_and(|level| level.timestep.is_some());
    let all: Vec<usize> = (first.max(1)..=record.last_step()).filter(predicts).collect();
    let (Some(least), Some(most)) = (all.first(), all.last()) else {
        return Err(Error::invalid("no step of the run makes a prediction", "ask for at least one more step"));
    };
    if let Some(wrong) = asked.steps.iter().find(|step| !all.contains(step)) {
        let message = format!("step {wrong} makes no prediction here");
        return Err(Error::invalid(message, format!("name steps from {least} to {most} with `--at`")));
    }
    if !asked.steps.is_empty() {
        return Ok(asked.steps.iter().copied().collect());
    }
    let count = USUAL_STEPS.min(all.len());
    let place = |i: usize| if count == 1 { 0 } else { (2 * i * (all.len() - 1) + count - 1) / (2 * (count - 1)) };
    Ok((0..count).map(|i| all[place(i)]).collect())
}

impl Attributor<'_> {
    /// The steps that are looked at.
    pub fn steps(&self) -> &BTreeSet<usize> {
        &self.steps
    }

    /// The words that are dropped, as they can be typed.
    pub fn words(&self) -> Vec<String> {
        self.tolds.words.iter().map(ToString::to_string).collect()
    }

    /// How many more predictions a step takes for each picture, a gradient counted as two.
    pub fn predictions(&self) -> usize {
        let dropped = if self.asked.dropping.is_some() { self.tolds.words.len() + 2 } else { 0 };
        dropped + if self.asked.gradient { 2 } else { 0 }
    }

    /// What the words cause in the prediction of a step, from the latents that entered it, scaled for the model:
    /// `[batch, 4, h, w]`.
    ///
    /// # Errors
    /// When a number is not finite, or libtorch refuses.
    pub fn attribute(&self, step: usize, timestep: f64, sample: &Tensor) -> Result<Attributed> {
        let _no_gradients = tch::no_grad_guard();
        let told = self.tolds.at(step);
        let pictures = sample.split(1, 0);
        let look = Look { pipeline: self.pipeline, told, timestep };
        let drop = match self.asked.dropping {
            Some(_) => Some(Dropped::together(pictures.iter().map(|one| look.dropped(one)).collect::<Result<_>>()?)),
            None => None,
        };
        let area = self.asked.area;
        let gradient = match self.asked.gradient {
            true => {
                Some(Gradient::together(pictures.iter().map(|one| look.gradient(one, area)).collect::<Result<_>>()?))
            }
            false => None,
        };
        // One look at all: an infinity or a NaN in a map is one in its norm.
        let mut seen = vec![];
        seen.extend(drop.iter().flat_map(|d| [(DROP_NORM, &d.norms), (WHOLE_NORM, &d.whole_norm)]));
        seen.extend(gradient.iter().map(|g| (GRADIENT, &g.tokens)));
        for (site, numbers) in seen {
            sentinel::check(step, &[(site, numbers)])?;
        }
        let about = About {
            schema_version: SCHEMA_VERSION,
            step,
            timestep: Some(timestep),
            dropping: self.asked.dropping,
            words: self.asked.dropping.map_or(vec![], |_| told.words.iter().map(ToString::to_string).collect()),
            text: told.text.clone(),
            area: self.asked.area.filter(|_| self.asked.gradient),
        };
        Ok(Attributed { about, drop, gradient })
    }
}

/// A look at one prediction.
struct Look<'a> {
    pipeline: &'a Pipeline,
    told: &'a Told,
    timestep: f64,
}

impl Look<'_> {
    /// What the model predicts of one picture's latents, `[1, 4, h, w]`, when it is told each of these, `[1, places,
    /// width]`: `[texts, 4, h, w]` in f32.
    fn predict(&self, sample: &Tensor, texts: &[&Tensor]) -> Result<Tensor> {
        let rows = texts.len() as i64;
        let input = sample.repeat([rows, 1, 1, 1]);
        let t = Tensor::full([rows], self.timestep, (Kind::Float, input.device()));
        let noise = self.pipeline.unet.forward(&input, &t, &Tensor::cat(texts, 0), &Probe::silent())?;
        Ok(noise.to_kind(Kind::Float))
    }

    /// How far the prediction of one picture moves without each word, and without the prompt.
    fn dropped(&self, sample: &Tensor) -> Result<Dropped> {
        let (_, _, height, width) = sample.size4()?;
        let rows = (MOST_PLACES / (height * width).max(1)).clamp(2, MOST_ROWS) as usize;
        let others: Vec<&Tensor> = self.told.without.iter().chain([&self.told.empty]).collect();
        let (mut maps, mut norms, mut own) = (vec![], vec![], None);
        for group in others.chunks(rows - 1) {
            let texts: Vec<&Tensor> = [&self.told.embedding].into_iter().chain(group.iter().copied()).collect();
            let predicted = self.predict(sample, &texts)?;
            let text = predicted.narrow(0, 0, 1);
            let squares = (predicted.narrow(0, 1, group.len() as i64) - &text).square();
            let squares = squares.sum_dim_intlist(1, false, Kind::Float);
            norms.push(squares.sum_dim_intlist([1i64, 2].as_slice(), false, Kind::Float).sqrt());
            maps.push(squares.sqrt());
            own.get_or_insert(text.square().sum(Kind::Float).sqrt().view(1));
        }
        let (maps, norms) = (Tensor::cat(&maps, 0), Tensor::cat(&norms, 0));
        let words = self.told.without.len() as i64;
        Ok(Dropped {
            maps: maps.narrow(0, 0, words).unsqueeze(0),
            norms: norms.narrow(0, 0, words).unsqueeze(0),
            whole: maps.narrow(0, words, 1),
            whole_norm: norms.narrow(0, words, 1),
            text_norm: own.ok_or_else(|| Error::Broken("nothing was predicted".into()))?,
        })
    }
}

impl Dropped {
    /// Those of single pictures as those of a batch.
    fn together(all: Vec<Dropped>) -> Dropped {
        let of = |part: fn(&Dropped) -> &Tensor| Tensor::cat(&all.iter().map(part).collect::<Vec<_>>(), 0);
        Dropped {
            maps: of(|d| &d.maps),
            norms: of(|d| &d.norms),
            whole: of(|d| &d.whole),
            whole_norm: of(|d| &d.whole_norm),
            text_norm: of(|d| &d.text_norm),
        }
    }
}

impl Gradient {
    fn together(all: Vec<Gradient>) -> Gradient {
        let of = |part: fn(&Gradient) -> &Tensor| Tensor::cat(&all.iter().map(part).collect::<Vec<_>>(), 0);
        Gradient { tokens: of(|g| &g.tokens), score: of(|g| &g.score) }
    }
}

/// What a run with this way to drop words is refused for, if the word is none.
fn no_token(word: &str, dropping: Dropping) -> Error {
    Error::invalid(
        format!("`{word}` is no word that the prompt could be encoded without (`--drop {dropping}`)"),
        "`--drop rows` replaces the rows of any place",
    )
}

/// The dtype's name, for messages.
fn dtype(pipeline: &Pipeline) -> &'static str {
    dtype_name(pipeline.options.kind)
}
