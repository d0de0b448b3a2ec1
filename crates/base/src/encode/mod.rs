//! Animation encoders: pictures in, one at a time, and a video or an animated image out.
//!
//! Enters: [`RgbImage`]s of one size, each with the number of frame periods it is shown. Leaves: one file, written under
//! a temporary name beside the target and renamed when it is whole, so a file of the asked name is never a broken one;
//! a writer that is dropped unfinished takes its temporary file with it. No encoder keeps a frame longer than it needs
//! to: memory does not grow with the length of the animation. This file is the only registry: a new format is a file,
//! a line in [`AnimationFormat::ALL`] and an arm in each of three matches.

mod apng;
mod gif;
mod gif_palette;
mod mp4;
mod mp4_boxes;
mod partial;
mod webp;
mod yuv;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;

use crate::error::{Error, Result};

/// The slowest and the fastest animation, in frames per second.
pub const FPS_RANGE: std::ops::RangeInclusive<f64> = 0.1..=60.0;

/// A file format for animations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnimationFormat {
    /// H.264 in MP4: plays everywhere, small, colours at half resolution.
    Mp4,
    /// GIF: plays everywhere, 256 colours per frame, delays in hundredths of a second.
    Gif,
    /// Animated WebP: plays in browsers, exact pixels unless asked otherwise.
    WebP,
    /// Animated PNG: plays in browsers, exact pixels, large.
    Apng,
}

impl AnimationFormat {
    /// Every format.
    pub const ALL: [AnimationFormat; 4] =
        [AnimationFormat::Mp4, AnimationFormat::Gif, AnimationFormat::WebP, AnimationFormat::Apng];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            AnimationFormat::Mp4 => "mp4",
            AnimationFormat::Gif => "gif",
            AnimationFormat::WebP => "webp",
            AnimationFormat::Apng => "apng",
        }
    }

    /// The file name's extension, without the dot. An animated PNG is a PNG with more in it, and keeps its name apart
    /// from a still picture's by `.apng`, which browsers and viewers know.
    pub fn extension(self) -> &'static str {
        self.name()
    }
}

impl fmt::Display for AnimationFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AnimationFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = AnimationFormat::ALL;
        let hit = known.into_iter().find(|format| format.name().eq_ignore_ascii_case(text));
        hit.ok_or_else(|| Error::unknown("animation format", text, known.map(AnimationFormat::name)))
    }
}

/// What can be chosen about an animation beside its size and speed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnimationOptions {
    /// GIF, WebP and APNG: begin again at the end, for ever; else stop on the last frame. An MP4 leaves that to the
    /// player.
    pub loop_forever: bool,
    /// GIF: diffuse the rounding error of the 256 colours (Floyd–Steinberg), so that smooth gradients do not band.
    /// Frames of 256 colours or fewer are exact either way.
    pub dither: bool,
    /// WebP: quality 0..=100 of lossy coding; `None` keeps every pixel exactly.
    pub webp_quality: Option<f32>,
}

impl Default for AnimationOptions {
    fn default() -> Self {
        AnimationOptions { loop_forever: true, dither: true, webp_quality: None }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The finished file.
    pub path: PathBuf,
    /// Its format.
    pub format: AnimationFormat,
    /// Frame periods shown, holds included.
    pub periods: usize,
    /// Width and height in the file, which for MP4 may be more than was asked: even, and 16 at the least.
    pub size: (u32, u32),
    /// The seconds that one frame period really takes: 1/fps as exactly as the format can say it.
    pub period: f64,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// What the format could not do as asked, in words for the user; empty when all is as asked.
    pub remarks: Vec<String>,
}

impl Written {
    /// The length of the animation in seconds.
    pub fn duration(&self) -> f64 {
        self.period * self.periods as f64
    }
}

/// Takes pictures one by one and makes one file of them.
pub trait AnimationWriter: Send {
    /// Appends `frame`, shown for `hold` frame periods (at least 1). An error if its size is not the announced one, or
    /// if the file cannot be written; the animation is then lost.
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()>;

    /// Completes the file and gives it its name, replacing what was there. An error if no frame came.
    fn finish(self: Box<Self>) -> Result<Written>;
}

/// Begins an animation of `size` (width, height) pixels at `fps` frame periods per second in `path`.
///
/// Errors, before any frame is drawn: a speed outside [`FPS_RANGE`], a size that the format cannot hold, a folder that
/// is missing or may not be written to.
pub fn create(
    format: AnimationFormat,
    path: &Path,
    size: (u32, u32),
    fps: f64,
    options: &AnimationOptions,
) -> Result<Box<dyn AnimationWriter>> {
    if !FPS_RANGE.contains(&fps) {
        let message = format!("cannot animate at `{fps}` frames per second");
        let hint = format!("choose between {} and {}", FPS_RANGE.start(), FPS_RANGE.end());
        return Err(Error::invalid(message, hint));
    }
    if size.0 == 0 || size.1 == 0 {
        return Err(Error::invalid(
            format!("cannot animate pictures of {}×{} pixels", size.0, size.1),
            "a picture needs at least one pixel",
        ));
    }
    let plan = Announced { path: path.to_path_buf(), size, fps, periods: 0, frames: 0 };
    Ok(match format {
        AnimationFormat::Mp4 => Box::new(mp4::Mp4Writer::create(plan)?),
        AnimationFormat::Gif => Box::new(gif::GifWriter::create(plan, options)?),
        AnimationFormat::WebP => Box::new(webp::WebPWriter::create(plan, options)?),
        AnimationFormat::Apng => Box::new(apng::ApngWriter::create(plan, options)?),
    })
}

/// What every writer knows of its animation, and what it has seen so far.
#[derive(Debug)]
struct Announced {
    path: PathBuf,
    size: (u32, u32),
    fps: f64,
    periods: usize,
    frames: usize,
}

impl Announced {
    /// Checks a frame against what was announced and counts it.
    fn admit(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        let (found, announced) = (frame.dimensions(), self.size);
        if found != announced {
            let message = format!(
                "frame {} of `{}` is {}×{} pixels, the animation was begun with {}×{}",
                self.frames,
                self.path.display(),
                found.0,
                found.1,
                announced.0,
                announced.1
            );
            return Err(Error::invalid(message, "all frames of an animation have one size"));
        }
        if hold == 0 {
            let message = format!("frame {} of `{}` is shown for 0 frame periods", self.frames, self.path.display());
            return Err(Error::invalid(message, "hold each frame for at least 1"));
        }
        self.frames += 1;
        self.periods += hold;
        Ok(())
    }

    /// An error unless there is something to write.
    fn not_empty(&self) -> Result<()> {
        if self.frames > 0 {
            return Ok(());
        }
        let message = format!("no frame was given for `{}`", self.path.display());
        Err(Error::invalid(message, "an animation needs at least one frame"))
    }

    /// An error if the format cannot hold pictures of this size.
    fn at_most(&self, format: AnimationFormat, side: u32) -> Result<()> {
        let (width, height) = self.size;
        if width <= side && height <= side {
            return Ok(());
        }
        let message =
            format!("`{}` would be {width}×{height} pixels: {format} holds {side}×{side}", self.path.display());
        Err(Error::invalid(message, "magnify less, or choose another format"))
    }

    /// What to say of a finished file.
    fn written(self, format: AnimationFormat, period: f64, bytes: u64) -> Written {
        let (path, size, periods) = (self.path, self.size, self.periods);
        Written { path, format, periods, size, period, bytes, remarks: Vec::new() }
    }

    /// The error of an encoder that gave up for a reason of its own.
    fn refused(&self, encoder: &str, reason: impl fmt::Display) -> Error {
        let path = self.path.display();
        Error::Invalid { message: format!("cannot encode `{path}`: {encoder} says {reason}"), hint: None }
    }
}
