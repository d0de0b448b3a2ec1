//! What the verbs for pictures make: the pixels of the latents against the formula, videos against the recorded
//! pictures, runs in every state. Most runs are synthetic; one test kills real traces.

use crate::common::{command, sdviz_in, stderr, stdout};
use crate::synthetic_run::Made;
use image::AnimationDecoder;
use image::{Rgb, RgbImage};
use safetensors::SafeTensors;
use sdviz::export::Outputs;
use sdviz::export::animate::Pace;
use sdviz::export::encode::AnimationFormat::{Apng, Gif, Mp4};
use sdviz::export::latents::{self, PaintSettings};
use sdviz::export::panels::{DARK, Look, Shown, Size};
use sdviz::export::{filmstrip, frames, preview, video};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use sdviz::viz::latents::ChannelTriple;
use sdviz::viz::pixels::magnify;
use serde_json::Value;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> BufReader<std::fs::File> {
    BufReader::new(std::fs::File::open(path).unwrap())
}

/// The frames of an animated PNG, each with its delay in milliseconds.
fn read_apng(path: &Path) -> Vec<(RgbImage, u32)> {
    let decoder = image::codecs::png::PngDecoder::new(open(path)).unwrap().apng().unwrap();
    let frame = |frame: image::Frame| {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        (image::DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8(), numerator / denominator)
    };
    decoder.into_frames().map(|f| frame(f.unwrap())).collect()
}

/// The delays of a GIF in hundredths of a second.
fn gif_delays(path: &Path) -> Vec<u16> {
    let mut decoder = gif::DecodeOptions::new().read_info(open(path)).unwrap();
    let mut delays = vec![];
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        delays.push(frame.delay);
    }
    delays
}

/// Width, height, frames and frames per second, as the boxes of an MP4 have them.
fn mp4_facts(path: &Path) -> (usize, usize, usize, f64) {
    let bytes = std::fs::read(path).unwrap();
    let after = |name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap() + 4;
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let half = |at: usize| usize::from(u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap()));
    // The sample table's box holds one entry, `avc1`: its length and name, then 24 bytes, then the size.
    let entry = after(b"stsd") + 8 + 8 + 24;
    let (width, height) = (half(entry), half(entry + 2));
    let timescale = number(after(b"mdhd") + 12);
    let ticks = number(after(b"stts") + 12);
    (width, height, number(after(b"stsz") + 8), timescale as f64 / ticks as f64)
}

/// A step's tensor of one picture of the batch, straight from the file: values by channel, row, column, and the shape.
fn tensor(run: &Path, step: usize, name: &str, batch: usize) -> (Vec<f32>, [usize; 3]) {
    let bytes = std::fs::read(run.join(format!("steps/{step:03}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let shape: [usize; 3] = view.shape()[1..].try_into().unwrap();
    let count: usize = shape.iter().product();
    let all: Vec<f32> = view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (all[batch * count..][..count].to_vec(), shape)
}

/// `np.percentile` with its default method.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Least and greatest number of the range, by the words of the documentation.
fn range(how: &str, values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    match how {
        "run" | "frame" => (sorted[0], sorted[sorted.len() - 1]),
        "fixed:-1.5,2" => (-1.5, 2.0),
        "percentile:5" => (percentile(&sorted, 5.0), percentile(&sorted, 95.0)),
        "sigma:1.5" => (mean - 1.5 * std, mean + 1.5 * std),
        _ => panic!("{how}"),
    }
}

#[test]
fn the_latents_animation_is_the_formula_pixel_for_pixel() {
    let home = home();
    let made = Made { width: 80, height: 48, batch: 2, scaled: true, ..Made::default() };
    let folder = made.write(&home.path().join("run"));
    let run = Run::open(&folder).unwrap();
    let zoom = 7;
    for (how, raw) in [
        ("run", false),
        ("run", true),
        ("frame", false),
        ("fixed:-1.5,2", false),
        ("percentile:5", false),
        ("sigma:1.5", false),
    ] {
        let settings = PaintSettings {
            channels: ChannelTriple([3, 0, 1]),
            normalise: how.parse().unwrap(),
            raw,
            batch: 1,
            ..PaintSettings::default()
        };
        let out = home.path().join(format!("{how}-{raw}"));
        let mut outputs = Outputs::open(&run, Some(&out)).unwrap();
        let options = latents::Options { settings, formats: vec![Apng], size: 75, ..latents::Options::default() };
        latents::make(&run, &options, &mut outputs).unwrap();
        let [animation, record] = outputs.written() else { panic!("{:?}", outputs.written()) };
        let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
        let pictures = read_apng(animation);
        assert_eq!(pictures.len(), made.calls + 1, "{how}");

        let steps: Vec<Vec<f64>> = (0..=made.calls)
            .map(|step| {
                let scale = if raw { 1.0 } else { made.latent_scale(step) as f32 };
                tensor(&folder, step, "latents", 1).0.iter().map(|value| f64::from(value / scale)).collect()
            })
            .collect();
        let mut clipped = 0;
        for (step, (values, (picture, _))) in steps.iter().zip(&pictures).enumerate() {
            let (lo, hi) = if how == "frame" { range(how, values) } else { range(how, &steps.concat()) };
            let frame = &record["frames"][step];
            assert!((frame["lo"].as_f64().unwrap() - lo).abs() < 1e-12, "{how}: {frame} {lo}");
            assert!((frame["hi"].as_f64().unwrap() - hi).abs() < 1e-12, "{how}: {frame} {hi}");
            for (x, y, pixel) in picture.enumerate_pixels().filter(|(_, y, _)| *y < 6 * zoom) {
                let expected = [3, 0, 1].map(|channel| {
                    let value = values[(channel * 6 + (y / zoom) as usize) * 10 + (x / zoom) as usize];
                    (((value - lo) / (hi - lo)).clamp(0.0, 1.0) * 255.0 + 0.5).floor() as u8
                });
                assert_eq!(pixel.0, expected, "{how}, step {step}, {x}, {y}");
            }
            assert_eq!(picture.width(), 10 * zoom);
            let shown = [3, 0, 1].iter().flat_map(|channel| &values[channel * 60..(channel + 1) * 60]);
            clipped += shown.filter(|value| **value < lo || **value > hi).count();
        }
        let share = record["clipped_values"].as_f64().unwrap();
        assert!((share - clipped as f64 / (5.0 * 180.0)).abs() < 1e-12, "{how}: {share}, {clipped} values");
        assert_eq!(clipped > 0, !matches!(how, "run" | "frame"), "{how}: the test sees clipping where there is some");
    }
}

#[test]
fn other_tensors_are_not_divided_and_have_files_of_their_own() {
    let home = home();
    let made = Made { scaled: true, ..Made::default() };
    let folder = made.write(&home.path().join("run"));
    let run = Run::open(&folder).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let settings = PaintSettings {
        what: Quantity::PredictedOriginal,
        normalise: "fixed:-2,2".parse().unwrap(),
        ..PaintSettings::default()
    };
    let options =
        latents::Options { settings, formats: vec![Apng], size: 8, captions: false, ..latents::Options::default() };
    latents::make(&run, &options, &mut outputs).unwrap();
    let path = folder.join("exports/latents-predicted_original-012-fixed-2_2.apng");
    assert_eq!(outputs.written()[0], path);
    let pictures = read_apng(&path);
    assert_eq!(pictures.len(), 4, "step 0 has no prediction");
    let (values, _) = tensor(&folder, 1, "predicted_original", 0);
    let byte = |value: f32| (((f64::from(value) + 2.0) / 4.0).clamp(0.0, 1.0) * 255.0 + 0.5).floor() as u8;
    for (x, y, pixel) in pictures[0].0.enumerate_pixels() {
        let at = |channel: usize| byte(values[channel * 64 + y as usize * 8 + x as usize]);
        assert_eq!(pixel.0, [at(0), at(1), at(2)]);
    }
}

#[test]
fn videos_have_the_asked_frames_sizes_and_rates() {
    let home = home();
    let caption = |width: u32, height: u32| sdviz::viz::caption::CaptionStyle::for_width(width).height(height);
    for (width, height, fps, frame) in [
        (64, 64, 5.0, (512, 512)),
        (768, 512, 12.5, (768, 512)),
        (104, 72, 24.0, (416, 288)),
        (72, 56, 5.0, (504, 392)),
    ] {
        let made = Made { width, height, calls: 3, last: 3, ..Made::default() };
        let run = Run::open(made.write(&home.path().join(format!("{width}")))).unwrap();
        let mut outputs = Outputs::open(&run, None).unwrap();
        let pace = Pace { fps, ..Pace::default() };
        let options = video::Options { pace, formats: vec![Mp4], ..video::Options::default() };
        video::make(&[&run], &options, &mut outputs).unwrap();
        let hold = fps.round() as usize;
        let (w, h, count, rate) = mp4_facts(&outputs.written()[0]);
        let high = frame.1 + caption(frame.0, frame.1);
        assert_eq!((w, h, count), (frame.0 as usize, high as usize, 2 * hold + 2), "{width}×{height}");
        assert!((rate - fps).abs() < 1e-9, "{rate}");
        assert!(h % 2 == 0 && w % 2 == 0);
    }
    // An odd size becomes even.
    let run = Run::open(Made::default().write(&home.path().join("odd"))).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let look = Look { size: Size::Within(33), captions: false };
    video::make(&[&run], &video::Options { formats: vec![Mp4, Gif], look, ..video::Options::default() }, &mut outputs)
        .unwrap();
    assert_eq!(mp4_facts(&outputs.written()[0]), (34, 34, 13, 5.0));
}

#[test]
fn gifs_are_timed_to_the_hundredth_and_say_when_they_round() {
    let home = home();
    let run = Made::default().write(&home.path().join("run"));
    let delays = |fps: &str| {
        let output = sdviz_in(home.path(), &["video", "run", "--format", "gif", "--fps", fps]);
        assert!(output.status.success(), "{output:?}");
        (gif_delays(&run.join("exports/video-images.gif")), stderr(&output))
    };
    assert_eq!(delays("5"), (vec![100, 20, 20, 20, 100], String::new()));
    assert_eq!(delays("12.5").0, [104, 8, 8, 8, 104]);
    let (times, said) = delays("30");
    assert_eq!(times, [90, 3, 3, 3, 90]);
    assert!(said.contains("33.33 frames per second instead of 30"), "{said}");
}

#[test]
fn steps_are_chosen_turned_and_held() {
    let home = home();
    let made = Made { calls: 6, last: 6, ..Made::default() };
    let run = Run::open(made.write(&home.path().join("run"))).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let pace = Pace { every: 4, reverse: true, hold: 0.4, fps: 10.0 };
    let look = Look { size: Size::Native, captions: false };
    let options = video::Options { pace, look, formats: vec![Apng], ..video::Options::default() };
    video::make(&[&run], &options, &mut outputs).unwrap();
    let expected = [(6, 400), (4, 100), (0, 400)].map(|(step, delay)| (made.gradient(step, 0), delay));
    assert_eq!(read_apng(&outputs.written()[0]), expected);
}

#[test]
fn runs_and_predictions_stand_side_by_side_in_step() {
    let home = home();
    let one = Made { x0: true, calls: 3, last: 3, ..Made::default() };
    let other = Made { calls: 2, last: 2, seed: 9, width: 32, height: 32, ..Made::default() };
    let runs =
        [one.write(&home.path().join("one")), other.write(&home.path().join("other"))].map(|d| Run::open(d).unwrap());
    let look = Look { size: Size::Native, captions: false };
    let options = video::Options { look, formats: vec![Apng], ..video::Options::default() };
    let mut outputs = Outputs::open(&runs[0], None).unwrap();
    video::make(&[&runs[0], &runs[1]], &options, &mut outputs).unwrap();
    let pictures = read_apng(&outputs.written()[0]);
    assert_eq!(pictures.len(), 4);
    let part = |picture: &RgbImage, x: u32| image::imageops::crop_imm(picture, x, 0, 64, 64).to_image();
    for (step, (picture, _)) in pictures.iter().enumerate() {
        assert_eq!(picture.dimensions(), (64 + 8 + 64, 64));
        assert_eq!(part(picture, 0), one.gradient(step, 0));
        // The shorter run stands on its last picture; the smaller one is magnified.
        assert_eq!(part(picture, 72), magnify(&other.gradient(step.min(2), 0), 2), "step {step}");
    }

    let options = video::Options { shown: vec![Shown::Images, Shown::X0], ..options };
    video::make(&[&runs[0]], &options, &mut outputs).unwrap();
    let pictures = read_apng(&outputs.written()[1]);
    assert!(outputs.written()[1].ends_with("video-images-x0.apng"));
    assert!(
        part(&pictures[0].0, 72).pixels().all(|pixel| *pixel == DARK),
        "there is no prediction before the first call"
    );
    assert_eq!(part(&pictures[2].0, 72), one.gradient(2, 0));
}

/// What made several panels stands below them; a panel is as it was, and a frame alone has only its caption.
#[test]
fn what_made_them_stands_below() {
    let home = home();
    let one = Made { x0: true, ..Made::default() };
    let runs = ["one", "two"].map(|name| Run::open(one.write(&home.path().join(name))).unwrap());
    let size = |runs: &[&Run], shown: &[Shown], captions: bool| {
        let look = Look { size: Size::Watchable, captions };
        let panels = sdviz::export::panels::Panels::open(runs, shown, 0, look).unwrap();
        let frames = panels.steps().iter().map(|step| panels.draw(*step).unwrap().dimensions()).collect::<Vec<_>>();
        assert!(frames.windows(2).all(|pair| pair[0] == pair[1]), "{frames:?}");
        frames[0]
    };
    let caption = sdviz::viz::caption::CaptionStyle::for_width(512);
    assert_eq!(size(&[&runs[0]], &[Shown::Images], true), (512, 512 + caption.height(512)));
    let panels = [Shown::Images, Shown::X0, Shown::Latents];
    assert_eq!(size(&[&runs[0]], &panels, false), (3 * 512 + 16, 512));
    let two_lines = sdviz::viz::caption::CaptionStyle { lines: 2, ..caption };
    assert!(size(&[&runs[0]], &panels, true).1 > 512 + two_lines.height(512) + 20);
    assert!(size(&[&runs[0], &runs[1]], &[Shown::Images], true).1 > 512 + two_lines.height(512) + 20);
}

#[test]
fn a_linear_map_is_found_graded_and_used_elsewhere() {
    let home = home();
    let fitted = Made { linear: true, scaled: true, width: 128, ..Made::default() };
    let run = Run::open(fitted.write(&home.path().join("run"))).unwrap();
    let look = preview::Options { size: Size::Native, captions: false, formats: vec![Apng], ..Default::default() };
    let mut outputs = Outputs::open(&run, None).unwrap();
    let graded = preview::make(&run, &look, &mut outputs).unwrap();
    let expected = [[0.2, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, -0.1, 0.0], [0.0, 0.0, -0.15]];
    for (found, expected) in graded.map.weights.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-3, "{:?}", graded.map.weights);
    }
    assert_eq!(graded.steps.len(), 5);
    assert!(graded.steps.iter().all(|row| row.r2.unwrap() > 0.999 && row.psnr_full > 45.0), "{:?}", graded.steps);
    for (step, (picture, _)) in read_apng(&outputs.written()[0]).iter().enumerate() {
        assert_eq!(picture.dimensions(), (128 + 8 + 128, 64));
        let decoded = run.picture(step, Quantity::Latents, 0).unwrap().unwrap();
        assert_eq!(image::imageops::crop_imm(picture, 136, 0, 128, 64).to_image(), decoded);
    }

    // The same map on a run with the same numbers that was not decoded.
    let bare = Made { images: false, ..fitted.clone() };
    let bare = Run::open(bare.write(&home.path().join("bare"))).unwrap();
    assert!(preview::make(&bare, &look, &mut Outputs::open(&bare, None).unwrap()).is_err());
    let path = home.path().join("map.json");
    let args = ["preview", "run", "--save", "map.json", "--json", "--format", "apng", "--out", "elsewhere"];
    let output = sdviz_in(home.path(), &args);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["steps"].as_array().unwrap().len(), 5);
    let map = sdviz::viz::linear_map::LinearMap::load(&path).unwrap();
    let close = |a: &f64, b: &f64| (a - b).abs() < 1e-12;
    assert!(map.weights.iter().flatten().zip(graded.map.weights.iter().flatten()).all(|(a, b)| close(a, b)), "{map:?}");
    let mut again = Outputs::open(&bare, None).unwrap();
    let ungraded = preview::make(&bare, &preview::Options { map: Some(map), ..look }, &mut again).unwrap();
    assert!(ungraded.steps.is_empty() && !ungraded.fitted_here);
    for ((alone, _), (both, _)) in read_apng(&again.written()[0]).iter().zip(read_apng(&outputs.written()[0])) {
        assert_eq!(*alone, image::imageops::crop_imm(&both, 0, 0, 128, 64).to_image());
    }
}

#[test]
fn the_preview_is_graded_by_the_words_of_its_documentation() {
    let home = home();
    let made = Made { calls: 1, last: 1, ..Made::default() };
    let run = Run::open(made.write(&home.path().join("run"))).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let graded =
        preview::make(&run, &preview::Options { formats: vec![Gif], ..Default::default() }, &mut outputs).unwrap();
    let (values, _) = tensor(run.name(), 1, "latents", 0);
    let truth = made.gradient(1, 0);
    let (mut squares, mut spread, mut full, mut means) = (0.0, 0.0, 0.0, vec![]);
    for colour in 0..3 {
        let mean_of = |x0: u32, y0: u32, side: u32| {
            let pixels = (0..side * side).map(|i| f64::from(truth.get_pixel(x0 + i % side, y0 + i / side).0[colour]));
            pixels.sum::<f64>() / f64::from(side * side) / 255.0
        };
        let whole = mean_of(0, 0, 64);
        for at in 0..64 {
            let (x, y) = (at % 8, at / 8);
            let mapped: f64 = (0..4).map(|c| graded.map.weights[c][colour] * f64::from(values[c * 64 + at])).sum();
            let guess = f64::from((mapped + graded.map.bias[colour]) as f32);
            let mean = mean_of(8 * x as u32, 8 * y as u32, 8);
            squares += (mean - guess).powi(2);
            spread += (mean - whole).powi(2);
            let byte = (guess.clamp(0.0, 1.0) * 255.0 + 0.5).floor() / 255.0;
            means.push((mean - byte).powi(2));
            full += (0..64)
                .map(|i| f64::from(truth.get_pixel((8 * x + i % 8) as u32, (8 * y + i / 8) as u32).0[colour]) / 255.0)
                .map(|t| (t - byte).powi(2))
                .sum::<f64>();
        }
    }
    let row = graded.steps[1];
    assert!((row.r2.unwrap() - (1.0 - squares / spread)).abs() < 1e-6, "{row:?}");
    assert!((row.psnr_small + 10.0 * (means.iter().sum::<f64>() / 192.0).log10()).abs() < 1e-4, "{row:?}");
    assert!((row.psnr_full + 10.0 * (full / 64.0 / 192.0).log10()).abs() < 1e-4, "{row:?}");
}

#[test]
fn a_film_strip_spreads_its_pictures_and_frames_are_the_recorded_files() {
    let home = home();
    let made = Made { calls: 10, last: 10, batch: 2, ..Made::default() };
    let run = Run::open(made.write(&home.path().join("run"))).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let options = filmstrip::Options { frames: 3, size: Size::Native, captions: false, batch: 1, ..Default::default() };
    filmstrip::make(&run, &options, &mut outputs).unwrap();
    let strip = image::open(&outputs.written()[0]).unwrap().into_rgb8();
    assert_eq!(strip.dimensions(), (3 * 64 + 4 * 2, 64 + 2 * 2));
    for (place, step) in [0, 5, 10].into_iter().enumerate() {
        let part = image::imageops::crop_imm(&strip, 2 + 66 * place as u32, 2, 64, 64).to_image();
        assert_eq!(part, made.gradient(step, 1));
    }
    assert_eq!(*strip.get_pixel(66, 30), Rgb([255; 3]));

    // The predictions have no step 0; the other places show the same steps.
    let made_x0 = Made { calls: 10, last: 10, x0: true, ..Made::default() };
    let x0 = Run::open(made_x0.write(&home.path().join("x0"))).unwrap();
    let mut outputs = Outputs::open(&x0, None).unwrap();
    let options = filmstrip::Options { shown: Shown::X0, frames: 3, batch: 0, ..options };
    filmstrip::make(&x0, &options, &mut outputs).unwrap();
    let strip = image::open(&outputs.written()[0]).unwrap().into_rgb8();
    for (place, step) in [1, 5, 10].into_iter().enumerate() {
        let part = image::imageops::crop_imm(&strip, 2 + 66 * place as u32, 2, 64, 64).to_image();
        assert_eq!(part, made_x0.gradient(step, 0));
    }

    let mut outputs = Outputs::open(&run, None).unwrap();
    frames::make(&run, &frames::Options { every: 3, ..Default::default() }, &mut outputs).unwrap();
    let names: Vec<_> = outputs.written().iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["sample_00.png", "sample_01.png", "sample_02.png", "sample_03.png", "sample_04.png"]);
    for (path, step) in outputs.written().iter().zip([0, 3, 6, 9, 10]) {
        let recorded = run.name().join(format!("steps/{step:03}.png"));
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(recorded).unwrap());
    }
    frames::make(&run, &frames::Options { every: 10, ..Default::default() }, &mut outputs).unwrap();
    let remark = outputs.take_remarks().concat();
    assert!(remark.ends_with("frames` also holds 3 older pictures"), "{remark}");
}

#[test]
fn messages_name_what_is_wrong_and_the_way_out() {
    let home = home();
    let bare = Made { images: false, ..Made::default() };
    Made::default().write(&home.path().join("run"));
    bare.write(&home.path().join("bare"));
    Made { images: false, x0: true, ..Made::default() }.write(&home.path().join("x0only"));
    Made { last: 2, status: Status::Running, ..Made::default() }.write(&home.path().join("killed"));
    std::fs::write(home.path().join("map.json"), "{}").unwrap();
    let cases: &[&[&str]] = &[
        &["video", "bare"],
        &["video", "run", "--what", "x0"],
        &["video", "run", "--beside", "x0"],
        &["video", "x0only"],
        &["video", "run", "--what", "image"],
        &["video", "run", "--format", "mpeg"],
        &["video", "run", "--fps", "0"],
        &["video", "run", "--hold", "-1"],
        &["video", "run", "--every", "0"],
        &["video", "run", "--size", "0"],
        &["video", "run", "--batch", "1"],
        &["video", "run", "--compare", "nowhere"],
        &["video", "killed", "--format", "gif"],
        &["latents", "run", "--channels", "0,1,4"],
        &["latents", "run", "--channels", "0,1"],
        &["latents", "run", "--channels", "a,b,c"],
        &["latents", "run", "--channels", "0,0,1", "--format", "apng", "--normalise", "fixed:-0.5,0.5"],
        &["latents", "run", "--normalise", "sigma"],
        &["latents", "run", "--what", "noise_text"],
        &["latents", "run", "--sheet", "--step", "9"],
        &["preview", "bare"],
        &["preview", "bare", "--map", "map.json"],
        &["preview", "run", "--save", "no/where/map.json"],
        &["preview", "run", "--what", "latents"],
        &["filmstrip", "run", "--frames", "0"],
        &["filmstrip", "run", "--frames", "20", "--size", "64"],
        &["frames", "bare"],
    ];
    let mut said = String::new();
    for case in cases {
        let output = sdviz_in(home.path(), case);
        let (out, err) = (stdout(&output), stderr(&output));
        said += &format!("$ sdviz {}\n{out}{err}[{}]\n\n", case.join(" "), output.status.code().unwrap());
    }
    insta::assert_snapshot!("messages", said);
    assert!(!home.path().join("bare/exports").exists(), "a folder for nothing is left");
}

#[test]
fn the_preview_prints_its_table() {
    let home = home();
    Made { linear: true, ..Made::default() }.write(&home.path().join("run"));
    let output = sdviz_in(home.path(), &["preview", "run", "--format", "gif"]);
    insta::assert_snapshot!("preview_table", stdout(&output));
}

#[test]
fn whatever_was_recorded_is_exported() {
    let home = home();
    for (name, made) in [
        ("undecoded", Made { images: false, ..Made::default() }),
        ("failed", Made { status: Status::Failed, last: 1, ..Made::default() }),
        ("only_noise", Made { status: Status::Running, last: 0, ..Made::default() }),
        ("predictions", Made { images: false, x0: true, ..Made::default() }),
    ] {
        made.write(&home.path().join(name));
        let output = sdviz_in(home.path(), &["export", name, "--all"]);
        assert!(output.status.success(), "{name}: {output:?}");
        let there = |file: &str| home.path().join(name).join("exports").join(file).is_file();
        assert!(there("latents-012.apng") && there("latents-sheet.png"), "{name}");
        assert_eq!(there("video-images.mp4"), made.images, "{name}");
        assert_eq!(there("preview-images.mp4") || there("preview-x0.mp4"), made.images || made.x0, "{name}");
        assert!(there("filmstrip-images.png") || there("filmstrip-x0.png") || there("filmstrip-latents.png"), "{name}");
    }
}

/// A number that differs from run to run, below `limit`.
fn chance(limit: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % limit
}

#[test]
fn a_trace_killed_at_any_moment_is_exported() {
    let home = home();
    let mut steps_seen = vec![];
    for number in 0..10 {
        let name = format!("run{number}");
        let arguments = "trace --prompt apple --steps 30 --width 64 --height 64 --model pocket --device cpu --record all \
                         --decode-what latents,x0 --out";
        let mut command = command();
        command.args(arguments.split_whitespace()).arg(&name).arg("--quiet").current_dir(home.path());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while !home.path().join(&name).join("run.json").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "no run began");
            std::thread::sleep(Duration::from_millis(2));
        }
        let after = chance(800);
        std::thread::sleep(Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();

        let run = Run::open(home.path().join(&name)).unwrap();
        let steps = run.steps().unwrap().len();
        let output = sdviz_in(home.path(), &["export", &name, "--all"]);
        assert!(output.status.success(), "killed after {after} ms with {steps} steps: {output:?}");
        if steps > 0 {
            let facts = mp4_facts(&run.name().join("exports/video-images.mp4"));
            let pictures = run.pictured_steps(Quantity::Latents, 0).unwrap().len();
            let periods = if pictures == 1 { 5 } else { 10 + pictures - 2 };
            assert_eq!(facts.2, periods, "killed after {after} ms with {steps} steps");
        }
        steps_seen.push(steps);
    }
    assert!(steps_seen.iter().any(|steps| *steps != steps_seen[0]), "always killed at one moment: {steps_seen:?}");
}
