//! Captions by rule: `a red apple on a blue background, flat style`.
//!
//! Enters: a template and what the picture shows. Leaves: the caption, with the right articles.

use super::config::{Config, Object, Pairs, Template};
use rand::Rng;

/// A picture is called small, big, left, … only if it is among this share of the outermost ones.
const NOTICEABLE: f64 = 0.25;
/// How often an object goes by its first name, if it has several.
const FIRST_NAME: f64 = 0.65;

/// Where a drawing is, and how large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Its longer side in pixels.
    pub side: u32,
    /// Pixels right of the middle.
    pub x: i32,
    /// Pixels below the middle.
    pub y: i32,
}

/// `{a}` before an object becomes `a`, `an`, or nothing for a plural; `{an}` becomes `a` or `an`, by the word after it;
/// `{object}`, `{style}` and `{background}` become their names.
pub fn fill(template: &str, name: &str, plural: bool, style: &str, background: &str) -> String {
    let named = template.replace("{object}", name).replace("{style}", style).replace("{background}", background);
    let named = if plural { named.replace("{a} ", "") } else { named.replace("{a}", "{an}") };
    let mut parts = named.split("{an}");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        text += article(part.trim_start());
        text += part;
    }
    text
}

/// `an` before a vowel, else `a`.
pub fn article(word: &str) -> &'static str {
    if word.starts_with(|c: char| "aeiouAEIOU".contains(c)) { "an" } else { "a" }
}

/// What a thing is called: one of its names; in another colour than its own its noun, with the colour most of the time.
pub fn name_of(config: &Config, object: &Object, colour: Option<&str>, rng: &mut impl Rng) -> String {
    if let (Some(noun), Some(colour), Some(recolour)) = (&object.noun, colour, &config.recolour) {
        return if rng.random_bool(recolour.named) { format!("{colour} {noun}") } else { noun.clone() };
    }
    match object.names.len() {
        0 | 1 => object.name().to_string(),
        n if rng.random_bool(FIRST_NAME) || n == 1 => object.name().to_string(),
        n => object.names[rng.random_range(1..n)].clone(),
    }
}

/// A caption for a picture of two things, each with its name and whether it is a plural.
pub fn draw_pair(
    pairs: &Pairs,
    things: [(&str, bool); 2],
    style: &str,
    background: &str,
    rng: &mut impl Rng,
) -> String {
    let mut text = choose(&pairs.captions, rng).to_string();
    for (placeholder, (name, plural)) in ["{object}", "{second}"].into_iter().zip(things) {
        let with_article = if plural { name.to_string() } else { format!("{{an}} {name}") };
        text = text.replace(&format!("{{a}} {placeholder}"), &with_article).replace(placeholder, name);
    }
    fill(&text, "", false, style, background)
}

/// A caption for a picture of one thing, drawn at random among those that fit.
pub fn draw(
    config: &Config,
    (object, colour): (&Object, Option<&str>),
    style: &str,
    background: &str,
    at: Place,
    rng: &mut impl Rng,
) -> String {
    let template = choose(&config.captions, rng);
    let name = &name_of(config, object, colour, rng);
    let (size, place) = (size_word(config, at), place_words(config, at));
    let template = match size {
        Some(word) if rng.random_bool(config.spoken_of) => sized(template, word),
        _ => template.to_string(),
    };
    let caption = fill(&template, name, object.plural, style, background);
    match place {
        Some(words) if template.contains("{object}") && rng.random_bool(config.spoken_of) => {
            format!("{caption}, {words}")
        }
        _ => caption,
    }
}

fn choose<'a>(templates: &'a [Template], rng: &mut impl Rng) -> &'a str {
    let mut ticket = rng.random_range(0..templates.iter().map(|t| t.weight).sum::<u32>().max(1));
    for template in templates {
        if ticket < template.weight {
            return &template.text;
        }
        ticket -= template.weight;
    }
    ""
}

/// A template with a word for the size before the object and its style: `a big flat cat`.
fn sized(template: &str, word: &str) -> String {
    let object = if template.contains("{style} {object}") { "{style} {object}" } else { "{object}" };
    template.replace(object, &format!("{word} {object}"))
}

fn size_word(config: &Config, at: Place) -> Option<&'static str> {
    let [least, greatest] = config.sides().map(f64::from);
    let edge = (greatest - least) * NOTICEABLE;
    match f64::from(at.side) {
        side if edge > 0.0 && side < least + edge => Some("small"),
        side if edge > 0.0 && side > greatest - edge => Some("big"),
        _ => None,
    }
}

fn place_words(config: &Config, at: Place) -> Option<&'static str> {
    let edge = config.shift * f64::from(config.size) * (1.0 - NOTICEABLE);
    let far = |offset: i32| edge > 1.0 && f64::from(offset.abs()) > edge;
    match (at.x, at.y) {
        (x, y) if far(x) && !far(y) => Some(if x < 0 { "on the left" } else { "on the right" }),
        (x, y) if far(y) && !far(x) => Some(if y < 0 { "at the top" } else { "at the bottom" }),
        _ => None,
    }
}
