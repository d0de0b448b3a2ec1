//! `sdviz plot`: plots of a run, or of several in one.

use super::export::tell;
use crate::cli::args::PlotArgs;
use crate::cli::report::Talk;
use crate::error::Result as LibResult;
use crate::export::Outputs;
use crate::export::figure::Format;
use crate::export::plots::{self, Options, Plot};
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the plots, and names the files.
pub fn run(args: &PlotArgs, talk: Talk) -> Result<ExitCode> {
    let what = args.what.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Plot>>>()?;
    let formats = args.format.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Format>>>()?;
    let title = args.title.as_deref().map(|title| if title == "none" { "" } else { title }.to_string());
    let options = Options { what, formats, batch: args.files.batch, title };
    let runs = args.runs.iter().map(Run::open).collect::<LibResult<Vec<Run>>>()?;
    let mut outputs = Outputs::open(&runs[0], args.files.out.as_deref())?;
    let made = plots::make(&runs.iter().collect::<Vec<_>>(), &options, &mut outputs);
    tell(&outputs, 0, 0, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
