//! `sdviz eval likeness`: drawn pictures beside real compositions.

use super::{choose, judge_of};
use crate::cli::args::EvalLikenessArgs;
use crate::cli::plan;
use crate::cli::report::{self, Talk};
use crate::dataset::manifest::{Dataset, pictures};
use crate::error::{Error, Result as LibResult};
use crate::eval::judge::Of;
use crate::eval::likeness::{Compositions, Likeness, VarietySettings, evaluate};
use crate::eval::measure;
use crate::eval::prompts::bare;
use crate::pipeline::Pipeline;
use crate::record::plan::Plan;
use crate::scheduler::SchedulerKind;
use anyhow::Result;
use serde_json::json;

/// Draws, compares and prints.
pub(super) fn run(args: &EvalLikenessArgs, talk: Talk) -> Result<()> {
    let (data, count) = (&args.on.data, args.on.count);
    let rows = Dataset::read(data)?.rows;
    check(args, rows.len())?;
    let options = plan::load_options(&args.on.model.loading)?;
    let judge = judge_of(Of::Object, args.judge.as_deref(), options.device)?;
    let choice = choose(&args.on.model, talk)?;
    let pipeline = Pipeline::load(&choice, options.clone())?;
    let scheduler = args.drawn.scheduler.as_deref().map(SchedulerKind::parse).transpose()?;
    let mut plan = Plan {
        steps: args.drawn.steps,
        guidance_scale: args.drawn.guidance_scale,
        scheduler: scheduler.map_or_else(String::new, |kind| kind.name().into()),
        seed: args.drawn.seed,
        ..bare()
    };
    pipeline.complete(&mut plan)?;
    let (real, others) = (pictures(data, &rows[..count])?, pictures(data, &rows[count..2 * count])?);
    let bar = report::bar(2 * count + args.prompts * args.seeds, talk);
    let decoded = measure::through(&pipeline.vae, &real, &options, |n| bar.inc(n as u64))?;
    let compositions = Compositions { rows: &rows, pictures: &real, others: &others, decoded: &decoded };
    let settings = VarietySettings { prompts: args.prompts, seeds: args.seeds };
    let drawing = (&pipeline, &plan, args.batch_size);
    let found = evaluate(drawing, &judge, &compositions, settings, |rows| pictures(data, rows), |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    if args.on.json {
        let how = json!({
            "model": choice.id, "steps": plan.steps, "guidance_scale": plan.guidance_scale, "scheduler": plan.scheduler,
            "likeness": found,
        });
        report::print(serde_json::to_string_pretty(&how)?);
        return Ok(());
    }
    print(&found, &plan);
    Ok(())
}

/// Refuses what has nothing to compare.
fn check(args: &EvalLikenessArgs, there: usize) -> LibResult<()> {
    let count = args.on.count;
    if count < 2 || args.seeds < 2 || args.prompts == 0 || args.batch_size == 0 || args.drawn.steps == 0 {
        return Err(Error::invalid(
            "too little is asked for to compare anything",
            "two pictures, two seeds, one prompt, one step and a batch of one are the least",
        ));
    }
    if there < 2 * count {
        return Err(Error::invalid(
            format!("`{}` has {there} pictures; {count} are compared with as many others", args.on.data.display()),
            format!("ask for {} at most with `--count`, or build a larger data set", there / 2),
        ));
    }
    Ok(())
}

fn print(found: &Likeness, plan: &Plan) {
    let mut table = report::table(&["pictures", "gradient", "steepest 2 %", "Fréchet distance"]);
    let (steep, far) = (&found.sharpness, &found.frechet);
    for (name, steep, far) in [
        ("compositions (the distance: of as many others)", steep.real, far.real),
        ("… through the autoencoder", steep.decoded, far.decoded),
        ("drawn from their captions", steep.drawn, far.drawn),
    ] {
        let numbers = [format!("{:.4}", steep.gradient), format!("{:.3}", steep.edges), format!("{far:.2}")];
        table.add_row([&[name.to_string()], &numbers[..]].concat());
    }
    report::align_right(&mut table, 1..4);
    report::print_table(&table);
    let variety = &found.variety;
    let real = variety
        .real
        .map_or(String::new(), |real| format!("; of compositions of one thing on one background: {real:.1}"));
    report::print(format!(
        "\ndifference between {} seeds of one prompt, the mean of {} prompts: {:.1} grey levels{real}",
        variety.seeds, variety.prompts, variety.drawn
    ));
    report::print(format!(
        "{} pictures of {} steps, {}, guidance {}",
        found.pictures, plan.steps, plan.scheduler, plan.guidance_scale
    ));
}
