//! Does the attention that a word gets say what the word causes? For objects on plain backgrounds the map of what a word
//! causes is compared with the word's map of attention, at some steps.
//!
//! Enters: a pipeline, how many. Leaves: for each kind of word and step the means over the pictures: how far the prediction
//! moves without the word, its share of the attention, Pearson's correlation of the two maps over the places; and for the
//! object's word how well each map lies on the object, as in [`super::attention`].

use super::attention::{Settings, draw, object_in};
use super::judge::Classes;
use super::prompts::subjects;
use crate::arithmetic::correlation;
use crate::error::{Error, Result};
use crate::export::attention::measures::{area, overlap};
use crate::export::attention::recorded::{How, Recorded};
use crate::export::attention::track;
use crate::pipeline::Pipeline;
use crate::record::attention::{ColumnKind, Prediction};
use crate::record::attribution::{Asked, Dropping};
use crate::record::plan::Quantity;
use crate::record::words::Word;
use crate::trace::reader::Run;
use crate::trace::recorded::tensor;
use crate::viz::upsample::bicubic;
use ndarray::Array2;
use serde::Serialize;
use tch::Tensor;

/// The means of a kind of word at a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The kind.
    pub word: String,
    /// The step.
    pub step: usize,
    /// Pictures whose prompt has such a word.
    pub pictures: usize,
    /// How far the prediction moves without it, of how far it moves without the prompt.
    pub share: f64,
    /// Its share of the attention.
    pub attention: f64,
    /// Pearson's correlation of the two maps.
    pub correlation: f64,
    /// Half the width of its 95 % interval.
    pub margin: f64,
    /// How well the map of what it causes lies on the object: mIoU.
    pub miou_drop: f64,
    /// The same of the map of attention.
    pub miou_attention: f64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The model.
    pub model: String,
    /// What was drawn.
    pub settings: Settings,
    /// How words were dropped.
    pub dropping: Dropping,
    /// By kind of word and step.
    pub rows: Vec<Row>,
}

/// What one picture says of a word at a step.
#[derive(Debug, Clone, Copy)]
struct Sample {
    share: f64,
    attention: f64,
    correlation: Option<f64>,
    miou: [f64; 2],
}

/// Draws and compares. `done` hears of every picture.
///
/// # Errors
/// When the settings cannot be carried out with this model.
pub fn evaluate(
    pipeline: &Pipeline,
    classes: &Classes,
    model: &str,
    (settings, dropping, at): (&Settings, Dropping, &[usize]),
    done: impl Fn(),
) -> Result<Found> {
    let mut samples: Vec<(String, usize, Vec<Sample>)> = vec![];
    for (number, (object, background)) in subjects(classes, settings.seed, settings.count).into_iter().enumerate() {
        let thing = &classes.objects[object];
        let behind = background.map(|place| &classes.backgrounds[place]);
        let seed = settings.seed.wrapping_add(number as u64);
        let run = draw(pipeline, thing.prompt(behind), settings, seed, &[Quantity::Latents])?;
        let spelled = |text: &str| Word::Spelled(text.to_lowercase(), None);
        let mut words = vec![("the object", spelled(&thing.name))];
        words.extend(behind.map(|behind| ("the background’s colour", spelled(&behind.name))));
        words.extend(behind.map(|_| ("“background”", spelled("background"))));
        words.extend(behind.map(|_| ("“on”", spelled("on"))));
        words.push(("<end>", Word::Kind(ColumnKind::End)));
        words.push(("<padding>", Word::Kind(ColumnKind::Padding)));
        if dropping == Dropping::Retokenise {
            words.retain(|(_, word)| matches!(word, Word::Spelled(..)));
        }
        let picture = run.final_picture(0)?.ok_or_else(|| Error::Broken("a run without its picture".into()))?;
        let truth = object_in(&picture);
        let asked = Asked {
            dropping: Some(dropping),
            words: words.iter().map(|(_, word)| word.clone()).collect(),
            steps: at.to_vec(),
            ..Asked::default()
        };
        for (step, found) in one(pipeline, &run, &asked, (&truth, settings.cut))? {
            for ((kind, _), sample) in words.iter().zip(found) {
                match samples.iter_mut().find(|(known, of, _)| known == kind && *of == step) {
                    Some((.., all)) => all.push(sample),
                    None => samples.push(((*kind).to_string(), step, vec![sample])),
                }
            }
        }
        done();
    }
    let mut kinds: Vec<String> = samples.iter().map(|(kind, ..)| kind.clone()).collect();
    kinds.sort_unstable_by_key(|kind| samples.iter().position(|(known, ..)| known == kind));
    kinds.dedup();
    samples.sort_by_key(|(kind, step, _)| (kinds.iter().position(|known| known == kind), *step));
    let rows = samples.into_iter().map(row).collect();
    Ok(Found { model: model.into(), settings: settings.clone(), dropping, rows })
}

/// What a run says of some words, step by step.
fn one(
    pipeline: &Pipeline,
    run: &Run,
    asked: &Asked,
    (truth, cut): (&Array2<bool>, f64),
) -> Result<Vec<(usize, Vec<Sample>)>> {
    let attributor = pipeline.attributor(run.record(), asked, 1)?;
    let recorded = Recorded::open(run, Prediction::TEXT, 0)?;
    let mut all = vec![];
    for step in attributor.steps() {
        let level = run.record().schedule[step - 1];
        let (Some(latents), Some(timestep)) = (run.tensors(step - 1, Quantity::Latents)?, level.timestep) else {
            continue;
        };
        let sample = tensor(&latents).to_device(pipeline.device()) / level.latent_scale;
        let found = attributor.attribute(*step, timestep, &sample)?;
        let Some(dropped) = found.drop else { continue };
        let whole = dropped.whole_norm.double_value(&[0]);
        let attention = recorded.maps(*step, &asked.words, &How::default())?;
        let lies = |map: &Array2<f32>| overlap(&area(&bicubic(map.view(), truth.dim()), cut), truth).unwrap_or(0.0);
        let mut samples = vec![];
        for (place, attended) in attention.into_iter().enumerate() {
            let map = array(&dropped.maps.get(0).get(place as i64))?;
            let attended = attended.unwrap_or_else(|| Array2::zeros(map.dim()));
            samples.push(Sample {
                share: dropped.norms.double_value(&[0, place as i64]) / whole,
                attention: track::mean(&attended),
                correlation: correlation(&map, &attended),
                miou: [&map, &attended].map(lies),
            });
        }
        all.push((*step, samples));
    }
    Ok(all)
}

fn row((word, step, samples): (String, usize, Vec<Sample>)) -> Row {
    let mean = |of: &dyn Fn(&Sample) -> Option<f64>| {
        let all: Vec<f64> = samples.iter().filter_map(of).collect();
        let count = all.len().max(1) as f64;
        let mean = all.iter().sum::<f64>() / count;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        (mean, 1.96 * (variance / count).sqrt())
    };
    let (correlation, margin) = mean(&|sample| sample.correlation);
    Row {
        pictures: samples.len(),
        share: mean(&|sample| Some(sample.share)).0,
        attention: mean(&|sample| Some(sample.attention)).0,
        correlation,
        margin,
        miou_drop: mean(&|sample| Some(sample.miou[0])).0,
        miou_attention: mean(&|sample| Some(sample.miou[1])).0,
        word,
        step,
    }
}

/// `[h, w]` as an array.
fn array(map: &Tensor) -> Result<Array2<f32>> {
    let (height, width) = map.size2()?;
    let numbers = Vec::<f32>::try_from(map.contiguous().view(-1))?;
    let shape = (height as usize, width as usize);
    Array2::from_shape_vec(shape, numbers).map_err(|e| Error::Broken(e.to_string()))
}
