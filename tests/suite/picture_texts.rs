//! What pictures say about their making, where it is damaged, odd, or another program's.

use sdviz::trace::parameters::PictureSettings;
use std::path::{Path, PathBuf};

const SAID: &str = "a café\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64";

/// A PNG of one pixel with these text chunks: the kind, and the keyword with the text. `wrong` spoils the checksums.
fn png(path: PathBuf, texts: &[(&[u8; 4], &[u8])], wrong: bool) -> PathBuf {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&[0; 3]).unwrap();
    let mut chunks = vec![];
    for (kind, text) in texts {
        let body = [&kind[..], text].concat();
        chunks.extend((text.len() as u32).to_be_bytes());
        chunks.extend(&body);
        chunks.extend((crc32fast::hash(&body) ^ u32::from(wrong)).to_be_bytes());
    }
    // The signature has 8 bytes, the header 25.
    bytes.splice(33..33, chunks);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A JPEG without pixels: an EXIF block with one field, of undefined type in the EXIF directory or of ASCII in the first.
fn jpeg(path: PathBuf, tag: u16, data: &[u8]) -> PathBuf {
    jpeg_of(path, &block(tag, data))
}

/// Such a block.
fn block(tag: u16, data: &[u8]) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    let mut directory = |tag: u16, kind: u16, count: u32, value: u32| {
        tiff.extend([1, 0]);
        tiff.extend(tag.to_le_bytes());
        tiff.extend(kind.to_le_bytes());
        tiff.extend(count.to_le_bytes());
        tiff.extend(value.to_le_bytes());
        tiff.extend([0; 4]);
    };
    if tag == 0x9286 {
        directory(0x8769, 4, 1, 26);
        directory(tag, 7, data.len() as u32, 44);
    } else {
        directory(tag, 2, data.len() as u32, 26);
    }
    tiff.extend(data);
    tiff
}

/// The block as piexif writes it, and with it AUTOMATIC1111's web UI: neither directory ends with a pointer to a next one.
fn piexif_block(comment: &[u8]) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08".to_vec();
    for (tag, kind, count, value) in [(0x8769_u16, 4_u16, 1, 26_u32), (0x9286, 7, comment.len() as u32, 40)] {
        tiff.extend([0, 1]);
        tiff.extend(tag.to_be_bytes());
        tiff.extend(kind.to_be_bytes());
        tiff.extend(u32::to_be_bytes(count));
        tiff.extend(value.to_be_bytes());
        // The first directory is followed by zeros; the second by its data at once.
        tiff.extend(if tag == 0x8769 { &[0; 4][..] } else { &[] });
    }
    tiff.extend(comment);
    tiff
}

/// A JPEG without pixels, with this block.
fn jpeg_of(path: PathBuf, block: &[u8]) -> PathBuf {
    let mut all = b"\xff\xd8\xff\xe1".to_vec();
    all.extend(((block.len() + 8) as u16).to_be_bytes());
    all.extend(b"Exif\0\0");
    all.extend(block);
    all.extend(b"\xff\xd9");
    std::fs::write(&path, all).unwrap();
    path
}

/// A WebP file of these chunks.
fn webp(path: PathBuf, chunks: &[(&[u8; 4], &[u8])]) -> PathBuf {
    let mut body = b"WEBP".to_vec();
    for (name, bytes) in chunks {
        body.extend(*name);
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(*bytes);
        body.extend(&[0][..bytes.len() % 2]);
    }
    std::fs::write(&path, [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()).unwrap();
    path
}

fn read(path: &Path) -> PictureSettings {
    PictureSettings::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn texts_in_every_encoding_are_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let expected = PictureSettings::parse(SAID);
    let latin: Vec<u8> = SAID.chars().map(|c| c as u8).collect();
    let utf16 = |order: fn(u16) -> [u8; 2]| {
        [&b"UNICODE\0"[..], &SAID.encode_utf16().flat_map(order).collect::<Vec<u8>>(), b"\0\0"].concat()
    };
    let key = |text: &[u8]| [b"parameters\0", text].concat();
    let prefixed = |block: &[u8]| [b"Exif\0\0", block].concat();
    let files = [
        png(at("latin.png"), &[(b"tEXt", &key(&latin))], false),
        png(at("utf8_where_latin_belongs.png"), &[(b"tEXt", &key(SAID.as_bytes()))], false),
        png(at("after_an_empty_one.png"), &[(b"tEXt", b"sdviz\0{}"), (b"tEXt", &key(&latin))], false),
        jpeg(at("big.jpg"), 0x9286, &utf16(u16::to_be_bytes)),
        jpeg(at("little.jpg"), 0x9286, &utf16(u16::to_le_bytes)),
        jpeg(at("undefined.jpg"), 0x9286, &[&[0; 8], SAID.as_bytes()].concat()),
        jpeg_of(at("piexif.jpg"), &piexif_block(&utf16(u16::to_be_bytes))),
        webp(at("piexif.webp"), &[(b"VP8L", b"odd"), (b"EXIF", &piexif_block(&utf16(u16::to_be_bytes)))]),
        webp(at("plain.webp"), &[(b"EXIF", &block(0x9286, &utf16(u16::to_le_bytes)))]),
        webp(at("prefixed.webp"), &[(b"EXIF", &prefixed(&block(0x9286, &utf16(u16::to_be_bytes))))]),
        png(at("exif.png"), &[(b"eXIf", &piexif_block(&utf16(u16::to_be_bytes)))], false),
        png(at("prefixed.png"), &[(b"eXIf", &prefixed(&block(0x9286, &utf16(u16::to_be_bytes))))], false),
    ];
    for file in &files {
        assert_eq!(read(file), expected, "{}", file.display());
    }
}

#[test]
fn what_cannot_be_read_is_said_to_be_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let parameters = [b"parameters\0", SAID.as_bytes()].concat();
    let graph = br#"prompt:{"3": {"class_type": "KSampler"}}"#;
    let files = [
        png(at("checksum.png"), &[(b"tEXt", &parameters)], true),
        png(at("packed.png"), &[(b"zTXt", b"parameters\0\0nonsense")], false),
        png(at("cut_json.png"), &[(b"tEXt", b"sdviz\0{\"plan\": {\"pro")], false),
        png(at("empty.png"), &[(b"tEXt", b"parameters\0")], false),
        png(at("comfy.png"), &[(b"tEXt", b"prompt\0{\"3\": {}}"), (b"tEXt", b"workflow\0{}")], false),
        png(at("invoke.png"), &[(b"iTXt", b"invokeai_metadata\0\0\0\0\0{}")], false),
        png(at("fooocus.png"), &[(b"tEXt", b"parameters\0{\"steps\": 30}"), (b"tEXt", b"fooocus_scheme\0x")], false),
        png(at("json.png"), &[(b"tEXt", b"parameters\0{\"steps\": 30}")], false),
        png(at("novel.png"), &[(b"tEXt", b"Software\0NovelAI"), (b"tEXt", b"Comment\0{\"steps\": 28}")], false),
        png(at("painted.png"), &[(b"tEXt", b"Software\0a paint program")], false),
        png(at("plain.png"), &[], false),
        jpeg(at("comfy.jpg"), 0x0110, graph),
        jpeg(at("camera.jpg"), 0x0110, b"a camera\0"),
        jpeg(at("short.jpg"), 0x9286, b"UNICO"),
        jpeg(at("blank.jpg"), 0x9286, b"ASCII\0\0\0        "),
    ];
    let said: Vec<String> = files
        .iter()
        .map(|file| {
            let error = PictureSettings::read(file).expect_err(&file.display().to_string());
            let text = format!("{error}\n  {}", error.hint().unwrap_or_default());
            text.replace(&format!("{}/", folder.path().display()), "")
        })
        .collect();
    insta::assert_snapshot!("refused", said.join("\n"));
}

/// Cut short anywhere, with any byte changed: settings, or an error that names the file.
#[test]
fn damage_is_no_reason_to_panic() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let comment = [&b"UNICODE\0"[..], &SAID.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>()].concat();
    let parameters = [b"parameters\0", SAID.as_bytes()].concat();
    let own =
        [&b"sdviz\0"[..], br#"{"plan": {"prompt": "a", "seed": 3}, "batch_item": 1, "model": {"id": 7}}"#].concat();
    let files = [
        png(at("whole.png"), &[(b"tEXt", &parameters), (b"tEXt", &own), (b"eXIf", &block(0x9286, &comment))], false),
        jpeg_of(at("whole.jpg"), &piexif_block(&comment)),
        webp(at("whole.webp"), &[(b"EXIF", &block(0x9286, &comment)), (b"XMP ", b"")]),
    ];
    for file in files {
        let (whole, path) = (std::fs::read(&file).unwrap(), at("damaged"));
        let check = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = PictureSettings::read(&path) {
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            }
        };
        for place in 0..whole.len() {
            check(&whole[..place]);
            let mut changed = whole.clone();
            changed[place] = if place % 2 == 0 { 0xff } else { whole[place] ^ 1 };
            check(&changed);
        }
    }
}
