//! `sdviz shapes`: a run's tensors as a table.

use crate::cli::args::ShapesArgs;
use crate::cli::report;
use crate::error::Error;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Prints the shape log: the short form, or with `--full` every site.
pub fn run(args: ShapesArgs) -> Result<ExitCode> {
    let run = Run::open(&args.run)?;
    let rows: Vec<_> = run.shapes()?.into_iter().filter(|row| args.full || row.brief).collect();
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
    let mut table = report::table(&["tensor", "shape", "=", "dtype", "min", "max", "mean", "std"]);
    for row in &rows {
        let number = |v: f64| if row.dtype.starts_with('i') { format!("{v:.0}") } else { format!("{v:.3}") };
        table.add_row([
            row.name.clone(),
            row.symbolic.clone(),
            format!("{:?}", row.shape),
            row.dtype.clone(),
            number(row.min),
            number(row.max),
            format!("{:.3}", row.mean),
            format!("{:.3}", row.std),
        ]);
    }
    for column in 4..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    report::print_table(&table);
    Ok(ExitCode::SUCCESS)
}
