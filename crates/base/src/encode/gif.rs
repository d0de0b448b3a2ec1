//! Animated GIF, with a palette of its own for every frame.
//!
//! Enters: frames of any number of colours. Leaves: frames of at most 256, each drawn over the one before it. A frame that
//! has no more than that keeps them exactly; else the colours are rounded, and the error is diffused unless that is
//! switched off.

use std::fs::File;
use std::io::{BufWriter, Write};

use gif::{Encoder, EncodingError, Frame, Repeat};
use image::RgbImage;

use super::gif_palette::Screen;
use super::partial::Partial;
use super::{AnimationFormat, AnimationOptions, AnimationWriter, Announced, Written};
use crate::error::{Error, IoContext, Result};

/// The shortest delay that browsers honour: below, they wait a tenth of a second.
const LEAST_DELAY: u64 = 2;

/// Writes GIF.
pub(super) struct GifWriter {
    plan: Announced,
    partial: Partial,
    encoder: Encoder<BufWriter<File>>,
    screen: Screen,
    dither: bool,
    /// Hundredths of a second per frame period.
    delay: u64,
}

impl GifWriter {
    /// Begins a file.
    pub(super) fn create(plan: Announced, options: &AnimationOptions) -> Result<Self> {
        plan.at_most(AnimationFormat::Gif, u32::from(u16::MAX))?;
        let partial = Partial::create(&plan.path)?;
        let (width, height) = (plan.size.0 as u16, plan.size.1 as u16);
        let failed = |error| failure(&plan, error);
        let mut encoder = Encoder::new(partial.writer()?, width, height, &[]).map_err(failed)?;
        if options.loop_forever {
            encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        }
        let delay = ((100.0 / plan.fps).round() as u64).max(LEAST_DELAY);
        Ok(GifWriter { plan, partial, encoder, screen: Screen::default(), dither: options.dither, delay })
    }
}

impl AnimationWriter for GifWriter {
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        self.plan.admit(frame, hold)?;
        let mut left = self.delay * hold as u64;
        while left > 0 {
            let patch = self.screen.draw(frame, self.dither);
            let patch = patch.ok_or_else(|| self.plan.refused("the quantiser", "no palette"))?;
            let (x, y, width, height) = patch.area;
            let size = (width as u16, height as u16);
            let mut coded = Frame::from_palette_pixels(size.0, size.1, patch.pixels, patch.palette, patch.transparent);
            (coded.left, coded.top) = (x as u16, y as u16);
            // A delay has 16 bits, about eleven minutes: longer holds show the frame again.
            coded.delay = left.min(u64::from(u16::MAX)) as u16;
            left -= u64::from(coded.delay);
            self.encoder.write_frame(&coded).map_err(|error| failure(&self.plan, error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        let GifWriter { plan, partial, encoder, delay, .. } = *self;
        plan.not_empty()?;
        let mut file = encoder.into_inner().map_err(|error| failure(&plan, error))?;
        file.flush().at("write", &plan.path)?;
        drop(file);
        let bytes = partial.keep()?;
        let period = delay as f64 / 100.0;
        let asked = plan.fps;
        let mut written = plan.written(AnimationFormat::Gif, period, bytes);
        if (period * asked - 1.0).abs() > 0.005 {
            let real = 1.0 / period;
            written.remarks.push(format!(
                "GIF counts time in hundredths of a second: {delay} per frame period, {real:.2} frames per second \
                 instead of {asked}"
            ));
        }
        Ok(written)
    }
}

/// The encoder's error, with the path.
fn failure(plan: &Announced, error: EncodingError) -> Error {
    match error {
        EncodingError::Io(source) => Error::Io { action: "write", path: plan.path.clone(), source },
        other => plan.refused("the GIF encoder", other),
    }
}
