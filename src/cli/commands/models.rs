//! `sdviz models`: the models that are here.

use crate::cli::args::ModelsArgs;
use crate::cli::report;
use crate::model::list;
use anyhow::Result;
use std::process::ExitCode;

/// Prints the models.
pub fn run(args: &ModelsArgs) -> Result<ExitCode> {
    let all = list::all();
    if args.json {
        report::print(serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = report::table(&["model", "where", "kind", "parameters", "size", "complete"]);
    for model in &all {
        table.add_row([
            model.name.clone(),
            model.place.into(),
            model.kind.clone(),
            report::thousands(model.parameters),
            size(model.bytes),
            if model.complete { "yes".into() } else { "no".to_string() },
        ]);
    }
    report::align_right(&mut table, 3..5);
    report::print_table(&table);
    for model in &all {
        if let Some(problem) = &model.problem {
            report::print(format!("\n{}: {problem}", model.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `350 kB`, `21 MB`, `3.4 GB`.
fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}
