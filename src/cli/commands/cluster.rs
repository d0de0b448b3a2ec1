//! `sdviz sweep` on a cluster: the script of a job array, its submission, and how far the sweep is.
//!
//! Each task of the array makes one part of the cells, `--shard K/N`, in a folder that all machines see. The script has
//! the number of parts written out, so that one task alone may be submitted again.

use crate::cli::args::{ClusterArgs, SweepCommand};
use crate::cli::plan;
use crate::cli::report::{self, Talk};
use crate::error::{Error, IoContext, Result as LibResult};
use crate::files::atomic::write_atomically;
use crate::sweep::plan::drafts;
use crate::sweep::status::Tally;
use crate::sweep::store::{CELLS_FOLDER, Store};
use anyhow::Result;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The folder in the sweep's for the script and the tasks' logs.
const FOLDER: &str = "slurm";
const SCRIPT: &str = "sweep.sh";
/// Flags that are for submitting, each with a value: the tasks are not told them.
const OWN: [&str; 3] = ["--submit", "--tasks", "--slurm-options"];

/// Makes a sweep here, hands it to a cluster, or says how far one is.
pub fn run(args: &SweepCommand, talk: Talk) -> Result<ExitCode> {
    match (&args.cluster.status, args.cluster.submit) {
        (Some(folder), _) => status(folder),
        (None, Some(_)) => submit(args, talk),
        (None, None) => super::sweep::run(&args.sweep, talk),
    }
}

fn status(folder: &Path) -> Result<ExitCode> {
    let (store, record) = Store::open(folder)?;
    let tally = Tally::of(&store, &record);
    report::print(&tally);
    let rows = |what: &'static str, cells: &[(String, String)]| {
        cells.iter().map(|(cell, about)| [cell.clone(), what.to_string(), about.clone()]).collect::<Vec<_>>()
    };
    let all = [rows("running", &tally.running), rows("failed", &tally.failed)].concat();
    if !all.is_empty() {
        let mut table = report::table(&["cell", "state", "by whom, or why"]);
        all.into_iter().for_each(|row| {
            table.add_row(row);
        });
        report::print_table(&table);
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the script and submits it. What can be known without a model is checked first: names and values of the axes, and
/// the folder. A login node may have neither the memory nor the device for a model.
fn submit(args: &SweepCommand, talk: Talk) -> Result<ExitCode> {
    let sweep = &args.sweep;
    if !sweep.axes.0.iter().any(|(axis, _)| axis == "prompt") {
        let hint = "give it with `--prompt`: the tasks begin later, when another run may be the newest one here";
        return Err(Error::invalid("a sweep that is submitted has no prompt", hint).into());
    }
    let asked = plan::sweep_plan(sweep)?;
    let cells = drafts(&asked.axes, &asked.base)?.len();
    if args.cluster.tasks == 0 {
        return Err(Error::invalid("an array of 0 tasks", "ask for at least one with `--tasks`").into());
    }
    let tasks = args.cluster.tasks.min(cells);
    Store::new(&sweep.out)?;
    let words = words(std::env::args_os().skip(1))?;
    let out = std::path::absolute(&sweep.out).at("find", &sweep.out)?;
    let folder = out.join(FOLDER);
    for folder in [&folder, &out.join(CELLS_FOLDER)] {
        std::fs::create_dir_all(folder).at("create", folder)?;
    }
    let path = folder.join(SCRIPT);
    write_atomically(&path, script(&words, tasks, &folder, &args.cluster)?.as_bytes())?;
    let job = sbatch(&path)?;
    report::print(&job);
    talk.say(format!("submitted: {cells} cells in {tasks} tasks, job {job}; the script is {}", path.display()));
    talk.say(format!("next: sdviz sweep --status {}", sweep.out.display()));
    Ok(ExitCode::SUCCESS)
}

/// The command line without what is for submitting.
fn words(all: impl Iterator<Item = OsString>) -> LibResult<Vec<String>> {
    let (mut kept, mut all) = (vec![], all);
    while let Some(word) = all.next() {
        let word = word.into_string().map_err(|word| {
            Error::invalid(format!("`{}` is no text", word.display()), "a script holds UTF-8: rename the file")
        })?;
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        match OWN.contains(&name) {
            true if name == word => drop(all.next()),
            true => {}
            false => kept.push(word),
        }
    }
    Ok(kept)
}

/// The script of the job array.
fn script(words: &[String], tasks: usize, folder: &Path, cluster: &ClusterArgs) -> LibResult<String> {
    let options = cluster.slurm_options.as_deref().unwrap_or_default().trim();
    let here = std::env::current_dir().at("find", Path::new("."))?;
    let program: PathBuf = std::env::current_exe().at("find", Path::new("sdviz"))?;
    let texts = [options, &here.to_string_lossy(), &folder.to_string_lossy()].map(String::from);
    if let Some(text) = texts.iter().find(|text| text.contains(['\n', '"']) && *text != options || text.contains('\n'))
    {
        return Err(Error::invalid(format!("`{text}` cannot stand in a job's script"), "Slurm reads options by lines"));
    }
    let [options, here, folder] = texts;
    // A percent sign begins a pattern there.
    let folder = folder.replace('%', "%%");
    let options = if options.is_empty() { String::new() } else { format!("#SBATCH {options}\n") };
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    Ok(format!(
        "#!/bin/sh\n\
         # Written by `sdviz sweep --submit slurm`. One task again: sbatch --array=3 THIS_FILE\n\
         #SBATCH --job-name=sdviz-sweep\n\
         #SBATCH --array=1-{tasks}\n\
         #SBATCH --requeue\n\
         #SBATCH --chdir=\"{here}\"\n\
         #SBATCH --output=\"{folder}/%A_%a.log\"\n\
         #SBATCH --open-mode=append\n\
         {options}\
         # In the shell's place, so that Slurm's signals reach it.\n\
         exec {} {} --shard \"$SLURM_ARRAY_TASK_ID/{tasks}\"\n",
        quoted(&program.to_string_lossy()),
        words.join(" ")
    ))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Submits a script: the job's number.
fn sbatch(script: &Path) -> LibResult<String> {
    let shown = script.display();
    let output = Command::new("sbatch").arg("--parsable").arg(script).output().map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no `sbatch` on the PATH".to_string(),
            _ => format!("`sbatch` cannot be started: {error}"),
        };
        Error::invalid(message, format!("the script is written: submit it where Slurm is, `sbatch {shown}`"))
    })?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Error::invalid(
            format!("`sbatch` refused `{shown}`: {}", told.trim().lines().collect::<Vec<_>>().join("; ")),
            "what it needs is given with `--slurm-options`; `sinfo` lists the partitions",
        ));
    }
    // `JOB;CLUSTER` where there are several clusters.
    let told = String::from_utf8_lossy(&output.stdout).trim().to_string();
    Ok(told.split(';').next().unwrap_or_default().to_string())
}
