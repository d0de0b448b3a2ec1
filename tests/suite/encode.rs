//! Animations, written and read back with other code than wrote them.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use image::{AnimationDecoder, ImageDecoder, Rgb, RgbImage};
use openh264::formats::YUVSource;
use sdviz::export::encode::{AnimationFormat, AnimationOptions, Written, create};

const SIZES: [(u32, u32); 4] = [(1, 1), (65, 33), (64, 64), (768, 512)];

/// Frames like a run's: noise that gives way to a smooth picture with hard edges.
fn run_like(count: usize, width: u32, height: u32) -> Vec<RgbImage> {
    let mut state = 12345u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let frame = |step: usize| {
        let done = if count == 1 { 1.0 } else { step as f32 / (count - 1) as f32 };
        RgbImage::from_fn(width, height, |x, y| {
            let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
            let radius = ((u - 0.5).powi(2) + (v - 0.5).powi(2)).sqrt();
            // Edges in brightness alone: H.264 keeps colour at half the resolution.
            let edge = if radius < 0.3 { 0.2 } else { 0.0 };
            let picture = [0.4 + 0.2 * (6.0 * radius).sin(), 0.5 + 0.2 * u, 0.5 + 0.2 * v].map(|value| value + edge);
            Rgb(picture.map(|value| ((done * value + (1.0 - done) * noise()) * 255.0 + 0.5) as u8))
        })
    };
    (0..count).map(frame).collect()
}

fn write(format: AnimationFormat, path: &Path, frames: &[(RgbImage, usize)], fps: f64) -> Written {
    let mut writer = create(format, path, frames[0].0.dimensions(), fps, &AnimationOptions::default()).unwrap();
    for (frame, hold) in frames {
        writer.frame(frame, *hold).unwrap();
    }
    writer.finish().unwrap()
}

fn once(frames: Vec<RgbImage>) -> Vec<(RgbImage, usize)> {
    frames.into_iter().map(|frame| (frame, 1)).collect()
}

/// Peak signal to noise ratio in decibels; of the common area if `found` is larger.
fn psnr(found: &RgbImage, expected: &RgbImage) -> f64 {
    let mut sum = 0.0;
    for (x, y, pixel) in expected.enumerate_pixels() {
        let other = found.get_pixel(x, y);
        sum += (0..3).map(|c| (f64::from(pixel.0[c]) - f64::from(other.0[c])).powi(2)).sum::<f64>();
    }
    let mean = sum / f64::from(3 * expected.width() * expected.height());
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The payload of the first box of this path, and where it begins in the file.
fn find_box<'a>(bytes: &'a [u8], start: usize, path: &[&str]) -> (&'a [u8], usize) {
    let mut at = 0;
    while at < bytes.len() {
        let length = number(bytes, at);
        if &bytes[at + 4..at + 8] == path[0].as_bytes() {
            let skip = match path[0] {
                "stsd" => 16,
                "avc1" => 86,
                _ => 8,
            };
            let inner = &bytes[at + skip..at + length];
            return if path.len() == 1 {
                (inner, start + at + skip)
            } else {
                find_box(inner, start + at + skip, &path[1..])
            };
        }
        at += length;
    }
    panic!("no box {path:?}");
}

struct Mp4 {
    frames: Vec<RgbImage>,
    keys: usize,
    /// Seconds per frame.
    period: f64,
}

/// Demultiplexes and decodes with OpenH264's decoder.
fn read_mp4(path: &Path) -> Mp4 {
    let bytes = fs::read(path).unwrap();
    let table = |name| find_box(&bytes, 0, &["moov", "trak", "mdia", "minf", "stbl", name]).0;
    let avcc = find_box(&bytes, 0, &["moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC"]).0;
    let sps_length = usize::from(avcc[7]);
    let pps_at = 8 + sps_length + 3;
    let start = [0, 0, 0, 1];
    let mut stream = [&start[..], &avcc[8..8 + sps_length], &start, &avcc[pps_at..]].concat();
    let (mdat, mdat_at) = find_box(&bytes, 0, &["mdat"]);
    assert!(find_box(&bytes, 0, &["moov"]).1 < mdat_at, "not a fast start");
    assert_eq!(number(table("stco"), 8), mdat_at, "the offset does not point at the frames");
    let sizes: Vec<usize> = table("stsz")[12..].chunks(4).map(|size| number(size, 0)).collect();
    assert_eq!(sizes.iter().sum::<usize>(), mdat.len());
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    let (mut frames, mut at) = (Vec::new(), 0);
    for size in sizes {
        let end = at + size;
        while at < end {
            let length = number(mdat, at);
            stream.extend(start);
            stream.extend(&mdat[at + 4..at + 4 + length]);
            at += 4 + length;
        }
        frames.extend(decoder.decode(&stream).unwrap().map(|yuv| rgb(&yuv)));
        stream.clear();
    }
    frames.extend(decoder.flush_remaining().unwrap().iter().map(rgb));
    let stts = table("stts");
    let mdhd = find_box(&bytes, 0, &["moov", "trak", "mdia", "mdhd"]).0;
    Mp4 { frames, keys: number(table("stss"), 4), period: number(stts, 12) as f64 / number(mdhd, 12) as f64 }
}

/// BT.709 limited range back to RGB, colour samples repeated.
fn rgb(yuv: &impl YUVSource) -> RgbImage {
    let ((width, height), (y_stride, u_stride, v_stride)) = (yuv.dimensions(), yuv.strides());
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let luma = (f32::from(yuv.y()[y * y_stride + x]) - 16.0) * 255.0 / 219.0;
        let blue = (f32::from(yuv.u()[y / 2 * u_stride + x / 2]) - 128.0) * 255.0 / 224.0 * 1.8556 + luma;
        let red = (f32::from(yuv.v()[y / 2 * v_stride + x / 2]) - 128.0) * 255.0 / 224.0 * 1.5748 + luma;
        let green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152;
        Rgb([red, green, blue].map(|value| (value + 0.5).clamp(0.0, 255.0) as u8))
    })
}

#[test]
fn mp4_holds_every_frame_in_even_sizes() {
    let folder = tempfile::tempdir().unwrap();
    for (size, coded) in SIZES.into_iter().zip([(16, 16), (66, 34), (64, 64), (768, 512)]) {
        let path = folder.path().join("a.mp4");
        let frames = run_like(4, size.0, size.1);
        let written = write(AnimationFormat::Mp4, &path, &once(frames.clone()), 8.0);
        assert_eq!((written.size, written.periods, written.bytes), (coded, 4, fs::metadata(&path).unwrap().len()));
        assert_eq!(written.remarks.is_empty(), size == coded, "{:?}", written.remarks);
        let read = read_mp4(&path);
        assert_eq!((read.frames.len(), read.period), (4, 0.125), "{size:?}");
        assert!(read.frames.iter().all(|frame| frame.dimensions() == coded));
        let last = psnr(&read.frames[3], &frames[3]);
        assert!(last >= 38.0 || size == (1, 1), "{size:?}: {last:.2} dB");
    }
}

#[test]
fn mp4_repeats_held_frames_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    // Less noise than a run begins with: pure noise costs key frames of its own.
    let frames = run_like(60, 256, 256).split_off(30);
    let mut held = once(frames.clone());
    held[0].1 = 3;
    held[29].1 = 8;
    let written = write(AnimationFormat::Mp4, &path, &held, 23.976);
    assert_eq!(written.periods, 39);
    assert!((written.duration() - 39.0 / 23.976).abs() < 1e-9);
    let read = read_mp4(&path);
    assert_eq!((read.frames.len(), read.keys), (39, 2));
    assert_eq!(read.period, 1000.0 / 23976.0);
    for (at, source) in [(2, 0), (16, 14), (31, 29), (38, 29)] {
        let (found, noise) =
            (psnr(&read.frames[at], &frames[source]), psnr(&read.frames[at], &frames[(source + 9) % 30]));
        assert!(found > noise + 1.0, "frame {at} is not frame {source}: {found:.2} dB, another {noise:.2} dB");
    }
    for at in 31..39 {
        let found = psnr(&read.frames[at], &frames[29]);
        assert!(found >= 38.0, "frame {at}: {found:.2} dB");
    }
}

#[test]
fn mp4_survives_pure_noise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let frames: Vec<_> = run_like(60, 256, 256).into_iter().take(4).collect();
    write(AnimationFormat::Mp4, &path, &once(frames), 8.0);
    assert_eq!(read_mp4(&path).frames.len(), 4);
}

#[test]
fn the_same_frames_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let frames = once(run_like(6, 120, 72));
    for format in AnimationFormat::ALL {
        let [first, second] = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            write(format, &path, &frames, 12.0);
            fs::read(path).unwrap()
        });
        assert!(first == second, "{format}");
    }
}

/// Frames and their delays in milliseconds, by the `image` crate.
fn read_frames<'a>(decoder: impl AnimationDecoder<'a>) -> (Vec<RgbImage>, Vec<u32>) {
    let frames = decoder.into_frames().collect_frames().unwrap();
    let delays = frames.iter().map(|frame| frame.delay().numer_denom_ms()).map(|(n, d)| n / d).collect();
    let pictures = frames.into_iter().map(|frame| image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8());
    (pictures.collect(), delays)
}

/// Frames and their delays in milliseconds: what is on the screen when each frame has been drawn over those before it.
fn read_gif(path: &Path) -> (Vec<RgbImage>, Vec<u32>) {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(open(path)).unwrap();
    let mut screen = image::RgbaImage::new(decoder.width().into(), decoder.height().into());
    let (mut pictures, mut delays) = (Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        let part = image::RgbaImage::from_raw(frame.width.into(), frame.height.into(), frame.buffer.to_vec()).unwrap();
        assert_eq!(frame.dispose, gif::DisposalMethod::Keep);
        for (x, y, pixel) in part.enumerate_pixels().filter(|(.., pixel)| pixel.0[3] > 0) {
            screen.put_pixel(x + u32::from(frame.left), y + u32::from(frame.top), *pixel);
        }
        assert!(screen.pixels().all(|pixel| pixel.0[3] == 255), "a pixel was never drawn");
        pictures.push(image::DynamicImage::ImageRgba8(screen.clone()).into_rgb8());
        delays.push(10 * u32::from(frame.delay));
    }
    (pictures, delays)
}

fn open(path: &Path) -> std::io::BufReader<fs::File> {
    std::io::BufReader::new(fs::File::open(path).unwrap())
}

#[test]
fn webp_keeps_every_pixel() {
    let folder = tempfile::tempdir().unwrap();
    for size in SIZES {
        let path = folder.path().join("a.webp");
        let mut frames = once(run_like(3, size.0, size.1));
        frames[2].1 = 4;
        let written = write(AnimationFormat::WebP, &path, &frames, 30.0);
        assert_eq!((written.size, written.periods), (size, 6));
        let decoder = image::codecs::webp::WebPDecoder::new(open(&path)).unwrap();
        assert_eq!((decoder.dimensions(), decoder.has_animation()), (size, true));
        let (pictures, delays) = read_frames(decoder);
        // 33 + 34 + 133 = 200 milliseconds: the rounding does not add up.
        assert_eq!(delays, [33, 34, 133]);
        assert!(pictures.iter().zip(&frames).all(|(found, (frame, _))| found == frame), "{size:?}");
    }
}

#[test]
fn webp_can_be_lossy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.webp");
    let frame = &run_like(1, 256, 256)[0];
    let options = AnimationOptions { webp_quality: Some(90.0), ..AnimationOptions::default() };
    let mut writer = create(AnimationFormat::WebP, &path, (256, 256), 8.0, &options).unwrap();
    writer.frame(frame, 1).unwrap();
    writer.finish().unwrap();
    let (pictures, _) = read_frames(image::codecs::webp::WebPDecoder::new(open(&path)).unwrap());
    let found = psnr(&pictures[0], frame);
    assert!(found > 36.0 && pictures[0] != *frame, "{found:.2} dB");
    let options = AnimationOptions { webp_quality: Some(101.0), ..options };
    let refused = create(AnimationFormat::WebP, &path, (256, 256), 8.0, &options).err().unwrap();
    assert_eq!(refused.to_string(), "cannot write WebP with quality `101`");
}

#[test]
fn apng_keeps_every_pixel() {
    let folder = tempfile::tempdir().unwrap();
    for (size, fps, expected) in
        [((1, 1), 24.0, [41, 41, 166]), ((65, 33), 0.1, [10000, 10000, 40000]), ((64, 64), 12.5, [80, 80, 320])]
    {
        let path = folder.path().join("a.apng");
        let mut frames = once(run_like(3, size.0, size.1));
        frames[2].1 = 4;
        let written = write(AnimationFormat::Apng, &path, &frames, fps);
        assert_eq!((written.size, written.periods), (size, 6));
        let decoder = image::codecs::png::PngDecoder::new(open(&path)).unwrap().apng().unwrap();
        let (pictures, delays) = read_frames(decoder);
        assert_eq!(delays, expected);
        assert!(pictures.iter().zip(&frames).all(|(found, (frame, _))| found == frame), "{size:?}");
        let info = png::Decoder::new(open(&path)).read_info().unwrap();
        let control = info.info().animation_control().unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
    }
}

#[test]
fn gif_rounds_its_delay_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    for (fps, delay, remark) in
        [(8.0, 13, true), (24.0, 4, true), (60.0, 2, true), (0.1, 1000, false), (20.0, 5, false)]
    {
        let mut frames = once(run_like(3, 65, 33));
        frames[1].1 = 3;
        let written = write(AnimationFormat::Gif, &path, &frames, fps);
        assert_eq!(written.period, f64::from(delay) / 100.0);
        assert_eq!(!written.remarks.is_empty(), remark, "{fps}: {:?}", written.remarks);
        let (pictures, delays) = read_gif(&path);
        assert_eq!(delays, [1, 3, 1].map(|hold| 10 * hold * delay as u32));
        assert!(psnr(&pictures[2], &frames[2].0) > 26.0);
        assert_eq!(pictures[0].dimensions(), (65, 33));
    }
}

#[test]
fn gif_is_exact_up_to_256_colours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    for (count, exact) in [(1u32, true), (2, true), (255, true), (256, true), (257, false)] {
        let frame = RgbImage::from_fn(32, 32, |x, y| {
            let colour = (32 * y + x) % count;
            Rgb([(colour % 16 * 17) as u8, (colour / 16 % 16 * 17) as u8, (colour / 256 * 90) as u8])
        });
        write(AnimationFormat::Gif, &path, &[(frame.clone(), 1)], 10.0);
        let (pictures, _) = read_gif(&path);
        assert_eq!(pictures[0] == frame, exact, "{count} colours");
    }
}

#[test]
fn gif_draws_only_what_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    // A page whose upper half stands still, as titles do, and a picture that is magnified with hard pixels.
    let still = &run_like(1, 240, 120)[0];
    let small = run_like(6, 60, 30);
    let frames: Vec<RgbImage> = small
        .iter()
        .map(|small| {
            let large = image::imageops::resize(small, 240, 120, image::imageops::FilterType::Nearest);
            let mut page = RgbImage::new(240, 240);
            image::imageops::replace(&mut page, still, 0, 0);
            image::imageops::replace(&mut page, &large, 0, 120);
            page
        })
        .collect();
    let written = write(AnimationFormat::Gif, &path, &once(frames.clone()), 10.0);
    let (pictures, _) = read_gif(&path);
    for (found, frame) in pictures.iter().zip(&frames) {
        assert!(psnr(found, frame) > 24.0, "{}", psnr(found, frame));
    }
    // All pixels at a byte each would be six times 57 600.
    assert!(written.bytes < 100_000, "{} bytes", written.bytes);
}

#[test]
fn a_hold_longer_than_a_delay_shows_the_frame_again() {
    let folder = tempfile::tempdir().unwrap();
    let frames = [(run_like(1, 2, 2).remove(0), 70)];
    let total = |delays: Vec<u32>| (delays.len(), delays.iter().sum::<u32>());
    let path = folder.path().join("a");
    write(AnimationFormat::Gif, &path, &frames, 0.1);
    assert_eq!(total(read_gif(&path).1), (2, 700_000));
    write(AnimationFormat::Apng, &path, &frames, 0.1);
    let decoder = image::codecs::png::PngDecoder::new(open(&path)).unwrap().apng().unwrap();
    assert_eq!(total(read_frames(decoder).1), (12, 700_000));
}

#[test]
fn looping_is_a_choice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let frame = RgbImage::new(4, 4);
    for loop_forever in [true, false] {
        let options = AnimationOptions { loop_forever, ..AnimationOptions::default() };
        let write = |format| {
            let mut writer = create(format, &path, (4, 4), 8.0, &options).unwrap();
            writer.frame(&frame, 1).unwrap();
            writer.finish().unwrap();
            fs::read(&path).unwrap()
        };
        let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
        assert_eq!(contains(&write(AnimationFormat::Gif), b"NETSCAPE2.0"), loop_forever);
        let webp = write(AnimationFormat::WebP);
        assert_eq!(webp[42..44], u16::from(!loop_forever).to_le_bytes(), "{:?}", &webp[30..44]);
        write(AnimationFormat::Apng);
        let info = png::Decoder::new(open(&path)).read_info().unwrap();
        assert_eq!(info.info().animation_control().unwrap().num_plays, u32::from(!loop_forever));
    }
}

#[test]
fn what_cannot_be_done_is_said_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = AnimationOptions::default();
    let begin = |format, size, fps| create(format, &folder.path().join("a"), size, fps, &options);
    for format in AnimationFormat::ALL {
        let mut writer = begin(format, (64, 48), 8.0).unwrap();
        let error = writer.frame(&RgbImage::new(64, 64), 1).unwrap_err().to_string();
        assert!(error.contains("64×64") && error.contains("64×48") && error.contains("frame 0"), "{error}");
        assert!(writer.frame(&RgbImage::new(64, 48), 0).unwrap_err().to_string().contains("0 frame periods"));
        drop(writer);
        assert!(begin(format, (64, 48), 8.0).unwrap().finish().unwrap_err().to_string().contains("no frame"));
        for fps in [0.0, 0.09, 61.0, f64::NAN, -1.0] {
            assert!(begin(format, (64, 48), fps).err().unwrap().to_string().contains("frames per second"));
        }
        assert!(begin(format, (0, 48), 8.0).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{format} left something behind");
        let nowhere = create(format, &folder.path().join("no/a.x"), (4, 4), 8.0, &options).err().unwrap().to_string();
        assert!(nowhere.contains("no/a.x"), "{nowhere}");
    }
    assert!(begin(AnimationFormat::Mp4, (4000, 100), 8.0).err().unwrap().to_string().contains("4000×100"));
    assert!(begin(AnimationFormat::WebP, (20000, 100), 8.0).err().unwrap().to_string().contains("20000×100"));
    let unknown = AnimationFormat::from_str("mp5").unwrap_err();
    assert_eq!(unknown.to_string(), "unknown animation format `mp5`; did you mean `mp4`?");
    assert!(
        AnimationFormat::ALL.iter().all(|format| AnimationFormat::from_str(&format.to_string()).unwrap() == *format)
    );
}
