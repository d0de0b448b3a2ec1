//! The texts that a picture carries beside its pixels: a PNG's text chunks, the EXIF user comment of any picture.
//!
//! Enters: a file. Leaves: the texts by their keywords; and where none of them holds settings that are read here, what
//! they are.

use crate::error::{Error, Result};
use crate::files::pictures;
use png::{DecodeOptions, Decoder, DecodingError, Info};
use std::io::Cursor;
use std::path::Path;

/// The most bytes that a packed text may unpack to. ComfyUI's largest graphs have a few million.
const MOST_TEXT_BYTES: usize = 16 << 20;

/// AUTOMATIC1111's text.
pub const PARAMETERS: &str = "parameters";
/// Our own.
pub const SDVIZ: &str = "sdviz";

/// Programs with a form of their own, by the keywords of their texts.
const OTHERS: [(&str, &str); 7] = [
    ("workflow", "ComfyUI"),
    // Its `prompt` is no graph.
    ("num_inference_steps", "Easy Diffusion"),
    ("prompt", "ComfyUI"),
    ("invokeai_metadata", "InvokeAI"),
    ("sd-metadata", "InvokeAI"),
    ("Dream", "InvokeAI"),
    ("fooocus_scheme", "Fooocus"),
];

/// A text, or why there is none.
#[derive(Debug, Clone, PartialEq)]
enum Text {
    Whole(String),
    Damaged,
    TooLarge,
}

/// A picture's texts by their keywords, in the order of the file.
#[derive(Debug, Default)]
pub struct Texts(Vec<(String, Text)>);

impl Texts {
    /// Reads the texts of a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// When it is none of these, too large, or broken before the picture begins.
    pub fn read(path: &Path) -> Result<Texts> {
        Texts::of(&pictures::bytes(path)?, path)
    }

    /// The texts in these bytes of a file.
    ///
    /// # Errors
    /// As [`Texts::read`].
    pub fn of(bytes: &[u8], path: &Path) -> Result<Texts> {
        match image::guess_format(bytes) {
            Ok(image::ImageFormat::Png) => {
                let bad = |e: DecodingError| Error::bad_file(path, "picture", e);
                let mut whole = png_texts(bytes, false).map_err(bad)?;
                // The decoder passes over a text whose checksum is wrong: here it counts as damaged.
                for (keyword, _) in png_texts(bytes, true).map_err(bad)? {
                    if !whole.iter().any(|(known, _)| *known == keyword) {
                        whole.push((keyword, Text::Damaged));
                    }
                }
                Ok(Texts(whole))
            }
            Ok(image::ImageFormat::Jpeg) => {
                let read = exif_reader().read_from_container(&mut Cursor::new(bytes));
                Ok(Texts(exif_texts(read)))
            }
            Ok(image::ImageFormat::WebP) => Ok(Texts(webp_exif(bytes).map(block_texts).unwrap_or_default())),
            _ => Err(Error::bad_file(path, "picture", "it is neither PNG nor JPEG nor WebP")),
        }
    }

    /// The last text of this keyword, unless it is blank or damaged.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        match self.0.iter().rev().find(|(known, _)| known == keyword) {
            Some((_, Text::Whole(text))) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
            _ => None,
        }
    }

    /// Why no settings were found.
    pub fn without_settings(&self, path: &Path) -> Error {
        let (path, has) = (path.display(), |keyword: &str| self.0.iter().any(|(known, _)| known == keyword));
        let damaged = |keyword: &&str| has(keyword) && (*keyword == SDVIZ || self.get(keyword).is_none());
        if let Some(keyword) = [SDVIZ, PARAMETERS].iter().find(|k| damaged(k) && !self.is_blank(k)) {
            let large = self.0.iter().any(|(known, text)| known == keyword && *text == Text::TooLarge);
            let what = if large { format!("has more than {} MiB", MOST_TEXT_BYTES >> 20) } else { "is damaged".into() };
            return Error::invalid(
                format!("`{path}` says how it was made in a text `{keyword}` that {what}"),
                "ask for the original, or for another copy of it",
            );
        }
        let novel = (self.get("Software") == Some("NovelAI")).then_some(("Comment", "NovelAI"));
        let json = self.get(PARAMETERS).map(|_| (PARAMETERS, "another program"));
        let known = OTHERS.into_iter().find(|(keyword, _)| has(keyword));
        if let Some((keyword, program)) = known.or(novel).or(json) {
            let keyword = if program == "Fooocus" { PARAMETERS } else { keyword };
            return Error::invalid(
                format!("`{path}` says how it was made in the form of {program}, which is not read here"),
                format!("its text `{keyword}` is for that program; type the settings here"),
            );
        }
        let speaking = self.0.iter().filter(|(keyword, _)| self.get(keyword).is_some());
        let names: Vec<String> = speaking.map(|(keyword, _)| format!("`{keyword}`")).collect();
        let others = if names.is_empty() { String::new() } else { format!("; its texts are {}", names.join(", ")) };
        Error::invalid(
            format!("`{path}` does not say how it was made{others}"),
            "pictures lose their settings when they are edited, or sent through a web site: ask for the original",
        )
    }

    fn is_blank(&self, keyword: &str) -> bool {
        let blank = |text: &Text| matches!(text, Text::Whole(text) if text.trim().is_empty());
        self.0.iter().any(|(known, text)| known == keyword && blank(text))
    }
}

/// A PNG's text chunks, before the picture and behind it, and those of its EXIF chunk.
fn png_texts(bytes: &[u8], whatever_the_checksum: bool) -> Result<Vec<(String, Text)>, DecodingError> {
    let mut options = DecodeOptions::default();
    options.set_ignore_checksums(whatever_the_checksum);
    let mut reader = Decoder::new_with_options(Cursor::new(bytes), options).read_info()?;
    // A picture that is cut short keeps what stood before.
    let _ = reader.finish();
    let info = reader.info();
    let exif = info.exif_metadata.as_deref().map(block_texts).unwrap_or_default();
    Ok(exif.into_iter().chain(chunk_texts(info)).collect())
}

/// The texts in PNG's own chunks, unpacked only as far as they may be long, all together.
fn chunk_texts(info: &Info) -> Vec<(String, Text)> {
    let latin = info.uncompressed_latin1_text.iter();
    let mut texts: Vec<_> = latin.map(|c| (c.keyword.clone(), Text::Whole(latin_or_utf8(&c.text)))).collect();
    let mut left = MOST_TEXT_BYTES;
    for mut chunk in info.compressed_latin1_text.iter().cloned() {
        let text = chunk.decompress_text_with_limit(left).and_then(|()| chunk.get_text());
        left = left.saturating_sub(text.as_ref().map_or(left, String::len));
        texts.push((chunk.keyword, text.map_or_else(missing, |text| Text::Whole(latin_or_utf8(&text)))));
    }
    for mut chunk in info.utf8_text.iter().cloned() {
        let text = chunk.decompress_text_with_limit(left).and_then(|()| chunk.get_text());
        left = left.saturating_sub(text.as_ref().map_or(left, String::len));
        texts.push((chunk.keyword, text.map_or_else(missing, Text::Whole)));
    }
    texts
}

/// Why a text could not be unpacked.
fn missing(error: DecodingError) -> Text {
    // The decoder has no error of its own for it, only this message.
    if error.to_string().contains("space") { Text::TooLarge } else { Text::Damaged }
}

/// Such a chunk holds Latin-1, but stable-diffusion.cpp and others put UTF-8 into it: what reads as UTF-8 is that.
fn latin_or_utf8(text: &str) -> String {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.into())
}

/// A reader that gives what it can read of a block: piexif, with which web UIs write theirs, leaves out the pointer behind
/// the first directory.
fn exif_reader() -> exif::Reader {
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    reader
}

/// The texts of an EXIF block. Pillow and ComfyUI put JPEG's mark before it also where it does not belong.
fn block_texts(block: &[u8]) -> Vec<(String, Text)> {
    exif_texts(exif_reader().read_raw(block.strip_prefix(b"Exif\0\0").unwrap_or(block).to_vec()))
}

/// The EXIF chunk of a WebP file: behind twelve bytes, each chunk has its name, its length and its bytes, an even number.
fn webp_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (name, length) = (rest.get(..4)?, rest.get(4..8)?);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let body = rest.get(8..8_usize.checked_add(length)?)?;
        if name == b"EXIF" {
            return Some(body);
        }
        rest = rest.get(8 + length + length % 2..)?;
    }
}

/// The EXIF user comment as `parameters`, and what ComfyUI writes into other fields as `NAME:JSON`.
fn exif_texts(read: Result<exif::Exif, exif::Error>) -> Vec<(String, Text)> {
    let Ok(exif) = read.or_else(|error| error.distill_partial_result(|_| ())) else { return vec![] };
    let mut texts = vec![];
    if let Some(exif::Value::Undefined(data, _)) =
        exif.get_field(exif::Tag::UserComment, exif::In::PRIMARY).map(|field| &field.value)
    {
        texts.push((PARAMETERS.to_string(), user_comment(data).map_or(Text::Damaged, Text::Whole)));
    }
    for tag in [exif::Tag::Make, exif::Tag::Model] {
        let Some(exif::Value::Ascii(lines)) = exif.get_field(tag, exif::In::PRIMARY).map(|f| &f.value) else {
            continue;
        };
        let text = lines.first().map(|line| String::from_utf8_lossy(line).into_owned()).unwrap_or_default();
        if let Some((keyword @ ("prompt" | "workflow"), json)) = text.split_once(':') {
            texts.push((keyword.to_string(), Text::Whole(json.to_string())));
        }
    }
    texts
}

/// Eight bytes for the encoding, then the text. `UNICODE` is UTF-16 of either byte order, whatever the rest of the file
/// has: settings are mostly letters below 256, whose upper byte is 0.
fn user_comment(data: &[u8]) -> Option<String> {
    let (encoding, text) = data.split_at_checked(8)?;
    let text = if encoding == b"UNICODE\0" {
        let zeros = |at: usize| text.iter().skip(at).step_by(2).filter(|byte| **byte == 0).count();
        let unit = if zeros(0) >= zeros(1) { u16::from_be_bytes } else { u16::from_le_bytes };
        String::from_utf16_lossy(&text.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>())
    } else {
        String::from_utf8_lossy(text).into_owned()
    };
    Some(text.trim_end_matches('\0').to_string())
}
