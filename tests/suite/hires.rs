//! High resolution: the second pass by its formulas, the record of both passes, and what shows such a run.

use crate::common::{done, golden_file, sdviz, stderr, tiny_pipeline};
use image::RgbImage;
use image::imageops::{self, FilterType};
use ndarray::{Array4, Axis};
use sdviz::pipeline::{noise, start};
use sdviz::record::hires::{Hires, Upscaler};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::record::schema::Status;
use sdviz::scheduler::Scheduler;
use sdviz::trace::parameters::PictureSettings;
use sdviz::trace::reader::Run;
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;
use std::path::{Path, PathBuf};
use tch::Tensor;

fn tiny_folder() -> PathBuf {
    golden_file("tiny-sd")
}

/// A run of the tiny model, 64×48 and 4 steps, unless `more` says otherwise.
fn traced(out: &Path, more: &[&str]) -> Run {
    let (model, out_name) = (tiny_folder().display().to_string(), out.to_str().unwrap());
    let base = ["trace", "--prompt", "a lovely cat", "--steps", "4", "--seed", "3", "-W", "64", "-H", "48"];
    done(&[&base[..], &["--model", &model, "--out", out_name], more].concat());
    Run::open(out).unwrap()
}

fn plan(scheduler: &str, upscaler: Upscaler) -> Plan {
    Plan {
        prompt: "a lovely cat".into(),
        seed: 3,
        steps: 4,
        width: 64,
        height: 48,
        scheduler: scheduler.into(),
        hires: Some(Hires { scale: 1.5, strength: 0.5, upscaler, steps: 6 }),
        ..Plan::default()
    }
}

/// The second pass's scheduler, made anew.
fn scheduler(run: &Run) -> Box<dyn Scheduler> {
    let plan = &run.record().plan;
    tiny_pipeline().plan(&Plan { hires: None, steps: plan.hires.unwrap().steps, ..plan.clone() }).unwrap().1
}

fn tensor(values: &Array4<f32>) -> Tensor {
    let shape: Vec<i64> = values.shape().iter().map(|n| *n as i64).collect();
    Tensor::from_slice(values.as_slice().unwrap()).view(shape.as_slice())
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Bilinear interpolation between the centres of the places, as it is written in the documentation.
fn bilinear(latents: &Array4<f32>, height: usize, width: usize) -> Array4<f32> {
    let (batch, channels, h, w) = latents.dim();
    let source = |place: usize, old: usize, new: usize| {
        let at = ((place as f64 + 0.5) * old as f64 / new as f64 - 0.5).max(0.0);
        let low = at.floor() as usize;
        (low, (low + 1).min(old - 1), (at - at.floor()) as f32)
    };
    Array4::from_shape_fn((batch, channels, height, width), |(b, c, y, x)| {
        let ((y0, y1, fy), (x0, x1, fx)) = (source(y, h, height), source(x, w, width));
        let row = |y: usize| latents[[b, c, y, x0]] * (1.0 - fx) + latents[[b, c, y, x1]] * fx;
        row(y0) * (1.0 - fy) + row(y1) * fy
    })
}

/// The draws of the second pass for seed 3, after the first pass's `before` draws of 6×8 places.
fn draws(before: usize, seed: u64, count: usize) -> Vec<Tensor> {
    noise::draw_after(seed, (&[4, 6, 8], before), &[4, 9, 12], count)
}

#[test]
fn latents_are_enlarged_by_the_formula_and_noised_to_the_level_of_the_second_pass() {
    let folder = tempfile::tempdir().unwrap();
    // Euler keeps latents at another scale, Euler a draws noise in each of its calls.
    for (name, drawn) in [("ddim", 1), ("euler", 1), ("euler_a", 5)] {
        let hires = ["--hires", "1.5", "--hires-strength", "0.5", "--hires-steps", "6", "--batch-size", "2"];
        let run = traced(&folder.path().join(name), &[&["--scheduler", name][..], &hires].concat());
        let second = run.record().hires.clone().unwrap();
        assert_eq!((second.first_step, second.width, second.height), (5, 96, 72));
        assert_eq!((second.begin.first_call, run.record().calls(), run.record().last_step()), (3, 7, 8));
        assert_eq!(run.steps().unwrap(), (0..=8).collect::<Vec<_>>());

        let first_result = run.tensors(4, Quantity::Latents).unwrap().unwrap();
        assert_eq!(first_result.shape(), [2, 4, 6, 8]);
        let encoded = run.encoded().unwrap().unwrap();
        let off = largest_difference(&tensor(&encoded), &tensor(&bilinear(&first_result, 9, 12)));
        let largest = tensor(&encoded).abs().max().double_value(&[]);
        assert!(off < 1e-5 * largest, "{name}: the enlarged latents are off by {off} of {largest}");

        let noise = Tensor::cat(&[&draws(drawn, 3, 1)[0], &draws(drawn, 4, 1)[0]], 0);
        let expected = scheduler(&run).add_noise(&tensor(&encoded), &noise, 3).unwrap();
        let start = tensor(&run.tensors(5, Quantity::Latents).unwrap().unwrap());
        let off = largest_difference(&start, &expected);
        assert!(off < 1e-5 * expected.abs().max().double_value(&[]), "{name}: the start is off by {off}");
        assert_eq!(run.level(5).unwrap().timestep, Some(scheduler(&run).timesteps()[3]));
        assert!(run.level(4).unwrap().timestep.is_none() && run.level(8).unwrap().timestep.is_none());
    }
}

#[test]
fn lanczos_begins_from_the_first_picture_enlarged_and_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let hires = ["--hires", "1.5", "--hires-strength", "0.5", "--hires-steps", "6", "--hires-upscaler", "lanczos"];
    let run = traced(folder.path(), &[&hires[..], &["--scheduler", "euler_a", "--decode", "final"]].concat());
    // Of both passes the last step is decoded.
    assert_eq!(run.pictured_steps(Quantity::Latents, 0).unwrap(), [4, 8]);
    let picture = run.picture(4, Quantity::Latents, 0).unwrap().unwrap();
    let enlarged = imageops::resize(&picture, 96, 72, FilterType::Lanczos3);

    let pipeline = tiny_pipeline();
    let _no_gradients = tch::no_grad_guard();
    let posterior = pipeline.vae.encode(&start::to_tensor(&enlarged), &Probe::silent()).unwrap();
    // The posterior's sample comes first, then the start.
    let draws = draws(5, 3, 2);
    let expected = posterior.sample(&draws[0]) * pipeline.vae.config().scaling_factor;
    let encoded = tensor(&run.encoded().unwrap().unwrap());
    assert!(largest_difference(&encoded, &expected) < 1e-4);
    let noised = scheduler(&run).add_noise(&encoded, &draws[1], 3).unwrap();
    let start = tensor(&run.tensors(5, Quantity::Latents).unwrap().unwrap());
    assert!(largest_difference(&start, &noised) < 1e-4);
}

#[test]
fn noise_goes_on_where_the_first_pass_ended() {
    let (first, second): ([i64; 3], [i64; 3]) = ([4, 4, 4], [4, 8, 8]);
    let longer = noise::draw(9, &first, 3);
    assert_eq!(noise::draw_after(9, (&first, 2), &first, 1)[0], longer[2]);
    let other = noise::draw_after(9, (&first, 2), &second, 1);
    assert_eq!(other[0].size(), [1, 4, 8, 8]);
    assert!(largest_difference(&other[0], &noise::draw(9, &second, 1)[0]) > 0.5);
}

#[test]
fn the_first_pass_is_the_run_without_a_second_and_the_loop_is_that_of_a_run_from_a_picture() {
    let pipeline = tiny_pipeline();
    let keep = |plan: &Plan| {
        let mut reservoir = Reservoir::new(&[Quantity::Latents, Quantity::NoiseGuided], Decode::Nothing);
        pipeline.generate(plan, &Probe::new(vec![&mut reservoir])).unwrap();
        reservoir
    };
    let long = plan("ddim", Upscaler::Latent);
    let (with, without) = (keep(&long), keep(&Plan { hires: None, ..long.clone() }));
    assert_eq!(with.latents_reservoir.len(), 9);
    assert_eq!(with.latents_reservoir[..5], without.latents_reservoir[..]);

    // The second pass's levels are those of a run from a picture of the larger size.
    let from_picture = Plan { hires: None, strength: Some(0.5), steps: 6, width: 96, height: 72, ..long.clone() };
    let (record, mut scheduler) = pipeline.plan(&from_picture).unwrap();
    let levels = &with.run.as_ref().unwrap().schedule;
    assert_eq!(levels[5..], record.schedule[..]);
    // And each of its steps is the scheduler's, from the prediction that was made.
    let guided = &with.quantities[&Quantity::NoiseGuided];
    for (call, step) in (3..6).zip(6..9) {
        let prediction = &guided.iter().find(|(at, _)| *at == step).unwrap().1;
        let before = &with.latents_reservoir[step - 1];
        let after = scheduler.step(prediction, call, before, &mut || panic!("ddim draws nothing")).unwrap();
        assert!(largest_difference(&after.prev_sample, &with.latents_reservoir[step]) < 1e-6);
    }

    // A picture does not depend on its batch.
    let batch = keep(&Plan { batch_size: 2, ..plan("euler_a", Upscaler::Lanczos) });
    let alone = keep(&Plan { seed: 4, ..plan("euler_a", Upscaler::Lanczos) });
    let (batch, alone) = (batch.latents_reservoir.last().unwrap(), alone.latents_reservoir.last().unwrap());
    assert!(largest_difference(&batch.narrow(0, 1, 1), alone) < 1e-2 * alone.abs().max().double_value(&[]));
    assert!(largest_difference(&batch.narrow(0, 0, 1), alone) > 0.1);
}

/// Says stop after a step.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        let stop = matches!(event, Event::Step(step) if step.index == self.0);
        Ok(if stop { Flow::Stop } else { Flow::Continue })
    }
}

#[test]
fn a_run_stops_between_its_passes_and_in_the_second() {
    let pipeline = tiny_pipeline();
    for (step, size) in [(3, [1, 4, 6, 8]), (4, [1, 4, 6, 8]), (5, [1, 4, 9, 12]), (6, [1, 4, 9, 12])] {
        let (mut stop, mut kept) = (StopAfter(step), Reservoir::default());
        let probe = Probe::new(vec![&mut stop, &mut kept]);
        let outcome = pipeline.generate(&plan("ddim", Upscaler::Latent), &probe).unwrap();
        drop(probe);
        assert!(outcome.stopped && outcome.images.is_empty(), "step {step}");
        assert_eq!((outcome.latents.size(), kept.latents_reservoir.len()), (size.to_vec(), step + 1));
    }
}

#[test]
fn plans_without_a_second_pass_are_written_as_ever_and_old_ones_are_read() {
    let json = serde_json::to_value(Plan::default()).unwrap();
    assert!(json.get("hires").is_none(), "{json}");
    let asked = Hires { scale: 2.0, strength: 0.6, upscaler: Upscaler::Lanczos, steps: 20 };
    let json = serde_json::to_value(Plan { hires: Some(asked), ..Plan::default() }).unwrap();
    assert_eq!(json["hires"], serde_json::json!({ "scale": 2.0, "strength": 0.6, "upscaler": "lanczos", "steps": 20 }));
    let old: Plan = serde_json::from_str(r#"{ "prompt": "a cat" }"#).unwrap();
    assert_eq!(old.hires, None);
}

#[test]
fn settings_go_into_the_picture_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let run =
        traced(&one, &["--scheduler", "ddim", "--hires", "1.6", "--hires-steps", "5", "--hires-upscaler", "lanczos"]);
    let second = run.record().hires.clone().unwrap();
    // 64 · 1.6 = 102.4 and 48 · 1.6 = 76.8, to the nearest multiples of 8.
    assert_eq!((second.width, second.height), (104, 80));
    let picture = one.join("final.png");
    assert_eq!(image::image_dimensions(&picture).unwrap(), (104, 80));

    let said = PictureSettings::read(&picture).unwrap();
    let text = |name: &str| said.parameters[name].as_str().unwrap().to_string();
    assert_eq!(
        ["Size", "Hires upscale", "Hires steps", "Hires upscaler", "Denoising strength"].map(text),
        ["64x48", "1.6", "5", "Lanczos", "0.6"]
    );
    assert_eq!(said.hires, run.record().plan.hires);

    let model = tiny_folder().display().to_string();
    let like = ["--like", picture.to_str().unwrap(), "--model", &model, "--out", two.to_str().unwrap()];
    let told = stderr(&done(&[&["trace"][..], &like].concat()));
    assert!(told.contains("second pass: 104×80 (lanczos), from step 5, rounded from 102.4×76.8"), "{told}");
    let again = Run::open(&two).unwrap();
    assert_eq!(again.record().plan, run.record().plan);
    assert_eq!(again.final_picture(0).unwrap(), run.final_picture(0).unwrap());
}

#[test]
fn a_web_uis_second_pass_is_read() {
    let text = "x\nSteps: 20, Sampler: Euler, Seed: 1, Size: 512x512, Denoising strength: 0.7, Hires upscale: 2, ";
    let said = PictureSettings::parse(&format!("{text}Hires upscaler: Latent"));
    let expected = Hires { scale: 2.0, strength: 0.7, upscaler: Upscaler::Latent, steps: 20 };
    assert_eq!(said.hires, Some(expected));
    let said = PictureSettings::parse(&format!("{text}Hires steps: 12, Hires upscaler: Latent"));
    assert_eq!(said.hires, Some(Hires { steps: 12, ..expected }));
    assert_eq!(PictureSettings::parse(&format!("{text}Hires upscaler: R-ESRGAN 4x+")).hires, None);
    // A run from a picture has a denoising strength too.
    assert_eq!(PictureSettings::parse("x\nSteps: 20, Seed: 1, Size: 512x512, Denoising strength: 0.7").hires, None);
}

#[test]
fn what_cannot_be_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let (out, picture) = (folder.path().join("run"), folder.path().join("sketch.png"));
    RgbImage::new(64, 64).save(&picture).unwrap();
    let model = tiny_folder().display().to_string();
    let base = ["trace", "--prompt", "x", "-W", "64", "-H", "64", "--model", &model, "--out", out.to_str().unwrap()];
    let mut told = String::new();
    for request in [
        &["--hires", "1"][..],
        &["--hires", "-2"],
        &["--hires", "NaN"],
        &["--hires", "9"],
        &["--hires", "1.05"],
        &["--hires", "2", "--hires-strength", "0"],
        &["--hires", "2", "--hires-strength", "1.5"],
        &["--hires", "2", "--hires-strength", "0.01"],
        &["--hires", "2", "--hires-steps", "0"],
        &["--hires", "2", "--hires-upscaler", "lanzcos"],
        &["--hires-strength", "0.5"],
        &["--hires-upscaler", "latent"],
        &["--hires", "2", "--init-image", picture.to_str().unwrap()],
    ] {
        let output = sdviz(&[&base[..], request].concat());
        assert_eq!(output.status.code(), Some(2), "{request:?}: {}", stderr(&output));
        let lines = stderr(&output);
        let lines = lines.lines().filter(|line| !line.starts_with("model: ")).collect::<Vec<_>>().join("\n");
        let request = request.join(" ").replace(picture.to_str().unwrap(), "sketch.png");
        told += &format!("{request}\n{lines}\n\n");
    }
    assert!(!out.exists(), "nothing is left behind");
    insta::assert_snapshot!("hires_refusals", told.trim_end());
}

fn size_of_all(folder: &Path) -> Vec<(u32, u32)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| image::image_dimensions(path).unwrap()).collect()
}

#[test]
fn every_exporter_copes_with_two_sizes_and_with_a_run_killed_in_the_second_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (out, other) = (folder.path().join("run"), folder.path().join("other"));
    let name = out.to_str().unwrap();
    let hires = ["--hires", "2", "--hires-strength", "0.75", "--record", "all", "--decode-what", "latents,x0"];
    let pocket = |out: &Path, more: &[&str]| {
        let base = [
            "trace",
            "--model",
            "pocket",
            "--prompt",
            "a red apple",
            "--steps",
            "4",
            "-W",
            "64",
            "-H",
            "64",
            "--scheduler",
            "euler",
        ];
        done(&[&base[..], &["--out", out.to_str().unwrap()], &hires, more].concat());
        Run::open(out).unwrap()
    };
    let run = pocket(&out, &[]);
    let second = run.record().hires.clone().unwrap();
    let (width, height) = (second.width as u32, second.height as u32);
    assert_eq!(run.final_picture(0).unwrap().unwrap().dimensions(), (width, height));
    done(&["export", "--all", name]);
    let exports = out.join("exports");
    assert_eq!(size_of_all(&exports.join("frames")), vec![(width, height); 9]);
    // The first pass's pictures are enlarged smoothly, the second's are the recorded files.
    let recorded = run.picture(2, Quantity::Latents, 0).unwrap().unwrap();
    let shown = image::open(exports.join("frames/sample_02.png")).unwrap().to_rgb8();
    assert_eq!(shown, imageops::resize(&recorded, width, height, FilterType::Triangle));
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();
    assert_eq!(bytes(exports.join("frames/sample_07.png")), bytes(out.join("steps/007.png")));

    // Latents are enlarged with hard pixels: each of the first pass's is four of the second's.
    done(&["frames", name, "--what", "latents"]);
    let squares = image::open(exports.join("frames-latents/sample_02.png")).unwrap().to_rgb8();
    let places = squares.width() / (width / 8);
    let values = run.tensor(2, Quantity::Latents, 0).unwrap().unwrap();
    let (_, rows, columns) = values.dim();
    assert_eq!(squares.width() as usize, columns * 2 * places as usize);
    let (mut colours, side) = (std::collections::HashSet::new(), 2 * places);
    for y in 0..rows as u32 {
        for x in 0..columns as u32 {
            let colour = squares.get_pixel(x * side, y * side);
            colours.insert(*colour);
            assert!((0..side * side).all(|i| squares.get_pixel(x * side + i % side, y * side + i / side) == colour));
        }
    }
    assert!(colours.len() > rows * columns / 2);
    assert_eq!(size_of_all(&exports.join("frames-latents")).iter().collect::<std::collections::HashSet<_>>().len(), 1);

    let shapes = String::from_utf8(done(&["shapes", name]).stdout).unwrap();
    assert!(shapes.contains("hires.starting_latents") && shapes.contains("[B, 4, H₂/8, W₂/8]"), "{shapes}");
    let another = pocket(&other, &["--seed", "1"]);
    let told = String::from_utf8(done(&["diff", name, other.to_str().unwrap(), "--maps"]).stdout).unwrap();
    assert!(told.contains("seed"), "{told}");
    done(&["video", name, "--compare", other.to_str().unwrap(), "--beside", "x0,latents", "--format", "gif"]);

    // Killed after the second pass's second call: the record says running, and later files are not there.
    let path = other.join("run.json");
    let mut record = another.record().clone();
    record.status = Status::Running;
    std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    std::fs::remove_file(other.join("final.png")).unwrap();
    for entry in std::fs::read_dir(other.join("steps")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap() >= "008" {
            std::fs::remove_file(path).unwrap();
        }
    }
    let told = stderr(&done(&["export", "--all", other.to_str().unwrap()]));
    assert!(told.contains("step 7 of 8 is the last one there"), "{told}");
    assert_eq!(size_of_all(&other.join("exports/frames")), vec![(width, height); 8]);
    done(&["diff", name, other.to_str().unwrap()]);
}

#[test]
fn measures_leave_a_gap_between_the_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let run = traced(folder.path(), &["--scheduler", "ddim", "--hires", "1.5", "--hires-strength", "0.75"]);
    use sdviz::export::measures;
    let steps = |curve: Vec<(usize, f64)>| curve.into_iter().map(|(step, _)| step).collect::<Vec<_>>();
    assert_eq!(steps(measures::norms(&run, Quantity::Latents, 0).unwrap()), (0..=8).collect::<Vec<_>>());
    // Step 5 begins the second pass, and has no prediction.
    assert_eq!(steps(measures::change(&run, 0).unwrap()), [2, 3, 4, 7, 8]);
    let distance = measures::distance(&run, 0).unwrap();
    assert_eq!((distance.to, steps(distance.latents), steps(distance.predicted)), (8, vec![5, 6, 7, 8], vec![6, 7, 8]));
    assert_eq!(steps(measures::picture_distance(&run, Quantity::Latents, 0).unwrap()), [5, 6, 7, 8]);
    let latents = run.tensors(6, Quantity::Latents).unwrap().unwrap();
    assert_eq!((latents.len_of(Axis(2)), latents.len_of(Axis(3))), (9, 12));
}
