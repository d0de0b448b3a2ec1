//! Plug-ins: a program called `sdviz-NAME` on the PATH is the verb `NAME`.
//!
//! Enters: a verb that is not built in, and its arguments. Leaves: the program in our place. It finds this program in
//! SDVIZ, and in SDVIZ_RUN the run directory, if there is one.

use super::args::Cli;
use super::runs;
use crate::error::{Error, Result};
use crate::record::schema::RECORD_FILE;
use clap::CommandFactory;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What the names of the programs begin with.
const PREFIX: &str = "sdviz-";

/// The plug-ins on the PATH by their names, each the first of its name. A verb that is built in hides a plug-in.
pub fn found() -> BTreeMap<String, PathBuf> {
    let (mut found, verbs) = (BTreeMap::new(), verbs());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    for entry in entries {
        let file = entry.file_name();
        let file = file.to_str().and_then(|name| name.strip_suffix(std::env::consts::EXE_SUFFIX));
        let Some(name) = file.and_then(|file| file.strip_prefix(PREFIX)) else { continue };
        if !name.is_empty() && !verbs.iter().any(|verb| verb == name) && is_program(&entry.path()) {
            found.entry(name.to_string()).or_insert(entry.path());
        }
    }
    found
}

/// Runs the plug-in `words[0]` with the other words as its arguments; its exit code is the program's.
///
/// # Errors
/// When there is no such plug-in: names the nearest of the verbs and the plug-ins. When it cannot be started.
pub fn run(words: &[OsString]) -> Result<ExitCode> {
    let Some((name, arguments)) = words.split_first() else { return Err(Error::invalid("no verb", HELP)) };
    let found = found();
    let Some(program) = name.to_str().and_then(|name| found.get(name)) else {
        return Err(unknown(name, verbs().into_iter().chain(found.into_keys())));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_remove("SDVIZ_RUN");
    if let Ok(own) = std::env::current_exe() {
        command.env("SDVIZ", own);
    }
    if let Some(run) = the_run(arguments.first()) {
        command.env("SDVIZ_RUN", run);
    }
    carry_out(command).map_err(|source| Error::Io { action: "run", path: program.clone(), source })
}

/// The verbs that are built in.
fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().map(|verb| verb.get_name().to_string()).collect()
}

const HELP: &str = "`sdviz --help` lists the verbs";

fn unknown(name: &OsStr, known: impl Iterator<Item = String>) -> Error {
    let name = name.to_string_lossy();
    let message = Error::unknown("verb", &name, known).to_string();
    Error::invalid(message, format!("{HELP}; a program `{PREFIX}{name}` on the PATH would be one too (a plug-in)"))
}

/// The run that a plug-in is about: its first argument if that is one, else the newest here if there is one.
fn the_run(first: Option<&OsString>) -> Option<PathBuf> {
    let newest = runs::newest();
    let named = first.map(Path::new).into_iter();
    let run = named.chain([Path::new(&newest)]).find(|dir| dir.join(RECORD_FILE).is_file())?;
    std::path::absolute(run).ok()
}

/// The program takes our place, so that signals and exit codes are its own.
#[cfg(unix)]
fn carry_out(mut command: Command) -> std::io::Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(&mut command))
}

#[cfg(not(unix))]
fn carry_out(mut command: Command) -> std::io::Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
