//! The program: parse, run, exit code.

mod spin;

use sdviz::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    spin::restore_environment();
    match cli::parse::command_line() {
        Ok(cli) => cli::run_or_report(cli),
        Err(code) => code,
    }
}
