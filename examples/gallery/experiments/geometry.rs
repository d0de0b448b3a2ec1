//! Outline, then detail (16), and the path is flat (17): measured on recorded runs, without the model.

use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, row};
use crate::scene::Scene;
use image::imageops::{FilterType, resize};
use sdviz::export::geometry::bands::Bands as Settling;
use sdviz::export::geometry::components::Components;
use sdviz::export::geometry::plane::Plane as StartAndEnd;
use sdviz::export::geometry::trajectory::{Choice, Of, Trajectory};
use sdviz::prelude::*;
use std::path::Path;

/// When each frequency settles.
pub struct Bands;

/// In how many directions a run moves.
pub struct Plane;

/// The ways of a batch's pictures.
fn ways(run: &Run, of: Of) -> Result<Vec<Trajectory>> {
    let one = |item| Ok(Trajectory::of_run(run, of, &Choice::default(), item)?.remove(0));
    (0..run.record().plan.batch_size).map(one).collect()
}

/// The rank correlation of two lists (Spearman's, ties have the mean of their ranks).
fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            below + (values.iter().filter(|other| *other == value).count() as f64 - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// A figure at a width that fits a page.
fn picture_of(figure: &Figure, folder: &Path) -> Result<RgbImage> {
    let path = folder.join("figure.png");
    figure.save(&path)?;
    let picture = Picture::open(&path)?;
    Ok(resize(&*picture, 1000, 1000 * picture.height() / picture.width(), FilterType::Lanczos3))
}

impl Experiment for Bands {
    fn about(&self) -> About {
        About::new("16", 48, 4)
    }

    /// `ring-N`: the step from which on ring N is settled, one more than there are steps where it never is; `correlation` of
    /// frequency and that step; `gaussian`: how much later than a Gaussian's.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let run = scene.base()?;
        let never = run.record().last_step() + 1;
        for way in ways(&run, Of::Predicted)? {
            let bands = Settling::of(&way)?;
            let steps =
                |all: &[Option<usize>]| -> Vec<f64> { all.iter().map(|at| at.unwrap_or(never) as f64).collect() };
            let (settled, gaussian) = (steps(&bands.settled), steps(&bands.gaussian_settled));
            for (ring, step) in settled.iter().enumerate() {
                values.push(&format!("ring-{ring}"), *step);
            }
            values.push("correlation", rank_correlation(&bands.frequencies, &settled));
            let later: f64 = settled.iter().zip(&gaussian).map(|(own, other)| own - other).sum();
            values.push("gaussian", later / settled.len() as f64);
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let keep = [Quantity::Latents, Quantity::PredictedOriginal];
            let run = scene.own().record(keep).decode(Every(1)).run()?;
            let mut cells = vec![];
            for step in [2, 6, 10, 14, 18, 25] {
                cells.push((format!("x₀ at step {step}"), run.predicted_image(step)?.into()));
            }
            plates.push(("16-question".into(), row(&cells)));
            plates.push(("16-answer".into(), picture_of(&run.plot("bands")?, scene.folder)?));
            Ok(())
        })?;
        Ok(plates)
    }
}

impl Experiment for Plane {
    fn about(&self) -> About {
        About::new("17", 48, 4)
    }

    /// The variance in the first component and in two; the largest share outside of the plane of start and end; and the
    /// variance in two components of all seeds together.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let all = ways(&scene.base()?, Of::Latents)?;
        for way in &all {
            let components = Components::of(&[way])?;
            values.push("one", components.explained[0]);
            values.push("two", components.explained[1]);
            let outside = StartAndEnd::of(way)?.outside;
            values.push("outside", outside.into_iter().fold(0.0, f64::max));
        }
        let together = Components::of(&all.iter().collect::<Vec<_>>())?;
        values.push("together-two", together.explained[1]);
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let one = |seed: u64| scene.own().seed(seed).record(Quantity::Latents).run();
            let runs = [1, 2, 3].map(one).into_iter().collect::<Result<Vec<_>>>()?;
            let figure = plot_runs("plane", &runs.iter().collect::<Vec<_>>())?;
            plates.push(("17-answer".into(), picture_of(&figure, scene.folder)?));
            Ok(())
        })?;
        Ok(plates)
    }
}
