//! What the model sees in a picture, on one sheet: a column for each noise level, below each other the noised picture, what is
//! predicted from it, where the prompt's words are looked at, and what layers hold.
//!
//! Enters: the run of a look (`sdviz look`). Leaves: `look.png`, and `look.json` with the numbers behind the colours. The
//! maps are those of `sdviz attention`, each word's in one range for all levels; the features' colours those of `sdviz
//! features`.

use super::attention::paint::Colours;
use super::attention::recorded::{How, Recorded};
use super::attention::track::{FrameRecord, Of, Shown, Track, ends};
use super::attention::words::Word;
use super::features::{self, Features};
use super::{Outputs, attention, latents};
use crate::error::{Error, Result};
use crate::files::pictures;
use crate::record::attention::Prediction;
use crate::record::inputs::INIT_FILE;
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::normalise::{Normalisation, Range};
use crate::viz::pixels::fit;
use image::RgbImage;
use serde_json::{Value, json};

/// What is on the sheet.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The words; none for all of the prompt.
    pub words: Vec<Word>,
    /// The sites whose features become colours.
    pub sites: Vec<String>,
    /// The square that each picture is fitted into.
    pub size: u32,
}

impl Options {
    /// Checks what can be checked without a run.
    ///
    /// # Errors
    /// When no picture has that size.
    pub fn check(&self) -> Result<()> {
        latents::check_size(self.size)
    }
}

/// A row of the sheet.
struct Row {
    label: String,
    cells: Vec<GridCell>,
}

/// Draws the sheet.
///
/// # Errors
/// [`Error::NotRecorded`] when the run is no look, or has nothing of what is asked; when a word is not in its prompt, or a
/// file cannot be read or written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<()> {
    options.check()?;
    let Some(look) = &run.record().plan.look else {
        return Err(Error::NotRecorded {
            message: format!("`{}` looks into no picture", run.name().display()),
            hint: "`sdviz look PHOTO --prompt …` makes such a run".into(),
        });
    };
    let recorded = Recorded::open(run, Prediction::TEXT, 0)?;
    let photo = photo(run)?;
    let side = options.size;
    let mut rows = vec![
        pictured(run, &recorded.steps, "noised", (Quantity::Latents, 1), side)?,
        pictured(run, &recorded.steps, "predicted\noriginal", (Quantity::PredictedOriginal, 0), side)?,
    ];
    let mut words = vec![];
    for word in attention::chosen_words(&[&recorded], &options.words)? {
        let (row, record) = looked_at(&recorded, &word, photo.as_ref(), side)?;
        rows.push(row);
        words.push(record);
    }
    let mut sites = vec![];
    for site in &options.sites {
        let (row, record) = held(run, &recorded.steps, site, side)?;
        rows.push(row);
        sites.push(record);
    }
    let levels: Vec<Value> = recorded.steps.iter().map(|step| level(run, &look.at, *step)).collect();
    let columns = recorded.steps.iter().map(|step| column(run, &look.at, *step));
    let grid = Grid {
        title: title(run),
        columns: Axis::new("noise level", columns),
        rows: Axis::new("", rows.iter().map(|row| row.label.clone())),
        cells: rows.into_iter().flat_map(|row| row.cells).collect(),
    };
    attention::write_pages(outputs, "look", &grid.draw(&GridStyle { least_cell: 1, ..GridStyle::default() })?)?;
    let record = json!({ "levels": levels, "words": words, "sites": sites });
    attention::write_record(outputs, "look", &record)
}

/// The pictures of some quantity, `before` steps before each.
fn pictured(run: &Run, steps: &[usize], label: &str, (what, before): (Quantity, usize), side: u32) -> Result<Row> {
    let cell = |step: &usize| -> Result<GridCell> {
        let picture = run.picture(step.saturating_sub(before), what, 0)?;
        Ok(picture.map_or_else(
            || GridCell::Missing("not decoded".into()),
            |picture| GridCell::Picture(fit(&picture, (side, side))),
        ))
    };
    Ok(Row { label: label.into(), cells: steps.iter().map(cell).collect::<Result<_>>()? })
}

/// Where a word is looked at, at each level, over the picture.
fn looked_at(recorded: &Recorded, word: &Word, photo: Option<&RgbImage>, side: u32) -> Result<(Row, Value)> {
    let label = word.label(recorded.text(recorded.last())?);
    let of = Of::Word(word.clone(), How::default());
    let tracks = Track::open(of, &[recorded], &label, Normalisation::Run)?;
    let (colours, mut cells, mut maps) = (Colours::default(), vec![], Vec::<FrameRecord>::new());
    for step in &recorded.steps {
        let Some(Shown::Map(map, record)) = tracks.first().map(|track| track.shown(*step)).transpose()?.flatten()
        else {
            cells.push(GridCell::Missing("no map".into()));
            continue;
        };
        let range = Range { lo: record.lo, hi: record.hi };
        let picture = match photo {
            Some(photo) => colours.over(photo, map.view(), range),
            None => colours.alone(map.view(), range),
        };
        cells.push(GridCell::Picture(fit(&picture, (side, side))));
        maps.push(record);
    }
    let range = tracks.first().and_then(Track::range);
    let shares = range.map(|range| format!("\n{}", ends(range))).unwrap_or_default();
    let record = json!({ "word": word.to_string(), "range": range, "maps": maps });
    Ok((Row { label: format!("{label}{shares}"), cells }, record))
}

/// What a layer holds at each level, in one basis.
fn held(run: &Run, steps: &[usize], site: &str, side: u32) -> Result<(Row, Value)> {
    let options = features::Options::of(site);
    let features = Features::prepare(&[run], &options)?;
    let cell = |step: &usize| -> Result<GridCell> {
        let picture = features.picture(&[run], 0, *step, &options)?;
        Ok(picture.map_or_else(
            || GridCell::Missing("not kept".into()),
            |picture| GridCell::Picture(fit(&picture, (side, side))),
        ))
    };
    let cells = steps.iter().map(cell).collect::<Result<_>>()?;
    // The end of a name says more than its beginning.
    let short = site.strip_prefix("unet.").unwrap_or(site);
    // A line for each word, with the number behind it.
    let mut label = String::new();
    for (place, part) in short.split('.').enumerate() {
        let joint = if place == 0 {
            ""
        } else if part.parse::<usize>().is_ok() {
            "."
        } else {
            ".\n"
        };
        label = label + joint + part;
    }
    Ok((Row { label, cells }, json!(features)))
}

/// The picture that is looked into, at the run's size.
fn photo(run: &Run) -> Result<Option<RgbImage>> {
    match run.dir().map(|dir| dir.join(INIT_FILE)).filter(|path| path.is_file()) {
        Some(path) => pictures::open(&path, "picture").map(|picture| Some(picture.into_rgb8())),
        None => run.final_picture(0),
    }
}

/// What stands above a column.
fn column(run: &Run, at: &[f64], step: usize) -> String {
    let share = at.get(step - 1).map(ToString::to_string).unwrap_or_default();
    let level = run
        .level(step - 1)
        .map(|level| format!("\nt {:.0} · σ {}", level.timestep.unwrap_or_default(), super::words::short(level.sigma)));
    share + &level.unwrap_or_default()
}

fn level(run: &Run, at: &[f64], step: usize) -> Value {
    let level = run.level(step - 1);
    json!({ "step": step, "at": at.get(step - 1), "timestep": level.and_then(|level| level.timestep),
        "sigma": level.map(|level| level.sigma) })
}

fn title(run: &Run) -> String {
    let plan = &run.record().plan;
    let file = plan.init_image.as_ref().map(|picture| picture.file.as_str()).unwrap_or_default();
    format!("{file} · “{}” · {}", plan.prompt, run.record().model.id)
}
