//! The one door for pictures that others made: initial pictures, masks, pictures to train on, those of a run directory.
//!
//! Enters: a PNG, JPEG or WebP file. Leaves: its pixels, turned as its EXIF says. A file may claim any size, and a few
//! kilobytes may unpack to gigabytes: what is too large is refused by what its header says, before it is unpacked.

use crate::error::{Error, IoContext, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// The most bytes that a picture's file may have.
const MOST_FILE_BYTES: u64 = 512 << 20;
/// The most pixels that are unpacked: more than the largest cameras give.
pub const MOST_PIXELS: u64 = 128 << 20;
/// The most bytes of unpacked pixels: [`MOST_PIXELS`] in 8-bit colour, fewer of them in 16-bit colour.
const MOST_PIXEL_BYTES: u64 = 512 << 20;
/// The most bytes that what stands beside the pixels, such as a colour profile, may unpack to.
const MOST_BESIDE: u64 = 64 << 20;

/// The bytes of a file that should be a picture.
///
/// # Errors
/// When it cannot be read, or is too large for a picture.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    File::open(path).and_then(|file| file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)).at("read", path)?;
    if bytes.len() as u64 <= MOST_FILE_BYTES {
        return Ok(bytes);
    }
    let most = MOST_FILE_BYTES >> 20;
    Err(Error::invalid(format!("`{}` has more than {most} MiB", path.display()), "no picture of use here is so large"))
}

/// Opens a picture, whatever its name ends in. `kind` is what an error says it is not.
///
/// # Errors
/// When it cannot be read, is no picture or a damaged one, or too large.
pub fn open(path: &Path, kind: &'static str) -> Result<DynamicImage> {
    decode(path, &bytes(path)?, kind)
}

/// The picture in these bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn decode(path: &Path, bytes: &[u8], kind: &'static str) -> Result<DynamicImage> {
    let bad = |reason: String| Error::bad_file(path, kind, reason);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().at("read", path)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) {
        let reason = if bytes.is_empty() { "it is empty" } else { "it is neither PNG nor JPEG nor WebP" };
        return Err(bad(reason.into()));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BESIDE);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| bad(e.to_string()))?;
    check_size(path, decoder.dimensions(), decoder.total_bytes())?;
    let orientation = decoder.orientation().map_err(|e| bad(e.to_string()))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| bad(e.to_string()))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Whether a picture can be unpacked.
fn check_size(path: &Path, (width, height): (u32, u32), bytes: u64) -> Result<()> {
    if u64::from(width) * u64::from(height) <= MOST_PIXELS && bytes <= MOST_PIXEL_BYTES {
        return Ok(());
    }
    let message = format!(
        "the picture `{}` is {width}×{height}: more than {} megapixels, or {} MiB, are not unpacked",
        path.display(),
        MOST_PIXELS >> 20,
        MOST_PIXEL_BYTES >> 20
    );
    Err(Error::invalid(message, "make it smaller with a picture program; models draw a few hundred pixels a side"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_judged_by_pixels_and_by_bytes() {
        let fits = |width, height, bytes| check_size(Path::new("a.png"), (width, height), bytes).is_ok();
        assert!(fits(11_648, 8_736, 3 * 11_648 * 8_736), "a camera of 100 megapixels");
        assert!(fits(1, u32::MAX >> 8, 100));
        assert!(!fits(99_999, 99_999, 3 * 99_999 * 99_999));
        assert!(!fits(u32::MAX, u32::MAX, u64::MAX));
        assert!(!fits(10_000, 10_000, 8 * 100_000_000), "16 bits for each of four channels");
    }
}
