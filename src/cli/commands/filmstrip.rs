//! `sdviz filmstrip`: some steps on one picture.

use super::video::tell_all;
use crate::cli::args::FilmstripArgs;
use crate::cli::report::Talk;
use crate::export::Outputs;
use crate::export::filmstrip::{self, Options};
use crate::export::panels::Size;
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the strip, and names the file.
pub fn run(args: &FilmstripArgs, talk: Talk) -> Result<ExitCode> {
    let options = Options {
        shown: args.what.parse()?,
        frames: args.frames,
        columns: args.columns,
        size: Size::asked(args.look.size)?,
        captions: !args.look.no_captions,
        batch: args.files.batch,
    };
    let run = Run::open(&args.run)?;
    let mut outputs = Outputs::open(&run, args.files.out.as_deref())?;
    let made = filmstrip::make(&run, &options, &mut outputs);
    tell_all(&mut outputs, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}
