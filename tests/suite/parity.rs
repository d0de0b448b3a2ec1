//! Agreement with Hugging Face diffusers, tensor by tensor. `make parity` prints the table.
//!
//! The goldens are diffusers' own numbers; `tests/goldens/README.md` says how they were made.

use crate::common::{chosen, relative, root};
use sdviz::pipeline::init_image::Input;
use sdviz::pipeline::{LoadOptions, Pipeline, noise};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// One forward pass: largest difference over largest value.
const FORWARD: f64 = 1e-5;
/// A whole run, at every step.
const RUN: f64 = 1e-4;

struct Goldens {
    tensors: HashMap<String, Tensor>,
    cases: Vec<Value>,
    prompts: Vec<(String, String)>,
}

fn goldens(name: &str) -> Goldens {
    let path = root("tests/goldens").join(name);
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let meta = header.metadata().clone().unwrap();
    Goldens {
        tensors: Tensor::read_safetensors(&path).unwrap().into_iter().collect(),
        cases: serde_json::from_str(&meta["cases"]).unwrap(),
        prompts: serde_json::from_str(&meta["prompts"]).unwrap(),
    }
}

fn load(folder: &Path) -> Pipeline {
    let choice = chosen(folder.to_path_buf());
    Pipeline::load(&choice, LoadOptions::default()).unwrap()
}

/// Checks everything a golden file holds, and prints a line for each.
fn check(model: &Path, file: &str) {
    let (pipeline, golden) = (load(model), goldens(file));
    let _no_gradients = tch::no_grad_guard();
    let get = |key: &str| &golden.tensors[key];
    let silent = Probe::silent();
    println!("{:<28} {:>6} {:>12} {:>10}", format!("{file}"), "calls", "largest", "allowed");
    let report = |name: &str, calls: usize, found: f64, allowed: f64| {
        println!("{name:<28} {calls:>6} {found:>12.2e} {allowed:>10.0e}");
        assert!(found <= allowed, "{file}: {name} differs by {found:.2e}, allowed {allowed:.0e}");
    };

    for (i, (prompt, negative)) in golden.prompts.iter().enumerate() {
        let ids: Vec<Vec<i64>> = Vec::try_from(get(&format!("tokens/{i}"))).unwrap();
        let ours = [negative, prompt].map(|p| pipeline.tokenizer.encode(p).unwrap().ids);
        assert_eq!(ids, ours, "token ids of {prompt:?}");
        let text = pipeline.text_encoder.forward(get(&format!("tokens/{i}")), &silent).unwrap();
        report(&format!("text/{i}"), 1, relative(&text, get(&format!("text/{i}"))), FORWARD);
    }
    check_forwards(&pipeline, &golden, &report);
    for case in &golden.cases {
        match case.get("strength") {
            None => check_run(&pipeline, &golden, case, &report),
            Some(_) => check_loop_from_mean(&pipeline, &golden, case, &report),
        }
    }
}

/// One forward pass of UNet and VAE.
fn check_forwards(pipeline: &Pipeline, golden: &Goldens, report: &dyn Fn(&str, usize, f64, f64)) {
    let (get, silent) = (|key: &str| &golden.tensors[key], Probe::silent());
    let out = pipeline.unet.forward(get("unet/sample"), get("unet/timestep"), get("unet/context"), &silent).unwrap();
    report("unet", 1, relative(&out, get("unet/out")), FORWARD);
    let posterior = pipeline.vae.encode(get("vae/image"), &silent).unwrap();
    report("vae encode, mean", 1, relative(&posterior.mean, get("vae/mean")), FORWARD);
    report("vae encode, logvar", 1, relative(&posterior.logvar, get("vae/logvar")), FORWARD);
    let decoded = pipeline.vae.decode(get("vae/mean"), &silent).unwrap();
    report("vae decode", 1, relative(&decoded, get("vae/decoded")), FORWARD);
}

/// What a case asks for.
fn plan(golden: &Goldens, case: &Value) -> Plan {
    let (prompt, negative_prompt) = golden.prompts[case["prompt"].as_u64().unwrap() as usize].clone();
    Plan {
        prompt,
        negative_prompt,
        seed: case["seed"].as_u64().unwrap(),
        steps: case["steps"].as_u64().unwrap() as usize,
        guidance_scale: case["guidance"].as_f64().unwrap(),
        height: case["hw"][0].as_u64().unwrap() as usize,
        width: case["hw"][1].as_u64().unwrap() as usize,
        scheduler: case["scheduler"].as_str().unwrap().into(),
        strength: case["strength"].as_f64(),
        eta: case["eta"].as_f64().unwrap_or(0.0),
        batch_size: case["batch"].as_u64().unwrap_or(1) as usize,
        ..Plan::default()
    }
}

/// Image to image from the posterior's mean instead of a sample of it: the loop alone, by the library's parts.
fn check_loop_from_mean(pipeline: &Pipeline, golden: &Goldens, case: &Value, report: &dyn Fn(&str, usize, f64, f64)) {
    let get = |key: &str| &golden.tensors[key];
    let (name, plan, silent) = (case["name"].as_str().unwrap(), plan(golden, case), Probe::silent());
    let (record, mut scheduler) = pipeline.plan(&plan).unwrap();
    let first_call = record.begin.unwrap().first_call;
    let text = get(&format!("text/{}", case["prompt"]));
    let noise = Tensor::cat(&noise::draw(plan.seed, &get("vae/latents").size()[1..], 1), 0);
    assert_eq!(&noise, get(&format!("run/{name}/noise")));
    let mut latents = scheduler.add_noise(get("vae/latents"), &noise, first_call).unwrap();
    let mut largest = relative(&latents, get(&format!("run/{name}/latents/000")));
    report(&format!("{name}, start"), 0, largest, FORWARD);
    let timesteps = scheduler.timesteps().to_vec();
    for (call, timestep) in timesteps.iter().enumerate().skip(first_call) {
        let input = scheduler.scale_model_input(&latents, call).unwrap().repeat([2, 1, 1, 1]);
        let t = Tensor::from_slice(&[*timestep as f32; 2]);
        let halves = pipeline.unet.forward(&input, &t, text, &silent).unwrap().chunk(2, 0);
        let guided = &halves[0] + plan.guidance_scale * (&halves[1] - &halves[0]);
        let none = &mut || panic!("no scheduler here draws noise");
        latents = scheduler.step(&guided, call, &latents, none).unwrap().prev_sample;
        let golden = get(&format!("run/{name}/latents/{:03}", call + 1 - first_call));
        largest = largest.max(relative(&latents, golden));
    }
    report(name, timesteps.len() - first_call, largest, RUN);
}

/// One whole run: timesteps, starting noise, the latents of every step, the picture.
fn check_run(pipeline: &Pipeline, golden: &Goldens, case: &Value, report: &dyn Fn(&str, usize, f64, f64)) {
    let get = |key: &str| &golden.tensors[key];
    let (name, plan) = (case["name"].as_str().unwrap(), plan(golden, case));
    let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Final);
    let input = plan.strength.map(|_| input(golden, case));
    let probe = Probe::new(vec![&mut reservoir]);
    match &input {
        Some(input) => pipeline.generate_from(&plan, input, &probe).unwrap(),
        None => pipeline.generate(&plan, &probe).unwrap(),
    };

    let record = reservoir.run.unwrap();
    let timesteps: Vec<f64> = record.schedule.iter().filter_map(|l| l.timestep).collect();
    let expected: Vec<f32> = Vec::try_from(get(&format!("run/{name}/timesteps"))).unwrap();
    assert_eq!(timesteps.iter().map(|t| *t as f32).collect::<Vec<_>>(), expected, "timesteps of {name}");
    let start = get(&format!("run/{name}/latents/000"));
    if input.is_some() {
        report(&format!("{name}, start"), 0, relative(&reservoir.latents_reservoir[0], start), FORWARD);
    } else {
        assert_eq!(&reservoir.latents_reservoir[0], start, "the starting latents of {name} are not bit-equal");
    }
    assert!(!golden.tensors.contains_key(&format!("run/{name}/latents/{:03}", reservoir.latents_reservoir.len())));
    let mut largest: f64 = 0.0;
    for (k, ours) in reservoir.latents_reservoir.iter().enumerate() {
        largest = largest.max(relative(ours, get(&format!("run/{name}/latents/{k:03}"))));
    }
    report(name, timesteps.len(), largest, RUN);
    if let Some(image) = golden.tensors.get(&format!("run/{name}/image")) {
        let golden = image.squeeze_dim(0).to_kind(Kind::Double);
        let golden = if image.kind() == Kind::Uint8 { golden } else { golden * 255.0 };
        let (h, w, _) = golden.size3().unwrap();
        let ours = Tensor::from_slice(reservoir.images[0].as_raw()).view([h, w, 3]).to_kind(Kind::Double);
        let levels = (ours - golden).abs().max().double_value(&[]);
        assert!(levels <= 1.01, "{name}: the picture is off by {levels} of 255 levels");
    }
}

/// The picture that the cases of `img2img.safetensors` begin from, and the mask of those that have one.
fn input(golden: &Goldens, case: &Value) -> Input {
    let bytes = |key: &str| -> (u32, u32, Vec<u8>) {
        let tensor = &golden.tensors[key];
        let (height, width) = (tensor.size()[0] as u32, tensor.size()[1] as u32);
        (width, height, Vec::try_from(tensor.contiguous().view(-1)).unwrap())
    };
    let (width, height, picture) = bytes("init");
    let mask = case["mask"].as_bool().map(|_| {
        let (width, height, mask) = bytes("mask");
        image::GrayImage::from_raw(width, height, mask).unwrap()
    });
    Input { picture: image::RgbImage::from_raw(width, height, picture).unwrap(), mask }
}

/// From the picture to the picture, as diffusers' own pipelines go: the posterior's sample, the starting noise, the steps.
#[test]
fn image_to_image_and_inpainting_agree_with_diffusers() {
    check_from_pictures("img2img.safetensors", 23);
}

/// With a mask: at strength 1 from pure noise, and with noise in the steps, which comes after one more draw.
#[test]
fn masks_agree_with_diffusers_at_full_strength_and_with_noise_in_the_steps() {
    check_from_pictures("inpaint.safetensors", 9);
}

/// All cases of a golden file that begin from its picture.
fn check_from_pictures(file: &str, cases: usize) {
    let (pipeline, golden) = (load(&root("tests/goldens/tiny-sd")), goldens(file));
    println!("{file:<28} {:>6} {:>12} {:>10}", "calls", "largest", "allowed");
    for case in &golden.cases {
        check_run(&pipeline, &golden, case, &|name, calls, found, allowed| {
            println!("{name:<28} {calls:>6} {found:>12.2e} {allowed:>10.0e}");
            assert!(found <= allowed, "{file}: {name} differs by {found:.2e}, allowed {allowed:.0e}");
        });
    }
    assert_eq!(golden.cases.len(), cases);
}

#[test]
fn tiny_stable_diffusion_1_agrees_with_diffusers() {
    check(&root("tests/goldens/tiny-sd"), "tiny-sd.safetensors");
}

#[test]
fn tiny_stable_diffusion_2_agrees_with_diffusers() {
    check(&root("tests/goldens/tiny-sd2"), "tiny-sd2.safetensors");
}

#[test]
fn the_pocket_model_agrees_with_diffusers() {
    check(&root("assets/pocket"), "pocket.safetensors");
}

/// `make parity-full MODEL=… GOLDENS=…`: any other model, such as one of full size.
#[test]
#[ignore = "needs a model and its goldens: make parity-full"]
fn another_model_agrees_with_diffusers() {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("set {name}"));
    check(Path::new(&var("MODEL")), &var("GOLDENS"));
}
