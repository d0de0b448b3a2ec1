//! `sdviz schedulers`: the list.

use crate::cli::args::SchedulersArgs;
use crate::cli::report;
use crate::scheduler::SchedulerKind;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

/// Prints a line for each scheduler.
pub fn run(args: SchedulersArgs) -> Result<ExitCode> {
    let mut table = report::table(&["name", "diffusers class", "A1111 sampler", "--sigmas", ""]);
    for kind in SchedulerKind::all() {
        if args.json {
            report::print(json!({
                "name": kind.name(), "class_name": kind.class_name(), "a1111": kind.a1111_name(), "about": kind.about(),
                "sigmas": kind.takes_sigmas(), "eta": kind.takes_eta(),
            }));
        } else {
            let sigmas = if kind.takes_sigmas() { "yes" } else { "" };
            table.add_row([kind.name(), kind.class_name(), kind.a1111_name(), sigmas, kind.about()]);
        }
    }
    if !args.json {
        report::print_table(&table);
    }
    Ok(ExitCode::SUCCESS)
}
