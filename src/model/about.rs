//! `sdviz.json`: what a model's folder says beside diffusers' own files, which know no place for it: the guidance scale and
//! the steps that suit the model, and, for one that has learned little, what it can draw.
//!
//! Enters: a model's files. Leaves: [`About`], empty for a model that has no such file. diffusers does not look at it.

use super::components::ABOUT_FILE;
use super::files::ModelFiles;
use crate::error::{Error, Result};
use crate::record::conditions::PromptSyntax;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What `sdviz.json` holds. Fields that are not known are passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The guidance scale to use where none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// The steps to make where none are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// What the model draws, for one that knows only that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<Repertoire>,
}

/// Everything that a small model has learned to draw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repertoire {
    /// The things, each with all its names; the first is the one that it goes by.
    pub things: Vec<Vec<String>>,
    /// The words for its styles.
    pub styles: Vec<String>,
    /// The words for its backgrounds.
    pub backgrounds: Vec<String>,
    /// The other words of the captions that it learned from.
    pub words: Vec<String>,
    /// A prompt that it can follow.
    pub example: String,
}

impl About {
    /// Reads the file; a model that has none says nothing.
    ///
    /// # Errors
    /// When it cannot be read or is not valid, its guidance scale is no number from 0 up, or its steps are none.
    pub fn read(files: &ModelFiles) -> Result<About> {
        let Some(text) = files.text(ABOUT_FILE)? else { return Ok(About::default()) };
        let bad = |reason: String| Error::bad_file(&files.path(ABOUT_FILE), "description of a model", reason);
        let about: About = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        match about.guidance_scale {
            Some(scale) if !scale.is_finite() || scale < 0.0 => {
                Err(bad(format!("`guidance_scale` is {scale}, not a number from 0 up")))
            }
            _ if about.steps == Some(0) => Err(bad("`steps` is 0, and makes no picture".into())),
            _ => Ok(about),
        }
    }
}

impl Repertoire {
    /// How much there is, in words: `48 things on 8 backgrounds in 4 styles`.
    pub fn size(&self) -> String {
        let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        let mut text = count(self.things.len(), "thing");
        for (before, list, noun) in [(" on ", &self.backgrounds, "background"), (" in ", &self.styles, "style")] {
            if !list.is_empty() {
                text += &(before.to_string() + &count(list.len(), noun));
            }
        }
        text
    }

    /// The words of a text that stand in none of the captions, as they are written, each once. `more` are words that were
    /// added to the model.
    pub fn unknown_words(&self, text: &str, syntax: PromptSyntax, more: &[&str]) -> Vec<String> {
        let mut passed = self.known_words();
        passed.extend(more.iter().copied().flat_map(words).map(str::to_lowercase));
        // In the web UI's syntax these are no words: weights and steps, and what joins texts.
        let is_syntax =
            |word: &str| !syntax.is_plain() && (word.parse::<f64>().is_ok() || ["AND", "BREAK"].contains(&word));
        let unknown = words(text).filter(|word| !is_syntax(word) && passed.insert(word.to_lowercase()));
        unknown.map(String::from).collect()
    }

    /// The known word of which an unknown one is the plural, if it is.
    pub fn singular(&self, word: &str) -> Option<String> {
        let (word, known) = (word.to_lowercase(), self.known_words());
        ["s", "es"].iter().filter_map(|end| word.strip_suffix(end)).find(|one| known.contains(*one)).map(String::from)
    }

    fn known_words(&self) -> HashSet<String> {
        let lists = [&self.styles, &self.backgrounds, &self.words];
        self.things.iter().chain(lists).flatten().flat_map(|name| words(name)).map(str::to_lowercase).collect()
    }

    /// Whether a text names one of the things.
    pub fn names_a_thing(&self, text: &str) -> bool {
        let spaced = |text: &str| format!(" {} ", words(&text.to_lowercase()).collect::<Vec<_>>().join(" "));
        let text = spaced(text);
        self.things.iter().flatten().any(|name| text.contains(&spaced(name)))
    }
}

/// The words of a text: letters and digits of any script, with the apostrophes inside, and pictographs.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let joins = |c: char| c.is_alphanumeric() || is_pictograph(c) || c == '\'' || c == '’';
    text.split(move |c| !joins(c)).map(|word| word.trim_matches(['\'', '’'])).filter(|word| !word.is_empty())
}

/// Symbols and emoji, with what joins several to one.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' | '\u{200d}' | '\u{fe0f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::dataset::caption::{Place, draw, draw_pair};
    use crate::dataset::config::Config;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn repertoire() -> Repertoire {
        About::read(&ModelFiles::pocket().unwrap()).unwrap().draws.unwrap()
    }

    #[test]
    fn the_pocket_models_repertoire_is_that_of_its_data_set() {
        let (own, config) = (repertoire(), Config::pocket().unwrap());
        assert_eq!(own.things, config.objects.iter().map(|o| o.names.clone()).collect::<Vec<_>>());
        assert_eq!(own.styles, config.styles.iter().map(|s| s.word.clone()).collect::<Vec<_>>());
        assert_eq!(own.backgrounds, config.backgrounds.iter().map(|b| b.name.clone()).collect::<Vec<_>>());
        assert_eq!(own.size(), "48 things on 8 backgrounds in 4 styles");
    }

    #[test]
    fn the_words_are_those_of_the_captions() {
        let (own, config) = (repertoire(), Config::pocket().unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut seen = HashSet::new();
        for i in 0..20_000 {
            let object = &config.objects[i % config.objects.len()];
            let (style, background) =
                (&config.styles[i % config.styles.len()], &config.backgrounds[i % config.backgrounds.len()]);
            let far = (config.shift * f64::from(config.size)) as i32;
            let at = Place {
                side: rng.random_range(config.sides()[0]..=config.sides()[1]),
                x: rng.random_range(-far..=far),
                y: rng.random_range(-far..=far),
            };
            let (pairs, colours) = (config.pairs.as_ref().unwrap(), &config.recolour.as_ref().unwrap().colours);
            let colour = &colours[rng.random_range(0..colours.len())].name;
            let colour = (object.noun.is_some() && i % 2 == 0).then_some(colour.as_str());
            let caption = match i % 5 {
                0 => draw_pair(pairs, [(object.name(), false); 2], &style.word, &background.name, &mut rng),
                _ => draw(&config, (object, colour), &style.word, &background.name, at, &mut rng),
            };
            assert_eq!(own.unknown_words(&caption, PromptSyntax::Plain, &[]), [""; 0], "{caption}");
            seen.extend(words(&caption).map(String::from));
        }
        let never: Vec<_> = own.words.iter().filter(|word| !seen.contains(*word)).collect();
        assert!(never.is_empty(), "in no caption: {never:?}");
        assert!(
            own.unknown_words(&own.example, PromptSyntax::Plain, &[]).is_empty() && own.names_a_thing(&own.example)
        );
    }

    #[test]
    fn what_the_model_never_saw_is_told_as_it_is_written() {
        let own = repertoire();
        let unknown = |text: &str| own.unknown_words(text, PromptSyntax::Plain, &["my-word"]);
        assert_eq!(unknown("a Cat, by Van Gogh (van gogh), in the desert"), ["by", "Van", "Gogh", "in", "desert"]);
        assert_eq!(unknown("一只红色的苹果, 🍎"), ["一只红色的苹果", "🍎"]);
        assert_eq!(unknown("a jack-o'-lantern on a RED background, my-word"), [""; 0]);
        assert_eq!(unknown("a dog's face"), ["dog's"]);
        assert_eq!(
            ["Cats", "boxes", "foxes", "as"].map(|word| own.singular(word)),
            [Some("cat".into()), None, Some("fox".into()), Some("a".into())]
        );
        assert_eq!(unknown(""), [""; 0]);
        let web = |text: &str| own.unknown_words(text, PromptSyntax::A1111, &[]);
        assert_eq!(web("a (cat:1.3) AND [red|blue:0.5] BREAK 7up"), ["7up"]);
        assert_eq!(unknown("(cat:1.3)"), ["1", "3"]);
        assert!(own.names_a_thing("one Soccer-Ball, please") && own.names_a_thing("a donut"));
        assert!(!own.names_a_thing("a blue background") && !own.names_a_thing("carpet"));
    }

    #[test]
    fn the_embedded_model_brings_its_guidance_scale() {
        assert_eq!(About::read(&ModelFiles::pocket().unwrap()).unwrap().guidance_scale, Some(5.0));
    }
}
