//! What a data set is made of: objects with their names, styles, backgrounds, captions.
//!
//! Enters: TOML; what is embedded is `assets/pocket-dataset.toml`. Leaves: a checked [`Config`].

use crate::error::{Error, IoContext, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The pocket model's data set.
const POCKET: &str = include_str!("../../assets/pocket-dataset.toml");

/// What may stand in a caption's template.
const PLACEHOLDERS: [&str; 5] = ["{a}", "{an}", "{object}", "{style}", "{background}"];
/// … and in that of two things.
const SECOND: &str = "{second}";

/// What a data set is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Side of the square pictures in pixels.
    pub size: u32,
    /// The least and the greatest longer side of a drawing, as a share of the picture's.
    pub scale: [f64; 2],
    /// How far a drawing may be moved off the middle, as a share of the picture's side. It is never moved over an edge.
    pub shift: f64,
    /// The styles.
    pub styles: Vec<Style>,
    /// The backgrounds.
    pub backgrounds: Vec<Background>,
    /// The objects.
    pub objects: Vec<Object>,
    /// The captions.
    pub captions: Vec<Template>,
    /// Whether half of the drawings are mirrored.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub mirror: bool,
    /// How far drawings are turned either way, in degrees.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub turn: f64,
    /// How often a noticeable size or place is spoken of.
    #[serde(default = "spoken_of", skip_serializing_if = "is_spoken_of")]
    pub spoken_of: f64,
    /// Pictures with two things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Pairs>,
    /// Things in other colours than their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recolour: Option<Recolour>,
}

fn spoken_of() -> f64 {
    0.3
}

fn is_spoken_of(share: &f64) -> bool {
    *share == spoken_of()
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A style: one package of drawings, and what is done to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Style {
    /// Its word in captions: `flat`.
    pub word: String,
    /// The package's folder: `fluent-emoji-flat`.
    pub package: String,
    /// Width of an outline around the drawing, as a share of its longer side.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub outline: f64,
    /// Its colour.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub outline_rgb: [u8; 3],
    /// How dark a soft shadow below the drawing is, from 0 to 1.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub shadow: f64,
    /// How bright a light on its upper part is, from 0 to 1.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub shine: f64,
}

/// Pictures with two things, one on the left and one on the right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// The share of the pictures that have two.
    pub share: f64,
    /// The least and the greatest longer side of each, as a share of the picture's; half at the most.
    pub scale: [f64; 2],
    /// Their captions. `{object}` is the one on the left, `{second}` the one on the right, each after its `{a} `.
    pub captions: Vec<Template>,
}

/// Things in other colours than their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recolour {
    /// The share of the pictures of objects with a `noun` that show another colour.
    pub share: f64,
    /// How often its caption names the colour.
    pub named: f64,
    /// The colours.
    pub colours: Vec<Background>,
}

/// A background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Background {
    /// Its word in captions: `blue`.
    pub name: String,
    /// Its colour.
    pub rgb: [u8; 3],
}

/// An object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its names in captions; the first is the one that it goes by.
    pub names: Vec<String>,
    /// The drawing's name in the packages: `cat-face`.
    pub icon: String,
    /// The drawing's name in packages that call it otherwise, by package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub icons: BTreeMap<String, String>,
    /// Whether its names stand without `a`: cherries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plural: bool,
    /// What it is called in another colour: `apple`, for a blue apple. Without one it has its own colour always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noun: Option<String>,
}

/// The form of a caption; see [`super::caption::fill`] for its placeholders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The words.
    pub text: String,
    /// How often it is used, compared with the others.
    pub weight: u32,
}

impl Template {
    /// Refuses an unknown placeholder.
    fn check(&self, more: &[&str]) -> std::result::Result<(), String> {
        let known = [&PLACEHOLDERS, more].concat();
        let bare = known.iter().fold(self.text.clone(), |text, placeholder| text.replace(placeholder, ""));
        if bare.contains(['{', '}']) {
            return Err(format!("the caption `{}` has more in braces than {}", self.text, known.join(", ")));
        }
        Ok(())
    }
}

impl Object {
    /// The name that the object goes by.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The drawing's name in a package.
    pub fn icon_in(&self, package: &str) -> &str {
        self.icons.get(package).unwrap_or(&self.icon)
    }
}

impl Config {
    /// The pocket model's data set.
    ///
    /// # Errors
    /// Never, as a test makes sure.
    pub fn pocket() -> Result<Config> {
        Config::parse(POCKET, Path::new("assets/pocket-dataset.toml"))
    }

    /// A data set from a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, or means nothing.
    pub fn read(path: &Path) -> Result<Config> {
        Config::parse(&std::fs::read_to_string(path).at("read", path)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            Error::bad_file(path, "data set description", format!("line {line}: {}", e.message()))
        })?;
        config.check().map_err(|reason| Error::bad_file(path, "data set description", reason))?;
        Ok(config)
    }

    /// The least and the greatest longer side of a drawing in pixels.
    pub fn sides(&self) -> [u32; 2] {
        self.scale.map(|share| (share * f64::from(self.size)).round() as u32)
    }

    /// The same where there are two.
    pub fn pair_sides(&self) -> Option<[u32; 2]> {
        self.pairs.as_ref().map(|pairs| pairs.scale.map(|share| (share * f64::from(self.size)).round() as u32))
    }

    /// How many pixels a drawing of this longer side may be moved.
    pub fn reach(&self, side: u32) -> i32 {
        let room = self.size.saturating_sub(side) / 2;
        ((self.shift * f64::from(self.size)).round() as i32).min(room as i32)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if !(16..=1024).contains(&self.size) || !self.size.is_multiple_of(8) {
            return Err(format!("size is {}, not a multiple of 8 from 16 to 1024", self.size));
        }
        let [least, greatest] = self.scale;
        if !(least > 0.0 && least <= greatest && greatest <= 1.0) {
            return Err(format!("scale is [{least}, {greatest}], not two numbers above 0 and up to 1 in order"));
        }
        if !(0.0..=0.5).contains(&self.shift) {
            return Err(format!("shift is {}, not from 0 to 0.5", self.shift));
        }
        for (what, count) in [
            ("styles", self.styles.len()),
            ("backgrounds", self.backgrounds.len()),
            ("objects", self.objects.len()),
            ("captions", self.captions.iter().map(|c| c.weight as usize).sum()),
        ] {
            if count == 0 {
                return Err(format!("it has no {what}"));
            }
        }
        if let Some(object) = self.objects.iter().find(|o| o.name().trim().is_empty()) {
            return Err(format!("the object with the icon `{}` has no name", object.icon));
        }
        twice("style", self.styles.iter().map(|s| s.word.as_str()))?;
        twice("background", self.backgrounds.iter().map(|b| b.name.as_str()))?;
        twice("object", self.objects.iter().flat_map(|o| o.names.iter().map(String::as_str)))?;
        self.captions.iter().try_for_each(|caption| caption.check(&[]))?;
        self.check_more()
    }

    /// What not every data set has.
    fn check_more(&self) -> std::result::Result<(), String> {
        let within = |what: &str, value: f64, most: f64| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} is {value}, not from 0 to {most}")),
        };
        within("turn", self.turn, 180.0)?;
        within("spoken_of", self.spoken_of, 1.0)?;
        for style in &self.styles {
            for (what, value, most) in
                [("outline", style.outline, 0.2), ("shadow", style.shadow, 1.0), ("shine", style.shine, 1.0)]
            {
                within(&format!("the {what} of the style `{}`", style.word), value, most)?;
            }
        }
        if let Some(pairs) = &self.pairs {
            within("pairs.share", pairs.share, 1.0)?;
            let [least, greatest] = pairs.scale;
            if !(least > 0.0 && least <= greatest && greatest <= 0.5) {
                return Err(format!(
                    "pairs.scale is [{least}, {greatest}], not two numbers above 0 and up to 0.5 in order"
                ));
            }
            if self.objects.len() < 2 || pairs.captions.iter().all(|caption| caption.weight == 0) {
                return Err("pairs need two objects and a caption".into());
            }
            pairs.captions.iter().try_for_each(|caption| caption.check(&[SECOND]))?;
        }
        if let Some(recolour) = &self.recolour {
            within("recolour.share", recolour.share, 1.0)?;
            within("recolour.named", recolour.named, 1.0)?;
            if recolour.colours.is_empty() {
                return Err("recolour has no colours".into());
            }
        }
        Ok(())
    }
}

/// Refuses a list that says something twice.
fn twice<'a>(what: &str, mut names: impl Iterator<Item = &'a str>) -> std::result::Result<(), String> {
    let mut seen = HashSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(name) => Err(format!("the {what} `{name}` is there twice")),
        None => Ok(()),
    }
}
