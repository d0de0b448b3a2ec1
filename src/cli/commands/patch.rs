//! `sdviz patch`: activation patching. What one site has in a clean run is copied into a corrupted one, in a window of steps,
//! and what that recovers of the clean run is measured: for every site and every window.
//!
//! Each cell goes on from the corrupted run's step before its window, so it costs only the steps that are left.

mod cells;

use crate::cli::args::PatchArgs;
use crate::cli::inside;
use crate::cli::plan;
use crate::cli::report::{self, Talk};
use crate::error::{IoContext, Result as LibResult};
use crate::eval::ablation::Unedited;
use crate::files::atomic::write_atomically;
use crate::run::donor;
use crate::trace::reader::Run;
use crate::viz::grid::{Axis, Grid, GridCell};
use anyhow::Result;
use cells::{Cell, Cells, MEASURES, Patching};
use serde_json::json;
use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;

/// Makes the cells that are missing, and draws what is there.
pub fn run(args: &PatchArgs, talk: Talk) -> Result<ExitCode> {
    let shard = plan::shard(args.shard.as_deref())?;
    let (clean, corrupted) = (Run::open(&args.clean)?, Run::open(&args.corrupted)?);
    let model = inside::model_of(&corrupted, &args.loading)?;
    let table = inside::table_of(&args.sites, "copy", &args.windows, &model)?;
    let judge = inside::judge(args.judge.as_deref(), &model.model().id, model.device())?;
    say_what_differs(&clean, &corrupted, talk);
    let cells = args.out.join("cells");
    std::fs::create_dir_all(&cells).at("create", &cells)?;
    let sums = [donor::planned(&clean)?.sha256, donor::planned(&corrupted)?.sha256];
    let unedited = Unedited::of(&clean, judge.as_ref())?;
    let firsts = RefCell::default();
    let patching = Patching { unedited, sums, clean, corrupted, model, judge, cells, table, firsts };
    patching.make_part(shard, talk)?;
    // While this is written another part may become whole: who comes last writes all.
    let mut all = patching.there()?;
    loop {
        write(args, &patching, &all, talk)?;
        let now = patching.there()?;
        if now.len() == all.len() {
            break;
        }
        all = now;
    }
    if args.json {
        report::print(json_of(args, &all)?);
    } else {
        print(&all);
    }
    Ok(ExitCode::SUCCESS)
}

/// The table as JSON.
fn json_of(args: &PatchArgs, all: &Cells) -> Result<String> {
    let about: serde_json::Map<_, _> =
        MEASURES.map(|(name, about)| (name.to_string(), about.into())).into_iter().collect();
    let listed: Vec<&Cell> = all.values().map(|(cell, _)| cell).collect();
    let runs = (args.clean.display().to_string(), args.corrupted.display().to_string());
    let json = json!({ "clean": runs.0, "corrupted": runs.1, "measures": about, "cells": listed });
    Ok(serde_json::to_string_pretty(&json)?)
}

/// Writes the table and draws it.
fn write(args: &PatchArgs, patching: &Patching, all: &Cells, talk: Talk) -> Result<()> {
    write_atomically(&args.out.join("patch.json"), json_of(args, all)?.as_bytes())?;
    Ok(draw(&args.out, patching, all, talk)?)
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
fn draw(out: &Path, of: &Patching, all: &Cells, talk: Talk) -> LibResult<()> {
    let table = &of.table;
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
