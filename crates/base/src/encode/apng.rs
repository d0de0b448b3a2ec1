//! Animated PNG.
//!
//! Enters: frames. Leaves: a PNG that holds them all without loss, and whose first frame is what a viewer that knows no
//! animation shows. The number of frames stands before them in the file: it is put in at the end.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use image::RgbImage;
use png::{BitDepth, ColorType, Encoder, EncodingError, Writer};

use super::partial::Partial;
use super::{AnimationFormat, AnimationOptions, AnimationWriter, Announced, Written};
use crate::error::{Error, IoContext, Result};

/// The number of frames that the encoder is told before the real one is known.
const UNKNOWN: u32 = i32::MAX as u32;

/// Writes animated PNG.
pub(super) struct ApngWriter {
    plan: Announced,
    partial: Partial,
    writer: Writer<BufWriter<File>>,
    plays: u32,
    frames: u32,
}

impl ApngWriter {
    /// Begins a file.
    pub(super) fn create(plan: Announced, options: &AnimationOptions) -> Result<Self> {
        plan.at_most(AnimationFormat::Apng, UNKNOWN)?;
        let partial = Partial::create(&plan.path)?;
        let failed = |error| failure(&plan, error);
        let plays = u32::from(!options.loop_forever);
        let mut encoder = Encoder::new(partial.writer()?, plan.size.0, plan.size.1);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_animated(UNKNOWN, plays).map_err(failed)?;
        let writer = encoder.write_header().map_err(failed)?;
        Ok(ApngWriter { plan, partial, writer, plays, frames: 0 })
    }
}

impl AnimationWriter for ApngWriter {
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        self.plan.admit(frame, hold)?;
        let mut left = hold;
        while left > 0 {
            let (numerator, denominator, shown) = delay(self.plan.fps, left);
            left -= shown;
            let coded = self
                .writer
                .set_frame_delay(numerator, denominator)
                .and_then(|()| self.writer.write_image_data(frame.as_raw()));
            coded.map_err(|error| failure(&self.plan, error))?;
            self.frames += 1;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let ApngWriter { plan, partial, writer, plays, frames } = *self;
        plan.not_empty()?;
        writer.finish().map_err(|error| failure(&plan, error))?;
        let mut file = partial.reopened()?;
        count_frames(&mut file, frames, plays).at("write", &plan.path)?;
        drop(file);
        let bytes = partial.keep()?;
        let period = 1.0 / plan.fps;
        Ok(plan.written(AnimationFormat::Apng, period, bytes))
    }
}

/// The delay of a frame as a fraction of 16-bit numbers, and how many of the periods it covers. Exact to a thousandth
/// of a frame per second, and all of a hold at once for up to a minute or more.
fn delay(fps: f64, hold: usize) -> (u16, u16, usize) {
    // Whole rates, 24 say: hold / 24.
    if fps.fract() == 0.0 {
        let shown = hold.min(usize::from(u16::MAX));
        return (shown as u16, fps as u16, shown);
    }
    // Others in milliseconds.
    let period = 1000.0 / fps;
    let shown = hold.min((f64::from(u16::MAX) / period).floor() as usize).max(1);
    ((shown as f64 * period).round() as u16, 1000, shown)
}

/// Puts the number of frames into the `acTL` chunk of a finished file.
fn count_frames(file: &mut File, frames: u32, plays: u32) -> std::io::Result<()> {
    let mut head = [0; 256];
    let read = file.read(&mut head)?;
    let Some(at) = head[..read].windows(4).position(|name| name == b"acTL") else {
        return Err(std::io::Error::other("the PNG encoder wrote no animation control"));
    };
    let chunk = [&b"acTL"[..], &frames.to_be_bytes(), &plays.to_be_bytes()].concat();
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(&chunk)?;
    file.write_all(&crc32fast::hash(&chunk).to_be_bytes())
}

/// The encoder's error, with the path.
fn failure(plan: &Announced, error: EncodingError) -> Error {
    match error {
        EncodingError::IoError(source) => Error::Io { action: "write", path: plan.path.clone(), source },
        other => plan.refused("the PNG encoder", other),
    }
}
