//! What a file is that was named as weights and holds none, told by its first bytes: a page that a download gave in place
//! of the file, the pointer of Git LFS, a pickle under another name.
//!
//! Enters: the bytes of a file whose header could not be read. Leaves: an error that says what the file seems to be, with
//! the way to the right one. What a safetensors file holds is told by its keys, in [`super::contents`].

use crate::error::Error;
use safetensors::SafeTensorError;
use std::path::Path;

/// How much of a file is looked at.
const HEAD: usize = 4096;

/// The most that a header may measure, as in the safetensors library.
const LARGEST_HEADER: u64 = 100_000_000;

const AGAIN: &str = "a download gave this in place of the file, often because the site asks for a login or for its terms \
                     to be accepted: download it again";

const WEIGHTS: &str = "name the weights themselves: a .safetensors file";

const PICKLE: &str = "convert it to safetensors once (diffusers: `pipeline.save_pretrained(folder)`) and use that";

const TEXT: &str = "a text that begins with";

/// What begins a file, what it is, and the way out.
const MAGIC: [(&[u8], &str, &str); 12] = [
    (b"GGUF", "a GGUF file for other programs", "take the same model as .safetensors"),
    (b"ggjt", "a GGML file for other programs", "take the same model as .safetensors"),
    (b"\x89HDF", "an HDF5 file for Keras", "take the same model as .safetensors"),
    (b"\x89PNG", "a picture", WEIGHTS),
    (b"\xff\xd8\xff", "a picture", WEIGHTS),
    (b"RIFF", "a picture or a sound", WEIGHTS),
    (b"GIF8", "a picture", WEIGHTS),
    (b"%PDF", "a PDF document", WEIGHTS),
    (b"\x1f\x8b", "a compressed archive (gzip)", "unpack it, and name the .safetensors file in it"),
    (b"7z\xbc\xaf\x27\x1c", "a compressed archive (7z)", "unpack it, and name the .safetensors file in it"),
    (b"Rar!", "a compressed archive (RAR)", "unpack it, and name the .safetensors file in it"),
    (b"\xfd7zXZ", "a compressed archive (xz)", "unpack it, and name the .safetensors file in it"),
];

/// What a file seems to be: its name in a sentence, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    what: String,
    hint: &'static str,
}

impl Look {
    fn new(what: impl Into<String>, hint: &'static str) -> Option<Look> {
        Some(Look { what: what.into(), hint })
    }

    /// The error that says so.
    pub fn refused(self, path: &Path) -> Error {
        Error::invalid(format!("`{}` is {}, not weights", path.display(), self.what), self.hint)
    }
}

/// The error for a file whose header cannot be read: what it seems to be, else what is wrong with it.
pub fn refused(path: &Path, bytes: &[u8], error: &SafeTensorError) -> Error {
    match look(bytes) {
        Some(look) => look.refused(path),
        None => Error::bad_file(path, "safetensors file", explain(error, bytes.len())),
    }
}

/// The error for a file on disk that is named as something else than weights, if its bytes say what it is.
pub fn named(path: &Path) -> Option<Error> {
    use std::io::Read;
    let mut head = vec![];
    std::fs::File::open(path).ok()?.take(HEAD as u64).read_to_end(&mut head).ok()?;
    // Any other text is no nearer to weights than its name is.
    look(&head).filter(|look| !look.what.starts_with(TEXT)).map(|look| look.refused(path))
}

/// Whether the bytes begin as a safetensors file does: the length of a header, and a header.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length <= LARGEST_HEADER) && bytes.get(8) == Some(&b'{')
}

/// The error for a file that is called as pickles are.
pub fn pickle(path: &Path, bytes: &[u8]) -> Error {
    // The name alone says little: what else it may be is told where the bytes leave no doubt.
    if let Some(look) = page(&bytes[..bytes.len().min(HEAD)]) {
        return look.refused(path);
    }
    let path = path.display();
    if is_safetensors(bytes) {
        let message = format!("`{path}` is called as pickles are, which can run code, but holds safetensors");
        return Error::invalid(message, "rename it: the name of such a file ends in .safetensors");
    }
    Error::invalid(format!("`{path}` is a pickle file, which can run code when it is read: refused"), PICKLE)
}

/// What the bytes of a file that is no safetensors file seem to be.
pub fn look(bytes: &[u8]) -> Option<Look> {
    if bytes.is_empty() || is_safetensors(bytes) {
        return None;
    }
    let head = &bytes[..bytes.len().min(HEAD)];
    if let Some((_, what, hint)) = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Look::new(*what, hint);
    }
    // The two forms of PyTorch: a zip archive with a pickle in it, and before version 1.6 pickles one after the other.
    if head.starts_with(b"PK\x03\x04") {
        return match contains(head, b".pkl") {
            true => Look::new("a PyTorch checkpoint (a pickle, which can run code when it is read)", PICKLE),
            false => Look::new("a zip archive", "unpack it, and name the .safetensors file in it"),
        };
    }
    if head[0] == 0x80 && head.get(1).is_some_and(|version| (1..=5).contains(version)) {
        return Look::new("a pickle, which can run code when it is read", PICKLE);
    }
    if head.len() >= 16 && head.iter().all(|byte| *byte == 0) {
        let hint = "its download or copy made the room and never filled it: fetch it again";
        return Look::new("filled with zeros", hint);
    }
    page(head).or_else(|| text(head))
}

/// A page or a pointer in place of the file.
fn page(head: &[u8]) -> Option<Look> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs.") || text.starts_with("version https://hawser.") {
        let hint = "the file itself was not fetched: run `git lfs pull` in its repository, or download it";
        return Look::new("a Git LFS pointer, three lines that stand for the file", hint);
    }
    if !text.starts_with('<') {
        return None;
    }
    let lower = text.to_lowercase();
    let html = ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.contains(tag));
    Look::new(if html { "a web page (HTML)" } else { "an XML text" }, AGAIN)
}

/// Any other text.
fn text(head: &[u8]) -> Option<Look> {
    // The cut may fall within a character.
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if head.len() == HEAD && e.valid_up_to() > HEAD - 4 => {
            std::str::from_utf8(&head[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if whole.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let text = whole.trim_start_matches('\u{feff}').trim();
    if text.contains("\"weight_map\"") {
        return Look::new("the index of weights in several pieces", "name the folder of the model");
    }
    if text.starts_with('{') {
        return Look::new("a JSON text", WEIGHTS);
    }
    let line: String = text.lines().next().unwrap_or_default().chars().take(40).collect();
    Look::new(format!("{TEXT} `{line}`"), AGAIN)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What is wrong with a header, in words.
fn explain(error: &SafeTensorError, length: usize) -> String {
    use SafeTensorError as E;
    match error {
        E::HeaderTooSmall | E::InvalidHeaderLength => format!("its {length} bytes end before its header does"),
        E::MetadataIncompleteBuffer => format!("its {length} bytes are not what its header describes: it is cut short"),
        E::HeaderTooLarge | E::InvalidHeader(_) => "it does not begin with a header".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn what(bytes: &[u8]) -> String {
        look(bytes).map(|look| look.what).unwrap_or_default()
    }

    #[test]
    fn files_are_told_by_how_they_begin() {
        for (bytes, expected) in [
            (&b"<html>log in</html>"[..], "a web page (HTML)"),
            (b"\xef\xbb\xbf\n<!DOCTYPE HTML PUBLIC", "a web page (HTML)"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "a Git LFS pointer"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle"),
            (b"PK\x03\x04\0\0archive/data.pkl", "a PyTorch checkpoint"),
            (b"PK\x03\x04\0\0model/model.safetensors", "a zip archive"),
            (b"GGUF\x03\0\0\0", "a GGUF file"),
            (b"{\"_class_name\": \"UNet2DConditionModel\"}", "a JSON text"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "the index of weights in several pieces"),
            (b"Entry not found", "a text that begins with `Entry not found`"),
            (&[0; 64], "filled with zeros"),
            (b"\x89PNG\r\n\x1a\n", "a picture"),
        ] {
            assert!(what(bytes).starts_with(expected), "{:?}: {}", String::from_utf8_lossy(bytes), what(bytes));
        }
    }

    #[test]
    fn a_damaged_safetensors_file_is_still_one() {
        // A header of 123 bytes, whose first byte is that of an opening brace.
        let mut bytes = 123u64.to_le_bytes().to_vec();
        bytes.extend(b"{\"a\":{\"dtype\":\"F32\"");
        assert!(bytes[0] == b'{' && is_safetensors(&bytes));
        assert_eq!(look(&bytes), None);
        assert_eq!(look(&[1, 2, 3, 250, 251, 252]), None, "neither is what says nothing");
        assert!(is_safetensors(b"\x02\0\0\0\0\0\0\0{}") && !is_safetensors(b"{\"abcd\":{}}"));
    }

    #[test]
    fn a_text_that_is_cut_within_a_character_is_a_text() {
        let long = "é".repeat(HEAD);
        assert!(what(&long.as_bytes()[1..]).is_empty(), "it begins with half a character");
        assert!(what(format!("x{long}").as_bytes()).starts_with("a text"));
    }
}
