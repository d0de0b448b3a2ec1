//! Files that claim or unpack to more than anybody has memory for: refused by their size, before they are unpacked.

use crate::common::refused;
use image::{ImageFormat, RgbImage};
use png::text_metadata::{ITXtChunk, ZTXtChunk};
use sdviz::pipeline::init_image::InitImage;
use sdviz::trace::parameters::PictureSettings;
use std::path::Path;

const SAID: &str = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64";

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [kind, body].concat();
    let sum = crc32fast::hash(&named).to_be_bytes();
    [&(body.len() as u32).to_be_bytes()[..], &named, &sum].concat()
}

/// A PNG that claims a size and holds no pixels.
fn hollow_png(path: &Path, width: u32, height: u32) {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let all = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &[]), chunk(b"IEND", &[])];
    std::fs::write(path, all.concat()).unwrap();
}

/// A small picture in this format, as bytes.
fn small(format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    RgbImage::new(8, 8).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn a_picture_is_refused_by_the_size_that_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    hollow_png(&at("bomb.png"), 99_999, 99_999);
    hollow_png(&at("long.png"), 1, u32::MAX >> 1);
    // The size of a JPEG stands five bytes behind its first frame's mark, height first.
    let mut jpeg = small(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|mark| mark == [0xff, 0xc0]).unwrap() + 5;
    jpeg[frame..frame + 4].fill(0xff);
    std::fs::write(at("bomb.jpg"), jpeg).unwrap();
    // That of a lossless WebP in 14 bits each, less one, behind the mark 0x2f.
    let mut webp = small(ImageFormat::WebP);
    let mark = webp.windows(4).position(|name| name == b"VP8L").unwrap() + 8;
    assert_eq!(webp[mark], 0x2f);
    webp[mark + 1..mark + 5].copy_from_slice(&(0x3ffe_u32 | 0x3ffe << 14).to_le_bytes());
    std::fs::write(at("bomb.webp"), webp).unwrap();

    for (name, size) in [
        ("bomb.png", "99999×99999"),
        ("long.png", "1×2147483647"),
        ("bomb.jpg", "65535×65535"),
        ("bomb.webp", "16383×16383"),
    ] {
        let refused = InitImage::read(&at(name), None).unwrap_err();
        let expected = format!("{name}` is {size}: more than 128 megapixels, or 512 MiB, are not unpacked");
        assert!(refused.to_string().ends_with(&expected), "{refused}");
    }
    let (bomb, out) = (at("bomb.png").display().to_string(), at("run").display().to_string());
    let said = refused(&["trace", "--prompt", "x", "--init-image", &bomb, "--out", &out]);
    assert!(said.contains("more than 128 megapixels") && said.contains("hint: make it smaller"), "{said}");
    assert!(!at("run").exists());
    let said = refused(&["metadata", &bomb]);
    assert!(said.contains("bomb.png` does not say how it was made"), "{said}");
}

#[test]
fn a_text_is_unpacked_only_as_far_as_texts_are_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.png");
    let huge = "a".repeat(40 << 20);
    let write = |packed: &[&str], plain: Option<&str>| {
        let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        for keyword in packed {
            let mut zipped = ZTXtChunk::new(*keyword, huge.as_str());
            zipped.compress_text().unwrap();
            writer.write_text_chunk(&zipped).unwrap();
            let mut zipped = ITXtChunk::new(*keyword, huge.as_str());
            zipped.compressed = true;
            zipped.compress_text().unwrap();
            writer.write_text_chunk(&zipped).unwrap();
        }
        if let Some(plain) = plain {
            writer.write_text_chunk(&ITXtChunk::new("parameters", plain)).unwrap();
        }
        writer.write_image_data(&[0; 3]).unwrap();
    };
    write(&["parameters"], None);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20, "small on disk");
    let said = refused(&["metadata", path.to_str().unwrap()]);
    assert!(said.contains("made in a text `parameters` that has more than 16 MiB"), "{said}");
    // Beside it, what is written plainly is read.
    write(&["other"], Some(SAID));
    assert_eq!(PictureSettings::read(&path).unwrap(), PictureSettings::parse(SAID));
}

#[test]
fn brackets_without_end_are_refused() {
    let deep = "([".repeat(10_000);
    let said = refused(&["tokens", &deep, "--prompt-syntax", "a1111"]);
    assert!(said.contains("error: 20000 brackets of the prompt stand in each other: up to 500 are read"), "{said}");
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("run").display().to_string();
    let base = ["trace", "--prompt", "a cat", "--prompt-syntax", "a1111", "--out", &out];
    let said = refused(&[&base[..], &["--negative-prompt", &deep]].concat());
    assert!(said.contains("error: 20000 brackets of the prompt"), "{said}");
}
