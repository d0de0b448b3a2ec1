//! `sdviz models`: the models that are here.

use crate::cli::advice;
use crate::cli::args::ModelsArgs;
use crate::cli::report;
use crate::model::list::{self, Listed};
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
            report::size(model.bytes as f64),
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
    for (i, model) in all.iter().enumerate() {
        let draws = |other: &&Listed| model.about.draws.is_some() && other.about.draws == model.about.draws;
        let same = all[..i].iter().find(draws).map(|other| other.name.as_str());
        let about = advice::about(&model.name, &model.about, same);
        if !about.is_empty() {
            report::print(format!("\n{about}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
