//! The command line read: what clap makes of it, with the newest run where a verb is told none, and a way out where clap
//! knows none.

use super::args::Cli;
use super::groups::grouped;
use super::runs;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;

/// Reads the program's own command line.
///
/// # Errors
/// When it means nothing, or asks for help or the version: what there is to say has been said, and this is the exit code.
pub fn command_line() -> Result<Cli, ExitCode> {
    read(std::env::args_os().collect()).map_err(|error| {
        let _ = error.print();
        if let Some(hint) = hint(&error) {
            let _ = writeln!(std::io::stderr(), "hint: {hint}");
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let newest = newest();
    let mut command = grouped(Cli::command());
    if newest != runs::RUN {
        command = command
            .mut_subcommands(|verb| verb.mut_args(|arg| if is_run(&arg) { arg.default_value(newest) } else { arg }));
    }
    let mut matches = command.try_get_matches_from(words)?;
    let untold = matches.subcommand().is_some_and(|(_, verb)| takes_newest(verb, newest));
    let mut cli = Cli::from_arg_matches_mut(&mut matches)?;
    cli.note = runs::taken(newest).filter(|_| untold);
    Ok(cli)
}

/// The newest run's name. It lives as long as the program, as clap wants it of a default.
fn newest() -> &'static str {
    static NEWEST: OnceLock<String> = OnceLock::new();
    NEWEST.get_or_init(runs::newest)
}

/// Whether an argument is a run, which is the one called `run` where none is named.
fn is_run(arg: &Arg) -> bool {
    arg.is_positional() && arg.get_default_values() == [runs::RUN]
}

/// Whether a verb was told no run.
fn takes_newest(verb: &ArgMatches, newest: &str) -> bool {
    verb.ids().any(|id| {
        verb.value_source(id.as_str()) == Some(ValueSource::DefaultValue)
            && verb.get_raw(id.as_str()).is_some_and(|mut values| values.any(|value| value == newest))
    })
}

/// What other programs call some of our flags, where no name of ours is near.
const FOREIGN: [(&str, &str); 4] = [
    ("--size", "a size is `--width` and `--height`"),
    ("--sampler", "a sampler is called `--scheduler` here"),
    ("--output", "the folder of the record is `--out`"),
    ("--negative", "a negative prompt is `--negative-prompt`, or `-n`"),
];

/// The way out of a slip that clap names without one.
fn hint(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else { return None };
    let draws = std::env::args().nth(1).is_some_and(|verb| ["trace", "sweep"].contains(&verb.as_str()));
    if error.kind() != ErrorKind::UnknownArgument || !draws {
        return None;
    }
    match FOREIGN.iter().find(|(flag, _)| flag == typed) {
        Some((_, ours)) => Some((*ours).into()),
        None if typed.starts_with('-') => None,
        None => Some("a prompt stands behind its flag, in quotes: `--prompt \"a red apple\"`".into()),
    }
}
