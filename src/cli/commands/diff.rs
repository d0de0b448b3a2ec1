//! `sdviz diff`: two runs compared, as a table, as JSON, as maps, and as a check.

use super::export::name_files;
use crate::cli::args::DiffArgs;
use crate::cli::report::{self, Talk};
use crate::error::Error;
use crate::export::diff::{self, Report};
use crate::export::{Outputs, diff_maps};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Beyond rounding: a difference of this share is told apart from the last bits of a sum.
const NOTICEABLE: f64 = 1e-3;

/// Compares, prints, and with `--tolerance` judges.
pub fn run(args: &DiffArgs, talk: Talk) -> Result<ExitCode> {
    if let Some(tolerance) = args.tolerance.filter(|t| !t.is_finite() || *t < 0.0) {
        return Err(Error::invalid(
            format!("tolerance {tolerance} is not a number from 0 up"),
            "1e-4 is usual; 0 asks for equality",
        )
        .into());
    }
    let (a, b) = (Run::open(&args.run_a)?, Run::open(&args.run_b)?);
    let outputs = args.maps.then(|| Outputs::open(&a, args.out.as_deref())).transpose()?;
    let report = diff::compare(&a, &b)?;
    match args.json {
        true => print_json(args, &report)?,
        false => print(args, &report),
    }
    if let Some(mut outputs) = outputs {
        outputs.write("diff-maps.png", &diff_maps::sheet(&a, &b, 0)?)?;
        name_files(&outputs, args.json, talk);
    }
    let passed = args.tolerance.is_none_or(|tolerance| report.within(tolerance));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(args: &DiffArgs, report: &Report) {
    if !report.fields.is_empty() {
        let mut table = report::table(&["differs", "A", "B"]);
        for gap in &report.fields {
            table.add_row([gap.field.clone(), plain(&gap.a), plain(&gap.b)]);
        }
        report::print_table(&table);
        report::print("");
    }
    if !report.steps.is_empty() {
        report::print_table(&steps_table(report));
        report::print("");
    }
    for line in report.remarks.iter().chain(&report.not_compared) {
        report::print(line);
    }
    print_summary(args, report);
}

/// A row per step: for each quantity the relative and the RMS distance, then the pictures' PSNR.
fn steps_table(report: &Report) -> comfy_table::Table {
    let all = |what: &Quantity| report.steps.iter().any(|s| s.quantities.iter().any(|(q, _)| q == what));
    let quantities: Vec<Quantity> = Quantity::ALL.into_iter().filter(all).collect();
    let pictured = |what: &Quantity| report.steps.iter().any(|s| s.pictures.iter().any(|(q, _)| q == what));
    let pictures: Vec<Quantity> = Quantity::ALL.into_iter().filter(pictured).collect();
    let mut titles = vec!["step".to_string()];
    titles.extend(quantities.iter().flat_map(|q| [q.to_string(), "rms".into()]));
    titles.extend(pictures.iter().map(|q| match q {
        Quantity::PredictedOriginal => "x0 picture".to_string(),
        _ => "picture".to_string(),
    }));
    let mut table = report::table(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    for step in &report.steps {
        let mut row = vec![match step.step == step.step_b {
            true => step.step.to_string(),
            false => format!("{}/{}", step.step, step.step_b),
        }];
        for what in &quantities {
            let gap = step.quantities.iter().find(|(q, _)| q == what).map(|(_, gap)| gap);
            row.extend(match gap {
                Some(gap) if gap.is_none() => ["=".into(), "=".into()],
                Some(gap) => [format!("{:.1e}", gap.relative), format!("{:.1e}", gap.rms)],
                None => Default::default(),
            });
        }
        for what in &pictures {
            let psnr = step.pictures.iter().find(|(q, _)| q == what).map(|(_, psnr)| *psnr);
            row.push(psnr.map_or(String::new(), decibels));
        }
        table.add_row(row);
    }
    report::align_right(&mut table, 0..titles.len());
    table
}

fn print_summary(args: &DiffArgs, report: &Report) {
    match (report.parting(0.0), report.largest()) {
        (Some((step, what)), largest) => {
            report::print(format!("the runs part at step {step}, first in {what}"));
            if let Some((later, what)) = report.parting(NOTICEABLE).filter(|at| *at != (step, what)) {
                report::print(format!("they part by more than {NOTICEABLE} at step {later}, first in {what}"));
            }
            report::print(format!("largest relative difference: {:.1e}", largest.unwrap_or_default()));
        }
        (None, Some(_)) => report::print("the runs are the same in all that was compared"),
        (None, None) => report::print("no tensor was compared"),
    }
    for (batch, psnr) in report.final_pictures.iter().enumerate() {
        let which = if report.final_pictures.len() > 1 { format!(" {batch}") } else { String::new() };
        report::print(format!("finished picture{which}: {}", decibels(*psnr)));
    }
    if let Some(tolerance) = args.tolerance {
        report::print(match (report.within(tolerance), report.parting(tolerance)) {
            (true, _) => format!("within the tolerance of {tolerance}"),
            (false, Some((step, what))) => {
                format!("beyond the tolerance of {tolerance} from step {step} on, in {what}")
            }
            (false, None) if report.not_compared.is_empty() => "the pictures are not the same".into(),
            (false, None) => "beyond every tolerance: the runs could not be compared whole".into(),
        });
    }
}

/// `34.1 dB`, `=` for the same picture.
fn decibels(psnr: Option<f64>) -> String {
    psnr.map_or("=".into(), |psnr| format!("{psnr:.1} dB"))
}

/// A value as it is read, not as JSON; `–` for none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn print_json(args: &DiffArgs, report: &Report) -> Result<()> {
    let parting = |tolerance| {
        report
            .parting(tolerance)
            .map(|(step, quantity): (usize, Quantity)| json!({ "step": step, "quantity": quantity }))
    };
    let mut steps = vec![];
    for step in &report.steps {
        let quantities: serde_json::Map<String, Value> =
            step.quantities.iter().map(|(what, gap)| (what.to_string(), json!(gap))).collect();
        let psnr = |p: &Option<f64>| json!({ "same": p.is_none(), "psnr": p });
        let pictures: serde_json::Map<String, Value> =
            step.pictures.iter().map(|(what, p)| (what.to_string(), psnr(p))).collect();
        steps.push(json!({
            "step": step.step, "step_b": step.step_b, "quantities": quantities, "pictures": pictures,
        }));
    }
    let finals: Vec<_> = report.final_pictures.iter().map(|p| json!({ "same": p.is_none(), "psnr": p })).collect();
    let all = json!({
        "a": args.run_a, "b": args.run_b, "tolerance": args.tolerance,
        "within_tolerance": args.tolerance.map(|t| report.within(t)),
        "parts_at": parting(0.0), "beyond_tolerance_at": args.tolerance.and_then(parting),
        "largest_relative": report.largest(), "fields": report.fields, "steps": steps, "final_pictures": finals,
        "not_compared": report.not_compared, "remarks": report.remarks,
    });
    report::print(serde_json::to_string_pretty(&all)?);
    Ok(())
}
