//! A film strip: some steps of a run on one picture, for slides and handouts.
//!
//! Enters: a run. Leaves: a PNG on white paper, the first and the last picture among the ones shown, each with its step
//! and noise level below, and a line that says what was run.

use super::panels::{Shown, Size};
use super::{Outputs, settings, sizes, words};
use crate::error::{Error, Result};
use crate::export::latents::{PaintSettings, Painter};
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use crate::viz::caption::{CaptionStyle, with_caption, with_heading};
use crate::viz::pixels::{WHITE, pad, side_by_side, stacked};
use crate::viz::text::TextStyle;
use image::{Rgb, RgbImage};

/// The most pictures on one strip.
pub const MOST_FRAMES: usize = 64;
/// The most pictures in one row unless asked otherwise.
const ROW: usize = 8;
/// The most lines above the strip.
const TITLE_LINES: usize = 4;
/// Characters of a prompt above the strip.
const PROMPT: usize = 160;
/// The letters.
const INK: Rgb<u8> = Rgb([20; 3]);

/// A film strip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What to show.
    pub shown: Shown,
    /// How many pictures.
    pub frames: usize,
    /// How many in a row; `None`: up to 8, rows of equal length.
    pub columns: Option<usize>,
    /// How large each picture becomes.
    pub size: Size,
    /// Words below the pictures and above the strip.
    pub captions: bool,
    /// Which picture of the batch.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { shown: Shown::Images, frames: 8, columns: None, size: Size::default(), captions: true, batch: 0 }
    }
}

/// The strip with the default settings, for the registry; of the latents where nothing was decoded.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let mut last = None;
    for shown in Shown::ALL {
        match make(run, &Options { shown, ..Options::default() }, outputs) {
            Err(error @ Error::NotRecorded { .. }) => last = last.or(Some(error)),
            other => return other,
        }
    }
    last.map_or(Ok(()), Err)
}

/// Makes `filmstrip-WHAT.png`.
///
/// # Errors
/// [`Error::NotRecorded`] when the run has nothing of what is asked; when the settings cannot be, when a picture cannot
/// be read or the file not be written.
pub fn make(run: &Run, options: &Options, outputs: &mut Outputs) -> Result<()> {
    let (strip, frames) = draw(run, options)?;
    let name = format!("filmstrip-{}{}.png", options.shown, words::batch_suffix(options.batch));
    outputs.write(&name, &png_bytes(&strip)?)?;
    if frames < options.frames {
        outputs.remark(format!("`{name}` has {frames} of {} pictures: there are no more", options.frames));
    }
    Ok(())
}

/// The strip, and how many pictures it has.
///
/// # Errors
/// As [`make`].
pub fn draw(run: &Run, options: &Options) -> Result<(RgbImage, usize)> {
    if !(1..=MOST_FRAMES).contains(&options.frames) {
        let message = format!("cannot make a film strip of `{}` pictures", options.frames);
        return Err(Error::invalid(message, format!("choose from 1 to {MOST_FRAMES}")));
    }
    if options.columns == Some(0) {
        return Err(Error::invalid("cannot put `0` pictures in a row", "choose 1 or more"));
    }
    let (painter, steps) = match options.shown {
        Shown::Latents => {
            let settings = PaintSettings { batch: options.batch, ..PaintSettings::default() };
            let (painter, steps) = Painter::prepare(&[run], settings)?;
            (Some(painter), steps.into_iter().flatten().collect())
        }
        shown => (None, words::pictured(run, shown.quantity(), options.batch)?),
    };
    let mut pictures = vec![];
    for step in words::spread_of(run, &steps, options.frames) {
        let picture = match &painter {
            Some(painter) => Some(painter.paint(run, step)?.0),
            None => {
                let picture = run.picture(step, options.shown.quantity(), options.batch)?;
                picture.map(|picture| sizes::picture(run, step, picture))
            }
        };
        pictures.extend(picture.map(|picture| frame(run, step, &options.size.apply(&picture), options)));
    }
    Ok((lay_out(&about(run, options, painter.as_ref()), &pictures, options), pictures.len()))
}

/// A picture with its words below, on white: the step in one line, the noise level in the next.
fn frame(run: &Run, step: usize, picture: &RgbImage, options: &Options) -> RgbImage {
    if !options.captions {
        return picture.clone();
    }
    // Large letters: on a slide, a picture is an eighth as wide as the wall.
    let text = TextStyle::new((picture.width() as f32 / 11.0).clamp(11.0, 64.0).round(), INK);
    let previewed = options.shown != Shown::Latents && run.record().model.preview.is_some();
    let lines = 2 + u32::from(previewed);
    let style = CaptionStyle { text, background: WHITE, lines, padding: (text.px / 4.0).ceil() as u32 };
    let parts = words::place_in_run(run, step, options.shown.quantity());
    // In a run of previews every frame has the line, so that all are as high.
    let decoder = previewed.then(|| format!("\n{}", words::decoder(run, step, options.shown.quantity())));
    // The step, and which pass it belongs to where there are two.
    let (first, rest) = parts.split_at(parts.len().min(1 + usize::from(run.record().hires.is_some())));
    let decoder = decoder.unwrap_or_default();
    with_caption(picture, &format!("{}\n{}{decoder}", first.join(" · "), rest.join(" · ")), &style)
}

fn lay_out(title: &str, pictures: &[RgbImage], options: &Options) -> RgbImage {
    let rows = options.columns.map_or(pictures.len().div_ceil(ROW), |columns| pictures.len().div_ceil(columns)).max(1);
    let columns = options.columns.unwrap_or(pictures.len().div_ceil(rows)).max(1);
    let width = pictures.first().map_or(1, RgbImage::width);
    let gap = (width / 32).max(2);
    let rows: Vec<RgbImage> = pictures.chunks(columns).map(|row| side_by_side(row, gap, WHITE)).collect();
    let strip = stacked(&rows, gap, WHITE);
    if !options.captions {
        return pad(&strip, [gap; 4], WHITE);
    }
    let style = TextStyle::new((strip.width() as f32 / 60.0).clamp(11.0, 72.0).round(), INK).bold();
    pad(&with_heading(&strip, title, &style, TITLE_LINES, gap / 2), [gap; 4], WHITE)
}

/// What was run, and what is seen of it where that is not the decoded latents.
fn about(run: &Run, options: &Options, painter: Option<&Painter>) -> String {
    let settings = settings::about(run, options.batch, PROMPT);
    match (options.shown, painter) {
        (_, Some(painter)) => format!("{settings} · {}", painter.describe()),
        (Shown::X0, _) => format!("{settings} · x₀, the clean picture that each step predicts"),
        _ => settings,
    }
}
