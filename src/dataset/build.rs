//! Makes a data set: every object in every style on every background, in shuffled order, over and over.
//!
//! Enters: a [`Config`], packages of drawings, a seed. Leaves: the folder that [`super::manifest`] describes. Each picture
//! has a random stream of its own, so that threads do not change what comes out: the same seed gives the same bytes.

use super::caption::{self, Place};
use super::config::Config;
use super::drawing::Drawing;
use super::icons::Package;
use super::manifest::{IMAGES_FOLDER, MANIFEST_FILE, METADATA_FILE, Manifest, Row, SCHEMA_VERSION, Source};
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::trace::metadata::png_bytes;
use crate::trace::writer::check_out;
use image::RgbImage;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Pictures in one folder.
const PER_FOLDER: usize = 1000;

/// One picture of the data set: which object, style and background, by their places in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The object.
    pub object: usize,
    /// The style.
    pub style: usize,
    /// The background.
    pub background: usize,
}

/// Everything that pictures are composed of.
#[derive(Debug)]
pub struct Composer {
    config: Config,
    sources: Vec<Source>,
    /// The drawings, styles of an object one after the other.
    drawings: Vec<Drawing>,
    /// Each drawing in every size, made when it is first needed.
    sprites: Vec<OnceLock<Drawing>>,
}

impl Composer {
    /// Reads the drawings that a configuration names.
    ///
    /// # Errors
    /// When a package or a drawing is not there.
    pub fn new(config: Config, icons: &Path) -> Result<Composer> {
        let packages = config.styles.iter().map(|style| Package::read(icons, &style.package));
        let packages = packages.collect::<Result<Vec<_>>>()?;
        let names = config.objects.iter().flat_map(|object| packages.iter().map(move |package| (object, package)));
        let svgs = names.map(|(object, package)| {
            let name = object.icon_in(&package.about.package);
            Ok((package.svg(name)?, format!("{}:{name}", package.about.package)))
        });
        let svgs = svgs.collect::<Result<Vec<_>>>()?;
        let render = |(svg, name): &(String, String)| Drawing::render(svg, name, config.size);
        let drawings = svgs.par_iter().map(render).collect::<Result<Vec<_>>>()?;
        let sources = packages.into_iter().zip(&config.styles).map(|(package, style)| Source {
            about: package.about,
            style: style.word.clone(),
            drawings: config.objects.len(),
        });
        let sources = sources.collect();
        let [least, greatest] = config.sides();
        let sizes = (greatest - least + 1) as usize;
        let sprites = (0..drawings.len() * sizes).map(|_| OnceLock::new()).collect();
        Ok(Composer { config, sources, drawings, sprites })
    }

    /// What the pictures are made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The combination for each of `count` pictures: all of them in shuffled order, and again in another order.
    pub fn cells(&self, seed: u64, count: usize) -> Vec<Subject> {
        let Config { objects, styles, backgrounds, .. } = &self.config;
        let all = (0..objects.len()).flat_map(|object| {
            (0..styles.len()).flat_map(move |style| {
                (0..backgrounds.len()).map(move |background| Subject { object, style, background })
            })
        });
        let all: Vec<Subject> = all.collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut cells = Vec::with_capacity(count + all.len());
        while cells.len() < count {
            let mut round = all.clone();
            round.shuffle(&mut rng);
            cells.extend(round);
        }
        cells.truncate(count);
        cells
    }

    /// The picture of this number, and what the list says of it.
    pub fn picture(&self, seed: u64, number: usize, cell: Subject) -> (RgbImage, Row) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 is the order's.
        rng.set_stream(number as u64 + 1);
        let config = &self.config;
        let [least, greatest] = config.sides();
        let side = rng.random_range(least..=greatest);
        let reach = config.reach(side);
        let at = Place { side, x: rng.random_range(-reach..=reach), y: rng.random_range(-reach..=reach) };
        let object = &config.objects[cell.object];
        let (style, background) = (&config.styles[cell.style], &config.backgrounds[cell.background]);
        let text = caption::draw(config, object, &style.word, &background.name, at, &mut rng);
        let share = |pixels: f64| (pixels / f64::from(config.size) * 1e4).round() / 1e4;
        let row = Row {
            file_name: file_name(number),
            text,
            object: object.name().to_string(),
            style: style.word.clone(),
            background: background.name.clone(),
            scale: share(f64::from(side)),
            x: share(f64::from(at.x)),
            y: share(f64::from(at.y)),
        };
        (self.compose(cell, at), row)
    }

    /// A drawing on its background.
    fn compose(&self, cell: Subject, at: Place) -> RgbImage {
        let [least, greatest] = self.config.sides();
        let drawing = cell.object * self.config.styles.len() + cell.style;
        let slot = drawing * (greatest - least + 1) as usize + (at.side - least) as usize;
        let sprite = self.sprites[slot].get_or_init(|| self.drawings[drawing].scaled(at.side));
        sprite.on(self.config.backgrounds[cell.background].rgb, self.config.size, (at.x, at.y))
    }
}

/// Where a picture lies in the data set.
fn file_name(number: usize) -> String {
    format!("{IMAGES_FOLDER}/{:03}/{number:06}.png", number / PER_FOLDER)
}

/// Refuses a folder that cannot become a data set. Changes nothing.
///
/// # Errors
/// When it holds something and `force` is not given, or it cannot be written to.
pub fn check_folder(dir: &Path, force: bool) -> Result<()> {
    let filled = dir.is_dir() && std::fs::read_dir(dir).at("read", dir)?.next().is_some();
    if filled && !force {
        return Err(Error::invalid(
            format!("`{}` is not empty", dir.display()),
            "name another folder with `--out`, or replace the data set in it with `--force`",
        ));
    }
    check_out(dir, true)
}

/// Makes a data set of `count` pictures in `dir`; one that is there goes first. `done` hears of every picture.
///
/// # Errors
/// When a file cannot be written.
pub fn build(composer: &Composer, dir: &Path, seed: u64, count: usize, done: impl Fn() + Sync) -> Result<Manifest> {
    remove_old(dir)?;
    for folder in 0..count.div_ceil(PER_FOLDER) {
        let folder = dir.join(file_name(folder * PER_FOLDER));
        let folder = folder.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).at("create", folder)?;
    }
    let make = |(number, cell): (usize, &Subject)| {
        let (picture, row) = composer.picture(seed, number, *cell);
        let path = dir.join(&row.file_name);
        std::fs::write(&path, png_bytes(&picture)?).map_err(|source| failed(&path, source))?;
        done();
        serde_json::to_string(&row).map_err(|e| Error::bad_file(&path, "row", e))
    };
    let cells = composer.cells(seed, count);
    let rows = cells.par_iter().enumerate().map(make).collect::<Result<Vec<_>>>()?;
    let path = dir.join(METADATA_FILE);
    write_atomically(&path, (rows.join("\n") + "\n").as_bytes())?;
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        made_by: concat!("sdviz ", env!("CARGO_PKG_VERSION")).into(),
        seed,
        count,
        sources: composer.sources.clone(),
        config: composer.config.clone(),
    };
    // The manifest comes last: where it is, the data set is whole.
    let path = dir.join(MANIFEST_FILE);
    let mut json = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::bad_file(&path, "manifest", e))?;
    json.push(b'\n');
    write_atomically(&path, &json)?;
    Ok(manifest)
}

/// A picture that could not be written; a full disk gets its own words.
fn failed(path: &Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::StorageFull {
        return Error::invalid(
            format!("the disk is full: cannot write `{}`", path.display()),
            "a picture takes about 8 kB: free some space, or ask for fewer with `--count`; go on with `--force`",
        );
    }
    Error::Io { action: "write", path: PathBuf::from(path), source }
}

/// Removes what an earlier data set left in the folder, and nothing else.
fn remove_old(dir: &Path) -> Result<()> {
    for name in [MANIFEST_FILE, METADATA_FILE] {
        let path = dir.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).at("remove", &path)?;
        }
    }
    let images = dir.join(IMAGES_FOLDER);
    if images.is_dir() { std::fs::remove_dir_all(&images).at("remove", &images) } else { Ok(()) }
}
