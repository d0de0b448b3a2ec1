//! Attention to words: where and when it is there (01), who gets how much and whether that matters (02).

use super::{About, Compared, Condition, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, row, table};
use crate::scene::{Scene, pictures};
use sdviz::eval::attention::object_in;
use sdviz::export::attention::maps::Mix;
use sdviz::export::attention::measures::{area, overlap};
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::export::attention::track::mean;
use sdviz::export::attention::words::Word;
use sdviz::prelude::*;
use sdviz::record::attention::ColumnKind;
use sdviz::viz::colour::ColourMap;
use sdviz::viz::normalise::Range;
use sdviz::viz::pixels::magnify;
use sdviz::viz::upsample::bicubic;

/// The steps that are looked at.
const STEPS: [usize; 6] = [1, 3, 5, 10, 15, 25];
/// Where a map is cut, as DAAM's authors have it.
const CUT: f64 = 0.4;
/// The object takes at least so much of the picture, and at most the rest: else nothing can be compared.
const LEAST: f64 = 0.02;

/// Where and when a word is looked at.
pub struct Words;

/// Who gets the attention.
pub struct Shares(Compared);

/// The mean over the layers of the latents' own size.
pub fn large() -> How {
    How { mix: Mix { sizes: vec![1], ..Mix::default() }, ..How::default() }
}

/// How well a map, or the sum of several, lies on what it names.
pub fn fits(maps: &[Array2<f32>], truth: &Array2<bool>) -> f64 {
    let Some(first) = maps.first() else { return f64::NAN };
    let sum = maps[1..].iter().fold(first.clone(), |sum, map| sum + map);
    overlap(&area(&bicubic(sum.view(), truth.dim()), CUT), truth).unwrap_or(0.0)
}

/// The maps of a word at all of these steps.
pub fn maps(recorded: &Recorded, word: &Word, how: &How, steps: &[usize]) -> Result<Vec<Array2<f32>>> {
    let of = |step: &usize| recorded.map(*step, word, how).transpose();
    steps.iter().filter_map(of).collect()
}

impl Experiment for Words {
    fn about(&self) -> About {
        About::new("01", 48, 4)
    }

    /// Intersections over unions of the object's word with the object, and of the background's with the rest.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let run = scene.attended()?;
        let object: Word = scene.subject.name.parse()?;
        let background: Word = format!("{} background", scene.subject.colour).parse()?;
        for (item, picture) in pictures(&run)?.iter().enumerate() {
            let truth = object_in(picture);
            let share = truth.iter().filter(|inside| **inside).count() as f64 / truth.len() as f64;
            if !(LEAST..=1.0 - LEAST).contains(&share) {
                continue;
            }
            let recorded = Recorded::open(&run, Prediction::TEXT, item)?;
            for step in STEPS {
                values.push(&format!("step-{step}"), fits(&maps(&recorded, &object, &large(), &[step])?, &truth));
            }
            let all = &recorded.steps;
            values.push("large", fits(&maps(&recorded, &object, &large(), all)?, &truth));
            values.push("all-sizes", fits(&maps(&recorded, &object, &How::default(), all)?, &truth));
            let outside = truth.mapv(|inside| !inside);
            values.push("background", fits(&maps(&recorded, &background, &large(), all)?, &outside));
            values.push("middle", overlap(&middle(truth.dim()), &truth).unwrap_or(0.0));
            values.push("area", share);
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let run = scene.attended()?;
            let recorded = Recorded::open(&run, Prediction::TEXT, 0)?;
            let mut rows = vec![];
            let mut question = vec![("the picture".to_string(), pictures(&run)?.remove(0))];
            let words = ["background", "apple", "blue", "on"];
            for (letter, text) in ('A'..).zip(words) {
                let word: Word = text.parse()?;
                let all = maps(&recorded, &word, &large(), &recorded.steps)?;
                let Some(range) = Range::of(all.iter().flatten().copied()) else { continue };
                let sum = all[1..].iter().fold(all[0].clone(), |sum, map| sum + map);
                question.push((letter.to_string(), painted(&sum, Range::of(sum.iter().copied()).unwrap_or(range))));
                let shown = maps(&recorded, &word, &large(), &STEPS)?;
                let cell = |map: &Array2<f32>| (painted(map, range), format!("mean {:.1} %", 100.0 * mean(map)));
                rows.push((format!("{text} ({letter})"), shown.iter().map(cell).collect()));
            }
            plates.push(("01-question".into(), row(&question)));
            let columns: Vec<String> = STEPS.map(|step| format!("step {step}")).to_vec();
            plates.push(("01-answer".into(), table(&columns, &rows)?));
            Ok(())
        })?;
        Ok(plates)
    }
}

/// A map as large as the picture, in squares.
pub fn painted(map: &Array2<f32>, range: Range) -> RgbImage {
    let small = ColourMap::Inferno.paint(map.view(), range);
    magnify(&small, 128 / small.width().max(1))
}

/// A guess that needs no model: the square in the middle that takes half of the picture.
fn middle(size: (usize, usize)) -> Array2<bool> {
    let inside = |at: usize, side: usize| (at as f64 + 0.5 - side as f64 / 2.0).abs() < side as f64 / 8.0f64.sqrt();
    Array2::from_shape_fn(size, |(y, x)| inside(y, size.0) && inside(x, size.1))
}

impl Shares {
    /// With parts of the text that are not looked at.
    pub fn new() -> Shares {
        let without = |name: &str, label: &str, words: &str| {
            Condition::edits(name, label, &[&format!("mask **.attn2 words={words}")])
        };
        let conditions = vec![
            Condition::unchanged(),
            without("no-start", "no begin-of-text", "<start>"),
            without("no-words", "no words", "<words>"),
            without("no-end", "no end-of-text", "<end>"),
            without("no-padding", "no padding", "<padding>"),
            without("no-end-padding", "no end, no padding", "<end>,<padding>"),
        ];
        Shares(Compared::new(About::new("02", 48, 4), conditions, vec![2, 4, 1]))
    }
}

impl Experiment for Shares {
    fn about(&self) -> About {
        self.0.about
    }

    /// Beside what the judge sees: the shares of the attention, over all layers and places.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        self.0.measure(scene, values)?;
        let run = scene.attended()?;
        let kinds = [("start", ColumnKind::Start), ("end", ColumnKind::End), ("padding", ColumnKind::Padding)];
        for item in 0..scene.seeds {
            let recorded = Recorded::open(&run, Prediction::TEXT, item)?;
            let mut words = 1.0;
            for (name, kind) in kinds {
                let all = maps(&recorded, &Word::Kind(kind), &How::default(), &recorded.steps)?;
                let share = all.iter().map(mean).sum::<f64>() / all.len().max(1) as f64;
                words -= share;
                values.push(&format!("share.{name}"), share);
            }
            values.push("share.words", words);
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        self.0.plates(stage)
    }
}
