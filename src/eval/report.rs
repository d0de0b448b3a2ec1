//! Counts of what the judge saw, for people and for programs.
//!
//! Enters: judged pictures. Leaves: [`Report`], which is written as JSON, and sheets of the pictures.

use super::judge::Classes;
use super::prompts::{EvalSettings, Shot, Shots};
use crate::dataset::sheet::captioned;
use crate::export::settings::scheduler_name;
use image::RgbImage;
use serde::Serialize;

/// The version of the report's form.
pub const SCHEMA_VERSION: u32 = 1;

/// How often something was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Pictures.
    pub pictures: usize,
    /// With the right background.
    pub background_right: usize,
    /// With the right object.
    pub object_right: usize,
    /// With both.
    pub both_right: usize,
}

/// A tally with what it is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    /// An object or a background.
    pub name: String,
    /// Its pictures.
    #[serde(flatten)]
    pub tally: Tally,
}

/// The pictures of one guidance scale.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// The scale.
    pub guidance_scale: f64,
    /// All of them.
    #[serde(flatten)]
    pub all: Tally,
    /// By the background that was asked for.
    pub by_background: Vec<Named>,
    /// By the object that was asked for.
    pub by_object: Vec<Named>,
    /// One by one.
    pub list: Vec<Judged>,
}

/// One picture, in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub negative_prompt: String,
    /// The seed.
    pub seed: u64,
    /// The object that the judge sees.
    pub object: String,
    /// The background that it sees.
    pub background: String,
}

/// What negative prompts did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Negative {
    /// Pictures that were drawn twice.
    pub pictures: usize,
    /// Those whose background was another one when the negative prompt named it.
    pub removed: usize,
    /// Right objects without the negative prompt.
    pub object_right_before: usize,
    /// Right objects with it.
    pub object_right_after: usize,
    /// One by one, without and with.
    pub list: Vec<(Judged, Judged)>,
}

/// A whole evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The model.
    pub model: String,
    /// Who judged: `embedded`, or a folder.
    pub judge: String,
    /// The scheduler.
    pub scheduler: String,
    /// Steps.
    pub steps: usize,
    /// Seed.
    pub seed: u64,
    /// With guidance.
    pub guided: Scores,
    /// Without.
    pub unguided: Scores,
    /// With negative prompts.
    pub negative: Negative,
    /// With a style in the prompt, where a judge of styles was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub styles: Vec<Style>,
}

/// How often a style was seen where it was asked for, and where none was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Style {
    /// The style.
    pub name: String,
    /// Pictures of it.
    pub pictures: usize,
    /// In which the judge sees it.
    pub right: usize,
    /// Of the pictures with guidance whose prompt names no style, those in which the judge sees it.
    pub unasked: usize,
}

impl Tally {
    fn of<'a>(shots: impl Iterator<Item = &'a Shot>) -> Tally {
        let mut tally = Tally::default();
        for shot in shots {
            tally.pictures += 1;
            tally.background_right += usize::from(shot.background_right());
            tally.object_right += usize::from(shot.object_right());
            tally.both_right += usize::from(shot.background_right() && shot.object_right());
        }
        tally
    }
}

impl Report {
    /// Counts.
    pub fn new(
        model: &str,
        judge: &str,
        settings: &EvalSettings,
        (classes, styles): (&Classes, Option<&Classes>),
        shots: &Shots,
    ) -> Report {
        let right = |which: fn(&(Shot, Shot)) -> bool| shots.negative.iter().filter(|pair| which(pair)).count();
        let negative = Negative {
            pictures: shots.negative.len(),
            removed: right(|(before, after)| before.seen.background != after.seen.background),
            object_right_before: right(|(before, _)| before.object_right()),
            object_right_after: right(|(_, after)| after.object_right()),
            list: shots.negative.iter().map(|(a, b)| (judged(a, classes), judged(b, classes))).collect(),
        };
        Report {
            schema_version: SCHEMA_VERSION,
            model: model.into(),
            judge: judge.into(),
            scheduler: settings.scheduler.clone(),
            steps: settings.steps,
            seed: settings.seed,
            guided: scores(settings.guidance_scale, classes, &shots.guided),
            unguided: scores(1.0, classes, &shots.unguided),
            negative,
            styles: styles.map(|styles| by_style(styles, shots)).unwrap_or_default(),
        }
    }
}

fn by_style(styles: &Classes, shots: &Shots) -> Vec<Style> {
    let count = |which: &dyn Fn(&(usize, usize)) -> bool| shots.styled.iter().filter(|shot| which(shot)).count();
    let style = |(place, thing): (usize, &super::judge::Thing)| Style {
        name: thing.name.clone(),
        pictures: count(&|(asked, _)| *asked == place),
        right: count(&|shot| *shot == (place, place)),
        unasked: shots.unstyled.iter().filter(|seen| **seen == place).count(),
    };
    styles.objects.iter().enumerate().map(style).collect()
}

impl Report {
    /// What stands above a sheet of pictures, made with this guidance scale.
    pub fn heading(&self, what: &str, guidance_scale: f64) -> String {
        let (model, sampler, steps, seed) = (&self.model, scheduler_name(&self.scheduler), self.steps, self.seed);
        format!("{what} · {model} · {sampler} · {steps} steps · guidance {guidance_scale} · seeds from {seed}")
    }
}

fn scores(guidance_scale: f64, classes: &Classes, shots: &[Shot]) -> Scores {
    let named = |name: &str, of: &dyn Fn(&&Shot) -> bool| Named {
        name: name.into(),
        tally: Tally::of(shots.iter().filter(of)),
    };
    let backgrounds = classes.backgrounds.iter().enumerate();
    let objects = classes.objects.iter().enumerate();
    Scores {
        guidance_scale,
        all: Tally::of(shots.iter()),
        by_background: backgrounds.map(|(i, b)| named(&b.name, &|shot| shot.background == Some(i))).collect(),
        by_object: objects.map(|(i, o)| named(&o.name, &|shot| shot.object == i)).collect(),
        list: shots.iter().map(|shot| judged(shot, classes)).collect(),
    }
}

fn judged(shot: &Shot, classes: &Classes) -> Judged {
    Judged {
        prompt: shot.request.prompt.clone(),
        negative_prompt: shot.request.negative_prompt.clone(),
        seed: shot.request.seed,
        object: classes.objects[shot.seen.object].name.clone(),
        background: classes.backgrounds[shot.seen.background].name.clone(),
    }
}

/// Columns of a sheet of so many pictures: as many as rows, up to `most`.
fn columns(pictures: usize, most: usize) -> usize {
    ((pictures as f64).sqrt().ceil() as usize).clamp(1, most)
}

/// The pictures on one sheet below a heading, with their prompts, and below what the judge sees where that is something else. There are as
/// many columns as rows, but no more than `most`, and always whole groups of `together` pictures in a row.
pub fn sheet<'a>(
    shots: impl Iterator<Item = &'a Shot>,
    classes: &Classes,
    (most, together): (usize, usize),
    heading: &str,
) -> Option<RgbImage> {
    let card = |shot: &Shot| {
        let seen = judged(shot, classes);
        let mut words = shot.request.prompt.clone();
        if !shot.request.negative_prompt.is_empty() {
            words += &format!("\nnot: {}", shot.request.negative_prompt);
        }
        if !(shot.object_right() && shot.background_right()) {
            words += &format!("\nseen: {}, {}", seen.object, seen.background);
        }
        (shot.picture.clone(), words)
    };
    let cards: Vec<_> = shots.map(card).collect();
    let columns = columns(cards.len(), most).next_multiple_of(together);
    (!cards.is_empty()).then(|| captioned(&cards, columns, 4, Some(heading)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_as_wide_as_it_is_high() {
        assert_eq!([0, 1, 2, 8, 9, 10, 64, 512].map(|pictures| columns(pictures, 24)), [1, 1, 2, 3, 3, 4, 8, 23]);
        assert_eq!(columns(4096, 24), 24);
    }
}
