//! Does the map of a word lie on what it names? Objects on plain backgrounds, whose outline needs no labels: it is where
//! the picture is not of its border's colour.
//!
//! Enters: a pipeline, how many. Leaves: for each way to make a map, and for each part of the steps, the mean over the
//! pictures of the intersection over union of map and object. A map counts as the object where it is above `cut` of the way
//! from its least to its greatest number, at the picture's size, as DAAM's authors have it (Tang et al. 2023: 0.4).

use super::judge::{Classes, border_colour};
use super::prompts::subjects;
use crate::error::{Error, Result};
use crate::export::attention::maps::{HeadMaps, Method, Mix};
use crate::export::attention::measures::{area, overlap};
use crate::export::attention::recorded::{How, Recorded};
use crate::export::attention::words::Word;
use crate::pipeline::Pipeline;
use crate::record::attention::{AttentionPlan, ColumnKind, Detail, Prediction};
use crate::record::plan::{Decode, Plan, Quantity};
use crate::run::{Company, Hashes, Job, carry_out};
use crate::trace::reader::Run;
use crate::trace::reservoir::Reservoir;
use crate::viz::upsample::bicubic;
use image::RgbImage;
use ndarray::Array2;
use serde::Serialize;

/// How far a colour is from the border's where it belongs to the object: Euclidean, in levels of 255.
const FAR: f64 = 60.0;
/// An object takes at least so much of the picture, and at most the rest.
const LEAST_AREA: f64 = 0.02;

/// What is drawn, and how maps are cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Pictures.
    pub count: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance_scale: f64,
    /// Scheduler.
    pub scheduler: String,
    /// Seed of the order; the first picture's noise has it too, the second's has the next.
    pub seed: u64,
    /// Where maps are cut, 0 to 1.
    pub cut: f64,
}

/// How well one kind of map does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The kind.
    pub map: String,
    /// Which steps it is made of.
    pub steps: String,
    /// The mean over the pictures, 0 to 1.
    pub miou: f64,
    /// Half the width of its 95 % interval.
    pub margin: f64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The model.
    pub model: String,
    /// What was drawn.
    pub settings: Settings,
    /// Pictures that were measured.
    pub pictures: usize,
    /// Pictures in which nothing stands out from the border, or everything does.
    pub left_out: usize,
    /// The mean share of the picture that the object takes.
    pub area: f64,
    /// By kind of map.
    pub rows: Vec<Row>,
}

/// A kind of map.
struct Kind {
    name: String,
    of: Of,
    /// From the first to the last step, as shares of the run.
    window: (f64, f64),
}

/// What a map is made of.
#[derive(Clone)]
enum Of {
    /// Nothing: a guess that needs no model, the whole picture or the middle of it.
    Guess(bool),
    /// A word's map in each step, the mean over the window.
    Steps(How),
    /// The heads' means.
    Heads(How),
    /// What the padding does not get.
    NoPadding,
}

/// Draws and measures. `done` hears of every picture.
///
/// # Errors
/// When the settings cannot be carried out with this model.
pub fn evaluate(
    pipeline: &Pipeline,
    classes: &Classes,
    model: &str,
    settings: &Settings,
    done: impl Fn(),
) -> Result<Found> {
    let (mut kinds, mut scores, mut areas, mut left_out) = (vec![], vec![], vec![], 0);
    for (number, (object, background)) in subjects(classes, settings.seed, settings.count).into_iter().enumerate() {
        let thing = &classes.objects[object];
        let prompt = thing.prompt(background.map(|b| &classes.backgrounds[b]));
        let run = draw(pipeline, prompt, settings, settings.seed.wrapping_add(number as u64), &[])?;
        done();
        let recorded = Recorded::open(&run, Prediction::TEXT, 0)?;
        if kinds.is_empty() {
            kinds = all_kinds(&recorded.record().factors());
            scores = vec![vec![]; kinds.len()];
        }
        let picture = run.final_picture(0)?.ok_or_else(|| Error::Broken("a run without its picture".into()))?;
        let truth = object_in(&picture);
        let share = truth.iter().filter(|inside| **inside).count() as f64 / truth.len().max(1) as f64;
        if !(LEAST_AREA..=1.0 - LEAST_AREA).contains(&share) {
            left_out += 1;
            continue;
        }
        areas.push(share);
        let word = Word::Spelled(thing.name.to_lowercase(), None);
        let (_, heads) = recorded.heads()?;
        for (kind, scores) in kinds.iter().zip(&mut scores) {
            let found = guess(&recorded, kind, &word, &heads, (truth.dim(), settings.cut))?;
            scores.push(overlap(&found, &truth).unwrap_or(0.0));
        }
    }
    let rows = kinds.into_iter().zip(&scores).map(|(kind, scores)| row(kind, scores, settings.steps)).collect();
    let (pictures, mean_area) = (areas.len(), areas.iter().sum::<f64>() / areas.len().max(1) as f64);
    Ok(Found { model: model.into(), settings: settings.clone(), pictures, left_out, area: mean_area, rows })
}

fn row(kind: Kind, scores: &[f64], steps: usize) -> Row {
    let count = scores.len().max(1) as f64;
    let miou = scores.iter().sum::<f64>() / count;
    let variance = scores.iter().map(|score| (score - miou).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let (first, last) = steps_of(kind.window, steps);
    let steps = match kind.of {
        Of::Guess(_) => "none".into(),
        _ => format!("{first}–{last}"),
    };
    Row { map: kind.name, steps, miou, margin: 1.96 * (variance / count).sqrt() }
}

/// A run in memory with the attention of all its steps and heads, and some of its tensors.
pub(super) fn draw(
    pipeline: &Pipeline,
    prompt: String,
    settings: &Settings,
    seed: u64,
    record: &[Quantity],
) -> Result<Run> {
    let attention = AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() };
    let mut plan = Plan {
        prompt,
        seed,
        steps: settings.steps,
        guidance_scale: settings.guidance_scale,
        scheduler: settings.scheduler.clone(),
        width: 0,
        height: 0,
        record: record.to_vec(),
        attention: Some(attention),
        decode: Decode::Final,
        ..Plan::default()
    };
    pipeline.complete(&mut plan)?;
    let mut memory = Reservoir::of(&plan, false);
    let job = Job::new(pipeline, pipeline.resolve(&plan)?, Hashes::Known(&[]));
    carry_out(job, &mut memory, Company::default()).outcome?;
    memory.into_run()?.ok_or(Error::Cancelled)
}

/// The ways that are compared.
fn all_kinds(factors: &[usize]) -> Vec<Kind> {
    let whole = (0.0, 1.0);
    let kind = |name: &str, of: Of, window| Kind { name: name.into(), of, window };
    let by = |method: Method, sizes: Vec<usize>| How { method, mix: Mix { sizes, ..Mix::default() }, relative: false };
    let shares = || Of::Steps(How::default());
    let mut kinds = vec![
        kind("(the whole picture)", Of::Guess(false), whole),
        kind("(the middle half of it)", Of::Guess(true), whole),
        kind("shares, all sizes", shares(), whole),
    ];
    for factor in factors {
        kinds.push(kind(&format!("shares, f{factor}"), Of::Steps(by(Method::Shares, vec![*factor])), whole));
    }
    kinds.push(kind("shares, relative", Of::Steps(How { relative: true, ..How::default() }), whole));
    kinds.push(kind("daam", Of::Heads(by(Method::Daam, vec![])), whole));
    for factor in factors {
        kinds.push(kind(&format!("p2p, f{factor}"), Of::Heads(by(Method::P2p, vec![*factor])), whole));
    }
    for factor in factors {
        let how = by(Method::AttendAndExcite, vec![*factor]);
        kinds.push(kind(&format!("a-and-e, f{factor}"), Of::Steps(how), whole));
    }
    kinds.push(kind("what the padding does not get", Of::NoPadding, whole));
    let largest = factors.first().copied().unwrap_or(1);
    for window in [(0.0, 0.2), (0.2, 0.6), (0.6, 1.0)] {
        kinds.push(kind("shares, all sizes", shares(), window));
        kinds.push(kind(&format!("shares, f{largest}"), Of::Steps(by(Method::Shares, vec![largest])), window));
    }
    kinds
}

/// The first and the last step of a window.
fn steps_of((from, to): (f64, f64), steps: usize) -> (usize, usize) {
    let at = |share: f64| (share * steps as f64).round() as usize;
    (at(from) + 1, at(to).max(at(from) + 1))
}

/// Where a kind of map says that the object is, at the picture's size.
fn guess(
    recorded: &Recorded,
    kind: &Kind,
    word: &Word,
    heads: &[HeadMaps],
    (size, cut): ((usize, usize), f64),
) -> Result<Array2<bool>> {
    let nothing = || Array2::from_elem(size, false);
    let map = match &kind.of {
        Of::Guess(middle) => {
            // A square of half the area.
            let inside =
                |at: usize, side: usize| (at as f64 + 0.5 - side as f64 / 2.0).abs() < side as f64 / 8.0f64.sqrt();
            return Ok(Array2::from_shape_fn(size, |(y, x)| !middle || inside(y, size.0) && inside(x, size.1)));
        }
        Of::Heads(how) => match recorded.whole(word, how, heads) {
            // A model whose layers of a size are all in the middle.
            Err(Error::Invalid { .. }) => return Ok(nothing()),
            found => found?,
        },
        Of::Steps(how) => mean(recorded, word, how, kind.window)?,
        Of::NoPadding => {
            let padding = mean(recorded, &Word::Kind(ColumnKind::Padding), &How::default(), kind.window)?;
            padding.map(|map| map.mapv(|share| 1.0 - share))
        }
    };
    Ok(map.map_or_else(nothing, |map| area(&bicubic(map.view(), size), cut)))
}

/// The mean of a word's maps over a part of the steps.
fn mean(recorded: &Recorded, word: &Word, how: &How, window: (f64, f64)) -> Result<Option<Array2<f32>>> {
    let (first, last) = steps_of(window, recorded.run.record().last_step());
    let mut sum: Option<Array2<f32>> = None;
    for step in recorded.steps.iter().filter(|step| (first..=last).contains(*step)) {
        if let Some(map) = recorded.map(*step, word, how)? {
            sum = Some(match sum {
                Some(sum) => sum + map,
                None => map,
            });
        }
    }
    // Only its shape counts for where it is cut.
    Ok(sum)
}

/// Where a picture is not of its border's colour: the object, where it stands on a plain background. `[height, width]`.
pub fn object_in(picture: &RgbImage) -> Array2<bool> {
    let border = border_colour(picture);
    let far = |pixel: &image::Rgb<u8>| {
        let squares = pixel.0.iter().zip(border).map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2));
        squares.sum::<f64>().sqrt() > FAR
    };
    let (width, height) = picture.dimensions();
    Array2::from_shape_fn((height as usize, width as usize), |(y, x)| far(picture.get_pixel(x as u32, y as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn an_object_is_what_the_border_is_not() {
        let colour =
            |x: u32, y: u32| if (4..12).contains(&x) && (8..10).contains(&y) { [200, 30, 30] } else { [20, 40, 200] };
        let object = object_in(&RgbImage::from_fn(16, 16, |x, y| Rgb(colour(x, y))));
        assert_eq!(object.iter().filter(|inside| **inside).count(), 16);
        assert!(object[[8, 4]] && object[[9, 11]] && !object[[10, 4]]);
    }

    #[test]
    fn windows_share_the_steps() {
        let windows = [(0.0, 0.2), (0.2, 0.6), (0.6, 1.0)];
        assert_eq!(windows.map(|window| steps_of(window, 25)), [(1, 5), (6, 15), (16, 25)]);
        assert_eq!(windows.map(|window| steps_of(window, 2)), [(1, 1), (1, 1), (2, 2)]);
    }

    #[test]
    fn means_come_with_a_margin() {
        let kind = Kind { name: "daam".into(), of: Of::NoPadding, window: (0.0, 1.0) };
        let row = row(kind, &[0.2, 0.4, 0.6], 25);
        assert!((row.miou - 0.4).abs() < 1e-9 && (row.margin - 1.96 * 0.2 / 3f64.sqrt()).abs() < 1e-9);
        assert_eq!(row.steps, "1–25");
    }
}
