//! A run's pictures as numbered files: `frames/sample_00.png`, `sample_01.png`, … as tutorials name them.
//!
//! Enters: a run. Leaves: one PNG per step. Untouched pictures are the recorded files, byte for byte. The numbers count
//! the files, without gaps, so that other programs take them as a sequence; where every step was decoded they are the
//! steps.

use super::panels::{Look, Panels, Shown, Size};
use super::{Outputs, sizes, words};
use crate::error::{IoContext, Result};
use crate::trace::metadata::step_png;
use crate::trace::reader::Run;

/// The folder of the files.
const FOLDER: &str = "frames";

/// Numbered pictures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What to show.
    pub shown: Shown,
    /// Take every Nth, counted from the first, and the last one.
    pub every: usize,
    /// How large each picture becomes.
    pub size: Size,
    /// Write step, timestep and σ below.
    pub captions: bool,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { shown: Shown::Images, every: 1, size: Size::Native, captions: false, batch: 0 }
    }
}

/// The decoded pictures as they are, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    make(run, &Options::default(), outputs)
}

/// Makes `frames/sample_00.png` and so on; of other things than images `frames-x0/…`.
///
/// # Errors
/// [`NotRecorded`](crate::error::Error::NotRecorded) when the run has nothing of what is asked; when the settings cannot be, when a picture cannot
/// be read or a file not be written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<()> {
    let pace = super::animate::Pace { every: options.every, ..Default::default() };
    pace.check()?;
    let look = Look { size: options.size, captions: options.captions };
    let panels = Panels::open(&[run], &[options.shown], options.batch, look)?;
    let steps = pace.choose(&panels.steps());
    let kind = if options.shown == Shown::Images { String::new() } else { format!("-{}", options.shown) };
    let folder = format!("{FOLDER}{kind}{}", words::batch_suffix(options.batch));
    let digits = steps.len().saturating_sub(1).to_string().len().max(2);
    for (number, &step) in steps.iter().enumerate() {
        let as_recorded = options.size == Size::Native && !options.captions && options.shown != Shown::Latents;
        // The first of two passes is smaller: a sequence has one size.
        let what = options.shown.quantity();
        let recorded = match as_recorded && !sizes::is_small(run, step) {
            true => run.picture_file(step, what, options.batch)?,
            false => None,
        };
        let draw = || step_png(&panels.draw(step)?, run.record(), options.batch, (step, what));
        let bytes = recorded.map_or_else(draw, Ok)?;
        outputs.write(&format!("{folder}/sample_{number:0digits$}.png"), &bytes)?;
    }
    panels.remarks().into_iter().for_each(|remark| outputs.remark(remark));
    remark_older(outputs, steps.len())
}

/// Says so when files of an earlier export with more pictures lie behind the ones just written.
fn remark_older(outputs: &mut Outputs, count: usize) -> Result<()> {
    let Some(folder) = outputs.written().last().and_then(|path| path.parent()).map(std::path::Path::to_path_buf) else {
        return Ok(());
    };
    let is_sample = |name: &str| name.starts_with("sample_") && name.ends_with(".png");
    let entries = std::fs::read_dir(&folder).at("read", &folder)?.flatten();
    let there = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_sample)).count();
    if there > count {
        outputs.remark(format!("`{}` also holds {} older pictures", folder.display(), there - count));
    }
    Ok(())
}
