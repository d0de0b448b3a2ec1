//! Spoils pictures: PNG chunk by chunk with checksums that hold, so that the damage gets past them; settings in their
//! texts; the EXIF of JPEG and WebP.

use crate::hostile::{Dice, damage, json, pick};
use rand::Rng;
use std::sync::OnceLock;

type Chunk = ([u8; 4], Vec<u8>);

fn chunks(bytes: &[u8]) -> Vec<Chunk> {
    let (mut rest, mut found) = (&bytes[8..], vec![]);
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        found.push((rest[4..8].try_into().unwrap(), rest[8..8 + length].to_vec()));
        rest = &rest[12 + length..];
    }
    found
}

fn png(chunks: &[Chunk]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in chunks {
        let body = [&kind[..], data].concat();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&body);
        bytes.extend(crc32fast::hash(&body).to_be_bytes());
    }
    bytes
}

/// A PNG with one thing changed, and what.
pub fn spoil_png(dice: &mut Dice, bytes: &[u8]) -> (Vec<u8>, String) {
    let mut all = chunks(bytes);
    let at = dice.random_range(0..all.len());
    let what = match dice.random_range(0..9) {
        0 => format!("{} is gone", name(&all.remove(at).0)),
        1 => {
            all.insert(at, all[at].clone());
            format!("{} is there twice", name(&all[at].0))
        }
        2 => {
            let other = dice.random_range(0..all.len());
            all.swap(at, other);
            format!("{} and {} change places", name(&all[at].0), name(&all[other].0))
        }
        3 => {
            let (data, what) = damage::spoil_bytes(dice, std::mem::take(&mut all[at].1));
            all[at].1 = data;
            format!("in {}: {what}", name(&all[at].0))
        }
        4 => {
            let side = *pick(dice, &[0, 1, 31, 65535, 99999, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
            let place = 4 * dice.random_range(0..2usize);
            all[0].1[place..place + 4].copy_from_slice(&side.to_be_bytes());
            format!("one side is {side}")
        }
        5 => {
            let place = dice.random_range(8..13);
            all[0].1[place] = dice.random_range(0..20);
            format!("byte {place} of IHDR is {}", all[0].1[place])
        }
        6 => bomb(dice, &mut all),
        _ => texts(dice, &mut all),
    };
    (png(&all), what)
}

fn name(kind: &[u8; 4]) -> String {
    String::from_utf8_lossy(kind).into_owned()
}

/// A packed text that is far larger unpacked.
fn bomb(dice: &mut Dice, all: &mut Vec<Chunk>) -> String {
    let mut data = b"parameters\0\0".to_vec();
    let kind = *pick(dice, &[*b"zTXt", *b"iTXt", *b"iCCP"]);
    if kind == *b"iTXt" {
        data = b"parameters\0\x01\0\0\0".to_vec();
    }
    data.extend(packed());
    all.insert(1, (kind, data));
    format!("a bomb in {}", name(&kind))
}

/// Other settings in the texts.
fn texts(dice: &mut Dice, all: &mut Vec<Chunk>) -> String {
    let held: Vec<usize> = (0..all.len()).filter(|i| all[*i].0 == *b"tEXt" || all[*i].0 == *b"iTXt").collect();
    let Some(&at) = held.get(dice.random_range(0..held.len().max(1) + 1)) else {
        let text = settings(dice);
        let what = format!("settings: {}", json::start(&text));
        all.insert(1, (*b"tEXt", [b"parameters\0", text.as_bytes()].concat()));
        return what;
    };
    let data = &all[at].1;
    let split = data.iter().position(|b| *b == 0).unwrap_or(0);
    let (key, text) = (data[..split].to_vec(), String::from_utf8_lossy(&data[split..]).into_owned());
    let begin = text.find('{').unwrap_or(text.len());
    let (text, what) = if begin < text.len() {
        let (spoiled, what) = json::spoil(dice, &text[begin..]);
        (text[..begin].to_string() + &spoiled, what)
    } else {
        let text = settings(dice);
        let what = json::start(&text);
        ("\0".to_string() + &text, what)
    };
    all[at].1 = [key, text.into_bytes()].concat();
    format!("text {at}: {what}")
}

/// Settings as other programs write them, with odd values.
fn settings(dice: &mut Dice) -> String {
    const NUMBERS: &[&str] =
        &["0", "-1", "1e9", "99999999999999999999", "NaN", "inf", "", "x", "１２", "2", "4294967296", "1e-400", "0.5"];
    const SAMPLERS: &[&str] = &["Euler a", "DPM++ 2M Karras", "Euler", "", "x", "DDIM", "(((", "Euler\0"];
    let prompts = [
        "a cat".to_string(),
        "(".repeat(20_000),
        "(".repeat(20_000) + "a" + &")".repeat(20_000),
        "[".repeat(20_000) + "a:b:0.5" + &"]".repeat(20_000),
        "<lora:x:1> ".repeat(1000),
        "a AND ".repeat(3000),
        "(a:1e308)".into(),
        "[a:b:99999999999999999999]".into(),
        "[a|b]".repeat(5000),
        "a\nNegative prompt: b\nNegative prompt: c".into(),
        "word ".repeat(20_000),
        "\u{202e}\u{fffd}\u{0}é".into(),
    ];
    let prompt = pick(dice, &prompts).clone();
    let mut number = || *pick(dice, NUMBERS);
    let (steps, seed, scale, width, height) = (number(), number(), number(), number(), number());
    let (skip, strength, hires) = (number(), number(), number());
    let sampler = *pick(dice, SAMPLERS);
    format!(
        "{prompt}\nNegative prompt: {prompt}\nSteps: {steps}, Sampler: {sampler}, CFG scale: {scale}, Seed: {seed}, Size: \
         {width}x{height}, Clip skip: {skip}, Denoising strength: {strength}, Hires upscale: {hires}, Hires steps: {steps}"
    )
}

/// A JPEG or WebP with damage in its EXIF, or in the headers of its pixels.
pub fn spoil_exif(dice: &mut Dice, bytes: &[u8]) -> (Vec<u8>, String) {
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let exif = find(b"II*\0").or_else(|| find(b"MM\0*")).unwrap_or(0);
    let (from, length) = if dice.random_range(0..4) == 0 { (0, 32) } else { (exif, 200) };
    let to = (from + length).min(bytes.len());
    let mut bytes = bytes.to_vec();
    for _ in 0..dice.random_range(1..4) {
        let at = dice.random_range(from..to);
        bytes[at] = *pick(dice, &[0, 1, 0x7f, 0x80, 0xff, bytes[at].wrapping_add(1), bytes[at] ^ 0x10]);
    }
    (bytes, format!("bytes between {from} and {to}"))
}

/// Three gigabytes of the letter `a`, packed as zlib does: one letter, then that again and again.
fn packed() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| {
        let repeats: u64 = (3 << 30) / 258;
        let (mut bytes, mut held, mut bits) = (vec![0x78, 0x01], 0u64, 0);
        // Codes are written from their first bit on; deflate fills bytes from the lowest bit.
        let mut put = |code: u64, length: u32| {
            held |= (code.reverse_bits() >> (64 - length)) << bits;
            bits += length;
            while bits >= 8 {
                bytes.push(held as u8);
                held >>= 8;
                bits -= 8;
            }
        };
        // The last block, with the fixed codes (both numbers from the lowest bit on), and the letter.
        put(0b110, 3);
        put(0x30 + u64::from(b'a'), 8);
        // 258 bytes from one byte back: the code of the length, then that of the distance.
        (0..repeats).for_each(|_| put(0b11000101 << 5, 13));
        put(0, 7);
        put(0, 8);
        let (length, prime) = (u128::from(1 + 258 * repeats), 65521);
        let (letter, triangle) = (u128::from(b'a'), length * (length + 1) / 2);
        let (a, b) = ((1 + length * letter) % prime, (length + triangle * letter) % prime);
        bytes.extend((((b << 16) | a) as u32).to_be_bytes());
        bytes
    })
}
