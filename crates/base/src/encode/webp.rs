//! Animated WebP.
//!
//! Enters: frames. Leaves: a file in which each stands for itself, lossless unless a quality is asked. libwebp codes
//! the pictures; the container around them is written here, because libwebp's own assembler keeps every frame in memory
//! to the end. Its layout: "WebP Container Specification", <https://developers.google.com/speed/webp/docs/riff_container>.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

use image::RgbImage;
use webp::{Encoder, WebPConfig};

use super::partial::Partial;
use super::{AnimationFormat, AnimationOptions, AnimationWriter, Announced, Written};
use crate::error::{Error, IoContext, Result};

/// The longest side that a WebP picture can have.
const MOST: u32 = 16383;
/// The longest a frame can last, in milliseconds: 24 bits.
const LONGEST: u64 = (1 << 24) - 1;
/// How hard the lossless coder tries, 0..=6: beyond 4 the time doubles for a percent or two.
const EFFORT: i32 = 4;

/// Writes WebP.
pub(super) struct WebPWriter {
    plan: Announced,
    partial: Partial,
    file: BufWriter<File>,
    quality: Option<f32>,
    /// Frame periods and milliseconds written so far: rounding must not add up over a long animation.
    periods: usize,
    milliseconds: u64,
}

impl WebPWriter {
    /// Begins a file. An error if the quality is outside 0..=100.
    pub(super) fn create(plan: Announced, options: &AnimationOptions) -> Result<Self> {
        plan.at_most(AnimationFormat::WebP, MOST)?;
        if let Some(quality) = options.webp_quality.filter(|quality| !(0.0..=100.0).contains(quality)) {
            let message = format!("cannot write WebP with quality `{quality}`");
            return Err(Error::invalid(message, "choose 0 to 100, or leave it away to keep every pixel exactly"));
        }
        let partial = Partial::create(&plan.path)?;
        let mut file = partial.writer()?;
        file.write_all(&head(plan.size, options.loop_forever)).at("write", &plan.path)?;
        Ok(WebPWriter { plan, partial, file, quality: options.webp_quality, periods: 0, milliseconds: 0 })
    }

    /// Codes a picture and gives the chunk that holds it (`VP8 ` or `VP8L`), with its header.
    fn code(&self, frame: &RgbImage) -> Result<Vec<u8>> {
        let refused = |reason: &str| self.plan.refused("libwebp", reason);
        let mut config = WebPConfig::new().map_err(|()| refused("its version is another one"))?;
        config.method = EFFORT;
        config.lossless = i32::from(self.quality.is_none());
        // In lossless coding, quality is effort.
        config.quality = self.quality.unwrap_or(75.0);
        config.use_sharp_yuv = 1;
        let coded = Encoder::from_rgb(frame.as_raw(), frame.width(), frame.height())
            .encode_advanced(&config)
            .map_err(|reason| refused(&format!("{reason:?}")))?;
        // `RIFF`, length, `WEBP`, then the one chunk of a simple file.
        match coded.get(12..) {
            Some(chunk) if chunk.starts_with(b"VP8") => Ok(chunk.to_vec()),
            _ => Err(refused("something that is no simple WebP file")),
        }
    }
}

impl AnimationWriter for WebPWriter {
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        self.plan.admit(frame, hold)?;
        let chunk = self.code(frame)?;
        self.periods += hold;
        let end = (1000.0 * self.periods as f64 / self.plan.fps).round() as u64;
        while self.milliseconds < end {
            let lasts = (end - self.milliseconds).min(LONGEST);
            self.milliseconds += lasts;
            let mut bytes = Vec::with_capacity(chunk.len() + 24);
            bytes.extend(b"ANMF");
            bytes.extend((16 + chunk.len() as u32).to_le_bytes());
            bytes.extend([0; 6]); // the upper left corner
            bytes.extend(three(frame.width() - 1));
            bytes.extend(three(frame.height() - 1));
            bytes.extend(three(lasts as u32));
            bytes.push(0b10); // replaces what was there, and stays
            bytes.extend(&chunk);
            self.file.write_all(&bytes).at("write", &self.plan.path)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let WebPWriter { plan, partial, mut file, .. } = *self;
        plan.not_empty()?;
        let path = &plan.path;
        let length = file.stream_position().at("write", path)?;
        let Ok(riff) = u32::try_from(length - 8) else {
            return Err(plan.refused("the container", "it cannot hold more than 4 GiB"));
        };
        file.seek(SeekFrom::Start(4)).at("write", path)?;
        file.write_all(&riff.to_le_bytes()).at("write", path)?;
        file.flush().at("write", path)?;
        drop(file);
        let bytes = partial.keep()?;
        let period = 1.0 / plan.fps;
        Ok(plan.written(AnimationFormat::WebP, period, bytes))
    }
}

/// The file's head: the length is put in at the end.
fn head((width, height): (u32, u32), loop_forever: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF\0\0\0\0WEBPVP8X");
    bytes.extend(10u32.to_le_bytes());
    bytes.extend([0b10, 0, 0, 0]); // animated
    bytes.extend(three(width - 1));
    bytes.extend(three(height - 1));
    bytes.extend(b"ANIM");
    bytes.extend(6u32.to_le_bytes());
    bytes.extend([0, 0, 0, 255]); // a black background, never seen
    bytes.extend(u16::from(!loop_forever).to_le_bytes()); // times it is played, 0 for ever
    bytes
}

/// A number of three bytes, the least significant first.
fn three(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.to_le_bytes();
    [a, b, c]
}
