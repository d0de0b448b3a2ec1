//! Latents as colours: three of their channels as red, green and blue, one pixel per latent, no decoder.
//!
//! Enters: the recorded tensors of a run. Leaves: an animation with a JSON file that records exactly what was done to the
//! numbers, or a sheet of all channels and mappings. Steps are read one at a time, twice where the range is to be found
//! first. The arithmetic, in numpy's words, so that anyone can check it (`run` is the folder's run.json, `k` a step):
//!
//! ```text
//! x     = load_file(f"steps/{k:03}.safetensors")["latents"][batch] / np.float32(run["schedule"][k]["latent_scale"])
//! lo,hi = of the float64 values of all four channels in all recorded steps (`frame`: of this step):
//!         run, frame: min, max · percentile:P: np.percentile(x, [P, 100-P]) · sigma:K: mean ∓ K·std
//! byte  = np.floor(np.clip((x.astype(np.float64) - lo) / (hi - lo), 0, 1) * 255 + 0.5).astype(np.uint8)
//! pixel = byte[[R, G, B]], each repeated zoom × zoom times
//! ```
//!
//! In a run with a second, larger pass, the first pass's latents are repeated to its size before: `zoom` is the second's.

use super::animate::{Files, Pace, animate};
use super::encode::AnimationFormat;
use super::footer::{FOOTER_PROMPT, with_footer};
use super::settings::about;
use super::{Outputs, measures, sizes, words};
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::latents::{ChannelTriple, contact_sheet, paint};
use crate::viz::normalise::{Clipping, Normalisation, Range, RangeFinder, Ranges};
use crate::viz::pixels::{magnification, magnify};
use image::RgbImage;
use ndarray::{Array3, Axis};
use serde::Serialize;

/// The side of the square that pictures are magnified to, in pixels, unless another one is asked for.
pub const DEFAULT_SIZE: u32 = 512;
/// The largest side that can be asked for.
pub const LARGEST_SIZE: u32 = 8192;

/// How numbers become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaintSettings {
    /// Which recorded tensor.
    pub what: Quantity,
    /// The channels shown as red, green and blue.
    pub channels: ChannelTriple,
    /// How the range is chosen.
    pub normalise: Normalisation,
    /// Leave the latents as the scheduler holds them, instead of dividing by the level's `latent_scale` to the variance
    /// that the model sees. The other quantities are never divided.
    pub raw: bool,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Default for PaintSettings {
    fn default() -> Self {
        let (channels, normalise) = (ChannelTriple::default(), Normalisation::default());
        PaintSettings { what: Quantity::Latents, channels, normalise, raw: false, batch: 0 }
    }
}

/// An animation of latents.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How numbers become colours.
    pub settings: PaintSettings,
    /// Speed and steps.
    pub pace: Pace,
    /// The files to write.
    pub formats: Vec<AnimationFormat>,
    /// The square to magnify into, in pixels: by the largest whole number that fits, 1 at the least.
    pub size: u32,
    /// Write step, timestep and σ below.
    pub captions: bool,
}

impl Default for Options {
    fn default() -> Self {
        let formats = vec![AnimationFormat::Mp4, AnimationFormat::Gif, AnimationFormat::Apng];
        Options {
            settings: PaintSettings::default(),
            pace: Pace::default(),
            formats,
            size: DEFAULT_SIZE,
            captions: true,
        }
    }
}

/// What was done to the numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FrameRecord {
    /// The step.
    pub step: usize,
    /// What the latents were divided by; 1 for nothing.
    pub divided_by: f64,
    /// Became 0.
    pub lo: f64,
    /// Became 255.
    pub hi: f64,
    /// Share of the shown values (three per pixel) outside lo..hi.
    pub clipped_values: f64,
    /// Share of the pixels with such a value.
    pub clipped_pixels: f64,
    /// Shown values that are not numbers; they are painted as 0.
    pub not_a_number: usize,
}

/// The file beside the animation.
#[derive(Debug, Serialize)]
struct Record {
    what: Quantity,
    batch: usize,
    /// Red, green and blue; none on the sheet, which shows every one.
    channels: Option<[usize; 3]>,
    normalise: Normalisation,
    /// The range of all frames; none where each has its own.
    range: Option<Range>,
    formula: [&'static str; 3],
    pixels_per_latent: Option<u32>,
    clipped_values: f64,
    clipped_pixels: f64,
    frames: Vec<FrameRecord>,
}

/// In the record's words, as at the head of this file.
const FORMULA: [&str; 3] = [
    "x = tensor[batch] / float32(divided_by)",
    "byte = floor(clip((float64(x) - lo) / (hi - lo), 0, 1) * 255 + 0.5)",
    "lo and hi are chosen from all four channels, of all recorded steps or, with `frame`, of the step",
];

/// Numbers to colours, with the range found.
#[derive(Debug, Clone, Copy)]
pub struct Painter {
    settings: PaintSettings,
    ranges: Ranges,
}

impl Painter {
    /// Reads through the runs and finds the range, one for all of them. Also gives the steps of each run that have the
    /// tensor.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] when a run has no such tensor; when a channel is not there or a step cannot be read.
    pub fn prepare(runs: &[&Run], settings: PaintSettings) -> Result<(Painter, Vec<Vec<usize>>)> {
        let mut finder = RangeFinder::new(settings.normalise);
        let mut steps = vec![];
        for run in runs {
            words::check_batch(run, settings.batch)?;
            let mut there = vec![];
            for step in run.steps()? {
                let Some((values, _)) = read(run, step, &settings)? else { continue };
                if there.is_empty() {
                    paint(
                        values.view().slice_move(ndarray::s![.., ..1, ..1]),
                        settings.channels,
                        Range { lo: 0.0, hi: 1.0 },
                    )?;
                }
                if finder.needs_data() {
                    finder.push(values.iter().copied());
                }
                there.push(step);
            }
            if there.is_empty() {
                return Err(measures::not_recorded(run, &[settings.what]));
            }
            steps.push(there);
        }
        Ok((Painter { settings, ranges: finder.finish()? }, steps))
    }

    /// A step's picture, one pixel per latent (of the second pass, where there is one), and what was done to the numbers.
    ///
    /// # Errors
    /// When the step cannot be read or does not have the tensor.
    pub fn paint(&self, run: &Run, step: usize) -> Result<(RgbImage, FrameRecord)> {
        let (values, divided_by, range) = self.step(run, step)?;
        let picture = paint(values.view(), self.settings.channels, range)?;
        let picture = sizes::picture_of_latents(run, step, picture);
        Ok((picture, record(step, divided_by, range, &values, &self.settings.channels.0)))
    }

    fn step(&self, run: &Run, step: usize) -> Result<(Array3<f32>, f64, Range)> {
        let found = read(run, step, &self.settings)?;
        let (values, divided_by) = found.ok_or_else(|| measures::not_recorded(run, &[self.settings.what]))?;
        let range = self.ranges.for_frame(values.iter().copied());
        Ok((values, divided_by, range))
    }

    /// Channels and range in words.
    pub fn describe(&self) -> String {
        let PaintSettings { what, channels, normalise, raw, .. } = self.settings;
        let raw = if raw { ", as the scheduler holds them" } else { "" };
        let what = if what == Quantity::PredictedOriginal { "x₀ as predicted".into() } else { what.to_string() };
        format!("{what}: channels {channels} as red, green, blue, {} ({normalise}){raw}", self.ends())
    }

    fn whole(&self) -> Option<Range> {
        match self.ranges {
            Ranges::Whole(range) => Some(range),
            Ranges::PerFrame => None,
        }
    }

    fn ends(&self) -> String {
        match self.whole() {
            Some(range) => format!("{} to {}", words::short(range.lo), words::short(range.hi)).replace('-', "−"),
            None => "each frame in its own range".into(),
        }
    }
}

/// The tensor of a step, `[4, height/8, width/8]`, and what it was divided by.
pub(super) fn read(run: &Run, step: usize, settings: &PaintSettings) -> Result<Option<(Array3<f32>, f64)>> {
    let Some(mut values) = run.tensor(step, settings.what, settings.batch)? else { return Ok(None) };
    let scale = match run.level(step) {
        Some(level) if settings.what == Quantity::Latents && !settings.raw => level.latent_scale,
        _ => 1.0,
    };
    values /= scale as f32;
    Ok(Some((values, scale)))
}

fn record(step: usize, divided_by: f64, range: Range, values: &Array3<f32>, channels: &[usize]) -> FrameRecord {
    let mut clipping = Clipping::default();
    let (_, height, width) = values.dim();
    let mut pixels = 0;
    for y in 0..height {
        for x in 0..width {
            let here = range.clipping(channels.iter().map(|&channel| values[[channel, y, x]]));
            pixels += usize::from(here.below + here.above > 0);
            clipping += here;
        }
    }
    let clipped_pixels = pixels as f64 / (height * width).max(1) as f64;
    let (clipped_values, not_a_number) = (clipping.share(), clipping.nan);
    FrameRecord { step, divided_by, lo: range.lo, hi: range.hi, clipped_values, clipped_pixels, not_a_number }
}

/// The animation with the default settings, and the sheet of the last step, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    make(run, &Options::default(), outputs)?;
    make_sheet(run, &PaintSettings::default(), None, outputs)
}

/// Makes `latents-RGB.mp4`, `.gif`, … and `latents-RGB.json`, the record of what was done to the numbers.
///
/// # Errors
/// [`Error::NotRecorded`] when the run has no such tensor; when a channel is not there, when the settings cannot be, when
/// a step cannot be read or a file not be written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<()> {
    options.pace.check()?;
    check_size(options.size)?;
    let settings = &options.settings;
    let (painter, steps) = Painter::prepare(&[run], *settings)?;
    let steps = steps.into_iter().flatten().collect::<Vec<_>>();
    let name = file_name(settings, &format!("-{}", settings.channels).replace(',', ""));
    let mut frames = vec![];
    let mut zoom = 1;
    let files = Files { name: &name, formats: &options.formats, dither: false };
    let made_of = format!("{} · {}", painter.describe(), about(run, settings.batch, FOOTER_PROMPT));
    animate(outputs, files, &options.pace, &options.pace.choose(&steps), |step| {
        let (picture, record) = painter.paint(run, step)?;
        frames.push(record);
        zoom = magnification(picture.dimensions(), (options.size, options.size));
        let picture = magnify(&picture, zoom);
        if !options.captions {
            return Ok(picture);
        }
        let style = CaptionStyle::for_width(picture.width());
        let words = caption(run, step, settings.what, &style, picture.width());
        Ok(with_footer(&with_caption(&picture, &words, &style), &made_of))
    })?;
    remark_repeated(settings, outputs);
    finish(run, &painter, Some(settings.channels.0), Some(zoom), frames, &name, outputs)?;
    steps.last().and_then(|last| words::unfinished(run, *last)).into_iter().for_each(|note| outputs.remark(note));
    Ok(())
}

/// Makes `latents-sheet.png`: the four channels of one step (by default the last one) and all 24 ways to show three of
/// them, with a record beside it. The range is chosen as for the animation.
///
/// # Errors
/// As [`make`]; also when that step is not there.
pub fn make_sheet(run: &Run, settings: &PaintSettings, step: Option<usize>, outputs: &mut Outputs) -> Result<()> {
    let (painter, steps) = Painter::prepare(&[run], *settings)?;
    let steps = steps.into_iter().flatten().collect::<Vec<_>>();
    let last = steps.last().copied().unwrap_or(0);
    let step = step.unwrap_or(last);
    if !steps.contains(&step) {
        return Err(Error::invalid(
            format!("`{}` has no {} of step {step}", run.name().display(), settings.what),
            format!("its steps go from {} to {last}", steps.first().copied().unwrap_or(0)),
        ));
    }
    let (values, divided_by, range) = painter.step(run, step)?;
    let place = words::place_in_run(run, step, settings.what).join(" · ");
    let range_words = format!("{} to {}", words::short(range.lo), words::short(range.hi)).replace('-', "−");
    let first = format!("{} · {place} · range {range_words} ({})", settings.what, settings.normalise);
    let title = format!("{first}\n{}", about(run, settings.batch, FOOTER_PROMPT));
    let sheet = contact_sheet(values.view(), range, &title)?;
    let name = file_name(settings, "-sheet");
    outputs.write(&format!("{name}.png"), &png_bytes(&sheet)?)?;
    let every: Vec<usize> = (0..values.len_of(Axis(0))).collect();
    let frames = vec![record(step, divided_by, range, &values, &every)];
    finish(run, &painter, None, None, frames, &name, outputs)
}

/// Writes the record and says what was clipped.
fn finish(
    run: &Run,
    painter: &Painter,
    channels: Option<[usize; 3]>,
    pixels_per_latent: Option<u32>,
    frames: Vec<FrameRecord>,
    name: &str,
    outputs: &mut Outputs,
) -> Result<()> {
    let mean = |share: fn(&FrameRecord) -> f64| frames.iter().map(share).sum::<f64>() / frames.len().max(1) as f64;
    let (clipped_values, clipped_pixels) = (mean(|frame| frame.clipped_values), mean(|frame| frame.clipped_pixels));
    let not_a_number: usize = frames.iter().map(|frame| frame.not_a_number).sum();
    let PaintSettings { what, batch, normalise, .. } = painter.settings;
    let range = painter.whole();
    let record = Record {
        what,
        batch,
        channels,
        normalise,
        range,
        formula: FORMULA,
        pixels_per_latent,
        clipped_values,
        clipped_pixels,
        frames,
    };
    let text = serde_json::to_string_pretty(&record)
        .map_err(|reason| Error::bad_file(run.name(), "record of latents", reason))?;
    outputs.write(&format!("{name}.json"), (text + "\n").as_bytes())?;
    outputs.remark(format!(
        "`{name}`: {} ({normalise}); clipped {} of the values, {} of the pixels",
        painter.ends(),
        words::percent(clipped_values),
        words::percent(clipped_pixels)
    ));
    if not_a_number > 0 {
        outputs.remark(format!("`{name}`: {not_a_number} values are not numbers and are painted black"));
    }
    Ok(())
}

fn remark_repeated(settings: &PaintSettings, outputs: &mut Outputs) {
    let [red, green, blue] = settings.channels.0;
    let repeated = if red == green || red == blue { Some(red) } else { (green == blue).then_some(green) };
    if let Some(channel) = repeated {
        let unseen = "the colours then show fewer than three channels";
        outputs.remark(format!("channel {channel} is shown more than once in `{}`: {unseen}", settings.channels));
    }
}

/// As many parts of the caption as there is room for.
pub(super) fn caption(run: &Run, step: usize, what: Quantity, style: &CaptionStyle, width: u32) -> String {
    let mut parts = words::place_in_run(run, step, what);
    let room = width.saturating_sub(2 * style.padding);
    while parts.len() > 1 && style.text.width(&parts.join(" · ")) > room {
        parts.pop();
    }
    parts.join(" · ")
}

/// Checks the side of the square that is asked for.
pub(super) fn check_size(size: u32) -> Result<()> {
    if (1..=LARGEST_SIZE).contains(&size) {
        return Ok(());
    }
    let hint = format!("choose from 1 to {LARGEST_SIZE} pixels");
    Err(Error::invalid(format!("cannot make pictures of `{size}` pixels"), hint))
}

/// The file's name without its extension: the settings that are not the default stand in it, so that two of them can be
/// laid side by side.
fn file_name(settings: &PaintSettings, middle: &str) -> String {
    let what = if settings.what == Quantity::Latents { String::new() } else { format!("-{}", settings.what) };
    let normalise = match settings.normalise {
        Normalisation::Run => String::new(),
        other => format!("-{}", other.to_string().replace(':', "").replace(',', "_")),
    };
    let raw = if settings.raw { "-raw" } else { "" };
    format!("latents{what}{middle}{normalise}{raw}{}", words::batch_suffix(settings.batch))
}
