//! Packages of drawings in Iconify's JSON form, as `@iconify-json/NAME` on npm has them.
//!
//! Enters: a folder with one folder a package, each with `icons.json` (the drawings' SVG bodies by name) and `info.json`
//! (authors and licence). Leaves: SVG documents, and whose they are.

use crate::error::{Error, IoContext, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where `make icons` puts the packages.
pub const ICONS_FOLDER: &str = "icons/node_modules/@iconify-json";

/// One package of drawings.
#[derive(Debug)]
pub struct Package {
    /// Its name and whose it is.
    pub about: About,
    path: PathBuf,
    set: IconSet,
}

/// Whose drawings a package has. Empty where the package does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The package's name: `noto`.
    pub package: String,
    /// What the set calls itself: `Noto Emoji`.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The licence's SPDX identifier, or its title.
    pub licence: String,
    /// Where the licence stands.
    pub licence_url: String,
    /// The author.
    pub author: String,
    /// Where the drawings come from.
    pub url: String,
}

#[derive(Debug, Deserialize)]
struct IconSet {
    icons: HashMap<String, Icon>,
    #[serde(default)]
    aliases: HashMap<String, serde_json::Value>,
    #[serde(default = "sixteen")]
    width: f64,
    #[serde(default = "sixteen")]
    height: f64,
}

#[derive(Debug, Deserialize)]
struct Icon {
    body: String,
    #[serde(default)]
    left: f64,
    #[serde(default)]
    top: f64,
    width: Option<f64>,
    height: Option<f64>,
}

/// Iconify's default width and height.
fn sixteen() -> f64 {
    16.0
}

impl Package {
    /// Reads a package from a folder of packages.
    ///
    /// # Errors
    /// When it is not there, or not in Iconify's form.
    pub fn read(icons: &Path, name: &str) -> Result<Package> {
        let places = [icons.join(name), icons.join("node_modules/@iconify-json").join(name)];
        let Some(folder) = places.iter().find(|place| place.join("icons.json").is_file()) else {
            return Err(Error::invalid(
                format!("the drawings of `{name}` are not in `{}`: there is no `{name}/icons.json`", icons.display()),
                "fetch them with `make icons`, or name the folder that has them with `--icons`",
            ));
        };
        let path = folder.join("icons.json");
        let set = serde_json::from_slice(&std::fs::read(&path).at("read", &path)?)
            .map_err(|e| Error::bad_file(&path, "Iconify icon set", e))?;
        Ok(Package { about: about(folder, name)?, path, set })
    }

    /// A drawing as an SVG document.
    ///
    /// # Errors
    /// When the package has no drawing of this name.
    pub fn svg(&self, name: &str) -> Result<String> {
        let set = &self.set;
        let icon = self.icon(name)?;
        let (width, height) = (icon.width.unwrap_or(set.width), icon.height.unwrap_or(set.height));
        let (left, top, body) = (icon.left, icon.top, &icon.body);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"{left} {top} {width} {height}\">{body}</svg>"
        ))
    }

    fn icon(&self, name: &str) -> Result<&Icon> {
        if let Some(icon) = self.set.icons.get(name) {
            return Ok(icon);
        }
        if let Some(alias) = self.set.aliases.get(name) {
            // An alias may turn or mirror its parent, which the drawings used here never do.
            let parent = alias.as_object().filter(|a| a.len() == 1).and_then(|a| a.get("parent")?.as_str());
            return parent.and_then(|parent| self.set.icons.get(parent)).ok_or_else(|| {
                let reason = format!("`{name}` is more than another name of a drawing, which is not supported");
                Error::bad_file(&self.path, "Iconify icon set", reason)
            });
        }
        let close = |k: &&String| strsim::damerau_levenshtein(name, k) <= 1 + k.len() / 4;
        let nearest = self.set.icons.keys().filter(close);
        let nearest = nearest.min_by_key(|k| (strsim::damerau_levenshtein(name, k), k.as_str().to_string()));
        let meant = nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        Err(Error::invalid(
            format!("`{}` has no drawing `{name}`{meant}", self.about.package),
            format!("the names are in `{}`; give the right one as `icon`, or in `icons`", self.path.display()),
        ))
    }
}

/// What a package says about itself. A file that is missing leaves its fields empty.
fn about(folder: &Path, name: &str) -> Result<About> {
    let read = |file: &str| -> Result<serde_json::Value> {
        let path = folder.join(file);
        if !path.is_file() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&std::fs::read(&path).at("read", &path)?)
            .map_err(|e| Error::bad_file(&path, "JSON file", e))
    };
    let (info, package) = (read("info.json")?, read("package.json")?);
    let text = |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).unwrap_or_default().to_string();
    let spdx = text(info.pointer("/license/spdx"));
    Ok(About {
        package: name.to_string(),
        name: text(info.get("name")),
        version: text(package.get("version").or(info.get("version"))),
        licence: if spdx.is_empty() { text(info.pointer("/license/title")) } else { spdx },
        licence_url: text(info.pointer("/license/url")),
        author: text(info.pointer("/author/name")),
        url: text(info.pointer("/author/url")),
    })
}
