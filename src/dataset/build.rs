//! Makes a data set: every object in every style on every background, in shuffled order, over and over.
//!
//! Enters: a [`Config`], packages of drawings, a seed. Leaves: the folder that [`super::manifest`] describes. Each picture
//! has a random stream of its own, so that threads do not change what comes out: the same seed gives the same bytes.

use super::caption::{self, Place};
use super::config::Config;
use super::drawing::{self, Drawing, Pose};
use super::icons::Package;
use super::manifest::{IMAGES_FOLDER, MANIFEST_FILE, METADATA_FILE, Manifest, Row, SCHEMA_VERSION, Source};
use super::styling;
use crate::error::{Error, IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::trace::writer::check_out;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, RgbaImage};
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
    /// The drawings as they are, styles of an object one after the other.
    plain: Vec<RgbaImage>,
    /// The same in their styles: in their own colour, then in each of the others; made when first needed.
    drawings: Vec<OnceLock<Drawing>>,
    /// Each drawing in its own colour in every size, where drawings are not turned; made when first needed.
    sprites: Vec<OnceLock<RgbaImage>>,
}

/// One thing of a picture.
#[derive(Debug, Clone, Copy)]
struct Thing {
    /// Its place in the list of objects.
    object: usize,
    /// Its colour's in that of colours, where it is not the object's own.
    colour: Option<usize>,
    pose: Pose,
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
        let plain = svgs.par_iter().map(render).collect::<Result<Vec<_>>>()?;
        let sources = packages.into_iter().zip(&config.styles).map(|(package, style)| Source {
            about: package.about,
            style: style.word.clone(),
            drawings: config.objects.len(),
        });
        let sources = sources.collect();
        let colours = 1 + config.recolour.as_ref().map_or(0, |recolour| recolour.colours.len());
        let drawings = (0..plain.len() * colours).map(|_| OnceLock::new()).collect();
        let [least, greatest] = config.sides();
        let sizes = (greatest - least + 1) as usize;
        let sprites = (0..plain.len() * sizes).map(|_| OnceLock::new()).collect();
        Ok(Composer { config, sources, plain, drawings, sprites })
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
        let pairs = config.pairs.as_ref().filter(|pairs| rng.random_bool(pairs.share));
        let things = if pairs.is_some() { self.pair(cell, &mut rng) } else { vec![self.alone(cell, &mut rng)] };
        let (style, background) = (&config.styles[cell.style], &config.backgrounds[cell.background]);
        let colour = |thing: &Thing| Some(&config.recolour.as_ref()?.colours[thing.colour?].name);
        let object = |thing: &Thing| &config.objects[thing.object];
        let text = match (pairs, &things[..]) {
            (Some(pairs), [left, right]) => {
                let names = [left, right].map(|t| {
                    (caption::name_of(config, object(t), colour(t).map(String::as_str), &mut rng), object(t).plural)
                });
                let named = [(&*names[0].0, names[0].1), (&*names[1].0, names[1].1)];
                caption::draw_pair(pairs, named, &style.word, &background.name, &mut rng)
            }
            _ => {
                let Thing { pose: Pose { side, x, y, .. }, .. } = things[0];
                let shown = (object(&things[0]), colour(&things[0]).map(String::as_str));
                caption::draw(config, shown, &style.word, &background.name, Place { side, x, y }, &mut rng)
            }
        };
        let share = |pixels: f64| (pixels / f64::from(config.size) * 1e4).round() / 1e4;
        let name = |thing: &Thing| {
            let noun = thing.colour.and_then(|_| object(thing).noun.clone());
            noun.unwrap_or_else(|| object(thing).name().to_string())
        };
        let (first, second) = (&things[0], things.get(1));
        let row = Row {
            file_name: file_name(number),
            text,
            object: name(first),
            style: style.word.clone(),
            background: background.name.clone(),
            scale: share(f64::from(first.pose.side)),
            x: share(f64::from(first.pose.x)),
            y: share(f64::from(first.pose.y)),
            colour: colour(first).cloned(),
            second_object: second.map(name),
            second_colour: second.and_then(colour).cloned(),
            second_scale: second.map(|thing| share(f64::from(thing.pose.side))),
            second_x: second.map(|thing| share(f64::from(thing.pose.x))),
            second_y: second.map(|thing| share(f64::from(thing.pose.y))),
        };
        let mut picture = RgbImage::from_pixel(config.size, config.size, Rgb(background.rgb));
        for thing in &things {
            self.draw(thing, cell.style, &mut picture);
        }
        (picture, row)
    }

    /// The thing of a picture that has one.
    fn alone(&self, cell: Subject, rng: &mut ChaCha8Rng) -> Thing {
        let [least, greatest] = self.config.sides();
        let side = rng.random_range(least..=greatest);
        let reach = self.config.reach(side);
        let (x, y) = (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
        self.thing(cell.object, (side, x, y), rng)
    }

    /// Two things, the cell's object on the left, each within its half.
    fn pair(&self, cell: Subject, rng: &mut ChaCha8Rng) -> Vec<Thing> {
        let config = &self.config;
        let [least, greatest] = config.pair_sides().unwrap_or_default();
        let other = (cell.object + rng.random_range(1..config.objects.len())) % config.objects.len();
        let quarter = config.size as i32 / 4;
        [(cell.object, -quarter), (other, quarter)]
            .into_iter()
            .map(|(object, middle)| {
                let side = rng.random_range(least..=greatest);
                let beside = (quarter - side as i32 / 2).max(0);
                let (up, down) = (-beside - quarter / 2, beside + quarter / 2);
                let (x, y) = (middle + rng.random_range(-beside..=beside), rng.random_range(up..=down));
                self.thing(object, (side, x, y), rng)
            })
            .collect()
    }

    /// A thing in a place; in which colour, mirrored or turned is drawn at random where the configuration says so.
    fn thing(&self, object: usize, (side, x, y): (u32, i32, i32), rng: &mut ChaCha8Rng) -> Thing {
        let config = &self.config;
        let recolour = config.recolour.as_ref().filter(|_| config.objects[object].noun.is_some());
        let recolour = recolour.filter(|recolour| rng.random_bool(recolour.share));
        let colour = recolour.map(|recolour| rng.random_range(0..recolour.colours.len()));
        let mirrored = config.mirror && rng.random_bool(0.5);
        let turn = if config.turn > 0.0 { rng.random_range(-config.turn..=config.turn) } else { 0.0 };
        Thing { object, colour, pose: Pose { side, x, y, mirrored, turn } }
    }

    /// Draws a thing into a picture.
    fn draw(&self, thing: &Thing, style: usize, picture: &mut RgbImage) {
        let (config, pose) = (&self.config, thing.pose);
        let place = thing.object * config.styles.len() + style;
        if config.turn > 0.0 || thing.colour.is_some() || pose.mirrored {
            return self.drawing(place, thing.colour).onto(picture, pose);
        }
        let [least, greatest] = config.sides();
        let slot = place * (greatest - least + 1) as usize;
        let made = || self.drawing(place, None).scaled(pose.side);
        if (least..=greatest).contains(&pose.side) {
            let sprite = self.sprites[slot + (pose.side - least) as usize].get_or_init(made);
            drawing::put(sprite, picture, (pose.x, pose.y));
        } else {
            drawing::put(&made(), picture, (pose.x, pose.y));
        }
    }

    /// A drawing in its style and a colour.
    fn drawing(&self, place: usize, colour: Option<usize>) -> &Drawing {
        let slot = colour.map_or(0, |colour| colour + 1) * self.plain.len() + place;
        self.drawings[slot].get_or_init(|| {
            let style = &self.config.styles[place % self.config.styles.len()];
            let colours = self.config.recolour.as_ref().map(|recolour| &recolour.colours);
            let pixels = match colours.zip(colour) {
                Some((colours, colour)) => styling::recoloured(&self.plain[place], colours[colour].rgb),
                None => self.plain[place].clone(),
            };
            let (pixels, margin) = styling::styled(pixels, style);
            Drawing::new(pixels, margin)
        })
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
        std::fs::write(&path, quick_png(&picture)?).map_err(|source| failed(&path, source))?;
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

/// A picture as PNG, compressed the quick way: a data set is read once and has many.
fn quick_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, PngFilter::Up);
    encoder
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(|e| Error::invalid(format!("cannot encode the picture as PNG: {e}"), "report this"))?;
    Ok(bytes)
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
