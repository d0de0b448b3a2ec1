//! The command line: what was typed (`args`), what it means (`plan`), and one file per verb.
//!
//! Standard output is for data, standard error for talk. Exit codes: 0 done, 1 a check that was asked for failed, 2 error.

mod advice;
pub mod args;
pub mod axes;
mod branch;
mod commands;
mod cuda_library;
mod donors;
mod extras;
mod groups;
mod inside;
mod interrupt;
mod inversions;
mod like;
pub mod parse;
mod plan;
mod plugins;
pub mod report;
mod runs;
mod start;
mod told;

use anyhow::Result;
use args::{Cli, Command};
use std::process::ExitCode;

/// Carries out a command line.
///
/// # Errors
/// Whatever the verb could not do.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let talk = report::Talk { quiet: cli.quiet };
    cli.note.iter().for_each(|note| talk.say(note));
    match cli.command {
        Command::Trace(args) => commands::trace::run(&args, talk),
        Command::Invert(args) => commands::invert::run(&args, talk),
        Command::Look(args) => commands::look::run(&args, talk),
        Command::Shapes(args) => commands::shapes::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Convert(args) => commands::convert::run(&args, talk),
        Command::Metadata(args) => commands::metadata::run(&args),
        Command::Merge(args) => commands::merge::run(&args, talk),
        Command::Fetch(args) => commands::fetch::run(&args, talk),
        Command::Models(args) => commands::models::run(&args),
        Command::Schedulers(args) => commands::schedulers::run(args),
        Command::Schedule(args) => commands::schedule::run(&args, talk),
        Command::Tokens(args) => commands::tokens::run(&args),
        Command::Plot(args) => commands::plot::run(&args, talk),
        Command::Diff(args) => commands::diff::run(&args, talk),
        Command::Video(args) => commands::video::run(&args, talk),
        Command::Latents(args) => commands::latents::run(&args, talk),
        Command::Features(args) => commands::features::run(&args, talk),
        Command::Attention(args) => commands::attention::run(&args, talk),
        Command::Attribution(args) => commands::attribution::run(&args, talk),
        Command::Preview(args) => commands::preview::run(&args, talk),
        Command::Filmstrip(args) => commands::filmstrip::run(&args, talk),
        Command::Frames(args) => commands::frames::run(&args, talk),
        Command::Export(args) => commands::export::run(&args, talk),
        Command::Report(args) => commands::report::run(&args, talk),
        Command::Sweep(args) => commands::cluster::run(&args, talk),
        Command::Ablate(args) => commands::ablate::run(&args, talk),
        Command::Patch(args) => commands::patch::run(&args, talk),
        Command::Effects(args) => commands::effects::run(&args, talk),
        Command::Grid(args) => commands::grid::run(&args, talk),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(&args, talk),
        Command::Dataset(command) => commands::dataset::run(&command, talk),
        Command::Train(args) => commands::train::run(&args, talk),
        Command::Eval(command) => commands::eval::run(&command, talk),
        Command::Plugins => commands::plugins::run(talk),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args, talk),
        Command::Other(words) => Ok(plugins::run(&words)?),
    }
}

/// Carries out a command line, and tells the user of an error: the program's exit code.
pub fn run_or_report(cli: Cli) -> ExitCode {
    report::quiet_panics();
    cuda_library::load_named();
    crate::model::allocator::keep_freed_memory();
    let talk = report::Talk { quiet: cli.quiet };
    let outcome = std::panic::catch_unwind(|| run(cli));
    report::missing_letters(talk);
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            report::print_error(&error);
            ExitCode::from(2)
        }
        Err(panic) => {
            report::print_error(&crate::error::of_panic(panic.as_ref()).into());
            ExitCode::from(2)
        }
    }
}
