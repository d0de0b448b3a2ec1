//! `sdviz plugins`: the plug-ins that are on the PATH.

use crate::cli::plugins;
use crate::cli::report::{self, Talk};
use anyhow::Result;
use std::process::ExitCode;

/// Prints their names and where they are.
pub fn run(talk: Talk) -> Result<ExitCode> {
    let found = plugins::found();
    if found.is_empty() {
        talk.say("no plug-ins: a program called `sdviz-NAME` on the PATH would be one, as `sdviz NAME`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = report::table(&["name", "program"]);
    for (name, program) in &found {
        table.add_row([name.as_str(), &program.display().to_string()]);
    }
    report::print_table(&table);
    Ok(ExitCode::SUCCESS)
}
