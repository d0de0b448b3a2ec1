//! Animated GIF, with a palette of its own for every frame.
//!
//! Enters: frames of any number of colours. Leaves: frames of at most 256. A frame that has no more than that keeps
//! them exactly; else Wu's quantiser chooses the palette in Oklab, where distances are what the eye sees, and the
//! rounding error is diffused unless that is switched off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};

use gif::{Encoder, EncodingError, Frame, Repeat};
use image::RgbImage;
use quantette::deps::palette::{Srgb, cast::ComponentsAs};
use quantette::{ImageRef, PaletteSize, Pipeline, QuantizeMethod};

use super::partial::Partial;
use super::{AnimationFormat, AnimationOptions, AnimationWriter, Plan, Written};
use crate::error::{Error, IoContext, Result};

/// The shortest delay that browsers honour: below, they wait a tenth of a second.
const LEAST_DELAY: u64 = 2;

/// Writes GIF.
pub(super) struct GifWriter {
    plan: Plan,
    partial: Partial,
    encoder: Encoder<BufWriter<File>>,
    dither: bool,
    /// Hundredths of a second per frame period.
    delay: u64,
}

impl GifWriter {
    /// Begins a file.
    pub(super) fn create(plan: Plan, options: &AnimationOptions) -> Result<Self> {
        plan.at_most(AnimationFormat::Gif, u32::from(u16::MAX))?;
        let partial = Partial::create(&plan.path)?;
        let (width, height) = (plan.size.0 as u16, plan.size.1 as u16);
        let failed = |error| failure(&plan, error);
        let mut encoder = Encoder::new(partial.writer()?, width, height, &[]).map_err(failed)?;
        if options.loop_forever {
            encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        }
        let delay = ((100.0 / plan.fps).round() as u64).max(LEAST_DELAY);
        Ok(GifWriter { plan, partial, encoder, dither: options.dither, delay })
    }
}

impl AnimationWriter for GifWriter {
    fn frame(&mut self, frame: &RgbImage, hold: usize) -> Result<()> {
        self.plan.admit(frame, hold)?;
        let indexed = match exact(frame) {
            Some(indexed) => indexed,
            None => quantised(frame, self.dither).ok_or_else(|| self.plan.refused("the quantiser", "no palette"))?,
        };
        let (width, height) = (frame.width() as u16, frame.height() as u16);
        let mut coded = Frame::from_palette_pixels(width, height, indexed.pixels, indexed.palette, None);
        let mut left = self.delay * hold as u64;
        while left > 0 {
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

/// A picture as numbers into a palette of red, green, blue triples.
struct Indexed {
    pixels: Vec<u8>,
    palette: Vec<u8>,
}

/// The picture as it is, if it has no more than 256 colours.
fn exact(frame: &RgbImage) -> Option<Indexed> {
    let mut numbers: HashMap<[u8; 3], u8> = HashMap::new();
    let mut palette = Vec::new();
    let mut pixels = Vec::with_capacity(frame.as_raw().len() / 3);
    let mut last = None;
    for pixel in frame.pixels() {
        let colour = pixel.0;
        let number = match last {
            Some((same, number)) if same == colour => number,
            _ => match numbers.get(&colour) {
                Some(&number) => number,
                None => {
                    let number = u8::try_from(numbers.len()).ok()?;
                    numbers.insert(colour, number);
                    palette.extend(colour);
                    number
                }
            },
        };
        last = Some((colour, number));
        pixels.push(number);
    }
    Some(Indexed { pixels, palette })
}

/// The picture in the 256 colours that suit it best.
fn quantised(frame: &RgbImage, dither: bool) -> Option<Indexed> {
    let pixels: &[Srgb<u8>] = frame.as_raw().as_slice().components_as();
    let image = ImageRef::new(frame.width(), frame.height(), pixels).ok()?;
    let mut pipeline =
        Pipeline::new().palette_size(PaletteSize::MAX).quantize_method(QuantizeMethod::Wu).parallel(true);
    if !dither {
        pipeline = pipeline.ditherer(None);
    }
    let indexed = pipeline.input_image(image).output_srgb8_indexed_image();
    let palette = indexed.palette().iter().flat_map(|colour| [colour.red, colour.green, colour.blue]).collect();
    Some(Indexed { pixels: indexed.indices().to_vec(), palette })
}

/// The encoder's error, with the path.
fn failure(plan: &Plan, error: EncodingError) -> Error {
    match error {
        EncodingError::Io(source) => Error::Io { action: "write", path: plan.path.clone(), source },
        other => plan.refused("the GIF encoder", other),
    }
}
