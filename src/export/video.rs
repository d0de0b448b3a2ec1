//! Videos of a run: its decoded pictures, its predictions, its latents, alone or side by side.
//!
//! Enters: one run, or several to be compared. Leaves: `video-WHAT.mp4`, `.gif`, `.webp`, `.apng`.

use super::animate::{Files, Pace, animate};
use super::encode::AnimationFormat;
use super::panels::{Look, Panels, Shown, Size};
use super::{Outputs, words};
use crate::error::Result;
use crate::record::plan::Quantity;
use crate::trace::reader::Run;

/// A video.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What to show, from left to right.
    pub shown: Vec<Shown>,
    /// Speed and steps.
    pub pace: Pace,
    /// The files to write.
    pub formats: Vec<AnimationFormat>,
    /// Size and captions.
    pub look: Look,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        let formats = vec![AnimationFormat::Mp4, AnimationFormat::Gif];
        let look = Look { size: Size::default(), captions: true };
        Options { shown: vec![Shown::Images], pace: Pace::default(), formats, look, batch: 0 }
    }
}

/// The pictures, and beside the predicted originals where they were decoded, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let has = |what| run.pictured_steps(what, 0).map(|steps| !steps.is_empty());
    let (images, x0) = (has(Quantity::Latents)?, has(Quantity::PredictedOriginal)?);
    let kinds: &[&[Shown]] = match (images, x0) {
        (_, false) => &[&[Shown::Images]],
        (true, true) => &[&[Shown::Images], &[Shown::Images, Shown::X0]],
        (false, true) => &[&[Shown::X0]],
    };
    for shown in kinds {
        let mut options = Options { shown: shown.to_vec(), ..Options::default() };
        if shown.len() > 1 {
            // Two pictures wide, a GIF is many times the MP4's size, and coarser.
            options.formats.retain(|format| *format == AnimationFormat::Mp4);
        }
        make(&[run], &options, outputs)?;
    }
    Ok(())
}

/// Makes the video of `runs`, the first of which is the one that the file belongs to.
///
/// # Errors
/// [`NotRecorded`](crate::error::Error::NotRecorded) when a run has nothing of what is asked; when the settings cannot be, when a picture cannot be
/// read or a file not be written.
pub fn make(runs: &[&Run], options: &Options, outputs: &mut Outputs) -> Result<()> {
    options.pace.check()?;
    let panels = Panels::open(runs, &options.shown, options.batch, options.look)?;
    let steps = panels.steps();
    let name = file_name(runs, options);
    // Squares of one colour stay that; gradients shall not band.
    let dither = options.shown.iter().any(|shown| *shown != Shown::Latents);
    let files = Files { name: &name, formats: &options.formats, dither };
    animate(outputs, files, &options.pace, &options.pace.choose(&steps), |step| panels.draw(step))?;
    if let [only] = steps[..] {
        outputs.remark(format!("there is one picture only, of step {only}: the video stands still"));
    }
    panels.remarks().into_iter().for_each(|remark| outputs.remark(remark));
    Ok(())
}

fn file_name(runs: &[&Run], options: &Options) -> String {
    let shown: Vec<&str> = options.shown.iter().map(|shown| shown.name()).collect();
    let others = match runs.len() {
        0 | 1 => String::new(),
        _ => "-compared".into(),
    };
    format!("video-{}{others}{}", shown.join("-"), words::batch_suffix(options.batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn unknown_kinds_are_refused_by_name() {
        let error = "image".parse::<Shown>().map_err(|e: Error| e.to_string());
        assert_eq!(error, Err("unknown kind of picture `image`; did you mean `images`?".to_string()));
    }
}
