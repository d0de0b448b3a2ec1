//! `sdviz patch`: activation patching. What one site has in a clean run is copied into a corrupted one, in a window of steps,
//! and what that recovers of the clean run is measured: for every site and every window.
//!
//! Each cell goes on from the corrupted run's step before its window, so it costs only the steps that are left.

use crate::cli::args::PatchArgs;
use crate::cli::inside;
use crate::cli::plan::ablation::Ablation;
use crate::cli::report::{self, Talk};
use crate::draw::model::Model;
use crate::edit::selector::Ranges;
use crate::error::{Error, IoContext, Result as LibResult};
use crate::eval::ablation::{Measured, Unedited};
use crate::eval::judge::Judge;
use crate::files::atomic::write_atomically;
use crate::files::pictures;
use crate::model::fingerprint;
use crate::record::plan::{Decode, Quantity};
use crate::run::donor;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::grid::{Axis, Grid, GridCell};
use anyhow::Result;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// The numbers, each with what it is.
const MEASURES: [(&str, &str); 5] = [
    (
        "latents",
        "recovered of the last latents: 1 − ‖x − x_clean‖ / ‖x_corrupted − x_clean‖; 1 is the clean run, 0 nothing",
    ),
    ("direct", "the same of noise_text at the window's first step alone, before it feeds back"),
    ("psnr", "PSNR of the finished picture to the clean run's, in dB"),
    ("object", "the judge's probability of the clean prompt's object, less that in the clean run"),
    ("background", "the share of the border in the clean prompt's background colour, less that in the clean run"),
];

/// What was measured of a cell; a number that means nothing there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cell {
    row: String,
    window: String,
    edit: String,
    latents: Option<f64>,
    direct: Option<f64>,
    psnr: Option<f64>,
    object: Option<f64>,
    background: Option<f64>,
}

impl Cell {
    fn get(&self, measure: &str) -> Option<f64> {
        match measure {
            "latents" => self.latents,
            "direct" => self.direct,
            "psnr" => self.psnr,
            "object" => self.object,
            _ => self.background,
        }
    }
}

/// Makes the cells that are missing, and draws what is there.
pub fn run(args: &PatchArgs, talk: Talk) -> Result<ExitCode> {
    let (clean, corrupted) = (Run::open(&args.clean)?, Run::open(&args.corrupted)?);
    let model = inside::model_of(&corrupted, &args.loading)?;
    let table = inside::table_of(&args.sites, "copy", &args.windows, &model)?;
    let judge = inside::judge(args.judge.as_deref(), &model.model().id, model.device())?;
    say_what_differs(&clean, &corrupted, talk);
    let cells = args.out.join("cells");
    std::fs::create_dir_all(&cells).at("create", &cells)?;
    let sums = [donor::planned(&clean)?.sha256, donor::planned(&corrupted)?.sha256];
    let unedited = Unedited::of(&clean, judge.as_ref())?;
    let patching = Patching { unedited, sums, clean, corrupted, model, judge, cells };
    let count = table.rows.len() * table.windows.len();
    let (mut all, mut made) = (BTreeMap::new(), 0);
    for row in 0..table.rows.len() {
        for window in 0..table.windows.len() {
            let (cell, picture, new) = patching.cell(&table, row, window)?;
            made += usize::from(new);
            all.insert((row, window), (cell, picture));
        }
        talk.say(format!("{} of {count} cells: {}", (row + 1) * table.windows.len(), table.rows[row].0));
    }
    talk.say(format!("{made} made, {} were there", count - made));
    let about: serde_json::Map<_, _> =
        MEASURES.map(|(name, about)| (name.to_string(), about.into())).into_iter().collect();
    let listed: Vec<&Cell> = all.values().map(|(cell, _)| cell).collect();
    let runs = (args.clean.display().to_string(), args.corrupted.display().to_string());
    let json = json!({ "clean": runs.0, "corrupted": runs.1, "measures": about, "cells": listed });
    let json = serde_json::to_string_pretty(&json)?;
    write_atomically(&args.out.join("patch.json"), json.as_bytes())?;
    if args.json {
        report::print(json);
    } else {
        print(&all);
    }
    draw(&args.out, &patching, &table, &all, talk)?;
    Ok(ExitCode::SUCCESS)
}

/// A word where the two runs differ in more than their prompts, or the prompts in more than their words.
fn say_what_differs(clean: &Run, corrupted: &Run, talk: Talk) {
    let (a, b) = (clean.record(), corrupted.record());
    if a.plan.seed != b.plan.seed {
        talk.warn(
            "the runs have other seeds: what is recovered is the other picture as a whole, not what its words make",
        );
    }
    let (ours, theirs) = (a.tokens.prompt.len(), b.tokens.prompt.len());
    if ours != theirs {
        talk.warn(format!(
            "the prompts have {ours} and {theirs} tokens: a place in one is another word's in the other"
        ));
    }
}

/// What cells are made from.
struct Patching {
    clean: Run,
    corrupted: Run,
    model: Model,
    judge: Option<Judge>,
    unedited: Unedited,
    /// What the two runs are known by.
    sums: [String; 2],
    cells: std::path::PathBuf,
}

impl Patching {
    /// A cell as it is on disk, or made now: its numbers, its picture, and whether it was made.
    fn cell(&self, table: &Ablation, row: usize, window: usize) -> LibResult<(Cell, RgbImage, bool)> {
        let edit = table.edit(row, window);
        let judged = if self.judge.is_some() { "judged" } else { "" };
        let name = fingerprint::of_bytes(format!("{:?} {edit} {judged}", self.sums).as_bytes());
        let file = |ending: &str| self.cells.join(format!("{}.{ending}", &name[..16]));
        let (numbers, drawn) = (file("json"), file("png"));
        if let Ok(text) = std::fs::read(&numbers)
            && let Ok(cell) = serde_json::from_slice(&text)
        {
            return Ok((cell, pictures::open(&drawn, "picture")?.into_rgb8(), false));
        }
        let (title, window) = (table.rows[row].0.clone(), table.windows[window].clone());
        let (cell, picture) = self.make(edit, title, window)?;
        write_atomically(&drawn, &png_bytes(&picture)?)?;
        let bad = |error| Error::bad_file(&numbers, "cell", error);
        write_atomically(&numbers, &serde_json::to_vec_pretty(&cell).map_err(bad)?)?;
        Ok((cell, picture, true))
    }

    fn make(&self, edit: String, row: String, window: String) -> LibResult<(Cell, RgbImage)> {
        let whole = self.model.branch(&self.corrupted, 0)?.donor(&self.clean).edit(edit.as_str()).plan()?;
        let planned = whole.edits.last().map(|edit| edit.steps.clone()).unwrap_or_default();
        let steps: Ranges = planned.parse()?;
        let first = (1..=self.corrupted.record().last_step()).find(|step| steps.contains(*step)).unwrap_or(1);
        let drawing = self.model.branch(&self.corrupted, first - 1)?.donor(&self.clean).edit(edit.as_str());
        let drawing = drawing.record([Quantity::Latents, Quantity::NoiseText]).decode(Decode::Final);
        let run = drawing.run()?;
        let last = run.record().last_step();
        let Measured { psnr, object, background, .. } = self.unedited.measure(&run, self.judge.as_ref())?;
        let cell = Cell {
            row,
            window,
            edit,
            latents: self.recovered(&run, last, Quantity::Latents)?,
            direct: self.recovered(&run, first, Quantity::NoiseText)?,
            psnr: Some(psnr),
            object,
            background,
        };
        let picture = run.final_picture(0)?.unwrap_or_default();
        Ok((cell, picture))
    }

    /// How much of the way from the corrupted run to the clean one a quantity has come; none where it is not recorded in
    /// one of them, or the two are the same.
    fn recovered(&self, run: &Run, step: usize, what: Quantity) -> LibResult<Option<f64>> {
        let tensor = |run: &Run| run.tensors(step, what);
        let (Some(now), Some(clean), Some(corrupted)) = (tensor(run)?, tensor(&self.clean)?, tensor(&self.corrupted)?)
        else {
            return Ok(None);
        };
        if now.dim() != clean.dim() || clean.dim() != corrupted.dim() {
            return Ok(None);
        }
        let apart = |a: &ndarray::Array4<f32>| {
            let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
            a.iter().zip(&clean).map(square).sum::<f64>().sqrt()
        };
        let all = apart(&corrupted);
        Ok((all > 0.0).then(|| 1.0 - apart(&now) / all))
    }
}

type Cells = BTreeMap<(usize, usize), (Cell, RgbImage)>;

fn there(all: &Cells) -> Vec<(&'static str, &'static str)> {
    let known = |(name, _): &(&str, &str)| all.values().any(|(cell, _)| cell.get(name).is_some());
    MEASURES.into_iter().filter(known).collect()
}

fn print(all: &Cells) {
    let measures = there(all);
    measures.iter().for_each(|(name, about)| report::print(format!("{name}: {about}")));
    report::print("");
    let titles: Vec<&str> = ["copied", "steps"].into_iter().chain(measures.iter().map(|(name, _)| *name)).collect();
    let mut sorted: Vec<&Cell> = all.values().map(|(cell, _)| cell).collect();
    sorted.sort_by(|a, b| b.latents.unwrap_or(f64::MIN).total_cmp(&a.latents.unwrap_or(f64::MIN)));
    let row = |cell: &Cell| {
        let number = |(name, _): &(&str, &str)| cell.get(name).map_or("–".into(), |value| format!("{value:.3}"));
        [cell.row.clone(), cell.window.clone()].into_iter().chain(measures.iter().map(number)).collect()
    };
    inside::print_rows(&titles, sorted.into_iter().map(row).collect(), "patch.json");
}

/// A heat map for each measure, and the pictures beside those of the two runs.
fn draw(out: &Path, of: &Patching, table: &Ablation, all: &Cells, talk: Talk) -> LibResult<()> {
    let rows: Vec<String> = table.rows.iter().map(|(title, _)| title.clone()).collect();
    let prompts = [&of.clean, &of.corrupted].map(|run| run.record().plan.prompt.clone());
    let about = format!("“{}” copied into “{}”", prompts[0], prompts[1]);
    for (name, what) in there(all) {
        let title = (&*format!("patch-{name}"), format!("{what} · {about}"));
        let value = |at: (usize, usize)| all.get(&at).and_then(|(cell, _)| cell.get(name));
        let path = inside::heat_map(out, title, (rows.clone(), table.windows.clone()), value, name != "psnr")?;
        path.iter().for_each(|path| talk.say(format!("picture: {}", path.display())));
    }
    let finished = |run: &Run| run.final_picture(0).map(Option::unwrap_or_default).map(GridCell::Picture);
    let mut cells = vec![];
    for row in 0..rows.len() {
        cells.push(finished(&of.corrupted)?);
        cells.extend((0..table.windows.len()).map(|window| match all.get(&(row, window)) {
            Some((_, picture)) => GridCell::Picture(picture.clone()),
            None => GridCell::Missing("not made".into()),
        }));
        cells.push(finished(&of.clean)?);
    }
    let windows = table.windows.iter().map(|window| format!("steps {window}"));
    let columns = ["corrupted".to_string()].into_iter().chain(windows).chain(["clean".to_string()]);
    let (rows, columns) = (Axis::new("copied", rows), Axis::new("", columns));
    let grid = Grid { title: about, rows, columns, cells };
    for path in inside::pictures(out, "patch-pictures", &grid)? {
        talk.say(format!("picture: {}", path.display()));
    }
    Ok(())
}
