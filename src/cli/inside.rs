//! What `patch` and `effects` share: the model of a recorded run, the sites by their patterns, heat maps.
//!
//! Enters: a run, and what was typed. Leaves: its model in the hand, the rows of a table, pictures on disk.

use super::args::LoadArgs;
use super::plan::ablation::Ablation;
use crate::draw::model::Model;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomically;
use crate::model::lora::LoraChoice;
use crate::pipeline::Pipeline;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::colour::ColourMap;
use crate::viz::heatmap::HeatMap;
use crate::viz::normalise::Range;
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// The model that a run was made with.
///
/// # Errors
/// When it is not there any more, or what was typed for it cannot be read.
pub fn model_of(run: &Run, loading: &LoadArgs) -> Result<Model> {
    let mut options = Model::options(&run.record().model.id).device(&loading.device).dtype(&loading.dtype);
    options = options.vae_tiling(&loading.vae_tiling);
    for text in &loading.lora {
        let LoraChoice { path, weight } = LoraChoice::parse(text)?;
        options = options.lora(path, weight);
    }
    options = loading.embedding.iter().fold(options, |options, text| options.embedding(text));
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
