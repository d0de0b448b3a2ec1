//! What an experiment is made on: an object on a background, and another object on another background.
//!
//! Enters: the judge's classes. Leaves: one subject for each of its objects, in an order in which the first few are of
//! different kinds. The first is the red apple on blue, whose other is the banana on yellow.

use sdviz::eval::judge::Classes;

/// Objects are taken in strides, so that the first few subjects are not all fruit.
const STRIDE: usize = 7;

/// A subject.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its place in the judge's list of objects.
    pub object: usize,
    /// The place of its background.
    pub background: usize,
    /// The place of the other object.
    pub other_object: usize,
    /// The place of the other background.
    pub other_background: usize,
    /// `red apple`.
    pub name: String,
    /// `blue`.
    pub colour: String,
    /// `a red apple`.
    pub alone: String,
    /// `a red apple on a blue background`.
    pub prompt: String,
    /// `a banana on a yellow background`.
    pub other: String,
    /// `a banana on a blue background`.
    pub swapped: String,
}

impl Subject {
    /// The subject with this number, counted from 0.
    pub fn new(number: usize, classes: &Classes) -> Subject {
        let (objects, backgrounds) = (&classes.objects, &classes.backgrounds);
        let object = number * STRIDE % objects.len();
        let other_object = (object + 2) % objects.len();
        let background = (5 * object + 5) % backgrounds.len();
        let other_background = (background + 6) % backgrounds.len();
        let prompt = |object: usize, background: usize| objects[object].prompt(Some(&backgrounds[background]));
        Subject {
            object,
            background,
            other_object,
            other_background,
            name: objects[object].name.clone(),
            colour: backgrounds[background].name.clone(),
            alone: objects[object].prompt(None),
            prompt: prompt(object, background),
            other: prompt(other_object, other_background),
            swapped: prompt(other_object, background),
        }
    }

    /// The seed of its first picture; the next have the next. No two subjects share noise.
    pub fn seed(&self) -> u64 {
        1 + 1000 * self.object as u64
    }

    /// A text with `{object}`, `{colour}`, `{prompt}`, `{other}` and `{swapped}` filled in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("{object}", &self.name)
            .replace("{colour}", &self.colour)
            .replace("{prompt}", &self.prompt)
            .replace("{other}", &self.other)
            .replace("{swapped}", &self.swapped)
    }
}
