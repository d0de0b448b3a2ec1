//! What a trace is for where it looks into a picture (`invert`, `look`), and what its user is told of that.
//!
//! Enters: what was typed for one of the two. Leaves: the same as a trace that begins from the picture, for the trace carries
//! it out, and lines of text.

use super::args::{Cli, Command, FitArgs, PlaceArgs, Purpose, TraceArgs};
use super::report::Talk;
use crate::error::{Error, Result};
use crate::record::inversion::{Found, RunKind};
use crate::record::schema::RunRecord;
use crate::run::start::Origin;
use crate::units::count;
use crate::viz::distance::psnr;
use clap::Parser;
use image::RgbImage;
use std::path::Path;

/// A trace from a picture with nothing else said, for this purpose.
///
/// # Errors
/// When the program does not know its own command line.
pub fn trace(photo: &Path, fit: &FitArgs, place: &PlaceArgs, purpose: Purpose) -> Result<TraceArgs> {
    let Command::Trace(mut args) = usual()? else { return Err(broken("another verb")) };
    (args.width, args.height) = (fit.width, fit.height);
    (args.out, args.force, args.no_report) = (place.out.clone(), place.force, place.no_report);
    args.picture.init_image = Some(photo.into());
    args.picture.resize = Some(fit.resize.clone());
    args.purpose = Some(purpose);
    Ok(*args)
}

/// What stands in a trace of which only the prompt was typed.
fn usual() -> Result<Command> {
    Cli::try_parse_from(["sdviz", "trace", "--prompt", ""]).map(|cli| cli.command).map_err(broken)
}

fn broken(what: impl std::fmt::Display) -> Error {
    Error::Broken(format!("the usual trace cannot be read: {what}"))
}

/// What will be made of the picture.
pub fn before(record: &RunRecord, talk: Talk) {
    let plan = &record.plan;
    let Some(picture) = plan.init_image.as_ref().filter(|_| plan.looks_into_picture()) else { return };
    let resized = match (picture.width, picture.height) == (plan.width, plan.height) {
        true => String::new(),
        false => format!(", to {}×{} ({})", plan.width, plan.height, plan.resize.unwrap_or_default()),
    };
    talk.say(format!("picture: {}, {}×{}{resized}", picture.file, picture.width, picture.height));
    let told: Vec<String> =
        record.schedule.iter().filter_map(|level| level.timestep).map(|t| format!("{t:.0}")).collect();
    match (&plan.inversion, &plan.look) {
        (Some(inversion), _) => {
            let first: Vec<&str> = told.iter().take(3).map(String::as_str).collect();
            let calls = plan.steps * (inversion.refine + 1);
            let back = if inversion.way_back { format!(", then {} back", plan.steps) } else { String::new() };
            talk.say(format!(
                "inversion: {} of ddim, told t = {}, …: {}{back}",
                count(plan.steps, "step"),
                first.join(", "),
                count(calls, "prediction")
            ));
            if plan.guidance_scale > 1.0 {
                talk.warn(format!(
                    "at guidance scale {} the way back soon leaves the way here: without guidance (`-g 1`) it keeps to it",
                    plan.guidance_scale
                ));
            }
        }
        (None, Some(_)) => talk.say(format!("look: one prediction at each of t = {}", told.join(", "))),
        (None, None) => {}
    }
}

/// Where a run begins that begins from an inversion.
pub fn start(record: &RunRecord, talk: Talk) {
    if let (Some(_), Some(begin)) = (&record.plan.start, &record.begin) {
        talk.say(format!("start: {}", begin.why));
    }
}

/// How close a run that began with an inversion has come to its picture. One that cannot be read is passed over.
pub fn likeness(origin: &Origin, pictures: &[RgbImage], talk: Talk) {
    let (Some(drawn), Ok(Some(picture))) = (pictures.first(), origin.picture()) else { return };
    if picture.dimensions() != drawn.dimensions() {
        return;
    }
    let name = origin.name();
    match psnr(&picture, drawn) {
        Some(psnr) => talk.say(format!("PSNR to the picture of `{name}`: {psnr:.1} dB")),
        None => talk.say(format!("it is the picture of `{name}`, to the last pixel")),
    }
}

/// What an inversion found, and what to do with it.
pub fn after(out: &Path, record: &RunRecord, found: Option<&Found>, talk: Talk) {
    let Some(found) = found.filter(|_| record.kind == RunKind::Inversion) else { return };
    let last = |step: &Vec<f64>| step.last().copied();
    if let Some(worst) = found.residuals.iter().filter_map(last).reduce(f64::max) {
        talk.say(format!("each step predicted at most {:.2e} of its latents away from where it arrived", worst));
    }
    let decibels = |value: Option<f64>| value.map_or_else(|| "not measured".into(), |value| format!("{value:.1} dB"));
    if found.psnr_vae.is_some() {
        talk.say(format!(
            "PSNR to the picture: autoencoder alone {}, there and back {}",
            decibels(found.psnr_vae),
            decibels(found.psnr_reconstructed)
        ));
    }
    let out = out.display();
    talk.say(format!(
        "draw from it: sdviz trace --start {out} --prompt … -g 1; as donor: --start {out} --donor {out} --pnp"
    ));
}
