//! `sdviz shapes`: a run's tensors as a table.

use crate::cli::args::ShapesArgs;
use crate::cli::report;
use crate::error::Error;
use crate::show::shapes::Shapes;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Prints the shape log: the short form, or with `--full` every site.
pub fn run(args: ShapesArgs) -> Result<ExitCode> {
    let run = Run::open(&args.run)?;
    let rows: Vec<_> = run.site_rows()?.into_iter().filter(|row| args.full || row.brief).collect();
    if rows.is_empty() {
        return Err(Error::invalid(
            format!("`{}` has no shape log yet", args.run.display()),
            "wait for the run's first step, or trace again",
        )
        .into());
    }
    if args.json {
        for row in &rows {
            report::print(serde_json::to_string(row)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    report::print(Shapes::new(rows));
    Ok(ExitCode::SUCCESS)
}
