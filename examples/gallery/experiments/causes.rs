//! What a word causes: beside where it is looked at (20), and of a word that is taken away (the end of 09).

use super::attending::painted;
use super::{About, Compared, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, row, table};
use crate::scene::{Scene, pictures};
use sdviz::arithmetic::correlation;
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::export::attention::track::mean;
use sdviz::export::attention::words::Word;
use sdviz::prelude::*;
use sdviz::viz::normalise::Range;

/// The steps whose predictions are made again without a word.
const STEPS: [usize; 4] = [2, 6, 12, 20];

/// What words cause, and where they are looked at.
pub struct Causes;

/// A word taken away, and what its going moves in single predictions.
pub struct Removed(pub Compared);

/// What is known of a word at a step, for one picture.
struct Caused {
    /// How far the prediction moves at each place.
    map: Array2<f32>,
    /// How far over all places, of how far it moves without the prompt.
    share: f64,
}

/// The subject's run with latents and attention.
fn attended(scene: &Scene) -> Result<Run> {
    let plan = AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() };
    scene.own().record([Quantity::Latents]).attention(plan).run()
}

/// By step, picture and word what a word causes.
fn caused(scene: &Scene, run: &Run, words: &[Word], dropping: Dropping) -> Result<Vec<Vec<Vec<Caused>>>> {
    let asked = Asked { dropping: Some(dropping), words: words.to_vec(), steps: STEPS.to_vec(), ..Asked::default() };
    let mut all = vec![];
    scene.studio.sd.attribution(run, &asked, |found| {
        let Some(dropped) = &found.drop else { return Ok(()) };
        let of = |item: i64, word: i64| {
            let map = dropped.maps.get(item).get(word).contiguous();
            let (height, width) = map.size2()?;
            let numbers = Vec::<f32>::try_from(map.view(-1))?;
            let map = Array2::from_shape_vec((height as usize, width as usize), numbers);
            let map = map.map_err(|error| Error::Broken(error.to_string()))?;
            let share = dropped.norms.double_value(&[item, word]) / dropped.whole_norm.double_value(&[item]);
            Ok::<_, Error>(Caused { map, share })
        };
        let of_picture = |item| (0..words.len()).map(|word| of(item, word as i64)).collect::<Result<Vec<_>>>();
        all.push((0..scene.seeds as i64).map(of_picture).collect::<Result<Vec<_>>>()?);
        Ok(())
    })?;
    Ok(all)
}

/// The words of a subject's prompt, and what figures call them.
fn words(scene: &Scene) -> Result<Vec<(&'static str, Word)>> {
    let subject = scene.subject;
    let named =
        [("object", subject.name.as_str()), ("colour", &subject.colour), ("background", "background"), ("on", "on")];
    named.into_iter().map(|(name, text)| Ok((name, text.parse()?))).collect()
}

impl Experiment for Causes {
    fn about(&self) -> About {
        About::new("20", 48, 2)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let (run, named) = (attended(scene)?, words(scene)?);
        let words: Vec<Word> = named.iter().map(|(_, word)| word.clone()).collect();
        let all = caused(scene, &run, &words, Dropping::Rows)?;
        for item in 0..scene.seeds {
            let recorded = Recorded::open(&run, Prediction::TEXT, item)?;
            for (step, found) in STEPS.iter().zip(&all) {
                let attended = recorded.maps(*step, &words, &How::default())?;
                for (((name, _), caused), attended) in named.iter().zip(&found[item]).zip(attended) {
                    values.push(&format!("{name}.share"), caused.share);
                    let Some(attended) = attended else { continue };
                    values.push(&format!("{name}.attention"), mean(&attended));
                    let r = correlation(&caused.map, &attended).unwrap_or(f64::NAN);
                    values.push(&format!("{name}.r"), r);
                    values.push(&format!("{name}.r.step-{step}"), r);
                }
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let (run, named) = (attended(scene)?, words(scene)?);
            let words: Vec<Word> = named.iter().map(|(_, word)| word.clone()).collect();
            let all = caused(scene, &run, &words, Dropping::Rows)?;
            let recorded = Recorded::open(&run, Prediction::TEXT, 0)?;
            let whole = |map: &Array2<f32>| Range {
                lo: 0.0,
                ..Range::of(map.iter().copied()).unwrap_or(Range { lo: 0.0, hi: 1.0 })
            };
            let (mut rows, mut question) = (vec![], vec![("the picture".to_string(), pictures(&run)?.remove(0))]);
            for (place, word) in words.iter().enumerate() {
                let (mut causes, mut looks) = (vec![], vec![]);
                for (step, found) in STEPS.iter().zip(&all) {
                    let caused = &found[0][place];
                    causes.push((
                        painted(&caused.map, whole(&caused.map)),
                        format!("moves {:.0} %", 100.0 * caused.share),
                    ));
                    let Some(map) = recorded.map(*step, word, &How::default())? else { continue };
                    let r = correlation(&caused.map, &map).unwrap_or(f64::NAN);
                    looks.push((painted(&map, whole(&map)), format!("{:.1} %, r {r:.2}", 100.0 * mean(&map))));
                    if place == 0 && *step == 6 {
                        question.push(("A".into(), painted(&map, whole(&map))));
                        question.push(("B".into(), painted(&caused.map, whole(&caused.map))));
                    }
                }
                rows.push((format!("{word}: what it causes"), causes));
                rows.push((format!("{word}: where it is looked at"), looks));
            }
            plates.push(("20-question".into(), row(&question)));
            let columns: Vec<String> = STEPS.map(|step| format!("step {step}")).to_vec();
            plates.push(("20-answer".into(), table(&columns, &rows)?));
            Ok(())
        })?;
        Ok(plates)
    }
}

impl Experiment for Removed {
    fn about(&self) -> About {
        self.0.about
    }

    /// Beside what the judge sees: how far single predictions move without the word, of how far they move without the prompt.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        self.0.measure(scene, values)?;
        let run = scene.base()?;
        let word: Word = scene.subject.colour.parse()?;
        for (name, dropping) in [("rows", Dropping::Rows), ("anew", Dropping::Retokenise)] {
            for picture in caused(scene, &run, std::slice::from_ref(&word), dropping)?.iter().flatten() {
                picture.iter().for_each(|caused| values.push(&format!("moved.{name}"), caused.share));
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        self.0.plates(stage)
    }
}
