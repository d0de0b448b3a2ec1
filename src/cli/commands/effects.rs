//! `sdviz effects`: what each site adds to one prediction. From the recorded latents of a step the next prediction is made
//! once as it was and once for every site with that site changed; nothing is drawn anew.

use crate::cli::args::EffectsArgs;
use crate::cli::inside;
use crate::cli::report::{self, Talk};
use crate::draw::model::Model;
use crate::error::{Error, IoContext, Result as LibResult};
use crate::files::atomic::write_atomically;
use crate::record::plan::{Decode, Quantity};
use crate::trace::reader::Run;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use anyhow::Result;
use ndarray::Array4;
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

/// What the numbers are.
const ABOUT: &str =
    "‖ε_changed − ε‖ / ‖ε‖ of the prediction after the step, with the prompt and with the negative prompt";

/// The predictions that are looked at.
const PREDICTIONS: [(&str, Quantity); 2] = [("text", Quantity::NoiseText), ("uncond", Quantity::NoiseUncond)];

/// What a site adds to the prediction after a step.
#[derive(Debug, Serialize)]
struct Effect {
    site: String,
    step: usize,
    edit: String,
    text: Option<f64>,
    uncond: Option<f64>,
}

/// Makes the predictions, and draws what they say.
pub fn run(args: &EffectsArgs, talk: Talk) -> Result<ExitCode> {
    let run = Run::open(&args.run)?;
    let model = inside::model_of(&run, &args.loading)?;
    let table = inside::table_of(&args.sites, &args.op, "all", &model)?;
    let out = args.out.clone().unwrap_or_else(|| args.run.join("exports"));
    std::fs::create_dir_all(&out).at("create", &out)?;
    let mut all: Vec<Effect> = vec![];
    for step in &args.step {
        check_step(&run, *step)?;
        let plain = predictions(&model, &run, *step, None)?;
        for (site, edit) in &table.rows {
            let edit = if edit.contains(" branch=") { edit.clone() } else { format!("{edit} branch=both") };
            let changed = predictions(&model, &run, *step, Some(&format!("{edit} steps={}", step + 1)))?;
            let of = |place: usize| Some(change(changed[place].as_ref()?, plain[place].as_ref()?));
            all.push(Effect { site: site.clone(), step: *step, edit, text: of(0), uncond: of(1) });
        }
        talk.say(format!("step {step}: {} predictions", table.rows.len() + 1));
    }
    let json = json!({ "run": args.run.display().to_string(), "measure": ABOUT, "effects": all });
    let json = serde_json::to_string_pretty(&json)?;
    write_atomically(&out.join("effects.json"), json.as_bytes())?;
    if args.json {
        report::print(json);
    } else {
        print(&all);
    }
    let (rows, steps): (Vec<String>, _) = (table.rows.iter().map(|(site, _)| site.clone()).collect(), &args.step);
    let mut columns: Vec<(String, usize, &str)> = vec![];
    for (prediction, _) in PREDICTIONS {
        columns.extend(steps.iter().map(|step| (format!("{prediction}, {step}"), *step, prediction)));
    }
    columns.retain(|(_, step, prediction)| all.iter().any(|e| e.step == *step && e.of(prediction).is_some()));
    let value = |(row, column): (usize, usize)| {
        let (_, step, prediction) = &columns[column];
        all.iter().find(|effect| effect.step == *step && effect.site == rows[row])?.of(prediction)
    };
    let title = ("effects", format!("{ABOUT} · {} · “{}”", args.op, run.record().plan.prompt));
    let titles = columns.iter().map(|(title, ..)| title.clone()).collect();
    if let Some(path) = inside::heat_map(&out, title, (rows.clone(), titles), value, false)? {
        talk.say(format!("picture: {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

impl Effect {
    fn of(&self, prediction: &str) -> Option<f64> {
        if prediction == "text" { self.text } else { self.uncond }
    }
}

/// Refuses a step that no prediction follows.
fn check_step(run: &Run, step: usize) -> LibResult<()> {
    let record = run.record();
    let ends = step >= record.last_step() || record.ends_pass(step);
    if !ends {
        return Ok(());
    }
    Err(Error::invalid(
        format!("no prediction follows step {step}"),
        format!("name a step from 0 to {}", record.last_step().saturating_sub(1)),
    ))
}

/// Stops a run after a step.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> LibResult<Flow> {
        let done = matches!(event, Event::Step(step) if step.index >= self.0);
        Ok(if done { Flow::Stop } else { Flow::Continue })
    }
}

/// The predictions after a step, with the prompt and with the negative prompt.
fn predictions(model: &Model, run: &Run, step: usize, edit: Option<&str>) -> LibResult<[Option<Array4<f32>>; 2]> {
    let mut drawing = model.branch(run, step)?;
    drawing = edit.into_iter().fold(drawing, |drawing, edit| drawing.edit(edit));
    let drawing = drawing.record([Quantity::NoiseText, Quantity::NoiseUncond]).decode(Decode::Nothing);
    let made = drawing.watched(&mut StopAfter(step + 1))?;
    let [text, uncond] = PREDICTIONS.map(|(_, what)| made.tensors(step + 1, what));
    Ok([text?, uncond?])
}

/// ‖now − before‖ / ‖before‖.
fn change(now: &Array4<f32>, before: &Array4<f32>) -> f64 {
    let apart: f64 = now.iter().zip(before).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let all: f64 = before.iter().map(|x| f64::from(*x).powi(2)).sum();
    (apart / all.max(f64::MIN_POSITIVE)).sqrt()
}

fn print(all: &[Effect]) {
    report::print(format!("{ABOUT}\n"));
    let mut sorted: Vec<&Effect> = all.iter().collect();
    sorted.sort_by(|a, b| b.text.unwrap_or_default().total_cmp(&a.text.unwrap_or_default()));
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
    let row = |of: &Effect| vec![of.site.clone(), of.step.to_string(), number(of.text), number(of.uncond)];
    inside::print_rows(&["changed", "step", "text", "uncond"], sorted.into_iter().map(row).collect(), "effects.json");
}
