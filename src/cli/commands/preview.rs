//! `sdviz preview`: a linear map from latents to colours, and how far it gets.

use super::video::{formats, pace};
use crate::cli::args::PreviewArgs;
use crate::cli::report::{self, Talk};
use crate::error::Error;
use crate::export::Outputs;
use crate::export::panels::{Shown, Size};
use crate::export::preview::{self, Graded, Options};
use crate::files::atomic::write_atomically;
use crate::trace::reader::Run;
use crate::viz::linear_map::LinearMap;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Fits or reads a map, prints how it does, makes the animation.
pub fn run(args: &PreviewArgs, talk: Talk) -> Result<ExitCode> {
    let shown: Shown = args.what.parse()?;
    if shown == Shown::Latents {
        let message = "a preview of `latents` as colours makes no sense: it is made to look like the decoded pictures";
        return Err(Error::invalid(message, "`--what images`, or `x0` for the predictions").into());
    }
    let map = args.map.as_deref().map(LinearMap::load).transpose()?;
    let options = Options {
        shown,
        map,
        pace: pace(&args.motion)?,
        formats: formats(&args.format)?,
        size: Size::asked(args.look.size)?,
        captions: !args.look.no_captions,
        batch: args.files.batch,
    };
    args.save.as_deref().map_or(Ok(()), check_target)?;
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    let graded = preview::make(&run, &options, &mut outputs)?;
    if let Some(path) = &args.save {
        write_atomically(path, (serde_json::to_string_pretty(&graded.map)? + "\n").as_bytes())?;
        talk.say(format!("map: {}", path.display()));
    }
    match args.json {
        true => {
            let files: Vec<_> = outputs.written().iter().map(|path| path.display().to_string()).collect();
            let mut whole = serde_json::to_value(&graded)?;
            whole["files"] = json!(files);
            report::print(serde_json::to_string_pretty(&whole)?);
        }
        false => {
            print(&graded);
            outputs.written().iter().for_each(|path| report::print(path.display()));
        }
    }
    outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
    Ok(ExitCode::SUCCESS)
}

/// Finds out before any work whether the map can be saved there.
fn check_target(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !folder.is_dir() {
        let message = format!("cannot save the map as `{}`", path.display());
        return Err(Error::invalid(message, "name a file in a folder that is there, such as `map.json`"));
    }
    Ok(())
}

fn print(graded: &Graded) {
    let map = &graded.map;
    let mut table = report::table(&["", "red", "green", "blue"]);
    let rows = map.weights.iter().enumerate().map(|(channel, row)| (format!("channel {channel}"), row));
    for (name, row) in rows.chain([("bias".to_string(), &map.bias)]) {
        let [red, green, blue] = row.map(|factor| format!("{:.4}", if factor.abs() < 0.00005 { 0.0 } else { factor }));
        table.add_row([name, red, green, blue]);
    }
    report::align_right(&mut table, 1..4);
    report::print_table(&table);
    let origin = if graded.fitted_here { "fitted on this run" } else { "fitted before" };
    let pixels = report::thousands(map.fit.samples);
    report::print(format!("{origin}: {pixels} latents, R² {:.3}, PSNR {:.1} dB\n", map.fit.r2, map.fit.psnr_db));
    if graded.steps.is_empty() {
        return;
    }
    let mut table = report::table(&["step", "R²", "PSNR of means", "PSNR of pixels"]);
    for row in &graded.steps {
        let r2 = row.r2.map_or("–".to_string(), |r2| format!("{r2:.3}"));
        let (small, full) = (format!("{:.1} dB", row.psnr_small), format!("{:.1} dB", row.psnr_full));
        table.add_row([row.step.to_string(), r2, small, full]);
    }
    report::align_right(&mut table, 0..4);
    report::print_table(&table);
}
