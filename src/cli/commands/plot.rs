//! `sdviz plot`: plots of a run.

use super::export::tell;
use crate::cli::args::PlotArgs;
use crate::cli::report::Talk;
use crate::error::Result as LibResult;
use crate::export::Outputs;
use crate::export::plots::{self, Format, Plot};
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the plots, and names the files.
pub fn run(args: &PlotArgs, talk: Talk) -> Result<ExitCode> {
    let what = args.what.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Plot>>>()?;
    let formats = args.format.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Format>>>()?;
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    let made = plots::make(&run, &what, &formats, args.files.batch, &mut outputs);
    tell(&outputs, 0, 0, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
