//! `sdviz grid`: the pictures of a sweep beside each other, still or moving.

use crate::cli::args::GridArgs;
use crate::cli::axes::axis_name;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::encode::AnimationFormat;
use crate::sweep::motion::{Motion, Together, animate};
use crate::sweep::picture::What;
use crate::sweep::sheet::{Layout, write_pages};
use crate::sweep::store::Store;
use crate::sweep::view::Choice;
use anyhow::Result;
use std::process::ExitCode;

/// Draws the grid of a sweep in every format that was asked for.
pub fn run(args: &GridArgs, talk: Talk) -> Result<ExitCode> {
    let together: Together = args.align.parse()?;
    let formats: Vec<Option<AnimationFormat>> =
        args.format.iter().map(|f| format(f.trim())).collect::<LibResult<_>>()?;
    let layout = layout(args)?;
    let (store, _) = Store::open(&args.sweep)?;
    for format in formats {
        match format {
            None => {
                for path in store.alone(|| write_pages(&store, &layout))? {
                    tell(&path, talk);
                }
            }
            Some(format) => {
                let motion = Motion { format, fps: args.fps, together };
                for written in store.alone(|| animate(&store, &layout, &motion))? {
                    written.remarks.iter().for_each(|remark| talk.say(format!("note: {remark}")));
                    tell(&written.path, talk);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(path: &std::path::Path, talk: Talk) {
    talk.say(format!("grid: {}", path.display()));
    if !talk.quiet {
        report::print(path.display());
    }
}

/// An animation's format, or `None` for still pictures.
fn format(name: &str) -> LibResult<Option<AnimationFormat>> {
    if name == "png" {
        return Ok(None);
    }
    let known = AnimationFormat::ALL.map(AnimationFormat::name);
    name.parse().map(Some).map_err(|_| Error::unknown("format", name, ["png"].into_iter().chain(known)))
}

fn layout(args: &GridArgs) -> LibResult<Layout> {
    let only = args.only.iter().map(|text| match text.split_once('=') {
        Some((axis, value)) => Ok((axis_name(axis.trim()), value.trim().to_string())),
        None => Err(Error::invalid(format!("`{text}` names no value"), "write `--where seed=1`")),
    });
    if args.cell_size.is_some_and(|size| !(16..=4096).contains(&size)) {
        return Err(Error::invalid("a cell is between 16 and 4096 pixels wide", "256 is usual"));
    }
    let choice = Choice {
        rows: args.rows.as_deref().map(axis_name),
        cols: args.cols.as_deref().map(axis_name),
        only: only.collect::<LibResult<_>>()?,
        max_cols: args.max_cols,
        max_rows: args.max_rows,
    };
    let what = args.what.as_deref().map_or(Ok(What::Final), str::parse)?;
    Ok(Layout { choice, what, cell_size: args.cell_size, out: args.out.clone() })
}
