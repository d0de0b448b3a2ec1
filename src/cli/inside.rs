//! What `ablate`, `patch` and `effects` share: the model of a recorded run, the judge, the sites by their patterns, tables,
//! heat maps, sheets.
//!
//! Enters: a run, and what was typed. Leaves: its model in the hand, the rows of a table, pictures on disk.

use super::args::LoadArgs;
use super::extras;
use super::plan::ablation::Ablation;
use super::report;
use crate::draw::model::Model;
use crate::error::{Error, Result};
use crate::eval::judge::Judge;
use crate::files::atomic::write_atomically;
use crate::model::lora::LoraChoice;
use crate::pipeline::Pipeline;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::colour::ColourMap;
use crate::viz::grid::{Grid, GridStyle};
use crate::viz::heatmap::HeatMap;
use crate::viz::normalise::Range;
use ndarray::Array2;
use std::path::{Path, PathBuf};
use tch::Device;

/// Rows of a printed table.
const MOST_PRINTED: usize = 40;

/// The model that a run was made with, its LoRAs and embeddings among it where none are typed.
///
/// # Errors
/// When it is not there any more, or what was typed for it cannot be read.
pub fn model_of(run: &Run, loading: &LoadArgs) -> Result<Model> {
    let loading = extras::taken(loading, Some(run), &run.record().model.id)?;
    let mut options = Model::options(&run.record().model.id).device(&loading.device).dtype(&loading.dtype);
    options = options.vae_tiling(&loading.vae_tiling);
    let some = |text: &&String| *text != extras::NONE;
    for text in loading.lora.iter().filter(some) {
        let LoraChoice { path, weight } = LoraChoice::parse(text)?;
        options = options.lora(path, weight);
    }
    options = loading.embedding.iter().filter(some).fold(options, |options, text| options.embedding(text));
    options = loading.vae.iter().fold(options, |options, name| options.vae(name));
    options = loading.variant.iter().fold(options, |options, name| options.variant(name));
    options.load()
}

/// The rows and columns of a table: the sites that several patterns fit, one by one and all of a pattern at once, times
/// windows.
///
/// # Errors
/// When one fits none, or the windows cannot be read.
pub fn table_of(patterns: &[String], op: &str, windows: &str, model: &Model) -> Result<Ablation> {
    let mut all: Option<Ablation> = None;
    for pattern in patterns {
        let (pattern, (name, keys)) = (pattern.trim(), op.split_once(' ').unwrap_or((op, "")));
        let mut one = Ablation::new(pattern, op, windows, false, Pipeline::sites(model)?)?;
        if one.rows.len() > 1 {
            one.rows.push((format!("all of {pattern}"), format!("{name} {pattern} {keys}").trim().to_string()));
        }
        match &mut all {
            None => all = Some(one),
            Some(all) => all.rows.extend(one.rows),
        }
    }
    all.ok_or_else(|| Error::invalid("no sites are named", "name some: `--sites 'unet.**.attn2'`"))
}

/// Who judges pictures of a model: what was named, the embedded judge for the pocket model, nobody else's.
///
/// # Errors
/// When the folder holds none.
pub fn judge(named: Option<&Path>, model: &str, device: Device) -> Result<Option<Judge>> {
    match named {
        Some(none) if none == Path::new("none") => Ok(None),
        Some(folder) => Judge::read(folder, device).map(Some),
        None if model == "pocket" => Judge::embedded(device).map(Some),
        None => Ok(None),
    }
}

/// Prints the first rows of a table, and says in which file the others are.
pub fn print_rows(titles: &[&str], rows: Vec<Vec<String>>, file: &str) {
    let (mut table, count) = (report::table(titles), rows.len());
    for row in rows.into_iter().take(MOST_PRINTED) {
        table.add_row(row);
    }
    report::print_table(&table);
    if count > MOST_PRINTED {
        report::print(format!("and {} more in {file}", count - MOST_PRINTED));
    }
}

/// Draws a sheet of pictures into a folder, on as many pages as it takes.
///
/// # Errors
/// When one cannot be written.
pub fn pictures(out: &Path, name: &str, grid: &Grid) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for (page, picture) in grid.draw(&GridStyle { least_cell: 128, ..GridStyle::default() })?.iter().enumerate() {
        let number = if page == 0 { String::new() } else { format!("-{}", page + 1) };
        let path = out.join(format!("{name}{number}.png"));
        write_atomically(&path, &png_bytes(picture)?)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Draws a heat map into a folder; `None` where there is no number at all.
///
/// # Errors
/// When it cannot be written.
pub fn heat_map(
    out: &Path,
    (name, title): (&str, String),
    (rows, columns): (Vec<String>, Vec<String>),
    value: impl Fn((usize, usize)) -> Option<f64>,
    around_zero: bool,
) -> Result<Option<PathBuf>> {
    let values = Array2::from_shape_fn((rows.len(), columns.len()), |at| value(at).map_or(f32::NAN, |x| x as f32));
    let Some(found) = Range::of(values.iter().copied().filter(|x| x.is_finite())) else { return Ok(None) };
    let (map, range) = match around_zero {
        true => (ColourMap::PurpleOrange, found.around_zero()),
        false => (ColourMap::Viridis, Range { lo: found.lo.min(0.0), ..found }),
    };
    let picture = HeatMap { title, rows, columns, values, map, range, decimals: 2 }.draw();
    let path = out.join(format!("{name}.png"));
    write_atomically(&path, &png_bytes(&picture)?)?;
    Ok(Some(path))
}
