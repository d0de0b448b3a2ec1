//! Looking into pictures: one that the model would not draw so, on its way to noise and back (18); drawings whose outline is
//! known, looked at (19).

use super::attending::{fits, large, maps, painted};
use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, row, table};
use crate::scene::{Scene, pictures};
use image::imageops::rotate90;
use sdviz::dataset::config::Config;
use sdviz::dataset::drawing::{Drawing as Sprite, put};
use sdviz::dataset::icons::Package;
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::export::attention::words::Word;
use sdviz::pipeline::Pipeline;
use sdviz::pipeline::init_image::Input;
use sdviz::prelude::*;
use sdviz::record::inputs::InputFile;
use sdviz::record::inversion::LookPlan;
use sdviz::run::{self, Company, Hashes, Job};
use sdviz::trace::reservoir::Reservoir;
use sdviz::viz::normalise::Range;
use std::path::Path;

/// The subjects in the table of ways back, by number: each takes a thousand predictions.
const SHOWN: &[usize] = &[0];
/// Guidance scales of the way back.
const SCALES: [f64; 4] = [1.0, 3.0, 5.0, 7.5];
/// Noise levels that are looked at, as shares of the training timesteps, from the noisiest down.
const LEVELS: [f64; 5] = [0.9, 0.6, 0.4, 0.2, 0.05];
/// The drawings that are at hand: a few of those that the model learned from.
const DRAWINGS: &str = "tests/icons";
/// One of their sets.
const SET: &str = "noto";

/// A picture to noise and back.
pub struct Inverted;

/// Drawings looked at.
pub struct Looked;

/// The subject's own pictures, turned on their side.
fn turned(scene: &Scene) -> Result<Vec<RgbImage>> {
    Ok(pictures(&scene.base()?)?.iter().map(rotate90).collect())
}

/// The noise of a picture, each step refined so many times.
fn noise_of(scene: &Scene, picture: &RgbImage, refine: usize) -> Result<Run> {
    let picture = Picture::from(picture.clone());
    let drawing = scene.studio.sd.invert(&picture, &scene.subject.prompt).refine(refine).no_way_back();
    drawing.record([Quantity::Latents]).decode(Decode::Final).run()
}

/// What is drawn from a picture's noise.
fn back(scene: &Scene, noise: &Run, scale: f64, negative: &str) -> Result<RgbImage> {
    let drawing = scene.studio.sd.start(noise, None)?.guidance_scale(scale).negative_prompt(negative);
    Ok(pictures(&drawing.record([]).decode(Decode::Final).run()?)?.remove(0))
}

/// How close one picture is to another, in decibels.
fn likeness(a: &RgbImage, b: &RgbImage) -> f64 {
    Picture::from(a.clone()).psnr(&b.clone().into()).min(99.0)
}

/// The ways back: what figures call them, what stands above them, how refined, which scale, and whether the negative prompt
/// is the prompt.
fn ways() -> Vec<(String, String, usize, f64, bool)> {
    let plain = SCALES.map(|scale| (format!("g{scale}"), format!("scale {scale}"), 0, scale, false));
    let more = [
        ("refined-g1".to_string(), "refined, scale 1".to_string(), 5, 1.0, false),
        ("refined-g7.5".into(), "refined, scale 7.5".into(), 5, 7.5, false),
        ("negative-g7.5".into(), "refined, 7.5, negative = prompt".into(), 5, 7.5, true),
    ];
    plain.into_iter().chain(more).collect()
}

impl Experiment for Inverted {
    fn about(&self) -> About {
        About::new("18", 48, 2)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        for picture in turned(scene)? {
            let noises = [(0, noise_of(scene, &picture, 0)?), (5, noise_of(scene, &picture, 5)?)];
            let found = noises[0].1.record().inversion.as_ref().and_then(|inversion| inversion.found.psnr_vae);
            values.push("vae", found.unwrap_or(f64::NAN));
            for (name, _, refine, scale, negative) in ways() {
                let Some((_, noise)) = noises.iter().find(|(times, _)| *times == refine) else { continue };
                let negative = if negative { scene.subject.prompt.as_str() } else { "" };
                values.push(&name, likeness(&picture, &back(scene, noise, scale, negative)?));
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let (mut plates, mut rows) = (vec![], vec![]);
        for subject in SHOWN {
            stage(*subject, 1, &mut |scene| {
                let picture = turned(scene)?.remove(0);
                let mut cells = vec![(picture.clone(), String::new())];
                for (_, _, refine, scale, negative) in ways() {
                    let negative = if negative { scene.subject.prompt.as_str() } else { "" };
                    let drawn = back(scene, &noise_of(scene, &picture, refine)?, scale, negative)?;
                    cells.push((drawn.clone(), format!("{:.1} dB", likeness(&picture, &drawn))));
                }
                if rows.is_empty() {
                    // The scales 7.5, 1, 3, and 7.5 with the prompt as negative prompt.
                    let shown = [4, 1, 2, 7].map(|place| cells[place].0.clone());
                    let letters = ('A'..).map(String::from).zip(shown);
                    let all: Vec<_> = [("the picture".to_string(), picture)].into_iter().chain(letters).collect();
                    plates.push(("18-question".into(), row(&all)));
                }
                rows.push((scene.subject.prompt.clone(), cells));
                Ok(())
            })?;
        }
        let columns: Vec<String> =
            ["the picture".to_string()].into_iter().chain(ways().into_iter().map(|way| way.1)).collect();
        plates.push(("18-answer".into(), table(&columns, &rows)?));
        Ok(plates)
    }
}

/// A drawing of the subject on its background, and where it is; none where there is no such drawing at hand. Each seed has
/// its size and place.
fn card(scene: &Scene, seed: usize) -> Result<Option<(RgbImage, Array2<bool>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(DRAWINGS);
    let config = Config::read(&folder.join("dataset.toml"))?;
    let Some(object) = config.objects.iter().find(|object| object.name() == scene.subject.name) else {
        return Ok(None);
    };
    let svg = Package::read(&folder, SET)?.svg(object.icon_in(SET))?;
    let side = [104, 92, 98, 88][seed % 4];
    let at = [(3, -4), (-5, 2), (0, 0), (6, 5)][seed % 4];
    let sprite = Sprite::new(Sprite::render(&svg, &scene.subject.name, 128)?, 0).scaled(side);
    let on = |paper: [u8; 3]| {
        let mut picture = RgbImage::from_pixel(128, 128, Rgb(paper));
        put(&sprite, &mut picture, at);
        picture
    };
    let behind = scene.studio.judge.classes().backgrounds[scene.subject.background].rgb;
    let [light, dark] = [[255; 3], [0; 3]].map(on);
    // What the paper does not show through: more than half of the paper's 255 is gone.
    let inside = |(y, x): (usize, usize)| {
        let [light, dark] = [&light, &dark].map(|picture| i32::from(picture.get_pixel(x as u32, y as u32).0[0]));
        light - dark < 128
    };
    Ok(Some((on(behind), Array2::from_shape_fn((128, 128), inside))))
}

/// One prediction at each of the levels, with its attention and its pictures.
fn look(scene: &Scene, picture: &RgbImage) -> Result<Run> {
    let pipeline: &Pipeline = &scene.studio.sd;
    let about = InputFile { width: 128, height: 128, ..InputFile::default() };
    let plan = Plan {
        prompt: scene.subject.prompt.clone(),
        seed: scene.seed,
        steps: LEVELS.len(),
        guidance_scale: 1.0,
        scheduler: "ddim".into(),
        width: 128,
        height: 128,
        look: Some(LookPlan { at: LEVELS.to_vec() }),
        init_image: Some(about),
        attention: Some(AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() }),
        decode: Decode::Every(1),
        decode_what: Quantity::PICTURED.to_vec(),
        ..Plan::default()
    };
    let mut memory = Reservoir::of(&plan, false);
    let input = Input { picture: picture.clone(), mask: None };
    let job = Job { input: Some(&input), ..Job::new(pipeline, pipeline.resolve(&plan)?, Hashes::Known(&[])) };
    run::carry_out(job, &mut memory, Company::default()).outcome?;
    memory.into_run()?.ok_or(Error::Cancelled)
}

impl Experiment for Looked {
    fn about(&self) -> About {
        About::new("19", 48, 4)
    }

    /// Intersections over unions of the object's word with the drawing, at each level.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let word: Word = scene.subject.name.parse()?;
        for seed in 0..scene.seeds {
            let Some((picture, truth)) = card(scene, seed)? else { return Ok(()) };
            let run = look(scene, &picture)?;
            let recorded = Recorded::open(&run, Prediction::TEXT, 0)?;
            for (step, level) in (1..).zip(LEVELS) {
                let at = |how: &How| Ok::<_, Error>(fits(&maps(&recorded, &word, how, &[step])?, &truth));
                values.push(&format!("level-{}", 100.0 * level), at(&large())?);
                values.push(&format!("all-sizes-{}", 100.0 * level), at(&How::default())?);
            }
            values.push("area", truth.iter().filter(|inside| **inside).count() as f64 / truth.len() as f64);
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let Some((picture, _)) = card(scene, 0)? else { return Ok(()) };
            let run = look(scene, &picture)?;
            let recorded = Recorded::open(&run, Prediction::TEXT, 0)?;
            let word: Word = scene.subject.name.parse()?;
            let mut rows: Vec<(String, Vec<(RgbImage, String)>)> =
                ["what it is shown", "what it expects", "where it looks"].map(|title| (title.into(), vec![])).to_vec();
            let mut question = vec![("the drawing".to_string(), picture)];
            for (step, letter) in (1..=LEVELS.len()).zip(["D", "B", "C", "A", ""]) {
                let shown = run.picture(step - 1, Quantity::Latents, 0)?.unwrap_or_default();
                let expected = run.picture(step, Quantity::PredictedOriginal, 0)?.unwrap_or_default();
                rows[0].1.push((shown, String::new()));
                rows[1].1.push((expected, String::new()));
                for map in maps(&recorded, &word, &large(), &[step])? {
                    let Some(range) = Range::of(map.iter().copied()) else { continue };
                    let about = format!("{:.1} to {:.1} %", 100.0 * range.lo, 100.0 * range.hi);
                    rows[2].1.push((painted(&map, range), about));
                    question.push((letter.to_string(), painted(&map, range)));
                }
            }
            question.retain(|(letter, _)| !letter.is_empty());
            question.sort_by_key(|(letter, _)| (letter.len() == 1, letter.clone()));
            plates.push(("19-question".into(), row(&question)));
            let columns: Vec<String> = LEVELS.map(|level| format!("{:.0} % of the noise", 100.0 * level)).to_vec();
            plates.push(("19-answer".into(), table(&columns, &rows)?));
            Ok(())
        })?;
        Ok(plates)
    }
}
