//! Damages a file: what stands in its place, its bytes, or what they mean.
//!
//! Enters: the dice and a valid file. Leaves: the file damaged, and what was done in words.

use crate::hostile::shelf::Shelf;
use crate::hostile::{Dice, json, pick, picture, tensors};
use rand::Rng;
use std::path::Path;

/// Damages the file in one way of many.
pub fn damage(dice: &mut Dice, file: &Path, shelf: &Shelf) -> String {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    std::fs::remove_file(file).unwrap();
    match dice.random_range(0..100) {
        0..8 => return instead(dice, file, shelf),
        8..12 => {
            let (bytes, what) = as_text(dice, bytes);
            std::fs::write(file, bytes).unwrap();
            return what;
        }
        _ => {}
    }
    let roll = dice.random_range(0..100);
    let kind = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let texts = |(text, what): (String, String)| (text.into_bytes(), what);
    let (bytes, what) = match kind {
        "json" if roll < 80 => texts(json::spoil(dice, &text(&bytes))),
        "jsonl" if roll < 80 => texts(json::spoil_lines(dice, &text(&bytes))),
        "toml" if roll < 80 => texts(json::spoil_toml(dice, &text(&bytes))),
        "safetensors" if roll < 75 => tensors::spoil(dice, &bytes),
        "png" if roll < 75 => picture::spoil_png(dice, &bytes),
        "jpg" | "webp" if roll < 70 => picture::spoil_exif(dice, &bytes),
        _ => spoil_bytes(dice, bytes),
    };
    std::fs::write(file, bytes).unwrap();
    what
}

/// Something else in the file's place.
fn instead(dice: &mut Dice, file: &Path, shelf: &Shelf) -> String {
    match dice.random_range(0..6) {
        0 => "it is not there".into(),
        1 => {
            std::fs::write(file, "").unwrap();
            "it is empty".into()
        }
        2 => {
            std::fs::create_dir(file).unwrap();
            "it is a folder".into()
        }
        3 => {
            std::os::unix::fs::symlink(file, file).unwrap();
            "it is a link to itself".into()
        }
        4 => {
            let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>…</body></html>\n";
            std::fs::write(file, page).unwrap();
            "it is a page".into()
        }
        _ => {
            let other = shelf.any_file(dice);
            std::fs::copy(&other, file).unwrap();
            format!("it is {}", other.display())
        }
    }
}

/// What editors and other systems do to texts.
fn as_text(dice: &mut Dice, mut bytes: Vec<u8>) -> (Vec<u8>, String) {
    let at = dice.random_range(0..=bytes.len());
    let what = match dice.random_range(0..4) {
        0 => {
            bytes.splice(0..0, *b"\xef\xbb\xbf");
            "a byte order mark".into()
        }
        1 => {
            bytes = bytes.into_iter().flat_map(|b| if b == b'\n' { vec![b'\r', b'\n'] } else { vec![b] }).collect();
            "lines end as on Windows".into()
        }
        2 => {
            bytes.insert(at, 0xff);
            format!("not UTF-8 at {at}")
        }
        _ => {
            bytes.insert(at, 0);
            format!("a zero byte at {at}")
        }
    };
    (bytes, what)
}

/// What copying, disks and networks do to bytes.
pub fn spoil_bytes(dice: &mut Dice, mut bytes: Vec<u8>) -> (Vec<u8>, String) {
    let length = bytes.len();
    if length == 0 {
        return (vec![0; 8], "eight zeros".into());
    }
    // Half of the places lie near the beginning, where headers are.
    let near = if dice.random() { length } else { length.min(512) };
    let at = dice.random_range(0..near);
    let to = (at + (1usize << dice.random_range(0..16))).min(length);
    let what = match dice.random_range(0..8) {
        0 => {
            bytes.truncate(at);
            "cut".into()
        }
        1 | 2 => {
            let times = dice.random_range(1..8);
            for _ in 0..times {
                let place = dice.random_range(0..near);
                bytes[place] ^= 1 << dice.random_range(0..8);
            }
            format!("{times} bits flipped")
        }
        3 => {
            dice.fill(&mut bytes[at..to]);
            format!("overwritten to {to}")
        }
        4 => {
            bytes[at..to].fill(*pick(dice, &[0, 0xff, b'(', b'1']));
            format!("filled to {to}")
        }
        5 => {
            bytes.drain(at..to);
            format!("taken away to {to}")
        }
        6 => {
            let piece = bytes[at..to].to_vec();
            bytes.splice(at..at, piece);
            format!("doubled to {to}")
        }
        _ => {
            let mut more = vec![0; dice.random_range(1..5000)];
            dice.fill(&mut more[..]);
            bytes.extend(more);
            "more at the end".into()
        }
    };
    (bytes, format!("at {at} of {length}: {what}"))
}
