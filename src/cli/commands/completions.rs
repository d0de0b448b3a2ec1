//! `sdviz completions`: what a shell needs to complete verbs, flags and their values.

use crate::cli::args::{Cli, CompletionsArgs};
use anyhow::Result;
use clap::CommandFactory;
use std::io::Write;
use std::process::ExitCode;

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "sdviz", &mut script);
    // A reader that has gone away (`| head`) is not an error.
    let _ = std::io::stdout().write_all(&script);
    Ok(ExitCode::SUCCESS)
}
