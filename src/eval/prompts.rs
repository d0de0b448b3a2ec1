//! Does a model draw what it is asked for? Pictures of every object on every background, and what a judge makes of them.
//!
//! Enters: a pipeline, a judge, how many. Leaves: the pictures with their verdicts: with guidance, without it, and with a
//! negative prompt that names the background which the model would have drawn.

use super::judge::{Classes, Judge, Verdict};
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::batch::PictureRequest;
use crate::record::plan::{Decode, Plan};
use image::RgbImage;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What is drawn, and how.
#[derive(Debug, Clone)]
pub struct EvalSettings {
    /// Pictures with guidance.
    pub count: usize,
    /// Pictures without it.
    pub unguided: usize,
    /// Pictures without a background in the prompt, drawn again with a negative prompt.
    pub negative: usize,
    /// Pictures with a style in the prompt, where there is a judge of styles.
    pub styled: usize,
    /// Pictures in one forward pass.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance_scale: f64,
    /// Scheduler; empty for the model's own.
    pub scheduler: String,
    /// Seed of the order; the first picture's noise has it too, the second's has the next.
    pub seed: u64,
}

/// A picture, what it should show, and what the judge sees.
#[derive(Debug, Clone)]
pub struct Shot {
    /// How it was asked for.
    pub request: PictureRequest,
    /// The object that was asked for.
    pub object: usize,
    /// The background that was asked for, if one was.
    pub background: Option<usize>,
    /// The picture.
    pub picture: RgbImage,
    /// What the judge sees.
    pub seen: Verdict,
}

impl Shot {
    /// Whether the judge sees the object that was asked for.
    pub fn object_right(&self) -> bool {
        self.seen.object == self.object
    }

    /// Whether it sees the background that was asked for.
    pub fn background_right(&self) -> bool {
        self.background.is_none_or(|background| background == self.seen.background)
    }
}

/// All pictures of an evaluation.
#[derive(Debug, Default)]
pub struct Shots {
    /// With guidance.
    pub guided: Vec<Shot>,
    /// The first of the same, without guidance.
    pub unguided: Vec<Shot>,
    /// Without a background in the prompt, and the same with the background that came as negative prompt.
    pub negative: Vec<(Shot, Shot)>,
    /// With a style in the prompt: the style asked for and the one seen, as places in the style judge's list.
    pub styled: Vec<(usize, usize)>,
    /// With guidance and no style in the prompt: the style that is seen.
    pub unstyled: Vec<usize>,
}

/// Something to draw: object and background.
pub(super) type Subject = (usize, Option<usize>);

/// Draws and judges. `done` hears of every picture.
///
/// # Errors
/// When the settings cannot be carried out with this model.
pub fn evaluate(
    pipeline: &Pipeline,
    judge: &Judge,
    styles: Option<&Judge>,
    settings: &EvalSettings,
    done: impl Fn(usize),
) -> Result<Shots> {
    let classes = judge.classes();
    let subjects = subjects(classes, settings.seed, settings.count.max(settings.unguided));
    let studio = Studio { pipeline, judge, settings, done: &done };
    let plain = |count: usize| subjects[..count].iter().map(|s| (*s, String::new())).collect::<Vec<_>>();
    let guided = studio.shoot(&plain(settings.count), settings.guidance_scale)?;
    let unguided = studio.shoot(&plain(settings.unguided), 1.0)?;

    let alone: Vec<(Subject, String)> = objects_alone(classes, settings.seed, settings.negative);
    let first = studio.shoot(&alone, settings.guidance_scale)?;
    let against = first.iter().map(|shot| {
        let came = &classes.backgrounds[shot.seen.background].name;
        ((shot.object, None), format!("{came} background"))
    });
    let second = studio.shoot(&against.collect::<Vec<_>>(), settings.guidance_scale)?;
    let (mut styled, mut unstyled) = (vec![], vec![]);
    if let Some(styles) = styles {
        styled = studio.styled(styles)?;
        let pictures: Vec<&RgbImage> = guided.iter().map(|shot| &shot.picture).collect();
        unstyled = styles.judge(&pictures)?.iter().map(|seen| seen.object).collect();
    }
    Ok(Shots { guided, unguided, negative: first.into_iter().zip(second).collect(), styled, unstyled })
}

/// What draws and judges.
struct Studio<'a> {
    pipeline: &'a Pipeline,
    judge: &'a Judge,
    settings: &'a EvalSettings,
    done: &'a dyn Fn(usize),
}

impl Studio<'_> {
    /// Objects on backgrounds in each of the styles, and the style that is seen.
    fn styled(&self, styles: &Judge) -> Result<Vec<(usize, usize)>> {
        let EvalSettings { seed, styled, guidance_scale, .. } = *self.settings;
        let names = &styles.classes().objects;
        let asked: Vec<usize> = (0..names.len()).cycle().take(styled).collect();
        let subjects = subjects(self.judge.classes(), seed, styled);
        let prompt =
            |(subject, style): (&Subject, &usize)| format!("{}, {} style", self.prompt(subject), names[*style].name);
        let prompts = subjects.iter().zip(&asked).map(|both| (prompt(both), String::new())).collect();
        let (_, pictures) = self.draw(prompts, guidance_scale)?;
        let seen = styles.judge(&pictures)?;
        Ok(asked.into_iter().zip(seen.iter().map(|seen| seen.object)).collect())
    }

    fn shoot(&self, subjects: &[(Subject, String)], guidance_scale: f64) -> Result<Vec<Shot>> {
        let prompts = subjects.iter().map(|(subject, negative)| (self.prompt(subject), negative.clone())).collect();
        let (requests, pictures) = self.draw(prompts, guidance_scale)?;
        let verdicts = self.judge.judge(&pictures)?;
        let found = subjects.iter().zip(requests).zip(pictures.into_iter().zip(verdicts));
        Ok(found
            .map(|((((object, background), _), request), (picture, seen))| Shot {
                request,
                object: *object,
                background: *background,
                picture,
                seen,
            })
            .collect())
    }

    fn prompt(&self, (object, background): &Subject) -> String {
        let classes = self.judge.classes();
        classes.objects[*object].prompt(background.map(|b| &classes.backgrounds[b]))
    }

    /// Pictures of prompts, each with its negative prompt.
    fn draw(&self, prompts: Vec<Asked>, guidance_scale: f64) -> Result<(Vec<PictureRequest>, Vec<RgbImage>)> {
        let EvalSettings { steps, seed, batch, .. } = *self.settings;
        let scheduler = self.settings.scheduler.clone();
        let mut plan = Plan { steps, guidance_scale, scheduler, seed, ..bare() };
        self.pipeline.complete(&mut plan)?;
        draw(self.pipeline, &plan, batch, prompts, self.done)
    }
}

/// A prompt and its negative prompt.
pub(super) type Asked = (String, String);

/// A plan that leaves pictures of the model's own size, and nothing else.
pub fn bare() -> Plan {
    Plan { width: 0, height: 0, record: vec![], decode: Decode::Final, ..Plan::default() }
}

/// Pictures of prompts, so many in one forward pass; the first one's noise has the plan's seed, the second's the next.
/// `done` hears of every few.
pub(super) fn draw(
    pipeline: &Pipeline,
    plan: &Plan,
    batch: usize,
    prompts: Vec<Asked>,
    done: impl Fn(usize),
) -> Result<(Vec<PictureRequest>, Vec<RgbImage>)> {
    let request = |(i, (prompt, negative_prompt)): (usize, Asked)| {
        let seed = plan.seed.wrapping_add(i as u64);
        PictureRequest { prompt, negative_prompt, seed }
    };
    let requests: Vec<PictureRequest> = prompts.into_iter().enumerate().map(request).collect();
    let mut pictures = vec![];
    for some in requests.chunks(batch.max(1)) {
        pictures.extend(pipeline.draw_each(plan, some)?);
        done(some.len());
    }
    Ok((requests, pictures))
}

/// All objects on all backgrounds in shuffled order, over and over in other orders; `count` of them.
pub(super) fn subjects(classes: &Classes, seed: u64, count: usize) -> Vec<Subject> {
    let backgrounds = 0..classes.backgrounds.len();
    let all = (0..classes.objects.len()).flat_map(|o| backgrounds.clone().map(move |b| (o, Some(b))));
    rounds(all.collect(), seed, count)
}

/// The objects in shuffled order, with no background and no negative prompt.
fn objects_alone(classes: &Classes, seed: u64, count: usize) -> Vec<(Subject, String)> {
    let all = (0..classes.objects.len()).map(|object| ((object, None), String::new()));
    rounds(all.collect(), seed, count)
}

fn rounds<T: Clone>(all: Vec<T>, seed: u64, count: usize) -> Vec<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut list = vec![];
    while list.len() < count && !all.is_empty() {
        let mut round = all.clone();
        round.shuffle(&mut rng);
        list.extend(round);
    }
    list.truncate(count);
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::config::Config;
    use crate::eval::judge::Of;

    #[test]
    fn subjects_are_balanced_and_begin_alike() {
        let classes = Classes::of(&Config::pocket().unwrap(), Of::Object);
        let all = classes.objects.len() * classes.backgrounds.len();
        let list = subjects(&classes, 3, all + 100);
        let mut round = list[..all].to_vec();
        round.sort();
        round.dedup();
        assert_eq!(round.len(), all);
        assert_eq!(subjects(&classes, 3, 100), list[..100]);
        assert_ne!(subjects(&classes, 4, 100), list[..100]);
        assert_ne!(list[..100], list[all..]);
    }
}
