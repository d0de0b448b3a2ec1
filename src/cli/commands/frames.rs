//! `sdviz frames`: a run's pictures as numbered files.

use super::video::tell_all;
use crate::cli::args::FramesArgs;
use crate::cli::report::Talk;
use crate::export::Outputs;
use crate::export::frames::{self, Options};
use crate::export::panels::Size;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Writes the pictures, and names them.
pub fn run(args: &FramesArgs, talk: Talk) -> Result<ExitCode> {
    let size = args.size.map_or(Ok(Size::Native), |side| Size::asked(Some(side)))?;
    let (shown, every) = (args.what.parse()?, args.every);
    let options = Options { shown, every, size, captions: args.captions, batch: args.files.batch };
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    let made = frames::make(&run, &options, &mut outputs);
    tell_all(&mut outputs, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
