//! `sdviz plot`: plots of a run, or of several in one.

use super::export::{self, tell};
use crate::cli::args::PlotArgs;
use crate::cli::report::{self, Talk};
use crate::error::Result as LibResult;
use crate::export::Outputs;
use crate::export::figure::Format;
use crate::export::geometry::trajectory::Choice;
use crate::export::plots::{self, Options, Plot};
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the plots, and names the files.
pub fn run(args: &PlotArgs, talk: Talk) -> Result<ExitCode> {
    let what = args.what.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Plot>>>()?;
    let formats = args.format.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Format>>>()?;
    let title = args.title.as_deref().map(|title| if title == "none" { "" } else { title }.to_string());
    let of = args.of.as_deref().map(str::parse).transpose()?;
    let choice = Choice { of, channels: args.channels.clone() };
    let options = Options { what, formats, batch: args.files.batch, choice, title };
    let runs = args.runs.iter().map(Run::open).collect::<LibResult<Vec<Run>>>()?;
    let mut outputs = Outputs::open(&runs[0], args.files.out.as_deref())?;
    let made = plots::make(&runs.iter().collect::<Vec<_>>(), &options, &mut outputs);
    if args.json {
        export::name_files(&outputs, true, talk);
        export::tell_left_out(&outputs, 0, talk);
        report::print(serde_json::to_string_pretty(&made?)?);
        return Ok(ExitCode::SUCCESS);
    }
    tell(&outputs, 0, 0, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
