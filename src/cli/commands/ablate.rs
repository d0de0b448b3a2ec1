//! `sdviz ablate`: every site, or every head, changed by itself in every window of steps; a sweep, a table and heat maps.

use crate::cli::args::{AblateArgs, SweepArgs};
use crate::cli::inside;
use crate::cli::plan::{self, ablation::Ablation};
use crate::cli::report::{self, Talk};
use crate::error::{Error, IoContext, Result as LibResult};
use crate::eval::ablation::{Measure, Measured, Unedited};
use crate::eval::judge::Judge;
use crate::files::atomic::write_atomically;
use crate::model::resolve;
use crate::pipeline::Pipeline;
use crate::sweep::field::MODEL;
use crate::sweep::record::{CellRecord, SweepRecord};
use crate::sweep::store::{State, Store};
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::units::count;
use crate::viz::colour::ColourMap;
use crate::viz::grid::{Axis, Grid, GridCell};
use crate::viz::heatmap::HeatMap;
use crate::viz::normalise::Range;
use anyhow::Result;
use image::RgbImage;
use ndarray::Array2;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The axis that an ablation varies.
const EDITS: &str = "edits";
/// The table as a file.
const TABLE_FILE: &str = "ablation.json";

/// Makes the runs that are missing, and draws what is there.
pub fn run(args: &AblateArgs, talk: Talk) -> Result<ExitCode> {
    let (ablation, judge) = prepare(args)?;
    let mut edits: Vec<String> = vec![String::new()];
    edits.extend(ablation.edits());
    let mut sweep = SweepArgs { no_grid: true, no_report: true, take_over: true, ..args.sweep.clone() };
    sweep.keep.decode = sweep.keep.decode.or(Some("final".into()));
    sweep.axes.0.push((EDITS.into(), vec![edits.join(";")]));
    let code = super::sweep::run(&sweep, talk)?;
    if args.sweep.dry_run {
        return Ok(code);
    }
    let (store, record) = Store::open(&args.sweep.out)?;
    let table = Table::of(&ablation, &store, &record, judge.as_ref())?;
    if table.cells.is_empty() {
        talk.say("no cell beside its unedited run is made yet: there is nothing to measure");
        return Ok(code);
    }
    let out = store.dir().join("exports");
    std::fs::create_dir_all(&out).at("create", &out)?;
    let json = serde_json::to_string_pretty(&table.json())?;
    write_atomically(&out.join(TABLE_FILE), json.as_bytes())?;
    match args.json {
        true => report::print(json),
        false => table.print(),
    }
    for path in table.draw(&out)? {
        talk.say(format!("picture: {}", path.display()));
    }
    Ok(code)
}

/// Which edits there are, and who judges the pictures.
fn prepare(args: &AblateArgs) -> Result<(Ablation, Option<Judge>)> {
    let typed = |name: &str| args.sweep.axes.0.iter().find(|(axis, _)| axis == name).map(|(_, texts)| texts.as_slice());
    if typed(EDITS).is_some() {
        return Err(Error::invalid("an ablation has its own edits", "say them with `--sites` and `--op`").into());
    }
    let model = match typed(MODEL) {
        None => None,
        Some([one]) if !one.contains(',') => Some(one.as_str()),
        Some(_) => return Err(Error::invalid("an ablation of several models", "make one for each model").into()),
    };
    let (own, loading) = plan::sweep_model(&args.sweep)?;
    let options = plan::load_options_with(&loading, args.sweep.keep.preview_vae.as_ref())?;
    let device = options.device;
    let choice = resolve::resolve_with(model.or(own.as_deref()), loading.vae.as_deref())?;
    let pipeline = Pipeline::load(&choice, options)?;
    let ablation = Ablation::new(&args.sites, &args.op, &args.windows, args.heads, pipeline.sites()?)?;
    let judge = inside::judge(args.judge.as_deref(), &choice.id, device)?;
    Ok((ablation, judge))
}

/// What was measured.
struct Table<'a> {
    ablation: &'a Ablation,
    /// By row and window, the mean over all other settings, and how many runs that are.
    cells: BTreeMap<(usize, usize), (Measured, usize)>,
    /// The pictures of the first of the other settings; the unedited one first.
    unedited: RgbImage,
    pictures: BTreeMap<(usize, usize), RgbImage>,
    prompt: String,
}

impl<'a> Table<'a> {
    fn of(ablation: &'a Ablation, store: &Store, record: &SweepRecord, judge: Option<&Judge>) -> LibResult<Table<'a>> {
        let made = |cell: &&CellRecord| store.state(&cell.cell) == State::Complete;
        let edit_of = |cell: &CellRecord| cell.at.get(EDITS).and_then(Value::as_str).unwrap_or_default().to_string();
        let mut by_edit: BTreeMap<String, Vec<&CellRecord>> = BTreeMap::new();
        for cell in record.cells.iter().filter(made) {
            by_edit.entry(edit_of(cell)).or_default().push(cell);
        }
        let open = |cell: &CellRecord| Run::open(store.cell(&cell.cell));
        let mut all: BTreeMap<(usize, usize), Vec<Measured>> = BTreeMap::new();
        let mut table = Table {
            ablation,
            cells: BTreeMap::new(),
            unedited: RgbImage::new(1, 1),
            pictures: BTreeMap::new(),
            prompt: String::new(),
        };
        for (number, base) in by_edit.get("").into_iter().flatten().enumerate() {
            let run = open(base)?;
            let unedited = Unedited::of(&run, judge)?;
            if number == 0 {
                table.prompt.clone_from(&run.record().plan.prompt);
                table.unedited = run.final_picture(0)?.unwrap_or(table.unedited);
            }
            for row in 0..ablation.rows.len() {
                for window in 0..ablation.windows.len() {
                    let beside = by_edit.get(&ablation.edit(row, window)).into_iter().flatten();
                    let Some(cell) = beside.into_iter().find(|cell| alike(cell, base)) else { continue };
                    let edited = open(cell)?;
                    all.entry((row, window)).or_default().push(unedited.measure(&edited, judge)?);
                    if let Some(picture) = edited.final_picture(0)?.filter(|_| number == 0) {
                        table.pictures.insert((row, window), picture);
                    }
                }
            }
        }
        table.cells = all.into_iter().map(|(place, all)| (place, (Measured::mean(&all), all.len()))).collect();
        Ok(table)
    }

    /// The measures that there are.
    fn measures(&self) -> Vec<Measure> {
        let there = |measure: &Measure| self.cells.values().any(|(measured, _)| measured.get(*measure).is_some());
        Measure::ALL.into_iter().filter(there).collect()
    }

    /// How many runs a number is the mean of.
    fn runs(&self) -> usize {
        self.cells.values().map(|(_, runs)| *runs).max().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let about: serde_json::Map<String, Value> =
            self.measures().into_iter().map(|measure| (measure.name().into(), measure.about().into())).collect();
        let cell = |((row, window), (measured, runs)): (&(usize, usize), &(Measured, usize))| {
            let mut cell = json!({
                "row": self.ablation.rows[*row].0, "window": self.ablation.windows[*window],
                "edit": self.ablation.edit(*row, *window), "runs": runs,
            });
            if let (Value::Object(cell), Value::Object(numbers)) = (&mut cell, json!(measured)) {
                cell.extend(numbers);
            }
            cell
        };
        json!({ "measures": about, "windows": self.ablation.windows, "cells": self.cells.iter().map(cell).collect::<Vec<_>>() })
    }

    fn print(&self) {
        let measures = self.measures();
        for measure in &measures {
            report::print(format!("{}: {}", measure.name(), measure.about()));
        }
        report::print(format!("each number is the mean of {}; the largest changes first\n", count(self.runs(), "run")));
        let titles: Vec<&str> = ["changed", "steps"].into_iter().chain(measures.iter().map(|m| m.name())).collect();
        let mut sorted: Vec<_> = self.cells.iter().collect();
        sorted.sort_by(|a, b| a.1.0.psnr.total_cmp(&b.1.0.psnr));
        let row = |((row, window), (measured, _)): (&(usize, usize), &(Measured, usize))| {
            let number =
                |measure: &Measure| measured.get(*measure).map_or("–".into(), |value| written(*measure, value));
            let names = [self.ablation.rows[*row].0.clone(), self.ablation.windows[*window].clone()];
            names.into_iter().chain(measures.iter().map(number)).collect()
        };
        inside::print_rows(&titles, sorted.into_iter().map(row).collect(), &format!("exports/{TABLE_FILE}"));
    }

    /// A heat map for each measure, and the pictures.
    fn draw(&self, out: &Path) -> LibResult<Vec<PathBuf>> {
        let mut paths = vec![];
        for measure in self.measures() {
            let path = out.join(format!("ablation-{}.png", measure.name()));
            write_atomically(&path, &png_bytes(&self.heat_map(measure).draw())?)?;
            paths.push(path);
        }
        paths.extend(inside::pictures(out, "ablation-pictures", &self.grid())?);
        Ok(paths)
    }

    fn heat_map(&self, measure: Measure) -> HeatMap {
        let (rows, columns) = (self.ablation.rows.len(), self.ablation.windows.len());
        let value = |place: (usize, usize)| self.cells.get(&place).and_then(|(measured, _)| measured.get(measure));
        let values = Array2::from_shape_fn((rows, columns), |place| value(place).map_or(f32::NAN, |x| x as f32));
        let found = Range::of(values.iter().copied()).unwrap_or(Range { lo: 0.0, hi: 1.0 });
        let (map, range) = match measure {
            Measure::Object | Measure::Background => (ColourMap::PurpleOrange, found.around_zero()),
            Measure::Latents => (ColourMap::Viridis, Range { lo: 0.0, ..found }),
            Measure::Psnr => (ColourMap::Viridis, found),
        };
        let title = format!("{} · “{}” · {}", measure.about(), self.prompt, count(self.runs(), "run"));
        let titles = self.ablation.rows.iter().map(|(title, _)| title.clone()).collect();
        let decimals = if measure == Measure::Psnr { 1 } else { 2 };
        HeatMap { title, rows: titles, columns: self.ablation.windows.clone(), values, map, range, decimals }
    }

    /// The pictures of the first of the other settings, the unedited one in the first column.
    fn grid(&self) -> Grid {
        let row = |row: usize| {
            let beside = (0..self.ablation.windows.len()).map(move |window| {
                let picture = self.pictures.get(&(row, window)).cloned();
                picture.map_or(GridCell::Missing("not made".into()), GridCell::Picture)
            });
            [GridCell::Picture(self.unedited.clone())].into_iter().chain(beside)
        };
        let windows = self.ablation.windows.iter().map(|window| format!("steps {window}"));
        Grid {
            title: self.prompt.clone(),
            rows: Axis::new("changed", self.ablation.rows.iter().map(|(title, _)| title.clone())),
            columns: Axis::new("", ["unedited".to_string()].into_iter().chain(windows)),
            cells: (0..self.ablation.rows.len()).flat_map(row).collect(),
        }
    }
}

/// Whether two cells differ in nothing but their edits.
fn alike(a: &CellRecord, b: &CellRecord) -> bool {
    let rest = |cell: &CellRecord| {
        cell.at.iter().filter(|(name, _)| *name != EDITS).map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
    };
    rest(a) == rest(b)
}

fn written(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Psnr => format!("{value:.1}"),
        Measure::Latents => format!("{value:.3}"),
        Measure::Object | Measure::Background => format!("{value:+.3}"),
    }
}
