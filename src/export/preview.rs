//! How far a 4×3 matrix gets: latents to colours by a linear map, beside what the decoder made of them.
//!
//! Enters: a run with decoded pictures, or any run and a map that was fitted before. Leaves: the map (least squares of
//! the decoded pictures' 8×8 means on the latents), R² and PSNR per step, and an animation of both side by side. Steps are
//! read one at a time, twice: to fit, and to measure and draw.

use super::animate::{Files, Pace, animate};
use super::encode::AnimationFormat;
use super::footer::{FOOTER_PROMPT, with_footer};
use super::panels::{DARK, Shown, Size};
use super::{Outputs, latents, measures, settings, sizes, words};
use crate::arithmetic::decibels;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::record::schema;
use crate::trace::reader::Run;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::linear_map::{LinearFit, LinearMap, block_means};
use crate::viz::pixels::{fit, magnify, side_by_side, to_unit};
use image::RgbImage;
use ndarray::{Array3, ArrayView3, s};
use serde::Serialize;

/// The highest PSNR that is told apart, in decibels.
const BEST_PSNR: f64 = 99.0;

/// A preview.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What is previewed: [`Shown::Images`] or [`Shown::X0`].
    pub shown: Shown,
    /// A map fitted before; `None` fits one on the run's own pictures.
    pub map: Option<LinearMap>,
    /// Speed and steps of the animation.
    pub pace: Pace,
    /// The animation's files.
    pub formats: Vec<AnimationFormat>,
    /// How large each picture becomes.
    pub size: Size,
    /// Words below the pictures.
    pub captions: bool,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        let (formats, size) = (vec![AnimationFormat::Mp4], Size::default());
        Options { shown: Shown::Images, map: None, pace: Pace::default(), formats, size, captions: true, batch: 0 }
    }
}

/// How well the map does on a step that was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// The step.
    pub step: usize,
    /// 1 − Σ(error²) / Σ(distance from the step's mean colour²), at the latents' resolution, before clipping. 1 is
    /// perfect, 0 is no better than one colour, less is worse than that. None where the decoded picture has one colour.
    pub r2: Option<f64>,
    /// Peak signal to noise ratio in decibels between preview and decoded picture, 8 bit each, brought to the latents'
    /// resolution by averaging; at most 99.
    pub psnr_small: f64,
    /// The same at full resolution, each latent a square.
    pub psnr_full: f64,
}

/// A map, and how it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Graded {
    /// The map.
    pub map: LinearMap,
    /// Whether it was fitted on this run.
    pub fitted_here: bool,
    /// Per decoded step; empty for a run that was not decoded.
    pub steps: Vec<Row>,
}

/// The preview with the default settings, of the latents' pictures or else of the predicted originals', for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    match make(run, &Options::default(), outputs) {
        Err(error @ Error::NotRecorded { .. }) => {
            let x0 = make(run, &Options { shown: Shown::X0, ..Options::default() }, outputs);
            x0.map(drop).map_err(|_| error)
        }
        other => other.map(drop),
    }
}

/// Fits a map if none is given, grades it, and makes `preview-WHAT.mp4`, `.gif`, … and `preview-WHAT.json` (the map and
/// the table).
///
/// # Errors
/// [`Error::NotRecorded`] when the run lacks the tensors, or the pictures that a fit needs; when the latents do not
/// determine a map, when a step cannot be read or a file not be written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<Graded> {
    options.pace.check()?;
    words::check_batch(run, options.batch)?;
    let what = options.shown.quantity();
    let decoded = run.pictured_steps(what, options.batch)?;
    let fitted_here = options.map.is_none();
    let map = match &options.map {
        Some(map) => map.clone(),
        None => {
            let (map, left_out) = fit_map(run, what, options.batch)?;
            left_out.into_iter().for_each(|remark| outputs.remark(remark));
            map
        }
    };
    let mut graded = Graded { map, fitted_here, steps: vec![] };
    let steps = with_tensors(run, what, options.batch, if decoded.is_empty() { run.steps()? } else { decoded })?;
    let name = format!("preview-{}{}", options.shown, words::batch_suffix(options.batch));
    let (map, rows) = (&graded.map, &mut graded.steps);
    let chosen = options.pace.choose(&steps);
    let files = Files { name: &name, formats: &options.formats, dither: true };
    animate(outputs, files, &options.pace, &chosen, |step| {
        let (frame, row) = draw(run, step, map, options)?;
        rows.extend(row);
        Ok(frame)
    })?;
    // The table has every decoded step, whichever the animation shows.
    for &step in steps.iter().filter(|step| !chosen.contains(step)) {
        rows.extend(grade(run, step, map, options)?.and_then(|graded| graded.row));
    }
    rows.sort_unstable_by_key(|row| row.step);
    let text = serde_json::to_string_pretty(&graded).map_err(|e| Error::bad_file(run.name(), "preview record", e))?;
    outputs.write(&format!("{name}.json"), (text + "\n").as_bytes())?;
    if graded.steps.is_empty() {
        outputs
            .remark(format!("`{}` was not decoded: there is nothing to grade the map against", run.name().display()));
    }
    steps.last().and_then(|last| words::unfinished(run, *last)).into_iter().for_each(|note| outputs.remark(note));
    Ok(graded)
}

/// The tensor as the decoder is given it but for the scaling factor: latents in the model's variance.
pub(crate) fn tensor(run: &Run, step: usize, what: Quantity, batch: usize) -> Result<Option<Array3<f32>>> {
    let settings = latents::PaintSettings { what, batch, ..latents::PaintSettings::default() };
    Ok(latents::read(run, step, &settings)?.map(|(values, _)| values))
}

fn with_tensors(run: &Run, what: Quantity, batch: usize, steps: Vec<usize>) -> Result<Vec<usize>> {
    let whole = run.steps()?;
    let mut there = vec![];
    for step in steps {
        // The picture of a step comes before its tensors: a killed run may have the one without the other.
        if whole.binary_search(&step).is_ok() && tensor(run, step, what, batch)?.is_some() {
            there.push(step);
        }
    }
    if there.is_empty() { Err(measures::not_recorded(run, &[what])) } else { Ok(there) }
}

/// The map that is fitted on a run's own pictures of `what`, and a remark for each step that was left out.
///
/// # Errors
/// [`Error::NotRecorded`] when the run lacks the tensors or the pictures; when the latents do not determine a map, or a
/// step cannot be read.
pub fn fit_map(run: &Run, what: Quantity, batch: usize) -> Result<(LinearMap, Vec<String>)> {
    let missing = |error: Error| match error {
        Error::NotRecorded { message, hint } => {
            Error::NotRecorded { message, hint: format!("{hint}; or use a map of another run: `--map FILE`") }
        }
        other => other,
    };
    let decoded = words::pictured(run, what, batch).map_err(missing)?;
    let (mut sums, mut left_out) = (LinearFit::default(), vec![]);
    for step in with_tensors(run, what, batch, decoded)? {
        let (Some(values), Some(picture)) = (tensor(run, step, what, batch)?, run.picture(step, what, batch)?) else {
            continue;
        };
        if values.iter().any(|value| !value.is_finite()) {
            left_out.push(format!("step {step} holds numbers that are not finite and is left out of the fit"));
            continue;
        }
        let file = run.name().join(schema::step_file(step));
        sums.push(values.view(), to_unit(&picture).view()).map_err(|error| error.blaming(&file))?;
    }
    Ok((sums.solve()?, left_out))
}

/// A step as the map sees it, as it was decoded, and how far apart the two are.
struct Compared {
    preview: RgbImage,
    decoded: Option<RgbImage>,
    row: Option<Row>,
}

fn grade(run: &Run, step: usize, map: &LinearMap, options: &Options) -> Result<Option<Compared>> {
    let what = options.shown.quantity();
    let Some(values) = tensor(run, step, what, options.batch)? else { return Ok(None) };
    let colours = map.colours(values.view())?;
    let preview = map.paint(values.view())?;
    let decoded = run.picture(step, what, options.batch)?;
    let row = decoded.as_ref().map(|decoded| row(step, colours.view(), &preview, decoded)).transpose()?;
    Ok(Some(Compared { preview, decoded, row }))
}

fn row(step: usize, colours: ArrayView3<'_, f32>, preview: &RgbImage, decoded: &RgbImage) -> Result<Row> {
    let (width, height) = preview.dimensions();
    let block = decoded.width() / width.max(1);
    if block == 0 || decoded.dimensions() != (width * block, height * block) {
        let found = format!("{}×{} pixels for {width}×{height} latents", decoded.width(), decoded.height());
        return Err(Error::invalid(format!("the decoded picture of step {step} has {found}"), "was it edited?"));
    }
    let truth = to_unit(decoded);
    let small = block_means(truth.view(), block as usize);
    let preview = to_unit(preview);
    let (mut error, mut spread) = (0.0, 0.0);
    for colour in 0..3 {
        let plane = small.slice(s![colour, .., ..]);
        let mean = plane.mean().unwrap_or(0.0);
        error +=
            plane.iter().zip(colours.slice(s![colour, .., ..])).map(|(t, c)| (t - f64::from(*c)).powi(2)).sum::<f64>();
        spread += plane.iter().map(|t| (t - mean).powi(2)).sum::<f64>();
    }
    let squares_small = small.iter().zip(&preview).map(|(t, p)| (t - f64::from(*p)).powi(2)).sum::<f64>();
    // Within a square, the preview is one colour: Σ(t − p)² over its pixels.
    let block = block as usize;
    let squares_full = truth.indexed_iter().map(|((c, y, x), t)| {
        let p = preview[[c, y / block, x / block]];
        f64::from(t - p).powi(2)
    });
    Ok(Row {
        step,
        r2: (spread > 1e-9).then(|| 1.0 - error / spread),
        psnr_small: psnr(squares_small / small.len() as f64),
        psnr_full: psnr(squares_full.sum::<f64>() / truth.len() as f64),
    })
}

fn psnr(mean_square: f64) -> f64 {
    decibels(mean_square).min(BEST_PSNR)
}

/// The preview, and the decoded picture beside it if there is one.
fn draw(run: &Run, step: usize, map: &LinearMap, options: &Options) -> Result<(RgbImage, Option<Row>)> {
    let what = options.shown.quantity();
    let compared = grade(run, step, map, options)?.ok_or_else(|| measures::not_recorded(run, &[what]))?;
    let Compared { preview, decoded, row } = compared;
    let preview = sizes::picture_of_latents(run, step, preview);
    let decoded = decoded.map(|decoded| sizes::picture(run, step, decoded));
    let scale = run.record().model.vae_scale_factor.clamp(1, 64) as u32;
    let (width, height) =
        decoded.as_ref().map_or((preview.width() * scale, preview.height() * scale), RgbImage::dimensions);
    let cell = options.size.apply(&RgbImage::new(width, height)).dimensions();
    let enlarged = fit(&magnify(&preview, width / preview.width().max(1)), cell);
    let mut parts = vec![enlarged];
    parts.extend(decoded.map(|decoded| fit(&decoded, cell)));
    if options.captions {
        let style = CaptionStyle { lines: 2, ..CaptionStyle::for_width(cell.0) };
        let numbers = latents::caption(run, step, what, &style, cell.0);
        let quality = row.map(|row| format!("PSNR {:.1} dB", row.psnr_full)).unwrap_or_default();
        for (part, caption) in parts
            .iter_mut()
            .zip([format!("linear map\n{quality}"), format!("{}\n{numbers}", words::decoder(run, step, what))])
        {
            let caption = if row.is_none() { format!("linear map\n{numbers}") } else { caption };
            *part = with_caption(part, &caption, &style);
        }
    }
    let frame = if parts.len() == 1 { parts.remove(0) } else { side_by_side(&parts, 8, DARK) };
    let about = settings::about(run, options.batch, FOOTER_PROMPT);
    Ok((if options.captions { with_footer(&frame, &about) } else { frame }, row))
}
