//! `sdviz export`: runs registered exporters with their default settings, and tells what they made.

use crate::cli::args::ExportArgs;
use crate::cli::report::{self, Talk};
use crate::cli::runs;
use crate::error::{Error, Result as LibResult};
use crate::export::imagefolder::FOLDER;
use crate::export::manager::EXPORTS_FOLDER;
use crate::export::{self, EXPORTERS, Exporter, Outputs};
use crate::record::schema::SWEEP_FILE;
use crate::say::say;
use crate::sweep::imagefolder;
use crate::sweep::store::{CELLS_FOLDER, Store};
use crate::trace::reader::Run;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the exporters one after the other: one that fails does not keep the others from their work.
pub fn run(args: &ExportArgs, talk: Talk) -> Result<ExitCode> {
    if args.list {
        let mut table = report::table(&["name", "makes"]);
        for exporter in EXPORTERS {
            table.add_row([exporter.name, exporter.about]);
        }
        report::print_table(&table);
        return Ok(ExitCode::SUCCESS);
    }
    let newest = runs::newest();
    let (run, chosen) = choice(args, &newest)?;
    // Told here, for what is typed first may be a run or an exporter.
    let untold = run == Path::new(&newest) && args.names.first() != Some(&newest);
    runs::taken(&newest).filter(|_| untold).iter().for_each(|note| talk.say(note));
    if run.join(SWEEP_FILE).is_file() {
        return of_sweep(&run, &chosen, args, talk);
    }
    let run = Run::open(run)?;
    let mut outputs = Outputs::open(&run, args.out.as_deref())?;
    let mut failed = None;
    let mut skipped = None;
    for exporter in chosen {
        let (written, left_out) = (outputs.written().len(), outputs.left_out().len());
        let made = (exporter.make)(&run, &mut outputs);
        tell(&outputs, written, left_out, talk);
        outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
        match made {
            Ok(()) => {}
            Err(error @ Error::NotRecorded { .. }) if args.all => {
                say_left_out(&error, exporter.name, talk);
                skipped = Some(error);
            }
            Err(error) => failed = Some(tell_failure(failed, exporter, error)),
        }
    }
    match (failed, skipped) {
        (Some(error), _) => Err(error.into()),
        (None, Some(error)) if outputs.written().is_empty() => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The one export that a sweep has: its other pictures are `sdviz grid`'s.
fn of_sweep(dir: &Path, chosen: &[&Exporter], args: &ExportArgs, talk: Talk) -> Result<ExitCode> {
    if args.all || chosen.iter().any(|exporter| exporter.name != FOLDER) {
        let hint = format!(
            "`sdviz export {0} {FOLDER}` makes a data set of it, `sdviz grid {0}` a grid; the cells in `{0}/{CELLS_FOLDER}` are runs",
            dir.display()
        );
        return Err(Error::invalid(format!("`{}` is a sweep", dir.display()), hint).into());
    }
    let (store, record) = Store::open(dir)?;
    let mut outputs = Outputs::in_folder(&args.out.clone().unwrap_or_else(|| dir.join(EXPORTS_FOLDER)))?;
    let made = imagefolder::export(&store, &record, &mut outputs);
    tell(&outputs, 0, 0, talk);
    outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
    made?;
    Ok(ExitCode::SUCCESS)
}

/// Reports a failure that came before, so that the last one is reported as the program's own.
fn tell_failure(before: Option<Error>, exporter: &Exporter, error: Error) -> Error {
    if let Some(before) = before {
        report::print_error(&before.into());
    }
    say(format_args!("exporter `{}` failed", exporter.name));
    error
}

/// The run and the exporters that were asked for.
fn choice(args: &ExportArgs, newest: &str) -> LibResult<(PathBuf, Vec<&'static Exporter>)> {
    let is_exporter = |name: &String| EXPORTERS.iter().any(|e| e.name == name);
    let (run, names) = match args.names.split_first() {
        Some((first, rest)) if !is_exporter(first) => (first.as_str(), rest),
        _ => (newest, args.names.as_slice()),
    };
    if args.all && names.is_empty() {
        return Ok((run.into(), EXPORTERS.iter().collect()));
    }
    if args.all {
        return Err(Error::invalid("`--all` and names of exporters exclude each other", "give one or the other"));
    }
    let chosen = names.iter().map(|name| export::exporter(name)).collect::<LibResult<Vec<_>>>()?;
    if chosen.is_empty() {
        let known: Vec<_> = EXPORTERS.iter().map(|e| e.name).collect();
        return Err(Error::invalid(
            "no exporter is named",
            format!("`sdviz export {run} --all` runs every one; there are: {}", known.join(", ")),
        ));
    }
    Ok((run.into(), chosen))
}

/// Names what was written since there were `written` files, and says what was left out since there were `left_out`.
pub fn tell(outputs: &Outputs, written: usize, left_out: usize, talk: Talk) {
    for path in &outputs.written()[written..] {
        report::print(path.display());
    }
    tell_left_out(outputs, left_out, talk);
}

/// Says what was left out since there were `left_out`.
pub fn tell_left_out(outputs: &Outputs, left_out: usize, talk: Talk) {
    for error in &outputs.left_out()[left_out..] {
        talk.warn(format!("left out {error}"));
        if let Some(hint) = error.hint() {
            talk.say(format!("hint: {hint}"));
        }
    }
}

/// Names the files on standard output, as all verbs do; but on standard error where that holds JSON.
pub fn name_files(outputs: &Outputs, json: bool, talk: Talk) {
    for path in outputs.written() {
        match json {
            true => talk.say(format!("file: {}", path.display())),
            false => report::print(path.display()),
        }
    }
}

fn say_left_out(error: &Error, name: &str, talk: Talk) {
    talk.warn(format!("left out `{name}`: {error}"));
    if let Some(hint) = error.hint() {
        talk.say(format!("hint: {hint}"));
    }
}
