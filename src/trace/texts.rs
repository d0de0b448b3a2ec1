//! The texts that a picture carries beside its pixels: a PNG's text chunks, the EXIF user comment of a JPEG or WebP.
//!
//! Enters: a file. Leaves: the texts by their keywords; and where none of them holds settings that are read here, what
//! they are.

use crate::error::{Error, IoContext, Result};
use png::{DecodeOptions, Decoder, DecodingError};
use std::io::Cursor;
use std::path::Path;

/// AUTOMATIC1111's text.
pub const PARAMETERS: &str = "parameters";
/// Our own.
pub const SDVIZ: &str = "sdviz";

/// Programs with a form of their own, by the keywords of their texts.
const OTHERS: [(&str, &str); 5] = [
    ("workflow", "ComfyUI"),
    ("prompt", "ComfyUI"),
    ("invokeai_metadata", "InvokeAI"),
    ("sd-metadata", "InvokeAI"),
    ("fooocus_scheme", "Fooocus"),
];

/// A picture's texts, in the order of the file; none for one that is damaged.
#[derive(Debug, Default)]
pub struct Texts(Vec<(String, Option<String>)>);

impl Texts {
    /// Reads the texts of a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// When it is none of these, or broken before the picture begins.
    pub fn read(path: &Path) -> Result<Texts> {
        let bytes = std::fs::read(path).at("read", path)?;
        match image::guess_format(&bytes) {
            Ok(image::ImageFormat::Png) => {
                let bad = |e: DecodingError| Error::bad_file(path, "picture", e);
                let mut whole = png_texts(&bytes, false).map_err(bad)?;
                // The decoder passes over a text whose checksum is wrong: here it counts as damaged.
                for (keyword, _) in png_texts(&bytes, true).map_err(bad)? {
                    if !whole.iter().any(|(known, _)| *known == keyword) {
                        whole.push((keyword, None));
                    }
                }
                Ok(Texts(whole))
            }
            Ok(image::ImageFormat::Jpeg | image::ImageFormat::WebP) => Ok(Texts(exif_texts(&bytes))),
            _ => Err(Error::bad_file(path, "picture", "it is neither PNG nor JPEG nor WebP")),
        }
    }

    /// The last text of this keyword, unless it is blank or damaged.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == keyword)?.1.as_deref()?;
        (!found.trim().is_empty()).then_some(found)
    }

    /// Why no settings were found.
    pub fn without_settings(&self, path: &Path) -> Error {
        let (path, has) = (path.display(), |keyword: &str| self.0.iter().any(|(known, _)| known == keyword));
        let damaged = |keyword: &&str| has(keyword) && (*keyword == SDVIZ || self.get(keyword).is_none());
        if let Some(keyword) = [SDVIZ, PARAMETERS].iter().find(|k| damaged(k) && !self.is_blank(k)) {
            return Error::invalid(
                format!("`{path}` says how it was made in a text `{keyword}` that is damaged"),
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
        self.0.iter().any(|(known, text)| known == keyword && text.as_deref().is_some_and(|t| t.trim().is_empty()))
    }
}

/// A PNG's text chunks, before the picture and behind it.
fn png_texts(bytes: &[u8], whatever_the_checksum: bool) -> Result<Vec<(String, Option<String>)>, DecodingError> {
    let mut options = DecodeOptions::default();
    options.set_ignore_checksums(whatever_the_checksum);
    let mut reader = Decoder::new_with_options(Cursor::new(bytes), options).read_info()?;
    // A picture that is cut short keeps what stood before.
    let _ = reader.finish();
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter().map(|c| (c.keyword.clone(), Some(latin_or_utf8(&c.text))));
    let packed =
        info.compressed_latin1_text.iter().map(|c| (c.keyword.clone(), c.get_text().ok().map(|t| latin_or_utf8(&t))));
    let wide = info.utf8_text.iter().map(|c| (c.keyword.clone(), c.get_text().ok()));
    Ok(latin.chain(packed).chain(wide).collect())
}

/// Such a chunk holds Latin-1, but stable-diffusion.cpp and others put UTF-8 into it: what reads as UTF-8 is that.
fn latin_or_utf8(text: &str) -> String {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| text.into())
}

/// The EXIF user comment as `parameters`, and what ComfyUI writes into other fields as `NAME:JSON`.
fn exif_texts(bytes: &[u8]) -> Vec<(String, Option<String>)> {
    let Ok(exif) = exif::Reader::new().read_from_container(&mut Cursor::new(bytes)) else { return vec![] };
    let mut texts = vec![];
    if let Some(exif::Value::Undefined(data, _)) =
        exif.get_field(exif::Tag::UserComment, exif::In::PRIMARY).map(|field| &field.value)
    {
        texts.push((PARAMETERS.to_string(), user_comment(data)));
    }
    for tag in [exif::Tag::Make, exif::Tag::Model] {
        let Some(exif::Value::Ascii(lines)) = exif.get_field(tag, exif::In::PRIMARY).map(|f| &f.value) else {
            continue;
        };
        let text = lines.first().map(|line| String::from_utf8_lossy(line).into_owned()).unwrap_or_default();
        if let Some((keyword @ ("prompt" | "workflow"), json)) = text.split_once(':') {
            texts.push((keyword.to_string(), Some(json.to_string())));
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
