//! What there is of a run, as data: the record, which tensors and pictures, ranges, curves, a linear map.
//!
//! Enters: a run. Leaves: a [`RunData`] in which everything is as it was recorded: what a server sends, and what a report
//! then reduces.

use super::super::measures::{self, Curve};
use super::super::{latents, words};
use super::attention::{self, KeptAttention};
use super::pictures;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::record::schema::{RunRecord, SiteRow, Timings};
use crate::trace::reader::Run;
use crate::viz::linear_map::{LinearFit, LinearMap};
use crate::viz::normalise::{Normalisation, Range, RangeFinder, Ranges};
use crate::viz::pixels::to_unit;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The most steps that the linear map is fitted on.
const FITTED: usize = 12;

/// A run, or one picture of its batch, as the page is given it.
#[derive(Debug, Clone, Serialize)]
pub struct RunData {
    /// Names its blocks in a page; on a server, the run.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Which picture of the batch.
    pub batch: usize,
    /// What `run.json` says, timings apart: the same plan gives the same page.
    pub record: RunRecord,
    /// The whole steps.
    pub steps: Vec<usize>,
    /// The tensors that there are.
    pub tensors: BTreeMap<Quantity, Kept>,
    /// What the words of the prompt are looked at from; none where it was not recorded.
    pub attention: Option<KeptAttention>,
    /// The decoded pictures that there are, of latents and of predicted originals.
    pub pictures: BTreeMap<Quantity, KeptPictures>,
    /// The finished picture.
    #[serde(rename = "final")]
    pub finished: Option<KeptPicture>,
    /// A linear map fitted on the run; none where nothing was decoded or no map is determined.
    pub map: Option<LinearMap>,
    /// Numbers per step.
    pub curves: Curves,
    /// The shape log.
    pub shapes: Vec<SiteRow>,
    /// What was reduced.
    pub reduced: Vec<Reduction>,
}

/// A quantity that is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kept {
    /// `f32` or `f16`.
    pub dtype: &'static str,
    /// The steps that have it.
    pub steps: Vec<usize>,
    /// Whether the page computes it from others.
    pub derived: bool,
    /// What becomes black and white.
    pub ranges: Option<RangesOf>,
}

/// The ranges of a quantity over all channels of all steps, as the exporters find them; least and greatest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RangesOf {
    /// Least and greatest number.
    pub run: [f64; 2],
    /// Percentiles 1 and 99.
    pub percentile: [f64; 2],
    /// Three standard deviations about the mean.
    pub sigma: [f64; 2],
}

/// A picture that is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptPicture {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `png` or `webp`.
    pub format: &'static str,
    /// Of WebP, 0 to 100.
    pub quality: Option<u8>,
}

/// The pictures of the steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptPictures {
    /// The steps that have one.
    pub steps: Vec<usize>,
    /// How they are kept.
    #[serde(flatten)]
    pub picture: KeptPicture,
}

/// Something that a page holds less of than the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reduction {
    /// What was done.
    pub kind: ReductionKind,
    /// The quantities, or `pictures`.
    pub of: Vec<&'static str>,
    /// Every Nth step, the side in pixels, or the quality.
    pub to: Option<u32>,
}

/// How something was reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReductionKind {
    /// Half precision instead of single.
    F16,
    /// 256 levels instead of numbers.
    Levels,
    /// Only every Nth step.
    Thinned,
    /// Fewer pixels.
    Smaller,
    /// WebP with losses.
    Lossy,
    /// Left out.
    Dropped,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let of = self.of.join(", ");
        let to = self.to.unwrap_or_default();
        match self.kind {
            ReductionKind::F16 => write!(f, "{of} in half precision"),
            ReductionKind::Levels => write!(f, "{of} in 256 levels"),
            ReductionKind::Thinned => write!(f, "{of} of one step in {to}"),
            ReductionKind::Smaller => write!(f, "{of} of {to} pixels at most"),
            ReductionKind::Lossy => write!(f, "{of} as WebP of quality {to}"),
            ReductionKind::Dropped => write!(f, "without {of}"),
        }
    }
}

/// Numbers per step, as `sdviz plot` draws them; what the record cannot give is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// By a quantity's key, and `scaled_latents`.
    pub norms: BTreeMap<&'static str, Curve>,
    /// What guidance does.
    pub guidance: Option<measures::Guidance>,
    /// How far the prediction moves.
    pub change: Option<Curve>,
    /// How far each step is from the last.
    pub distance: Option<measures::Distance>,
}

/// Says what there is of a run.
///
/// # Errors
/// When the batch has no such picture, or a step cannot be read.
pub fn describe(run: &Run, id: &str, name: &str, batch: usize) -> Result<RunData> {
    words::check_batch(run, batch)?;
    let mut tensors = BTreeMap::new();
    for what in Quantity::ALL {
        tensors.extend(kept(run, what, batch)?.map(|kept| (what, kept)));
    }
    let mut shown = BTreeMap::new();
    for what in Quantity::PICTURED {
        let steps = run.pictured_steps(what, batch)?;
        if let Some(&last) = steps.last() {
            let (width, height) = pictures::dimensions(run, last, what, batch)?;
            shown.insert(what, KeptPictures { steps, picture: png(width, height) });
        }
    }
    let record = RunRecord { timings: Timings::default(), ..run.record().clone() };
    let steps = run.steps()?;
    let finished = run.final_picture(batch)?.map(|picture| png(picture.width(), picture.height()));
    Ok(RunData {
        id: id.into(),
        name: name.into(),
        batch,
        record,
        attention: attention::describe(run, batch, &steps)?,
        steps,
        map: linear_map(run, batch)?,
        curves: curves(run, batch)?,
        shapes: run.site_rows()?,
        tensors,
        pictures: shown,
        finished,
        reduced: vec![],
    })
}

fn png(width: u32, height: u32) -> KeptPicture {
    KeptPicture { width, height, format: "png", quality: None }
}

/// The steps and the ranges of a quantity; none where no step has it.
fn kept(run: &Run, what: Quantity, batch: usize) -> Result<Option<Kept>> {
    let settings = latents::PaintSettings { what, batch, ..Default::default() };
    let rules = [Normalisation::Run, Normalisation::Percentile(1.0), Normalisation::Sigma(3.0)];
    let mut finders = rules.map(RangeFinder::new);
    let mut steps = vec![];
    for step in run.steps()? {
        let Some((values, _)) = latents::read(run, step, &settings)? else { continue };
        finders.iter_mut().for_each(|finder| finder.push(values.iter().copied()));
        steps.push(step);
    }
    if steps.is_empty() {
        return Ok(None);
    }
    // Of a run without a single finite number there is no range.
    let [whole, percentile, sigma] = finders.map(|finder| match finder.finish() {
        Ok(Ranges::Whole(Range { lo, hi })) => Some([lo, hi]),
        _ => None,
    });
    let ranges = whole.zip(percentile).zip(sigma);
    let ranges = ranges.map(|((run, percentile), sigma)| RangesOf { run, percentile, sigma });
    Ok(Some(Kept { dtype: "f32", steps, derived: false, ranges }))
}

/// A linear map fitted on some decoded steps, those of the latents where there are any.
fn linear_map(run: &Run, batch: usize) -> Result<Option<LinearMap>> {
    let whole = run.steps()?;
    for what in [Quantity::Latents, Quantity::PredictedOriginal] {
        let mut steps = run.pictured_steps(what, batch)?;
        steps.retain(|step| whole.binary_search(step).is_ok());
        let settings = latents::PaintSettings { what, batch, ..Default::default() };
        let mut sums = LinearFit::default();
        for step in words::spread(&steps, FITTED) {
            let pair = (latents::read(run, step, &settings)?, run.picture(step, what, batch)?);
            if let (Some((values, _)), Some(picture)) = pair {
                // What does not fit, or is not finite, says nothing of the map.
                let _ = sums.push(values.view(), to_unit(&picture).view());
            }
        }
        if let Ok(map) = sums.solve() {
            return Ok(Some(map));
        }
    }
    Ok(None)
}

/// The numbers per step that the record gives.
///
/// # Errors
/// When a step cannot be read.
pub fn curves(run: &Run, batch: usize) -> Result<Curves> {
    let mut norms = BTreeMap::new();
    for what in Quantity::ALL {
        norms.extend(recorded(measures::norms(run, what, batch))?.map(|curve| (what.key(), curve)));
    }
    let scaled = recorded(measures::scaled_latent_norms(run, batch))?.flatten();
    norms.extend(scaled.map(|curve| ("scaled_latents", curve)));
    Ok(Curves {
        norms,
        guidance: recorded(measures::guidance(run, batch))?,
        change: recorded(measures::change(run, batch))?,
        distance: recorded(measures::distance(run, batch))?,
    })
}

/// A measure, or none where the run has nothing for it.
pub(super) fn recorded<T>(measured: Result<T>) -> Result<Option<T>> {
    match measured {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotRecorded { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
