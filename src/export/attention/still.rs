//! Attention with the steps taken together: a word in each head, and others' methods.
//!
//! Enters: what runs recorded of their heads. Leaves: sheets, and the record of what was done to the numbers. Also what
//! writes those of the films.

use super::maps::HeadMaps;
use super::naming::{about_runs, describe, file_name, slug, suffix};
use super::recorded::Recorded;
use super::track::{self, ends};
use super::under::Under;
use super::words::{self, Word};
use super::{Made, Options, chosen_words, heads};
use crate::error::{Error, Result};
use crate::export::Outputs;
use crate::export::settings::names;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::normalise::{RangeFinder, Ranges};
use crate::viz::pixels::fit;
use ndarray::Array2;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A word in each head, a sheet for each word.
pub(super) fn sheets_of_heads(recorded: &[Recorded], options: &Options, outputs: &mut Outputs) -> Result<Value> {
    let [recorded] = recorded else {
        return Err(Error::invalid("heads are shown of one run", "leave out `--compare`"));
    };
    let words = chosen_words(&[recorded], &options.words)?;
    let (text, layers) = recorded.heads()?;
    words::check(&words, &[text])?;
    let mut rows = vec![];
    for word in &words {
        let about = about_runs(&[recorded.run], options.batch);
        let look = (options.how.mix.merge, options.normalise, &options.colours);
        let (sheet, ranges) = heads::sheet((&layers, text), word, look, (&about, options.captions))?;
        let name = format!("attention-heads-{}{}", slug(&word.to_string()), suffix(options));
        outputs.write(&format!("{name}.png"), &png_bytes(&sheet)?)?;
        let means: Vec<Value> = layers
            .iter()
            .zip(heads::maps(&layers, &word.columns(text), options.how.mix.merge))
            .map(|(layer, heads)| json!({ "layer": layer.site, "mean": heads.iter().map(track::mean).collect::<Vec<_>>() }))
            .collect();
        let range = match ranges {
            Ranges::Whole(range) => Some(range),
            Ranges::PerFrame => None,
        };
        let record = json!({ "what": "heads", "word": word.to_string(), "merge": options.how.mix.merge, "range": range,
            "normalise": options.normalise.to_string(), "prediction": options.prediction.to_string(), "batch": options.batch, "heads": means });
        write_record(outputs, &name, &record)?;
        rows.push(record);
    }
    Ok(Value::Array(rows))
}

/// Words by a method that takes all steps together: one sheet, with a row for each run.
pub(super) fn whole(recorded: &[Recorded], options: &Options, outputs: &mut Outputs) -> Result<Value> {
    let all: Vec<&Recorded> = recorded.iter().collect();
    let words = chosen_words(&all, &options.words)?;
    let runs: Vec<&Run> = recorded.iter().map(|recorded| recorded.run).collect();
    let heads = recorded.iter().map(|recorded| Ok(recorded.heads()?.1)).collect::<Result<Vec<_>>>()?;
    let method = options.how.method;
    let (mut columns, mut rows) = (vec![], vec![]);
    let mut cells: Vec<Vec<GridCell>> = vec![vec![]; recorded.len()];
    let side = options.size.unwrap_or(super::SIDES[1]);
    let under = all
        .iter()
        .map(|recorded| Under::open(recorded.run, options.over, options.batch))
        .collect::<Result<Vec<_>>>()?;
    for (recorded, (under, row)) in all.iter().zip(under.iter().zip(&mut cells)) {
        if let Some(picture) = under.at(recorded.run, recorded.last(), recorded.batch)? {
            row.push(GridCell::Picture(fit(&picture, (side, side))));
        }
    }
    let pictured = cells.iter().map(Vec::len).max().unwrap_or(0);
    cells
        .iter_mut()
        .filter(|row| row.len() < pictured)
        .for_each(|row| row.push(GridCell::Missing("no picture".into())));
    columns.extend((0..pictured).map(|_| under[0].label().to_string()));
    for word in &words {
        let maps = maps(&all, &heads, word, options)?;
        let mut finder = RangeFinder::new(options.normalise);
        maps.iter().flatten().for_each(|map| finder.push(map.iter().copied()));
        let ranges = finder.finish()?;
        columns.push(match ranges {
            Ranges::Whole(range) => format!("{word}\n{}", ends(range)),
            Ranges::PerFrame => word.to_string(),
        });
        for (place, map) in maps.iter().enumerate() {
            let Some(map) = map else {
                cells[place].push(GridCell::Missing("not in its prompt".into()));
                continue;
            };
            let (recorded, range) = (all[place], ranges.for_frame(map.iter().copied()));
            let record = track::record(recorded.last(), range, map);
            let below = under[place].at(recorded.run, recorded.last(), recorded.batch)?;
            let picture = match &below {
                Some(below) => options.colours.over(below, map.view(), range),
                None => options.colours.alone(map.view(), range),
            };
            cells[place].push(GridCell::Picture(fit(&picture, (side, side))));
            rows.push(json!({ "of": word.to_string(), "run": recorded.run.name(), "lo": range.lo, "hi": range.hi,
                "mean": record.mean, "clipped": record.clipped }));
        }
    }
    let names = if runs.len() > 1 { names(&runs, options.batch) } else { vec![String::new()] };
    let title = format!("{} · {}", describe(options), about_runs(&runs, options.batch));
    let (title, names, columns) = match options.captions {
        true => (title, names, columns),
        false => (String::new(), vec![String::new(); runs.len()], vec![String::new(); columns.len()]),
    };
    let grid = Grid { title, rows: Axis::new("", names), columns: Axis::new("", columns), cells: cells.concat() };
    let name = file_name(options, runs.len() > 1);
    write_pages(outputs, &name, &grid.draw(&GridStyle { least_cell: 1, ..GridStyle::default() })?)?;
    if options.made.iter().any(|made| matches!(made, Made::Film(_))) && !options.made.contains(&Made::Sheet) {
        outputs.remark(format!("`{method}` takes all steps together: there is a picture, and no film"));
    }
    let record = json!({ "what": "words", "method": method, "normalise": options.normalise.to_string(),
        "colours": options.colours.map.name(), "alpha": options.colours.alpha, "prediction": options.prediction.to_string(),
        "batch": options.batch, "rows": rows });
    write_record(outputs, &name, &record)?;
    Ok(record)
}

/// The map of a word in each run; none where its prompt does not have it.
fn maps(
    all: &[&Recorded],
    heads: &[Vec<HeadMaps>],
    word: &Word,
    options: &Options,
) -> Result<Vec<Option<Array2<f32>>>> {
    all.iter().zip(heads).map(|(recorded, heads)| recorded.whole(word, &options.how, heads)).collect()
}

/// Writes pages under one name, numbered from the second on.
pub(in crate::export) fn write_pages(outputs: &mut Outputs, name: &str, pages: &[image::RgbImage]) -> Result<()> {
    for (number, page) in pages.iter().enumerate() {
        let number = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        outputs.write(&format!("{name}{number}.png"), &png_bytes(page)?)?;
    }
    Ok(())
}

/// Writes the record beside the pictures.
pub(in crate::export) fn write_record(outputs: &mut Outputs, name: &str, record: &Value) -> Result<()> {
    let bad = |e| Error::bad_file(&PathBuf::from(name), "record of attention", e);
    outputs.write(&format!("{name}.json"), (serde_json::to_string_pretty(record).map_err(bad)? + "\n").as_bytes())
}
