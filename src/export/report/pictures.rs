//! Pictures for a page: the recorded PNGs as they are where there is room, else WebP, smaller and with losses.
//!
//! Enters: a run's decoded pictures and the room there is. Leaves: base64 texts.

use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use crate::viz::pixels;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::imageops::FilterType;
use std::path::Path;
use webp::{Encoder, WebPConfig};

/// How pictures are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// The file as it was recorded.
    Png,
    /// WebP of this quality, with the longer side at most this many pixels.
    WebP { quality: u8, side: u32 },
}

/// The ways of keeping pictures, from the best to the least.
pub(super) fn forms(side: u32) -> Vec<Form> {
    let sides = [side, side * 3 / 4, side / 2, side * 3 / 8, side / 4];
    let qualities = [[90, 80, 70], [80, 70, 60], [80, 65, 50], [75, 60, 45], [70, 50, 30]];
    let webp = sides
        .into_iter()
        .zip(qualities)
        .flat_map(|(side, qualities)| qualities.map(|quality| Form::WebP { quality, side: side.max(1) }));
    [Form::Png].into_iter().chain(webp).collect()
}

/// The width and height of a step's decoded picture.
pub(super) fn dimensions(run: &Run, step: usize, what: Quantity, batch: usize) -> Result<(u32, u32)> {
    Ok(run.picture(step, what, batch)?.map_or((0, 0), |picture| picture.dimensions()))
}

/// A step's picture as bytes, in the form that was chosen.
///
/// # Errors
/// When it cannot be read or encoded.
pub(super) fn step(run: &Run, (step, what): (usize, Quantity), batch: usize, form: Form) -> Result<Option<Vec<u8>>> {
    match form {
        Form::Png => run.picture_file(step, what, batch),
        Form::WebP { quality, side } => run.picture(step, what, batch)?.map(|p| webp(&p, quality, side)).transpose(),
    }
}

/// The finished picture as bytes.
///
/// # Errors
/// As [`step`].
pub(super) fn finished(run: &Run, batch: usize, form: Form) -> Result<Option<Vec<u8>>> {
    match form {
        Form::Png => run.final_file(batch),
        Form::WebP { quality, side } => run.final_picture(batch)?.map(|p| webp(&p, quality, side)).transpose(),
    }
}

/// The picture, made smaller if its longer side is above `side`, as WebP.
fn webp(picture: &RgbImage, quality: u8, side: u32) -> Result<Vec<u8>> {
    let longer = picture.width().max(picture.height()).max(1);
    let smaller = (longer > side).then(|| {
        let scaled = |length: u32| {
            ((u64::from(length) * u64::from(side) + u64::from(longer) / 2) / u64::from(longer)).max(1) as u32
        };
        pixels::resized(picture, (scaled(picture.width()), scaled(picture.height())), FilterType::Triangle)
    });
    let picture = smaller.as_ref().unwrap_or(picture);
    let refused = |reason: String| Error::bad_file(Path::new("report"), "WebP picture", reason);
    let mut config = WebPConfig::new().map_err(|()| refused("libwebp has another version".into()))?;
    config.quality = f32::from(quality);
    config.method = 2;
    let coded = Encoder::from_rgb(picture.as_raw(), picture.width(), picture.height())
        .encode_advanced(&config)
        .map_err(|reason| refused(format!("{reason:?}")))?;
    Ok(coded.to_vec())
}

/// Bytes as a block's text.
pub(super) fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// How many characters bytes become in a page.
pub(super) fn text_length(bytes: usize) -> u64 {
    bytes.div_ceil(3) as u64 * 4
}
