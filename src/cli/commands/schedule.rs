//! `sdviz schedule`: the noise schedules of several schedulers side by side, as a table and a plot.

use super::export::name_files;
use crate::cli::args::ScheduleArgs;
use crate::cli::report::{self, Talk};
use crate::error::{Error, Result as LibResult};
use crate::export::Outputs;
use crate::export::figure::Format;
use crate::export::schedules::{self, NamedSchedule};
use crate::export::settings::scheduler_name;
use crate::model::index;
use crate::model::resolve;
use crate::record::sigmas::Sigmas;
use crate::scheduler::{self, SchedulerConfig, SchedulerKind};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// The folder for the plot, where none is named.
const FOLDER: &str = "exports";
/// What stands for the model's own noise levels among the places.
const DEFAULT: &str = "default";
/// More curves than this cannot be told apart.
const MOST: usize = 6;

/// Prints the schedules and plots them.
pub fn run(args: &ScheduleArgs, talk: Talk) -> Result<ExitCode> {
    let formats = args.format.iter().map(|name| name.trim().parse()).collect::<LibResult<Vec<Format>>>()?;
    let mut kinds = vec![];
    for name in &args.scheduler {
        let kind = SchedulerKind::parse(name.trim())?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let named = |name: &String| match name.trim() {
        DEFAULT => Ok(None),
        name => name.parse().map(Some),
    };
    let mut places = args.sigmas.iter().map(named).collect::<LibResult<Vec<Option<Sigmas>>>>()?;
    if places.is_empty() {
        places.push(None);
    }
    let shown: Vec<_> = kinds.iter().flat_map(|kind| places.iter().map(move |sigmas| (*kind, *sigmas))).collect();
    if shown.len() > MOST {
        return Err(Error::invalid(
            format!("{} schedules are too many for one plot", shown.len()),
            format!("name {MOST} at most"),
        )
        .into());
    }
    shown.iter().try_for_each(|(kind, sigmas)| sigmas.map_or(Ok(()), |sigmas| kind.check_sigmas(sigmas)))?;
    let choice = resolve::resolve(args.model.as_deref())?;
    let folder = args.out.clone().or((!args.json).then(|| PathBuf::from(FOLDER)));
    let outputs = folder.as_deref().map(Outputs::in_folder).transpose()?;
    let config = index::scheduler(&choice.files)?;
    let schedules = shown.iter().map(|shown| schedule(*shown, &config, args.steps)).collect::<LibResult<Vec<_>>>()?;
    match args.json {
        true => print_json(&schedules, &choice.id, args.steps)?,
        false => print_table(&schedules),
    }
    if let Some(mut outputs) = outputs {
        let figure = schedules::figure(&schedules, &choice.id, args.steps);
        for format in formats {
            outputs.write(&format!("schedules.{}", format.extension()), &format.bytes(&figure)?)?;
        }
        name_files(&outputs, args.json, talk);
    }
    Ok(ExitCode::SUCCESS)
}

/// The schedule of a scheduler whose noise levels lie in some place.
fn schedule(
    (kind, sigmas): (SchedulerKind, Option<Sigmas>),
    config: &SchedulerConfig,
    steps: usize,
) -> LibResult<NamedSchedule> {
    let scheduler = scheduler::build(kind, &config.asked(sigmas, false), steps, 0.0)?;
    let name = sigmas.map_or(kind.name().to_string(), |sigmas| format!("{kind} {sigmas}"));
    Ok(NamedSchedule { name, levels: scheduler::levels(scheduler.as_ref(), 0) })
}

fn print_table(schedules: &[NamedSchedule]) {
    let mut titles = vec!["call".to_string()];
    for schedule in schedules {
        titles.extend([format!("{} t", scheduler_name(&schedule.name)), "σ".into(), "ᾱ".into()]);
    }
    let mut table = report::table(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    let longest = schedules.iter().map(|s| s.levels.len()).max().unwrap_or(0);
    for call in 0..longest {
        let mut row = vec![call.to_string()];
        for schedule in schedules {
            row.extend(match schedule.levels.get(call) {
                Some(level) => [
                    level.timestep.map_or("end".into(), timestep),
                    format!("{:.4}", level.sigma),
                    format!("{:.4}", level.alpha_cumprod),
                ],
                None => Default::default(),
            });
        }
        table.add_row(row);
    }
    report::align_right(&mut table, 0..titles.len());
    report::print_table(&table);
}

/// `981`, `958.75`.
fn timestep(t: f64) -> String {
    if t.fract() == 0.0 { format!("{t:.0}") } else { format!("{t:.2}") }
}

fn print_json(schedules: &[NamedSchedule], model: &str, steps: usize) -> Result<()> {
    let list: Vec<_> = schedules.iter().map(|s| json!({ "scheduler": s.name, "schedule": s.levels })).collect();
    let all = json!({ "model": model, "steps": steps, "schedules": list });
    report::print(serde_json::to_string_pretty(&all)?);
    Ok(())
}
