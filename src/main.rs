//! The program: parse, run, exit code.

mod spin;

use clap::Parser;
use sdviz::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    spin::restore_environment();
    cli::run_or_report(cli::args::Cli::parse())
}
