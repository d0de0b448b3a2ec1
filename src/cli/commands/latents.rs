//! `sdviz latents`: latents as colours.

use super::video::{formats, pace, tell_all};
use crate::cli::args::LatentsArgs;
use crate::cli::report::Talk;
use crate::export::Outputs;
use crate::export::latents::{self, DEFAULT_SIZE, Options, PaintSettings};
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the animation or the sheet, and names the files.
pub fn run(args: &LatentsArgs, talk: Talk) -> Result<ExitCode> {
    let settings = PaintSettings {
        what: args.what.trim().parse()?,
        channels: args.channels.parse()?,
        normalise: args.normalise.parse()?,
        raw: args.raw,
        batch: args.files.batch,
    };
    let (pace, formats) = (pace(&args.motion)?, formats(&args.format)?);
    let options = Options {
        settings,
        pace,
        formats,
        size: args.look.size.unwrap_or(DEFAULT_SIZE),
        captions: !args.look.no_captions,
    };
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    let made = match args.sheet {
        true => latents::make_sheet(&run, &settings, args.step, &mut outputs),
        false => latents::make(&run, &options, &mut outputs),
    };
    tell_all(&mut outputs, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
