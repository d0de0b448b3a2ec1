//! `sdviz report`: one page of a run, of several, or of a sweep.

use crate::cli::args::ReportArgs;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::report::{self as page, NamedRun, REPORT_FILE, ReportOptions, SweepAxis, SweepCell, SweepData};
use crate::export::settings::scheduler_name;
use crate::files::atomic::write_atomically;
use crate::record::schema::SWEEP_FILE;
use crate::sweep::field::{self, SCHEDULER};
use crate::sweep::record::SweepRecord;
use crate::sweep::store::{State, Store};
use crate::trace::reader::Run;
use anyhow::Result;
use std::path::Path;
use std::process::ExitCode;

/// Writes the page and names it.
pub fn run(args: &ReportArgs, talk: Talk) -> Result<ExitCode> {
    let limit = match args.full {
        true => None,
        false if args.budget.is_finite() && args.budget > 0.0 => Some((args.budget * 1e6) as u64),
        false => {
            let hint = "such as `--budget 10`; `--full` sets no limit";
            return Err(Error::invalid(format!("cannot keep a report within `{}` megabytes", args.budget), hint).into());
        }
    };
    let options = ReportOptions { limit, batch: args.batch };
    let out = match &args.out {
        Some(out) if out.is_dir() => {
            return Err(Error::invalid(format!("`{}` is a folder", out.display()), "`--out` names a file").into());
        }
        Some(out) => out.clone(),
        None => match args.runs.as_slice() {
            [one] => one.join(REPORT_FILE),
            _ => "report.html".into(),
        },
    };
    if let [folder] = args.runs.as_slice()
        && folder.join(SWEEP_FILE).is_file()
    {
        write_sweep(folder, &out, options, talk)?;
    } else {
        let runs = args.runs.iter().map(|dir| named(dir)).collect::<LibResult<Vec<_>>>()?;
        write(&runs, None, &out, options, talk)?;
    }
    report::print(out.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes a run's own page into its folder, at the end of a trace. A page that cannot be written is no reason to fail.
pub fn of_run(dir: &Path, talk: Talk) {
    let path = dir.join(REPORT_FILE);
    let written = named(dir).and_then(|run| write(&[run], None, &path, ReportOptions::default(), talk));
    match written {
        Ok(()) => talk.say(format!("report: {}", path.display())),
        Err(error) => tell(&error, talk),
    }
}

/// The same for a sweep, when its cells are made.
pub fn of_sweep(dir: &Path, talk: Talk) {
    let path = dir.join(REPORT_FILE);
    match write_sweep(dir, &path, ReportOptions::default(), talk) {
        Ok(()) => talk.say(format!("report: {}", path.display())),
        Err(error) => tell(&error, talk),
    }
}

fn tell(error: &Error, talk: Talk) {
    talk.warn(format!("no report was written: {error}"));
    error.hint().into_iter().for_each(|hint| talk.say(format!("hint: {hint}")));
}

fn named(dir: &Path) -> LibResult<NamedRun> {
    Ok(NamedRun { name: page::folder_name(dir), run: Run::open(dir)? })
}

fn write(
    runs: &[NamedRun],
    sweep: Option<&SweepData>,
    out: &Path,
    options: ReportOptions,
    talk: Talk,
) -> LibResult<()> {
    let made = page::page(runs, sweep, options)?;
    write_atomically(out, &made.html)?;
    page::remark(&made, &out.display().to_string()).iter().for_each(|note| talk.say(format!("note: {note}")));
    Ok(())
}

fn write_sweep(dir: &Path, out: &Path, options: ReportOptions, talk: Talk) -> LibResult<()> {
    let (store, record) = Store::open(dir)?;
    let (runs, sweep) = cells(&store, &record, talk)?;
    if runs.is_empty() {
        let hint = "`sdviz sweep` makes them; the same command as before goes on";
        return Err(Error::invalid(format!("`{}` has no finished cell", dir.display()), hint));
    }
    write(&runs, Some(&sweep), out, options, talk)
}

/// The finished cells of a sweep, and where they stand.
fn cells(store: &Store, record: &SweepRecord, talk: Talk) -> LibResult<(Vec<NamedRun>, SweepData)> {
    let mut runs = vec![];
    let mut data = SweepData { name: page::folder_name(store.dir()), axes: vec![], cells: vec![] };
    for axis in &record.axes {
        let label = |value: &serde_json::Value| match axis.name == SCHEDULER {
            true => scheduler_name(&field::label(value)),
            false => field::label(value),
        };
        let labels = axis.values.iter().map(label).collect();
        data.axes.push(SweepAxis { name: axis.name.clone(), title: axis.title().into(), labels });
    }
    let mut left_out = 0;
    for cell in &record.cells {
        let place = |axis: &crate::sweep::plan::Axis| {
            let value = cell.at.get(&axis.name).unwrap_or(&serde_json::Value::Null);
            axis.values.iter().position(|known| known == value).unwrap_or(0)
        };
        let at: Vec<usize> = record.axes.iter().map(place).collect();
        let made = matches!(store.state(&cell.cell), State::Complete);
        left_out += usize::from(made && runs.len() == page::MOST_RUNS);
        let run = (made && runs.len() < page::MOST_RUNS).then(|| runs.len().to_string());
        if run.is_some() {
            let words = data.axes.iter().zip(&at).map(|(axis, i)| format!("{} {}", axis.title, axis.labels[*i]));
            let name = words.collect::<Vec<_>>().join(", ");
            runs.push(NamedRun { name, run: Run::open(store.cell(&cell.cell))? });
        }
        data.cells.push(SweepCell { id: cell.cell.clone(), at, run });
    }
    if left_out > 0 {
        talk.warn(format!("the report holds the first {} cells; {left_out} are left out", page::MOST_RUNS));
    }
    Ok((runs, data))
}
