//! The program: parse, run, exit code.

use clap::Parser;
use sdviz::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run_or_report(cli::args::Cli::parse())
}
