//! `sdviz grid`: the pictures of a sweep beside each other, still or moving.

use crate::cli::args::GridArgs;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::encode::AnimationFormat;
use crate::sweep::motion::{Motion, Together, animate};
use crate::sweep::picture::What;
use crate::sweep::sheet::{Layout, write_pages};
use crate::sweep::store::Store;
use crate::sweep::view::{self, Choice};
use anyhow::Result;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::process::ExitCode;

/// Draws the grid of a sweep in every format that was asked for. What one format cannot hold does not stop the others.
pub fn run(args: &GridArgs, talk: Talk) -> Result<ExitCode> {
    let together: Together = args.align.parse()?;
    let mut formats: Vec<Option<AnimationFormat>> =
        args.format.iter().map(|f| format(f.trim())).collect::<LibResult<_>>()?;
    let mut seen = vec![];
    formats.retain(|format| {
        !seen.contains(format) && {
            seen.push(*format);
            true
        }
    });
    let layout = layout(args)?;
    let (store, record) = Store::open(&args.sweep)?;
    view::pages(&record, &layout.choice)?;
    let (bar, mut failed) = (report::bar(0, talk), false);
    for format in formats {
        bar.reset();
        let drawn = store.alone(|| match format {
            None => write_pages(&store, &layout, &progress(&bar)),
            Some(format) => {
                let motion = Motion { format, fps: args.fps, together };
                let written = animate(&store, &layout, &motion, &progress(&bar))?;
                let remarks = written.iter().flat_map(|written| &written.remarks);
                remarks.for_each(|remark| bar.suspend(|| talk.say(format!("note: {remark}"))));
                Ok(written.into_iter().map(|written| written.path).collect())
            }
        });
        bar.suspend(|| match drawn {
            Ok(paths) => print(&paths, talk),
            Err(error) => {
                failed = true;
                report::print_error(&error.into());
            }
        });
    }
    bar.finish_and_clear();
    Ok(if failed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Moves a bar as pictures are drawn.
pub(super) fn progress(bar: &ProgressBar) -> impl Fn(usize, usize) {
    let bar = bar.clone();
    move |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }
}

/// The files that were written: data, for a program that reads on and for people alike.
pub(super) fn print(paths: &[PathBuf], talk: Talk) {
    if !talk.quiet {
        paths.iter().for_each(|path| report::print(path.display()));
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
    if args.cell_size.is_some_and(|size| !(16..=4096).contains(&size)) {
        return Err(Error::invalid("a cell is between 16 and 4096 pixels wide", "256 is usual"));
    }
    let choice = Choice {
        rows: args.rows.clone(),
        cols: args.cols.clone(),
        only: args.only.clone(),
        max_cols: args.max_cols,
        max_rows: args.max_rows,
    };
    let what = args.what.as_deref().map_or(Ok(What::Final), str::parse)?;
    Ok(Layout { choice, what, cell_size: args.cell_size, out: args.out.clone() })
}
