//! `sdviz eval attribution`: what words cause, beside where they are looked at.

use super::{MapsOf, maps_of};
use crate::cli::args::EvalAttributionArgs;
use crate::cli::report::{self, Talk};
use crate::eval::attribution::evaluate;
use anyhow::Result;

/// Draws, compares and prints.
pub(super) fn run(args: &EvalAttributionArgs, talk: Talk) -> Result<()> {
    let dropping = args.drop.parse()?;
    let MapsOf { judge, choice, pipeline, settings } = maps_of(args.count, &args.maps, talk)?;
    let bar = report::bar(args.count, talk);
    let how = (&settings, dropping, args.at.as_slice());
    let found = evaluate(&pipeline, judge.classes(), &choice.id, how, || bar.inc(1))?;
    bar.finish_and_clear();
    if args.maps.json {
        report::print(serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let titles = ["word", "step", "share", "attention", "correlation", "95 %", "mIoU drop", "mIoU attention"];
    let mut table = report::table(&titles);
    for row in &found.rows {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let on_object = row.word == "the object";
        let miou = |share: f64| if on_object { percent(share) } else { "–".into() };
        table.add_row([
            row.word.clone(),
            row.step.to_string(),
            format!("{:.2}", row.share),
            percent(row.attention),
            format!("{:.2}", row.correlation),
            format!("± {:.2}", row.margin),
            miou(row.miou_drop),
            miou(row.miou_attention),
        ]);
    }
    report::align_right(&mut table, 1..8);
    report::print_table(&table);
    report::print(format!(
        "\n{} pictures of {} steps, {}, guidance {}; words dropped by {dropping}",
        args.count, settings.steps, settings.scheduler, settings.guidance_scale
    ));
    Ok(())
}
