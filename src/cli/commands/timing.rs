//! `sdviz inspect --time`: how long each block of the UNet takes.

use crate::cli::args::InspectArgs;
use crate::cli::report;
use crate::error::Error;
use crate::model::resolve::ModelChoice;
use crate::pipeline::{LoadOptions, Pipeline, device};
use crate::record::plan::{Decode, Plan};
use crate::trace::stopwatch::{Stopwatch, Work};
use crate::watch::probe::Probe;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Measures and prints.
pub fn run(args: &InspectArgs, choice: &ModelChoice) -> Result<ExitCode> {
    if args.repeat == 0 {
        return Err(Error::invalid("no forward pass to measure", "`--repeat 5` is usual").into());
    }
    let device = device::device(&args.device)?;
    let kind = device::dtype(&args.dtype, device)?;
    let options = LoadOptions { device, kind, variant: args.variant.clone(), ..LoadOptions::default() };
    let pipeline = Pipeline::load(choice, options)?;
    let mut plan = Plan { scheduler: "ddim".into(), record: vec![], decode: Decode::Nothing, ..Plan::default() };
    (plan.width, plan.height) = (0, 0);
    pipeline.complete(&mut plan)?;
    // One more, which is not counted: the first pass makes room for the others.
    let mut watch = Stopwatch::new(device, 1);
    let measured = Plan { steps: args.repeat + 1, ..plan.clone() };
    pipeline.generate(&measured, &Probe::new(vec![&mut watch]))?;
    let unwatched = pipeline.generate(&Plan { steps: args.repeat, ..plan.clone() }, &Probe::silent())?;
    let unwatched = unwatched.stages.iter().find(|stage| stage.name == "unet");
    let unwatched = unwatched.map(|stage| 1e3 * stage.seconds / stage.count.max(1) as f64);
    print(args, choice, &plan, &watch, unwatched)?;
    Ok(ExitCode::SUCCESS)
}

fn print(
    args: &InspectArgs,
    choice: &ModelChoice,
    plan: &Plan,
    watch: &Stopwatch,
    unwatched: Option<f64>,
) -> Result<()> {
    let passes = watch.counted().max(1) as f64;
    let ms = |time: Duration| 1e3 * time.as_secs_f64() / passes;
    let whole: Duration = watch.blocks.iter().map(|block| block.total()).sum();
    let share = |time: Duration| time.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
    let by_work = |work: usize| watch.blocks.iter().map(|block| block.spent[work]).sum::<Duration>();
    if args.json {
        let parts = |spent: &dyn Fn(usize) -> Duration| -> Value {
            Work::ALL.iter().enumerate().map(|(at, work)| (work.name().to_string(), json!(ms(spent(at))))).collect()
        };
        let blocks: Vec<Value> = watch
            .blocks
            .iter()
            .map(|block| {
                let parts = parts(&|at| block.spent[at]);
                json!({ "block": block.block, "ms": ms(block.total()), "share": share(block.total()), "parts": parts })
            })
            .collect();
        report::print(serde_json::to_string_pretty(&json!({
            "model": choice.id, "width": plan.width, "height": plan.height, "passes": watch.counted(), "ms": ms(whole),
            "ms_unwatched": unwatched, "parts": parts(&by_work), "blocks": blocks
        }))?);
        return Ok(());
    }
    let mut head = vec!["block", "ms", "share"];
    head.extend(Work::ALL.map(Work::name));
    let mut table = report::table(&head);
    let number = |time: Duration| format!("{:.2}", ms(time));
    let mut add = |name: &str, total: Duration, spent: &dyn Fn(usize) -> Duration| {
        let mut row = vec![name.to_string(), number(total), format!("{:.1} %", 100.0 * share(total))];
        row.extend((0..Work::ALL.len()).map(|at| if spent(at).is_zero() { String::new() } else { number(spent(at)) }));
        table.add_row(row);
    };
    for block in &watch.blocks {
        add(&block.block, block.total(), &|at| block.spent[at]);
    }
    add("all", whole, &by_work);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    let (id, width, height, passes) = (&choice.id, plan.width, plan.height, watch.counted());
    report::print(format!("{id}, {width}×{height} with guidance, mean of {passes} forward passes, ms"));
    report::print_table(&table);
    report::print(match unwatched {
        Some(alone) => format!("unwatched: {alone:.2} ms a pass"),
        None => String::new(),
    });
    Ok(())
}
