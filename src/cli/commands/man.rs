//! `sdviz man`: a manual page for the program and for each verb.

use crate::cli::args::{Cli, ManArgs};
use crate::cli::report::{self, Talk};
use crate::error::IoContext;
use crate::files::atomic::write_atomically;
use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the pages, and names them.
pub fn run(args: &ManArgs, talk: Talk) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.out).at("create", &args.out)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    // Subcommands are called by their whole name only when they are built.
    command.build();
    let pages = write(&command, &args.out)?;
    talk.say(format!("{} pages; read one with: man -l {}", pages.len(), args.out.join("sdviz.1").display()));
    pages.iter().for_each(|page| report::print(page.display()));
    Ok(ExitCode::SUCCESS)
}

/// A verb's page and those of the verbs below it.
fn write(command: &Command, out: &Path) -> Result<Vec<PathBuf>> {
    let man = Man::new(command.clone());
    let path = out.join(man.get_filename());
    let mut page = vec![];
    man.render(&mut page).at("write", &path)?;
    write_atomically(&path, &page)?;
    let mut pages = vec![path];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages.extend(write(verb, out)?);
    }
    Ok(pages)
}
