//! The tiny autoencoder against diffusers, preview decoders in runs, and memory that does not grow with the steps.

use crate::common::{golden_file, sdviz_in, stderr};
use image::RgbImage;
use sdviz::files::pictures;
use sdviz::model::files::ModelFiles;
use sdviz::model::resolve::{self, ModelChoice};
use sdviz::pipeline::init_image::Input;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Plan, Quantity};
use sdviz::trace::reader::Run;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Kind, Tensor};

fn goldens() -> HashMap<String, Tensor> {
    Tensor::read_safetensors(golden_file("tiny-vae.safetensors")).unwrap().into_iter().collect()
}

/// `tiny-sd` with the autoencoder of this name.
fn with_vae(vae: &Path) -> Pipeline {
    let choice = resolve::resolve_with(golden_file("tiny-sd").to_str(), vae.to_str()).unwrap();
    Pipeline::load(&choice, LoadOptions::default()).unwrap()
}

fn furthest(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[])
}

/// The halves of `tiny-vae` as its author's files would have them: places alone, in the decoder one higher.
fn authors_files(folder: &Path) -> [PathBuf; 2] {
    let all = Tensor::read_safetensors(golden_file("tiny-vae/diffusion_pytorch_model.safetensors")).unwrap();
    [("decoder", 1), ("encoder", 0)].map(|(half, shift)| {
        let renamed = all.iter().filter_map(|(name, tensor)| {
            let (place, rest) = name.strip_prefix(&format!("{half}.layers."))?.split_once('.')?;
            Some((format!("{}.{rest}", place.parse::<usize>().unwrap() + shift), tensor.shallow_clone()))
        });
        let (path, tensors) = (folder.join(format!("taesd_{half}.safetensors")), renamed.collect::<Vec<_>>());
        Tensor::write_safetensors(&tensors, &path).unwrap();
        path
    })
}

#[test]
fn both_forms_agree_with_diffusers() {
    let _no_gradients = tch::no_grad_guard();
    let (golden, folder) = (goldens(), tempfile::tempdir().unwrap());
    let [decoder, encoder] = authors_files(folder.path());
    let picture = golden["picture"].to_kind(Kind::Float).permute([0, 3, 1, 2]) / 255.0 * 2.0 - 1.0;
    for vae in [golden_file("tiny-vae"), folder.path().into(), decoder.clone(), encoder.clone()] {
        let vae = with_vae(&vae).vae;
        let image = vae.decode(&golden["latents"], &Probe::silent()).unwrap();
        assert!(furthest(&image, &golden["image"]) <= 1e-5, "{:.1e}", furthest(&image, &golden["image"]));
        let encoded = vae.encode(&picture, &Probe::silent()).unwrap().mean;
        assert!(furthest(&encoded, &golden["encoded"]) <= 1e-5, "{:.1e}", furthest(&encoded, &golden["encoded"]));
    }
    // Alone, a decoder decodes; an encoder is refused.
    std::fs::remove_file(&encoder).unwrap();
    let alone = with_vae(&decoder).vae;
    assert!(furthest(&alone.decode(&golden["latents"], &Probe::silent()).unwrap(), &golden["image"]) <= 1e-5);
    let told = alone.encode(&picture, &Probe::silent()).unwrap_err().to_string();
    assert_eq!(told, "this autoencoder has no encoder: its file holds the decoder alone");
    let [decoder, encoder] = authors_files(folder.path());
    std::fs::remove_file(decoder).unwrap();
    let told = resolve::resolve_with(golden_file("tiny-sd").to_str(), encoder.to_str()).unwrap_err().to_string();
    assert!(told.ends_with("holds the encoder of a tiny autoencoder alone"), "{told}");
}

/// The latents after each step.
#[derive(Default)]
struct Latents(Vec<Tensor>);

impl Observer for Latents {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Quantity(Quantity::Latents, _))
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        if let Event::Step(step) = event {
            self.0.extend(step.tensor(Quantity::Latents).map(Tensor::copy));
        }
        Ok(Flow::Continue)
    }
}

/// From a picture, with what diffusers draws: nothing for the posterior of a deterministic autoencoder.
#[test]
fn runs_from_a_picture_agree_with_diffusers() {
    let (golden, pipeline) = (goldens(), with_vae(&golden_file("tiny-vae")));
    let bytes = Vec::<u8>::try_from(golden["picture"].view(-1)).unwrap();
    let picture = RgbImage::from_raw(64, 48, bytes).unwrap();
    for (name, scheduler, masked) in [("ddim", "ddim", false), ("ddpm", "ddpm", false), ("masked", "ddpm", true)] {
        let mask = image::GrayImage::from_fn(64, 48, |x, _| image::Luma([if x < 32 { 255 } else { 0 }]));
        let input = Input { picture: picture.clone(), mask: masked.then_some(mask) };
        let plan = Plan {
            prompt: "a lovely cat".into(),
            seed: 3,
            steps: 8,
            width: 64,
            height: 48,
            scheduler: scheduler.into(),
            strength: Some(0.75),
            ..Plan::default()
        };
        let mut seen = Latents::default();
        pipeline.generate_from(&plan, &input, &Probe::new(vec![&mut seen])).unwrap();
        let expected = &golden[&format!("run/{name}/latents")];
        assert_eq!(seen.0.len() as i64, expected.size()[0] + 1);
        for (step, ours) in seen.0.iter().enumerate().skip(1) {
            let found = furthest(ours, &expected.get(step as i64 - 1));
            assert!(found <= 1e-4, "{name} differs by {found:.1e} at step {step}");
        }
    }
}

fn sdviz(arguments: &[&str], folder: &Path) -> Output {
    sdviz_in(folder, arguments)
}

fn traced(more: &[&str], folder: &Path, out: &str) -> Run {
    let model = golden_file("tiny-sd").display().to_string();
    let usual = ["trace", "--prompt", "a cat", "--steps", "3", "--scheduler", "ddim", "--no-report"];
    let size = ["--width", "64", "--height", "48", "--record", "all", "--out", out, "--model", &model];
    let output = sdviz(&[&usual[..], &size, more].concat(), folder);
    assert!(output.status.success(), "{}", stderr(&output));
    Run::open(folder.join(out)).unwrap()
}

fn same_files(a: &Path, b: &Path, names: &[&str]) {
    for name in names {
        assert_eq!(std::fs::read(a.join(name)).unwrap(), std::fs::read(b.join(name)).unwrap(), "{name}");
    }
}

/// The steps' pictures are another's, the finished one and everything else is what it is without; and the record says so.
#[test]
fn previews_change_the_pictures_of_the_steps_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, tiny) = (dir.path(), golden_file("tiny-vae").display().to_string());
    let own = traced(&["--decode-what", "latents,x0"], folder, "own");
    for (name, class) in [(tiny.as_str(), "AutoencoderTiny"), ("linear", "linear"), ("pocket", "AutoencoderKL")] {
        let run = traced(&["--decode-what", "latents,x0", "--preview-vae", name], folder, class);
        let preview = run.record().model.preview.clone().unwrap();
        assert_eq!((preview.name.as_str(), preview.class_name.as_str()), (name, class));
        assert_eq!(
            (preview.map.is_some(), preview.sha256.len()),
            if class == "linear" { (true, 0) } else { (false, 64) }
        );
        let (old, new) = (folder.join("own"), folder.join(class));
        same_files(&old, &new, &["steps/000.safetensors", "steps/001.safetensors", "steps/003.safetensors"]);
        for step in 0..=3 {
            for what in Quantity::PICTURED.into_iter().filter(|what| step > 0 || *what == Quantity::Latents) {
                let [theirs, ours] = [&own, &run].map(|run| run.picture(step, what, 0).unwrap().unwrap());
                let last = step == 3 && what == Quantity::Latents;
                assert_eq!(theirs.dimensions(), ours.dimensions());
                assert_eq!(theirs == ours, last, "{class}, step {step}, {what}");
                assert_eq!(run.record().previewed(step, what).is_some(), !last);
                let text = String::from_utf8_lossy(&run.picture_file(step, what, 0).unwrap().unwrap()).into_owned();
                assert_eq!(text.contains("Preview decoder: "), !last);
            }
        }
        assert_eq!(own.final_picture(0).unwrap(), run.final_picture(0).unwrap());
        assert!(own.record().previewed(1, Quantity::Latents).is_none());
    }
    // A run that was previewed is decoded by the model's own decoder: everything but the last call is the record's.
    let model = golden_file("tiny-sd").display().to_string();
    let again = ["trace", "--branch", "linear@2", "--decode-what", "latents,x0", "--out", "again", "--no-report"];
    let output = sdviz(&[&again[..], &["--record", "all", "--model", &model]].concat(), folder);
    assert!(output.status.success(), "{}", stderr(&output));
    let again = Run::open(folder.join("again")).unwrap();
    for step in 0..=3 {
        let [a, b] = [&own, &again].map(|run| run.picture(step, Quantity::Latents, 0).unwrap().unwrap());
        assert_eq!(a, b, "step {step}");
    }
}

/// In a batch, at high resolution, and by the words that cannot be.
#[test]
fn previews_know_both_passes_and_say_what_they_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let tiny = golden_file("tiny-vae").display().to_string();
    let more = ["--hires", "1.5", "--batch-size", "2"];
    let own = traced(&more, folder, "own");
    let run = traced(&[&more[..], &["--preview-vae", &tiny]].concat(), folder, "tiny");
    let ends = [run.record().hires.as_ref().unwrap().first_step - 1, run.record().last_step()];
    for batch in 0..2 {
        for step in 0..=run.record().last_step() {
            let [a, b] = [&own, &run].map(|run| run.picture(step, Quantity::Latents, batch).unwrap().unwrap());
            assert_eq!(a == b, ends.contains(&step), "step {step}, picture {batch}");
        }
        assert_eq!(own.final_picture(batch).unwrap(), run.final_picture(batch).unwrap());
    }
    let model = golden_file("tiny-sd").display().to_string();
    for (name, said) in [
        ("tiny", "no tiny decoder goes with this model"),
        ("nowhere", "no preview decoder `nowhere`: there is no such folder or file"),
        (model.as_str(), ""),
    ] {
        let output = sdviz(
            &["trace", "--prompt", "a", "--steps", "1", "--preview-vae", name, "--model", &model, "--out", "refused"],
            folder,
        );
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(if said.is_empty() { 0 } else { 2 }), "{told}");
        assert!(told.contains(said), "{told}");
        assert_eq!(folder.join("refused").exists(), said.is_empty());
    }
}

/// The embedded decoder against the pocket model's own, on what it draws: far nearer than a linear map, and as small as it
/// should be.
#[test]
fn the_pocket_models_own_preview_is_near_its_decoder() {
    let pictures = |preview: Option<&str>| -> Vec<RgbImage> {
        let choice = ModelChoice { id: "pocket".into(), chosen_by: "embedded", files: ModelFiles::pocket().unwrap() };
        let options = LoadOptions { preview_vae: preview.map(String::from), ..LoadOptions::default() };
        let pipeline = Pipeline::load(&choice, options).unwrap();
        assert!(pipeline.model().preview.as_ref().is_none_or(|preview| preview.parameters < 150_000));
        let mut plan = Plan { prompt: "a red apple on a blue background".into(), seed: 4, steps: 8, ..Plan::default() };
        (plan.width, plan.height, plan.scheduler, plan.guidance_scale) = (128, 96, "ddim".into(), 5.0);
        plan.decode_what = vec![Quantity::PredictedOriginal];
        let mut seen = Pictures::default();
        pipeline.generate(&plan, &Probe::new(vec![&mut seen])).unwrap();
        seen.0
    };
    let own = pictures(None);
    assert_eq!(own.len(), 8);
    let mean = |name: &str| {
        let all = pictures(Some(name));
        own.iter().zip(&all).map(|(a, b)| sdviz::viz::distance::psnr(a, b).unwrap()).sum::<f64>() / own.len() as f64
    };
    let (tiny, linear) = (mean("tiny"), mean("linear"));
    println!("tiny {tiny:.1} dB, linear {linear:.1} dB");
    assert!(tiny > 22.0 && tiny > linear + 6.0, "tiny {tiny:.1} dB, linear {linear:.1} dB");
}

/// The predictions' pictures.
#[derive(Default)]
struct Pictures(Vec<RgbImage>);

impl Observer for Pictures {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Picture { what: Quantity::PredictedOriginal, .. })
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        if let Event::Step(step) = event {
            self.0.extend(step.pictures(Quantity::PredictedOriginal).into_iter().flatten().cloned());
        }
        Ok(Flow::Continue)
    }
}

/// What the process holds after each step of a run, in kB, as a command told of each step sees it.
#[cfg(target_os = "linux")]
fn held(steps: &str, folder: &Path) -> Vec<u64> {
    let model = golden_file("tiny-sd").display().to_string();
    let hook = "awk '/^VmRSS/ { print $2 }' /proc/$PPID/status >> \"$SDVIZ_RUN/../held\"";
    let out = folder.join(format!("run-{steps}")).display().to_string();
    let arguments = ["trace", "--prompt", "a", "--steps", steps, "--scheduler", "ddpm", "--guidance-scale", "1"];
    let more = ["--width", "256", "--height", "256", "--record", "none", "--decode", "none", "--no-report"];
    let output =
        sdviz(&[&arguments[..], &more, &["--on-step", hook, "--out", &out, "--model", &model]].concat(), folder);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = std::fs::read_to_string(folder.join("held")).unwrap();
    std::fs::remove_file(folder.join("held")).unwrap();
    told.lines().map(|line| line.parse().unwrap()).collect()
}

/// 400 steps of a stochastic scheduler hold what 40 hold.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (few, many) = (held("40", dir.path()), held("400", dir.path()));
    assert!(few.len() >= 40 && many.len() >= 400);
    let most = |all: &[u64]| all.iter().copied().max().unwrap();
    println!("40 steps hold {} kB, 400 steps {} kB", most(&few), most(&many));
    // All noise of 400 steps would be 6.5 MB more.
    assert!(most(&many) < most(&few) + 4_000, "40 steps: {} kB, 400 steps: {} kB", most(&few), most(&many));
}

/// On a processor without the instructions, and nowhere else.
#[cfg(target_os = "linux")]
#[test]
fn bf16_without_instructions_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let model = golden_file("tiny-sd").display().to_string();
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let has = known.contains("avx512_bf16") || known.contains("amx_bf16");
    for (dtype, expected) in [("bf16", usize::from(!has && known.contains("flags"))), ("f32", 0)] {
        let arguments = ["trace", "--prompt", "a", "--steps", "1", "--width", "64", "--height", "64", "--dtype", dtype];
        let output = sdviz(
            &[&arguments[..], &["--device", "cpu", "--model", &model, "--out", dtype, "--no-report"]].concat(),
            dir.path(),
        );
        let told = stderr(&output);
        assert!(output.status.success(), "{told}");
        assert_eq!(told.matches("no instructions for bf16").count(), expected, "{told}");
    }
}

#[test]
fn the_strip_says_which_pictures_are_previews() {
    let dir = tempfile::tempdir().unwrap();
    let [own, preview] = [("own", vec![]), ("linear", vec!["--preview-vae", "linear"])].map(|(out, more)| {
        traced(&more, dir.path(), out);
        let output = sdviz(&["filmstrip", out], dir.path());
        assert!(output.status.success(), "{}", stderr(&output));
        pictures::open(&dir.path().join(out).join("exports/filmstrip-images.png"), "picture").unwrap()
    });
    // A line more below each picture.
    assert!(preview.height() > own.height() && preview.width() == own.width());
}
