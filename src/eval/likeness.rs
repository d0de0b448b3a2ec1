//! How like real compositions are drawn pictures? How sharp, how near to them as a whole, how different from seed to seed.
//!
//! Enters: a pipeline, a judge, compositions with their captions. Leaves: numbers for the compositions, for what the
//! autoencoder alone makes of them, and for what the model draws of their captions.

use super::judge::{Classes, Judge};
use super::prompts::{self, subjects};
use crate::dataset::manifest::Row;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::record::plan::Plan;
use crate::viz::distance::root_mean_square;
use image::RgbImage;
use serde::Serialize;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// The share of a picture's places that count as its edges: the steepest.
const EDGES: f64 = 0.02;

/// How steep pictures are, in brightness (0 to 1) per pixel, each the mean over all pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sharpness {
    /// The mean gradient.
    pub gradient: f64,
    /// That of the steepest 2 % of the places.
    pub edges: f64,
}

/// The same measure of the compositions, of what encoding and decoding leaves of them, and of what is drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Three<T> {
    /// Of compositions.
    pub real: T,
    /// Of compositions through the autoencoder.
    pub decoded: T,
    /// Of what the model draws.
    pub drawn: T,
}

/// How different pictures of one prompt are: the root of the mean squared difference, in grey levels (0 to 255), the mean
/// over all pairs of each prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variety {
    /// Prompts.
    pub prompts: usize,
    /// Pictures of each.
    pub seeds: usize,
    /// Of drawn pictures of one prompt.
    pub drawn: f64,
    /// Of compositions of one object on one background; none where the data set has not two of any.
    pub real: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// Pictures of each kind.
    pub pictures: usize,
    /// How steep they are.
    pub sharpness: Three<Sharpness>,
    /// The Fréchet distance of the judge's features from those of the compositions; for real ones, of as many others.
    pub frechet: Three<f64>,
    /// How different they are from seed to seed.
    pub variety: Variety,
}

/// Compositions: as many to compare with, and as many others.
#[derive(Debug)]
pub struct Compositions<'a> {
    /// The rows of the data set, all of them.
    pub rows: &'a [Row],
    /// The pictures whose captions are drawn.
    pub pictures: &'a [RgbImage],
    /// As many others.
    pub others: &'a [RgbImage],
    /// The first through the autoencoder.
    pub decoded: &'a [RgbImage],
}

/// How the pictures of one prompt are compared.
#[derive(Debug, Clone, Copy)]
pub struct VarietySettings {
    /// Prompts.
    pub prompts: usize,
    /// Pictures of each.
    pub seeds: usize,
}

/// Draws and measures. The first picture's noise has `plan.seed`, the next the next; `of` reads pictures of some rows, and
/// `done` hears of every few that are drawn.
///
/// # Errors
/// When the plan cannot be carried out.
pub fn evaluate(
    (pipeline, plan, batch): (&Pipeline, &Plan, usize),
    judge: &Judge,
    compositions: &Compositions,
    settings: VarietySettings,
    of: impl Fn(&[Row]) -> Result<Vec<RgbImage>>,
    done: impl Fn(usize),
) -> Result<Likeness> {
    let draw = |prompts: Vec<String>| -> Result<Vec<RgbImage>> {
        let asked = prompts.into_iter().map(|prompt| (prompt, String::new())).collect();
        Ok(prompts::draw(pipeline, plan, batch, asked, &done)?.1)
    };
    let Compositions { rows, pictures, others, decoded } = *compositions;
    let captions: Vec<String> = rows[..pictures.len()].iter().map(|row| row.text.clone()).collect();
    let drawn = draw(captions)?;
    let real = Moments::of(&judge.features(pictures)?)?;
    let away = |pictures: &[RgbImage]| -> Result<f64> { real.distance(&Moments::of(&judge.features(pictures)?)?) };
    let sharpness = Three { real: sharpness(pictures)?, decoded: sharpness(decoded)?, drawn: sharpness(&drawn)? };
    let frechet = Three { real: away(others)?, decoded: away(decoded)?, drawn: away(&drawn)? };

    let classes = judge.classes();
    let mut each = vec![];
    for (object, background) in subjects(classes, plan.seed, settings.prompts) {
        let prompt = classes.objects[object].prompt(background.map(|b| &classes.backgrounds[b]));
        each.push(spread(&draw(vec![prompt; settings.seeds])?));
    }
    let variety = Variety {
        prompts: settings.prompts,
        seeds: settings.seeds,
        drawn: mean(each.into_iter().flatten()).unwrap_or_default(),
        real: real_variety(classes, rows, settings, of)?,
    };
    Ok(Likeness { pictures: pictures.len(), sharpness, frechet, variety })
}

/// The variety of compositions of one object on one background, of as many such subjects as there are prompts.
fn real_variety(
    classes: &Classes,
    rows: &[Row],
    settings: VarietySettings,
    of: impl Fn(&[Row]) -> Result<Vec<RgbImage>>,
) -> Result<Option<f64>> {
    let mut alike: BTreeMap<(&str, &str), Vec<Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| classes.fits(row)) {
        alike.entry((&row.object, &row.background)).or_default().push(row.clone());
    }
    let mut each = vec![];
    for some in alike.values_mut().filter(|some| some.len() > 1).take(settings.prompts) {
        some.truncate(settings.seeds);
        each.extend(spread(&of(some)?));
    }
    Ok(mean(each.into_iter()))
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0), |(sum, count), number| (sum + number, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The mean over all pairs of the root of the mean squared difference; none of less than two pictures.
fn spread(pictures: &[RgbImage]) -> Option<f64> {
    let pairs = pictures.iter().enumerate().flat_map(|(i, a)| pictures[i + 1..].iter().map(move |b| (a, b)));
    mean(pairs.map(|(a, b)| root_mean_square(a, b)))
}

/// How steep pictures are: brightness is 0.299, 0.587 and 0.114 of red, green and blue, its gradient that between
/// neighbours.
fn sharpness(pictures: &[RgbImage]) -> Result<Sharpness> {
    let (mut gradient, mut edges) = (vec![], vec![]);
    let shares = Tensor::from_slice(&[0.299f32, 0.587, 0.114]).view([1, 3, 1, 1]);
    for picture in pictures {
        let unit = crate::pipeline::start::to_tensor(picture).f_mul_scalar(0.5)?;
        let light = (unit * &shares).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        let (height, width) = (light.size()[1] - 1, light.size()[2] - 1);
        let here = light.narrow(1, 0, height).narrow(2, 0, width);
        let right = light.narrow(1, 0, height).narrow(2, 1, width) - &here;
        let below = light.narrow(1, 1, height).narrow(2, 0, width) - &here;
        let steep = (right.square() + below.square()).sqrt().view(-1);
        gradient.push(f64::try_from(steep.mean(Kind::Double))?);
        let most = ((steep.size()[0] as f64 * EDGES).ceil() as i64).max(1);
        edges.push(f64::try_from(steep.topk(most, 0, true, false).0.mean(Kind::Double))?);
    }
    let all = |numbers: Vec<f64>| mean(numbers.into_iter()).unwrap_or_default();
    Ok(Sharpness { gradient: all(gradient), edges: all(edges) })
}

/// Mean and covariance of features.
struct Moments {
    mean: Tensor,
    covariance: Tensor,
}

impl Moments {
    /// Of features `[pictures, width]` in f64.
    fn of(features: &Tensor) -> Result<Moments> {
        let count = features.size()[0];
        if count < 2 {
            return Err(Error::invalid("one picture has no distribution", "ask for more: `--count 512` is usual"));
        }
        let mean = features.mean_dim([0i64].as_slice(), false, Kind::Double);
        let off = features - &mean;
        let covariance = off.tr().f_matmul(&off)? / (count - 1) as f64;
        Ok(Moments { mean, covariance })
    }

    /// |μ₁−μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁^½ Σ₂ Σ₁^½)^½): the Fréchet distance of two normal distributions, squared, as Heusel
    /// et al. (2017) report it.
    fn distance(&self, other: &Moments) -> Result<f64> {
        let root = root(&self.covariance)?;
        let (values, _) = Tensor::f_linalg_eigh(&root.f_matmul(&other.covariance)?.f_matmul(&root)?, "L")?;
        let both = values.clamp_min(0.0).sqrt().sum(Kind::Double);
        let spread = (self.covariance.trace() + other.covariance.trace() - both * 2.0).clamp_min(0.0);
        let apart = (&self.mean - &other.mean).square().sum(Kind::Double);
        Ok(f64::try_from(apart + spread)?)
    }
}

/// The root of a symmetric matrix without negative eigenvalues.
fn root(matrix: &Tensor) -> Result<Tensor> {
    let (values, vectors) = Tensor::f_linalg_eigh(matrix, "L")?;
    Ok((&vectors * values.clamp_min(0.0).sqrt()).f_matmul(&vectors.tr())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::Rgb;
    use tch::Device;

    /// Of independent normal numbers the distance is Σ (μ₁−μ₂)² + (σ₁−σ₂)².
    #[test]
    fn the_distance_of_normal_distributions_is_the_known_one() {
        tch::manual_seed(5);
        let random = Tensor::randn([40_000, 3], (Kind::Double, Device::Cpu));
        let other = Tensor::randn([40_000, 3], (Kind::Double, Device::Cpu));
        let at = |numbers: [f64; 3]| Tensor::from_slice(&numbers);
        let (a, b) = (random * at([1.0, 2.0, 0.5]) + at([0.0, 1.0, -1.0]), other * at([2.0, 2.0, 1.0]));
        let (a, b) = (Moments::of(&a).unwrap(), Moments::of(&b).unwrap());
        let found = a.distance(&b).unwrap();
        assert!((found - 3.25).abs() < 0.05, "{found}");
        assert!((b.distance(&a).unwrap() - found).abs() < 1e-9);
        assert!(a.distance(&a).unwrap() < 1e-9);
    }

    #[test]
    fn a_blurred_edge_is_less_steep() {
        let edge = |wide: f32| {
            RgbImage::from_fn(64, 64, |x, _| Rgb([(((x as f32 - 32.0) / wide + 0.5).clamp(0.0, 1.0) * 255.0) as u8; 3]))
        };
        let [sharp, soft] = [1.0, 4.0].map(|wide| sharpness(&[edge(wide)]).unwrap());
        assert!((sharp.edges - 0.5).abs() < 0.01 && (soft.edges - 0.25).abs() < 0.01, "{sharp:?} {soft:?}");
        assert!((sharp.gradient - soft.gradient).abs() < 0.1 * sharp.gradient, "the whole way up is the same");
        assert_eq!(spread(&[edge(1.0), edge(1.0)]), Some(0.0));
        assert_eq!(spread(&[edge(1.0)]), None);
    }
}
