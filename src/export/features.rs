//! What a layer holds, as colours: the three principal components of a recorded site, or three of its channels, over the
//! steps of a run or of several.
//!
//! Enters: runs whose site was kept (`--sites`). Leaves: an animation beside the decoded pictures, a sheet of some steps,
//! and `features-SITE.json`. Rows are places, `channels` numbers each:
//!
//! ```text
//! run     the rows of all steps of all runs, less their mean; components: eigenvectors of rowsᵀ·rows
//! step    the rows of each step, less their mean; its components turned (orthogonal Procrustes) towards the step before
//! colour  row · component, each of the three in its own range
//! ```

mod basis;
mod draw;

use super::encode::AnimationFormat;
use super::latents::DEFAULT_SIZE;
use super::panels::Size;
use super::{Outputs, animate::Pace};
use crate::error::{Error, Result};
use crate::record::layers::{SITES_FOLDER, site_file};
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::latents::ChannelTriple;
use crate::viz::normalise::Normalisation;
pub use basis::Features;
use ndarray::{Array3, Axis};
use serde_json::json;
use std::str::FromStr;

/// Where the components come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fit {
    /// All steps of all runs: the same colour is the same thing everywhere.
    #[default]
    Run,
    /// Each step by itself, turned towards the step before.
    Step,
}

impl Fit {
    const ALL: [(&str, Fit); 2] = [("run", Fit::Run), ("step", Fit::Step)];
}

impl FromStr for Fit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let hit = Fit::ALL.into_iter().find(|(known, _)| *known == name);
        hit.map(|(_, fit)| fit).ok_or_else(|| Error::unknown("fit", name, Fit::ALL.map(|(known, _)| known)))
    }
}

/// What is shown, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The site's key.
    pub site: String,
    /// Where the components come from.
    pub fit: Fit,
    /// Three channels instead of components.
    pub channels: Option<ChannelTriple>,
    /// How each colour's range is chosen.
    pub normalise: Normalisation,
    /// The animation's files.
    pub formats: Vec<AnimationFormat>,
    /// Whether there is a sheet too.
    pub sheet: bool,
    /// Speed and steps.
    pub pace: Pace,
    /// How large each picture becomes.
    pub size: Size,
    /// Words below the pictures.
    pub captions: bool,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Options {
    /// The usual, for a site.
    pub fn of(site: &str) -> Options {
        Options {
            site: site.into(),
            fit: Fit::default(),
            channels: None,
            normalise: Normalisation::Percentile(1.0),
            formats: vec![AnimationFormat::Mp4, AnimationFormat::Gif],
            sheet: true,
            pace: Pace::default(),
            size: Size::Within(DEFAULT_SIZE / 2),
            captions: true,
            batch: 0,
        }
    }
}

/// Makes `features-SITE.mp4`, …, `.png` and `.json`; of several runs `features-SITE-compared`.
///
/// # Errors
/// [`Error::NotRecorded`] when a run has no such site; when it has too few channels, differs between runs, lies on no
/// image, or a file cannot be read or written.
pub fn make(runs: &[&Run], options: &Options, outputs: &mut Outputs) -> Result<()> {
    options.pace.check()?;
    let features = Features::prepare(runs, options)?;
    let several = if runs.len() > 1 { "-compared" } else { "" };
    let name = format!("features-{}{several}", options.site);
    if options.sheet {
        outputs.write(&format!("{name}.png"), &png_bytes(&draw::sheet(&features, runs, options)?)?)?;
    }
    draw::animation(&features, runs, options, &name, outputs)?;
    let text = serde_json::to_string_pretty(&json!(features)).map_err(|e| Error::Broken(e.to_string()))?;
    outputs.write(&format!("{name}.json"), (text + "\n").as_bytes())
}

/// The site's values at a step, `[channels, height, width]`, if they are there.
///
/// # Errors
/// When they cannot be read, or the batch has no such picture.
pub(super) fn values(run: &Run, step: usize, options: &Options) -> Result<Option<Array3<f32>>> {
    let Some(all) = run.site(step, &options.site)? else { return Ok(None) };
    super::words::check_batch(run, options.batch)?;
    if options.batch >= all.len_of(Axis(0)) {
        let (file, batch) = (run.name().join(site_file(step)), options.batch);
        let message = format!("`{}` in `{}` has no picture {batch}", options.site, file.display());
        return Err(Error::invalid(message, "pictures of a batch are counted from 0"));
    }
    Ok(Some(all.index_axis_move(Axis(0), options.batch)))
}

/// Says that a run has no such site, and what it has.
fn not_kept(run: &Run, site: &str) -> Result<Error> {
    let first = run.site_steps()?.first().copied();
    let keys = first.map_or(Ok(vec![]), |step| run.site_keys(step))?;
    let hint = match keys.as_slice() {
        [] => format!("trace again with `--sites {site}`; `sdviz inspect --sites` lists the sites"),
        keys => format!("`{}` holds {}", run.name().join(SITES_FOLDER).display(), keys.join(", ")),
    };
    Ok(Error::NotRecorded { message: format!("`{}` did not keep the site `{site}`", run.name().display()), hint })
}
