//! `sdviz video`: videos of a run, and of several side by side. Also what the verbs for pictures have in common.

use super::export::tell;
use crate::cli::args::{MotionArgs, VideoArgs};
use crate::cli::report::Talk;
use crate::error::Result as LibResult;
use crate::export::Outputs;
use crate::export::animate::Pace;
use crate::export::encode::AnimationFormat;
use crate::export::panels::{Look, Shown, Size};
use crate::export::video::{self, Options};
use crate::trace::reader::Run;
use anyhow::Result;
use std::process::ExitCode;

/// Makes the videos, and names the files.
pub fn run(args: &VideoArgs, talk: Talk) -> Result<ExitCode> {
    let mut shown: Vec<Shown> = vec![args.what.parse()?];
    for name in &args.beside {
        shown.push(name.parse()?);
    }
    let look = Look { size: Size::asked(args.look.size)?, captions: !args.look.no_captions };
    let options =
        Options { shown, pace: pace(&args.motion)?, formats: formats(&args.format)?, look, batch: args.files.batch };
    let runs = std::iter::once(&args.run).chain(&args.compare).map(Run::open).collect::<LibResult<Vec<Run>>>()?;
    let mut outputs = Outputs::open(&runs[0], args.files.out.as_deref())?;
    let made = video::make(&runs.iter().collect::<Vec<_>>(), &options, &mut outputs);
    tell_all(&mut outputs, talk);
    made?;
    Ok(ExitCode::SUCCESS)
}

/// Names the files on standard output and says the remarks on standard error.
pub fn tell_all(outputs: &mut Outputs, talk: Talk) {
    tell(outputs, 0, 0, talk);
    outputs.take_remarks().iter().for_each(|remark| talk.say(format!("note: {remark}")));
}

/// The pace that was typed, checked.
pub fn pace(args: &MotionArgs) -> LibResult<Pace> {
    let pace = Pace { fps: args.fps, hold: args.hold, every: args.every, reverse: args.reverse };
    pace.check()?;
    Ok(pace)
}

/// The formats that were typed.
pub fn formats(names: &[String]) -> LibResult<Vec<AnimationFormat>> {
    names.iter().map(|name| name.trim().parse()).collect()
}
