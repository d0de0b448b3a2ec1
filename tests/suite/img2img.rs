//! Image to image and masks: what a user sees and what is kept. Agreement with diffusers is `parity.rs`'s business.

use crate::common::{command, root, stderr, tiny_pipeline};
use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, ImageEncoder, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use sdviz::pipeline::init_image::{InitImage, Input};
use sdviz::pipeline::{Pipeline, noise, start};
use sdviz::record::inputs::{InputFile, Resize};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use std::path::Path;
use std::process::Output;
use tch::{Kind, Tensor};

/// A short trace of the tiny model into `out`, with more arguments.
fn trace(out: &Path, more: &[&str]) -> Output {
    let mut command = command();
    let (model, out) = (root("tests/goldens/tiny-sd").display().to_string(), out.to_str().unwrap());
    let base = ["trace", "--prompt", "a lovely cat", "--steps", "4", "--model", &model, "--out", out];
    command.args(base).args(more).output().unwrap()
}

fn traced(out: &Path, more: &[&str]) -> Run {
    let output = trace(out, more);
    assert!(output.status.success(), "{}", stderr(&output));
    Run::open(out).unwrap()
}

/// A disc on a slope.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let inside = x.abs_diff(width / 2).pow(2) + y.abs_diff(height / 2).pow(2) < (height / 3).pow(2);
        if inside { Rgb([220, 40, 30]) } else { Rgb([(x * 2) as u8, (y * 2) as u8, 128]) }
    })
}

/// White on the right.
fn mask(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, _| Luma([if x < width / 2 { 0 } else { 255 }]))
}

/// Both as files in a folder.
fn files(folder: &Path, width: u32, height: u32) -> (String, String) {
    let (picture_file, mask_file) = (folder.join("sketch.png"), folder.join("mask.png"));
    picture(width, height).save(&picture_file).unwrap();
    mask(width, height).save(&mask_file).unwrap();
    (picture_file.display().to_string(), mask_file.display().to_string())
}

fn plan(scheduler: &str, strength: f64) -> Plan {
    Plan {
        prompt: "a lovely cat".into(),
        seed: 3,
        steps: 6,
        width: 64,
        height: 64,
        scheduler: scheduler.into(),
        strength: Some(strength),
        ..Plan::default()
    }
}

/// The encoded picture and the starting noise of a run, made anew.
fn parts(pipeline: &Pipeline, plan: &Plan, input: &Input) -> (Tensor, Tensor) {
    let _no_gradients = tch::no_grad_guard();
    let posterior = pipeline.vae.encode(&start::to_tensor(&input.picture), &Probe::silent()).unwrap();
    let draws = noise::draw(plan.seed, &posterior.mean.size()[1..], 2);
    (posterior.sample(&draws[0]) * pipeline.vae.config().scaling_factor, draws[1].shallow_clone())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn bad_requests_are_named_with_the_way_out_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (good, good_mask) = files(folder, 64, 48);
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        folder.join(name).display().to_string()
    };
    let whole = std::fs::read(&good).unwrap();
    let (text, empty, cut) =
        (write("notes.png", b"shopping list"), write("empty.png", b""), write("cut.png", &whole[..99]));
    let missing = folder.join("nowhere.jpg").display().to_string();
    let save = |name: &str, mask: GrayImage| {
        mask.save(folder.join(name)).unwrap();
        folder.join(name).display().to_string()
    };
    let (turned, black) = (save("turned.png", mask(48, 64)), save("black.png", GrayImage::new(64, 48)));
    let gif = write("moving.gif", b"GIF89a\x01\0\x01\0\0\0\0;");
    let cases: [(&str, &[&str]); 15] = [
        ("no_picture", &["--init-image", &text]),
        ("gif", &["--init-image", &gif]),
        ("empty_picture", &["--init-image", &empty]),
        ("cut_picture", &["--init-image", &cut]),
        ("missing_picture", &["--init-image", &missing]),
        ("strength_0", &["--init-image", &good, "--strength", "0"]),
        ("strength_2", &["--init-image", &good, "--strength", "2"]),
        ("strength_nan", &["--init-image", &good, "--strength", "nan"]),
        ("strength_below_0", &["--init-image", &good, "--strength", "-0.5"]),
        ("strength_without_steps", &["--init-image", &good, "--strength", "0.2"]),
        ("resize", &["--init-image", &good, "--resize", "crob"]),
        ("mask_size", &["--init-image", &good, "--mask", &turned]),
        ("mask_black", &["--init-image", &good, "--mask", &black]),
        ("mask_no_picture", &["--init-image", &good, "--mask", &text]),
        ("strength_alone", &["--strength", "0.5"]),
    ];
    for (name, more) in cases {
        let out = folder.join("run");
        let output = trace(&out, more);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
        let said = stderr(&output).replace(folder.to_str().unwrap(), "FOLDER");
        let said: Vec<&str> = said.lines().filter(|l| !l.starts_with("model: ")).collect();
        insta::assert_snapshot!(format!("bad_{name}"), said.join("\n"));
        assert!(!out.exists(), "{name} left a half-written run");
    }
    assert!(trace(&folder.join("run"), &["--init-image", &good, "--mask", &good_mask]).status.success());
}

#[test]
fn the_record_tells_where_the_loop_begins_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let (sketch, mask) = files(folder.path(), 64, 48);
    let out = folder.path().join("run");
    let more = ["--init-image", &sketch, "--strength", "0.5", "--mask", &mask, "--scheduler", "ddim", "--seed", "7"];
    let output = trace(&out, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let start = stderr(&output).lines().find(|l| l.starts_with("start: ")).unwrap().to_string();
    insta::assert_snapshot!("start", start);

    let run = Run::open(&out).unwrap();
    let record = run.record();
    let begin = record.begin.as_ref().unwrap();
    assert_eq!(format!("start: {}", begin.why), start);
    assert_eq!((begin.first_call, begin.scheduled_calls), (2, 4));
    assert_eq!(run.steps().unwrap(), [0, 1, 2]);
    assert_eq!(record.schedule.len(), 3);
    // Entry k is the level of the latents in steps/k: the noised picture stands at the first timestep that is called.
    assert_eq!(record.schedule[0].timestep, Some(begin.timestep));
    assert_eq!(record.schedule[2].timestep, None);
    let (init, mask) = (record.plan.init_image.as_ref().unwrap(), record.plan.mask.as_ref().unwrap());
    assert_eq!((init.file.as_str(), init.width, init.height), ("sketch.png", 64, 48));
    assert_eq!((record.plan.width, record.plan.height, record.plan.resize), (64, 48, Some(Resize::Stretch)));
    assert_eq!((init.sha256.len(), mask.file.as_str()), (64, "mask.png"));

    // The noised start is the encoded picture and noise, at that level.
    let (encoded, start) = (run.encoded().unwrap().unwrap(), run.tensors(0, Quantity::Latents).unwrap().unwrap());
    assert_eq!(encoded.dim(), start.dim());
    let noise = Vec::<f32>::try_from(noise::draw(7, &[4, 6, 8], 2)[1].view(-1)).unwrap();
    let (signal, share) = (record.schedule[0].alpha_cumprod.sqrt(), (1.0 - record.schedule[0].alpha_cumprod).sqrt());
    for ((start, encoded), noise) in start.iter().zip(&encoded).zip(noise) {
        let expected = signal * f64::from(*encoded) + share * f64::from(noise);
        assert!((f64::from(*start) - expected).abs() < 1e-5);
    }
    assert_eq!(run.mask().unwrap().unwrap().iter().sum::<f32>(), 24.0, "half of 6×8 latents");

    let names: Vec<String> = run.site_rows().unwrap().into_iter().map(|row| row.name).collect();
    let place = |name: &str| names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no {name} in {names:?}"));
    let order = [
        "text_embeddings",
        "init_image",
        "vae.encoder.conv_in",
        "vae.encoder.down_blocks.0",
        "vae.encoder.mid_block",
        "vae.encoder.conv_out",
        "posterior.mean",
        "encoded",
        "mask",
        "noise",
        "starting_latents",
        "unet.sample",
        "vae.latents",
        "vae.decoder.mid_block",
    ];
    let places: Vec<usize> = order.iter().map(|name| place(name)).collect();
    assert!(places.is_sorted(), "{order:?} stand at {places:?}");

    let text = String::from_utf8_lossy(&std::fs::read(out.join("final.png")).unwrap()).into_owned();
    assert!(text.contains(", Denoising strength: 0.5, "), "the web UI's text lacks the strength");

    // A run from noise says nothing of all this, and leaves no picture of the run before it.
    assert!(traced(&out, &["--force"]).record().begin.is_none());
    let json = std::fs::read_to_string(out.join("run.json")).unwrap();
    for word in ["strength", "init_image", "resize", "mask", "paste", "begin"] {
        assert!(!json.contains(&format!("\"{word}\"")), "{word} in {json}");
    }
    assert!(!out.join("init.png").exists() && !out.join("mask.png").exists());
}

#[test]
fn a_photo_is_turned_as_its_exif_says() {
    let folder = tempfile::tempdir().unwrap();
    let upright = picture(64, 96);
    // A camera held upright stores its picture lying, with orientation 6: turn it right to look at it.
    let lying = image::imageops::rotate270(&upright);
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut bytes = vec![];
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(lying.as_raw(), 96, 64, image::ExtendedColorType::Rgb8).unwrap();
    let file = folder.path().join("photo.jpg");
    std::fs::write(&file, bytes).unwrap();

    let out = folder.path().join("run");
    let mask_file = folder.path().join("mask.png");
    mask(64, 96).save(&mask_file).unwrap();
    let paths = [file.to_str().unwrap(), mask_file.to_str().unwrap()];
    let run = traced(&out, &["--init-image", paths[0], "--mask", paths[1], "--strength", "0.25"]);
    assert_eq!((run.record().plan.width, run.record().plan.height), (64, 96));
    let init = image::open(out.join("init.png")).unwrap().to_rgb8();
    let differences = init.iter().zip(upright.iter()).map(|(a, b)| u64::from(a.abs_diff(*b)));
    let mean = differences.sum::<u64>() as f64 / upright.len() as f64;
    assert!(mean < 6.0, "the picture lies, or is upside down: off by {mean} levels");
}

#[test]
fn formats_are_known_by_what_they_hold_and_transparency_is_paper() {
    let folder = tempfile::tempdir().unwrap();
    let clear = RgbaImage::from_fn(16, 16, |x, _| Rgba([200, 0, 0, if x < 8 { 255 } else { 0 }]));
    for (name, format) in [("a.png", image::ImageFormat::Png), ("b.dat", image::ImageFormat::WebP)] {
        let path = folder.path().join(name);
        clear.save_with_format(&path, format).unwrap();
        let read = InitImage::read(&path, None).unwrap();
        assert_eq!(read.picture.get_pixel(2, 2).0, [200, 0, 0], "{name}");
        assert_eq!(read.picture.get_pixel(12, 2).0, [255, 255, 255], "{name}: a sketch's empty part is paper");
    }
    // A mask that is clear where nothing was painted keeps that part.
    let path = folder.path().join("mask.png");
    RgbaImage::from_fn(16, 16, |x, _| Rgba([255, 255, 255, if x < 8 { 255 } else { 0 }])).save(&path).unwrap();
    let read = InitImage::read(&folder.path().join("a.png"), Some(&path)).unwrap();
    let mask = read.fit(16, 16, Resize::Stretch).mask.unwrap();
    assert_eq!((mask.get_pixel(2, 2).0, mask.get_pixel(12, 2).0), ([255], [0]));
}

#[test]
fn what_is_black_in_the_mask_stays_at_every_step() {
    let pipeline = tiny_pipeline();
    let _no_gradients = tch::no_grad_guard();
    for scheduler in ["ddim", "euler", "pndm", "heun", "dpmpp_2m", "euler_a"] {
        let plan = plan(scheduler, 0.7);
        let input = Input { picture: picture(64, 64), mask: Some(mask(64, 64)) };
        let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Final);
        pipeline.generate_from(&plan, &input, &Probe::new(vec![&mut reservoir])).unwrap();
        let (encoded, noise) = parts(&pipeline, &plan, &input);
        let (record, scheduler_again) = pipeline.plan(&plan).unwrap();
        let (first, calls) = (record.begin.unwrap().first_call, scheduler_again.timesteps().len());
        for (step, latents) in reservoir.latents_reservoir.iter().enumerate() {
            let expected = match first + step < calls {
                true => scheduler_again.add_noise(&encoded, &noise, first + step).unwrap(),
                false => encoded.shallow_clone(),
            };
            let (kept, repainted) = (|t: &Tensor| t.narrow(3, 0, 4), |t: &Tensor| t.narrow(3, 4, 4));
            let off = largest_difference(&kept(latents), &kept(&expected));
            assert!(off <= 1e-6, "{scheduler}, step {step}: the kept part is off by {off}");
            if step > 0 {
                assert!(largest_difference(&repainted(latents), &repainted(&expected)) > 1e-2);
            }
        }
    }
}

#[test]
fn one_white_pixel_is_enough_to_repaint_a_latent_and_pasting_keeps_the_rest() {
    let pipeline = tiny_pipeline();
    let mut white = GrayImage::new(64, 64);
    white.put_pixel(21, 13, Luma([255]));
    let image = InitImage {
        picture: picture(64, 64),
        about: InputFile { width: 64, height: 64, ..InputFile::default() },
        mask: Some((white, InputFile::default())),
    };
    let input = image.fit(64, 64, Resize::Stretch);
    let plan = Plan { paste: true, ..plan("ddim", 0.5) };
    let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Every(1));
    pipeline.generate_from(&plan, &input, &Probe::new(vec![&mut reservoir])).unwrap();
    let (encoded, _) = parts(&pipeline, &plan, &input);
    let changed = (reservoir.latents_reservoir.last().unwrap() - encoded).abs().amax([1], false).gt(1e-6);
    assert_eq!(changed.sum(Kind::Int64).int64_value(&[]), 1);
    assert_eq!(changed.int64_value(&[0, 13 / 8, 21 / 8]), 1);

    let differs = |a: &RgbImage, b: &RgbImage| a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count();
    assert_eq!(differs(&reservoir.images[0], &input.picture), 1, "all but one pixel are the picture's own");
    let decoded = &reservoir.image_reservoir.last().unwrap().1[0];
    assert!(differs(decoded, &input.picture) > 1000, "the step's picture shows what the decoder made");
}

#[test]
fn strength_1_is_text_to_image_with_a_trace_of_the_picture() {
    let pipeline = tiny_pipeline();
    let _no_gradients = tch::no_grad_guard();
    let full = plan("ddim", 1.0);
    let input = Input { picture: picture(64, 64), mask: None };
    let (from_picture, _) = pipeline.plan(&full).unwrap();
    let (from_noise, _) = pipeline.plan(&Plan { strength: None, ..full.clone() }).unwrap();
    assert_eq!(from_picture.schedule, from_noise.schedule, "the very same calls");
    assert_eq!(from_picture.begin.as_ref().unwrap().first_call, 0);
    let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Nothing);
    pipeline.generate_from(&full, &input, &Probe::new(vec![&mut reservoir])).unwrap();
    let (encoded, noise) = parts(&pipeline, &full, &input);
    let alpha = from_picture.schedule[0].alpha_cumprod;
    let left = &reservoir.latents_reservoir[0] - (1.0 - alpha).sqrt() * noise;
    assert!(largest_difference(&left, &(alpha.sqrt() * encoded)) < 1e-5);
    assert!((0.05..0.2).contains(&alpha.sqrt()), "a trace only, and not none: {}", alpha.sqrt());
}

/// The brightness that counts is PIL's, as in diffusers.
#[test]
fn a_coloured_mask_counts_by_its_brightness() {
    let folder = tempfile::tempdir().unwrap();
    let (sketch, _) = files(folder.path(), 16, 16);
    let path = folder.path().join("colours.png");
    // Pure green is bright, red and blue are dark; the fourth is dark by ITU-R 709, which weighs red less.
    let colours = [[0, 255, 0], [255, 0, 0], [0, 0, 255], [255, 75, 75]];
    RgbImage::from_fn(16, 16, |x, _| Rgb(colours[x as usize / 4])).save(&path).unwrap();
    let mask = InitImage::read(Path::new(&sketch), Some(&path)).unwrap().fit(16, 16, Resize::Stretch).mask.unwrap();
    assert_eq!([0, 4, 8, 12].map(|x| mask.get_pixel(x, 0).0[0]), [255, 0, 0, 255]);
}

#[test]
fn at_strength_1_a_mask_is_repainted_from_pure_noise() {
    let pipeline = tiny_pipeline();
    let _no_gradients = tch::no_grad_guard();
    for scheduler in ["ddim", "euler"] {
        let plan = Plan { mask: Some(InputFile::default()), ..plan(scheduler, 1.0) };
        let input = Input { picture: picture(64, 64), mask: Some(mask(64, 64)) };
        let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Nothing);
        pipeline.generate_from(&plan, &input, &Probe::new(vec![&mut reservoir])).unwrap();
        let (_, noise) = parts(&pipeline, &plan, &input);
        let (record, scheduler) = pipeline.plan(&plan).unwrap();
        assert_eq!(reservoir.latents_reservoir[0], noise * scheduler.init_noise_sigma());
        let why = record.begin.unwrap().why;
        assert!(
            why.starts_with("strength 1 makes all 6 steps: what is to be repainted begins from pure noise"),
            "{why}"
        );
    }
}

#[test]
fn fewer_calls_stay_closer_to_the_picture() {
    let pipeline = tiny_pipeline();
    let input = Input { picture: picture(64, 64), mask: None };
    let distance = |strength: f64| {
        let plan = plan("ddim", strength);
        let (encoded, _) = parts(&pipeline, &plan, &input);
        let outcome = pipeline.generate_from(&plan, &input, &Probe::silent()).unwrap();
        largest_difference(&outcome.latents, &encoded)
    };
    let distances: Vec<f64> = [0.2, 0.5, 1.0].into_iter().map(distance).collect();
    assert!(distances.is_sorted() && distances[0] * 2.0 < distances[2], "{distances:?}");
}

/// The numbers that `docs/img2img.md` names.
#[test]
fn the_pocket_model_follows_a_sketch_as_far_as_the_strength_says() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = image::open(root("assets/sketch.png")).unwrap().to_rgb8();
    let finished = |scheduler: &str, strength: &str| {
        let out = folder.path().join(format!("{scheduler}-{strength}"));
        let path = root("assets/sketch.png").display().to_string();
        let settings =
            ["--prompt", "a red apple", "-g", "5", "--steps", "25", "--model", "pocket", "--decode", "final"];
        let more = ["--init-image", &path, "--scheduler", scheduler, "--strength", strength, "--force"];
        traced(&out, &[settings.as_slice(), &more].concat()).final_picture(0).unwrap().unwrap()
    };
    for (strength, expected) in [("0.3", 24.0), ("0.5", 31.0), ("0.75", 45.0), ("1", 80.0)] {
        let picture = finished("ddim", strength);
        let squares = picture.iter().zip(sketch.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        let rms = (squares.sum::<f64>() / sketch.len() as f64).sqrt();
        assert!((rms - expected).abs() < 1.0, "strength {strength}: {rms} levels, documented {expected}");
    }
    // A plain corner, of which the scheduler that ends one step short leaves grain.
    let grain = |picture: RgbImage| {
        let deviation = |channel: usize| {
            let places = (2..20).flat_map(|x| (100..126).map(move |y| (x, y)));
            let corner: Vec<f64> = places.map(|(x, y)| picture.get_pixel(x, y).0[channel].into()).collect();
            let mean = corner.iter().sum::<f64>() / corner.len() as f64;
            (corner.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / corner.len() as f64).sqrt()
        };
        (0..3).map(deviation).sum::<f64>() / 3.0
    };
    let (pndm, ddim) = (grain(finished("pndm", "0.3")), grain(finished("ddim", "0.3")));
    assert!((2.0..2.6).contains(&pndm) && ddim < 1.1, "grain: pndm {pndm}, ddim {ddim}");
}

#[test]
fn a_plan_and_its_picture_must_fit() {
    let pipeline = tiny_pipeline();
    let input = Input { picture: picture(64, 48), mask: None };
    let message = |plan: &Plan, input| {
        let result =
            pipeline.generate_shared(plan, &[3], &sdviz::pipeline::shared::Shared::nothing(), input, &Probe::silent());
        result.unwrap_err().to_string()
    };
    let plan = plan("ddim", 0.5);
    assert_eq!(message(&plan, Some(&input)), "the initial picture is 64×48, the plan asks for 64×64");
    assert_eq!(message(&plan, None), "a strength, but no picture to begin from");
    let without = Plan { strength: None, ..plan };
    assert_eq!(message(&without, Some(&input)), "a picture to begin from, but no strength");
}

#[test]
fn the_same_picture_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (sketch, mask) = files(folder.path(), 60, 44);
    let more =
        ["--init-image", &sketch, "--mask", &mask, "--resize", "pad", "--scheduler", "euler_a", "--record", "all"];
    let runs = ["a", "b"].map(|name| traced(&folder.path().join(name), &[&more[..], &["--batch-size", "2"]].concat()));
    let [a, b] = &runs;
    assert_eq!((a.record().status, a.record().plan.width, a.record().plan.height), (Status::Complete, 64, 48));
    let mut names = vec!["init.png".into(), "mask.png".into(), "final.png".into(), "final-b1.png".into()];
    names.push(String::from("shapes.jsonl"));
    for entry in std::fs::read_dir(a.name().join("steps")).unwrap().flatten() {
        names.push(format!("steps/{}", entry.file_name().to_string_lossy()));
    }
    assert!(names.len() > 10);
    for name in names {
        assert_eq!(
            std::fs::read(a.name().join(&name)).unwrap(),
            std::fs::read(b.name().join(&name)).unwrap(),
            "{name}"
        );
    }
    let [a, b] =
        runs.map(|run| sdviz::record::schema::RunRecord { timings: Default::default(), ..run.record().clone() });
    assert_eq!(a, b);
}
