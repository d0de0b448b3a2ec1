//! LoRAs: agreement with diffusers and peft, the namings they come in, what is refused, what is kept.
//!
//! `tests/goldens/make_lora_goldens.py` says how the files and the numbers were made.

use crate::common::{chosen, command, golden_file, narrowed, relative, stderr};
use sdviz::error::Error;
use sdviz::model::components::{Component, TEXT_ENCODER, UNET};
use sdviz::model::config::UNetConfig;
use sdviz::model::files::ModelFiles;
use sdviz::model::lora::write::{Trained, write};
use sdviz::model::lora::{Adapters, LoraChoice};
use sdviz::model::lora_names::carriers;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::sweep::plan::drafts;
use sdviz::sweep::runner::Loaded;
use sdviz::trace::reader::Run;
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Device, Kind, Tensor};

mod kinds;
mod namings;

/// A whole run, at every step: largest difference over largest value.
const RUN: f64 = 1e-4;
const LAYER: &str = "down_blocks.0.resnets.0.conv1";

fn files(model: &str) -> ModelFiles {
    ModelFiles::Folder(golden_file(model))
}

fn load(model: &str, loras: Vec<LoraChoice>) -> sdviz::error::Result<Pipeline> {
    Pipeline::load(&chosen(golden_file(model)), LoadOptions { loras, ..LoadOptions::default() })
}

fn lora(path: &Path, weight: f64) -> LoraChoice {
    LoraChoice { path: path.to_path_buf(), weight }
}

struct Goldens {
    tensors: HashMap<String, Tensor>,
    cases: Vec<Value>,
    plan: Plan,
}

fn goldens() -> Goldens {
    let path = golden_file("lora/latents.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let meta = header.metadata().clone().unwrap();
    let plan: Plan = serde_json::from_str(&meta["settings"]).unwrap();
    Goldens {
        tensors: Tensor::read_safetensors(&path).unwrap().into_iter().collect(),
        cases: serde_json::from_str(&meta["cases"]).unwrap(),
        plan: Plan { record: vec![Quantity::Latents], decode: Decode::Nothing, ..plan },
    }
}

/// The latents of every step.
fn latents(pipeline: &Pipeline, plan: &Plan) -> Vec<Tensor> {
    let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Nothing);
    pipeline.generate(plan, &Probe::new(vec![&mut reservoir])).unwrap();
    reservoir.latents_reservoir
}

#[test]
fn factors_of_eight_bits_count_as_the_same_numbers_in_f32() {
    let (golden, folder) = (goldens(), tempfile::tempdir().unwrap());
    let [wide, narrow] = ["wide", "narrow"].map(|name| folder.path().join(name).with_extension("safetensors"));
    let round = |tensor: Tensor| tensor.to_kind(Kind::Float8e4m3fn).to_kind(Kind::Float);
    let file = Tensor::read_safetensors(golden_file("lora/kohya.safetensors")).unwrap();
    let rounded: Vec<_> = file.into_iter().map(|(key, tensor)| (key, round(tensor))).collect();
    for path in [&wide, &narrow] {
        Tensor::write_safetensors(&rounded, path).unwrap();
    }
    narrowed(&narrow, (Kind::Float8e4m3fn, safetensors::Dtype::F8_E4M3), &[]);
    let last = |loras: Vec<LoraChoice>| latents(&load("tiny-sd", loras).unwrap(), &golden.plan).pop().unwrap();
    let expected = last(vec![lora(&wide, 1.0)]);
    assert_eq!(last(vec![lora(&narrow, 1.0)]), expected);
    assert_ne!(last(vec![]), expected);
}

#[test]
fn loras_agree_with_diffusers_in_every_naming_and_together() {
    let golden = goldens();
    for case in golden.cases.iter().filter(|case| case["loras"].is_array()) {
        let named = case["loras"].as_array().unwrap().iter();
        let path = |l: &Value| golden_file("lora").join(l[0].as_str().unwrap());
        let choices = named.map(|l| lora(&path(l), l[1].as_f64().unwrap())).collect();
        let (name, pipeline) = (case["name"].as_str().unwrap(), load("tiny-sd", choices).unwrap());
        let ours = latents(&pipeline, &golden.plan);
        assert_eq!(ours.len(), golden.plan.steps + 1);
        let steps = ours.iter().enumerate();
        let largest = steps.map(|(k, x)| relative(x, &golden.tensors[&format!("run/{name}/{k}")])).fold(0.0, f64::max);
        println!("{name:<12} {largest:.2e}");
        assert!(largest <= RUN, "{name} differs by {largest:.2e}, allowed {RUN:.0e}");
        // The check above means something: each case is far from the model without LoRAs.
        let plain = relative(ours.last().unwrap(), &golden.tensors[&format!("run/none/{}", golden.plan.steps)]);
        assert_eq!(plain > 100.0 * RUN, name != "none", "{name}: {plain}");
    }
}

/// A copy of a LoRA file with other keys and tensors; those that become nothing are left out.
fn rewritten(from: &Path, to: &Path, change: impl Fn(String, Tensor) -> Option<(String, Tensor)>) -> PathBuf {
    let all = Tensor::read_safetensors(from).unwrap();
    let changed: Vec<_> = all.into_iter().filter_map(|(key, tensor)| change(key, tensor)).collect();
    Tensor::write_safetensors(&changed, to).unwrap();
    to.to_path_buf()
}

#[test]
fn names_of_the_compvis_code_and_of_newer_diffusers_mean_the_same_layers() {
    let (golden, folder) = (goldens(), tempfile::tempdir().unwrap());
    let last = |path: &Path| latents(&load("tiny-sd", vec![lora(path, 1.0)]).unwrap(), &golden.plan).pop().unwrap();
    let kohya = golden_file("lora/kohya.safetensors");
    let ldm = [
        ("down_blocks_1_resnets_0_conv1", "input_blocks_4_0_in_layers_2"),
        ("down_blocks_1_resnets_0_conv_shortcut", "input_blocks_4_0_skip_connection"),
        ("down_blocks_1_resnets_0_time_emb_proj", "input_blocks_4_0_emb_layers_1"),
        ("down_blocks_1_downsamplers_0_conv", "input_blocks_6_0_op"),
        ("down_blocks_1_attentions_0_", "input_blocks_4_1_"),
        ("mid_block_resnets_0_conv1", "middle_block_0_in_layers_2"),
        ("mid_block_resnets_0_time_emb_proj", "middle_block_0_emb_layers_1"),
        ("mid_block_attentions_0_", "middle_block_1_"),
    ];
    let to_ldm = |key: String, tensor| {
        let renamed = ldm.iter().fold(key, |key, (ours, theirs)| key.replace(ours, theirs));
        assert!(!renamed.contains("unet_down_blocks") && !renamed.contains("mid_block"), "{renamed}");
        Some((renamed, tensor))
    };
    let ldm = rewritten(&kohya, &folder.path().join("ldm.safetensors"), to_ldm);
    assert_eq!(last(&ldm), last(&kohya));

    let peft = golden_file("lora/old.safetensors");
    let newer = |key: String, tensor| {
        let key = match key.starts_with("unet.") {
            true => key.replace(".processor", "").replace("to_out_lora", "to_out.0_lora").replace("_lora.", ".lora."),
            false => key
                .replace("to_out_lora", "out_proj_lora")
                .replace("to_", "")
                .replace("_lora.", "_proj.lora_linear_layer."),
        };
        Some((key.replace("_proj_proj", "_proj"), tensor))
    };
    let newer = rewritten(&peft, &folder.path().join("newer.safetensors"), newer);
    assert_eq!(last(&newer), last(&peft));
}

/// The weight of a layer with a LoRA in it.
fn merged(path: &Path, weight: f64, layer: &str, kind: Kind) -> sdviz::error::Result<Tensor> {
    let files = files("tiny-sd");
    let config: UNetConfig = files.config(&UNET)?;
    let open = |component: &Component| Ok(files.weights(component, None)?.1);
    let adapters = Adapters::open(&[lora(path, weight)], &config, open)?;
    let unet = open(&UNET)?;
    let shape = unet.entries()[&format!("{layer}.weight")].shape.clone();
    (adapters.weights("unet", unet, Device::Cpu, kind) / layer).tensor("weight", &shape)
}

/// As kohya's scripts and the web UIs have it; diffusers gives such layers the most frequent alpha of the others.
#[test]
fn a_layer_without_an_alpha_counts_once_whatever_the_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let kohya = golden_file("lora/kohya.safetensors");
    let name = |layer: &str| format!("lora_unet_{}", layer.replace('.', "_"));
    let (bare, own) = ("mid_block.resnets.0.conv1", "mid_block.resnets.0.time_emb_proj");
    let alpha = format!("{}.alpha", name(bare));
    let some = rewritten(&kohya, &folder.path().join("some.safetensors"), |key, t| (key != alpha).then_some((key, t)));
    let none = rewritten(&kohya, &folder.path().join("none.safetensors"), |key, t| {
        (!key.ends_with(".alpha")).then_some((key, t))
    });
    let all: HashMap<String, Tensor> = Tensor::read_safetensors(&kohya).unwrap().into_iter().collect();
    // Rank 2 and alpha 1: half of the product, where there is an alpha.
    for (path, layer, scale) in [(&kohya, bare, 0.5), (&some, bare, 1.0), (&some, own, 0.5), (&none, own, 1.0)] {
        let part = |end: &str| &all[&format!("{}.{end}.weight", name(layer))];
        let (down, up) = (part("lora_down"), part("lora_up"));
        let product = up.reshape([up.size()[0], -1]).matmul(&down.reshape([down.size()[0], -1]));
        let plain = plain(layer);
        let expected = &plain + product.reshape(plain.size()) * (0.8 * scale);
        let found = merged(path, 0.8, layer, Kind::Float).unwrap();
        assert!(relative(&found, &expected) < 1e-6, "{layer} with {scale}");
        assert!(relative(&plain, &expected) > 1e-3);
    }
}

fn plain(layer: &str) -> Tensor {
    let all = Tensor::read_safetensors(golden_file("tiny-sd/unet/diffusion_pytorch_model.safetensors")).unwrap();
    all.into_iter().find(|(key, _)| *key == format!("{layer}.weight")).unwrap().1
}

#[test]
fn a_convolution_with_a_middle_part_is_the_three_in_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locon.safetensors");
    tch::manual_seed(5);
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (down, mid, up) = (random(&[2, 16, 1, 1]), random(&[3, 2, 3, 3]), random(&[16, 3, 1, 1]));
    let name = format!("lora_unet_{}", LAYER.replace('.', "_"));
    let parts = [
        (format!("{name}.lora_down.weight"), &down),
        (format!("{name}.lora_mid.weight"), &mid),
        (format!("{name}.lora_up.weight"), &up),
        (format!("{name}.alpha"), &Tensor::from_slice(&[6i64]).squeeze()),
    ];
    Tensor::write_safetensors(&parts, &path).unwrap();
    let x = random(&[1, 16, 5, 7]);
    let conv = |x: &Tensor, w: &Tensor| {
        let padding = (w.size()[2] - 1) / 2;
        x.conv2d(w, None::<Tensor>, 1, padding, 1, 1)
    };
    let weight = plain(LAYER);
    let expected = conv(&x, &weight) + conv(&conv(&conv(&x, &down), &mid), &up) * (0.5 * 6.0 / 2.0);
    let found = conv(&x, &merged(&path, 0.5, LAYER, Kind::Float).unwrap());
    assert!(relative(&found, &expected) < 1e-5);
    assert!(relative(&conv(&x, &weight), &expected) > 0.1);
}

#[test]
fn what_is_written_is_read_again_and_merged_in_full_precision() {
    let (folder, layer) = (tempfile::tempdir().unwrap(), "mid_block.attentions.0.transformer_blocks.0.attn1.to_q");
    let path = folder.path().join("trained.safetensors");
    let unet = files("tiny-sd").weights(&UNET, None).unwrap().1;
    let shape = carriers(&unet)[layer].clone();
    tch::manual_seed(6);
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let trained = |layer: &str, rank: i64, shape: &[i64]| Trained {
        component: "unet",
        layer: layer.into(),
        down: random(&[rank, shape[1]]),
        up: random(&[shape[0], rank]),
    };
    let layers =
        [trained(layer, 4, &shape), trained("time_embedding.linear_1", 2, &carriers(&unet)["time_embedding.linear_1"])];
    write(&path, &layers, 6.0).unwrap();
    let delta = layers[0].up.matmul(&layers[0].down) * (0.8 * 6.0 / 4.0);
    let expected = plain(layer) + delta;
    assert!(relative(&merged(&path, 0.8, layer, Kind::Float).unwrap(), &expected) < 1e-6);
    assert_eq!(
        merged(&path, 0.8, layer, Kind::Half).unwrap(),
        merged(&path, 0.8, layer, Kind::Float).unwrap().to_kind(Kind::Half)
    );
    let other = merged(&path, 1.0, &layers[1].layer, Kind::Float).unwrap();
    assert!(relative(&other, &(plain(&layers[1].layer) + layers[1].up.matmul(&layers[1].down) * 3.0)) < 1e-6);

    // What can carry a LoRA: linear layers and convolutions, but neither norms nor embeddings.
    let text = carriers(&files("tiny-sd").weights(&TEXT_ENCODER, None).unwrap().1);
    assert_eq!(text.len(), 3 * 6);
    assert_eq!(text["text_model.encoder.layers.0.mlp.fc1"], [48, 24]);
    assert!(carriers(&unet).keys().all(|layer| !layer.contains("norm")));
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_its_first_such_key() {
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(format!("{name}.safetensors"));
    let kohya = golden_file("lora/kohya.safetensors");
    let renamed = |name: &str, from: &str, with: &str| {
        rewritten(&kohya, &to(name), |key, tensor| Some((key.replace(from, with), tensor)))
    };
    let reshaped = |name: &str, part: &str, shape: &[i64]| {
        let of = |key: &str| key.contains("downsamplers") && key.contains(part);
        let change = |key: String, t: Tensor| {
            Some(if of(&key) { (key, Tensor::zeros(shape, (Kind::Float, Device::Cpu))) } else { (key, t) })
        };
        rewritten(&kohya, &to(name), change)
    };
    let pickle = folder.path().join("style.pt");
    std::fs::write(&pickle, b"anything").unwrap();
    let cases = [
        ("other_model", "tiny-sd2", golden_file("lora/peft.safetensors")),
        ("other_layers", "tiny-sd", renamed("xl", "lora_te_", "lora_te2_")),
        ("mixed", "tiny-sd", renamed("mixed", "lora_up.weight", "hada_w1_a")),
        (
            "half",
            "tiny-sd",
            rewritten(&kohya, &to("half"), |k, t| Some((k, t)).filter(|(k, _)| !k.contains("lora_up"))),
        ),
        ("odd_key", "tiny-sd", renamed("odd", "lora_te_text_model_encoder_layers_2_mlp_fc1.alpha", "learning_rate")),
        ("down_shape", "tiny-sd", reshaped("down", "lora_down", &[2, 32, 1, 1])),
        ("up_shape", "tiny-sd", reshaped("up", "lora_up", &[32, 4, 1, 1])),
        ("alpha", "tiny-sd", reshaped("alpha", "alpha", &[2])),
        ("no_lora", "tiny-sd", golden_file("tiny-sd/vae/diffusion_pytorch_model.safetensors")),
        ("pickle", "tiny-sd", pickle),
        ("missing", "tiny-sd", folder.path().join("nowhere.safetensors")),
    ];
    for (name, model, path) in cases {
        let error = load(model, vec![lora(&path, 1.0)]).unwrap_err();
        insta::assert_snapshot!(format!("bad_{name}"), said(&error, folder.path()));
    }
}

/// An error as it is printed, without this machine's folders.
fn said(error: &Error, folder: &Path) -> String {
    let said = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
    said.replace(folder.to_str().unwrap(), "FOLDER").replace(golden_file("").to_str().unwrap(), "GOLDENS/")
}

/// A short trace of the tiny model.
fn trace(out: &Path, more: &[&str]) -> Output {
    let mut command = command();
    command.current_dir(golden_file("lora"));
    let (model, out) = (golden_file("tiny-sd").display().to_string(), out.to_str().unwrap());
    let base =
        ["trace", "--prompt", "a lovely cat", "--steps", "2", "--decode", "final", "--model", &model, "--out", out];
    command.args(base).args(more).output().unwrap()
}

#[test]
fn the_record_and_the_picture_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = trace(&out, &["--lora", "peft.safetensors:0.8", "--lora", "kohya.safetensors"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("lora: peft.safetensors, weight 0.8, 60 layers"), "{said}");
    let run = Run::open(&out).unwrap();
    let loras = &run.record().model.loras;
    let found: Vec<_> = loras.iter().map(|l| (l.file.as_str(), l.weight, l.sha256.len())).collect();
    assert_eq!(found, [("peft.safetensors", 0.8, 64), ("kohya.safetensors", 1.0, 64)]);
    let metadata = command().args(["metadata", "--json"]).arg(out.join("final.png")).output().unwrap();
    let settings: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    assert_eq!(settings["parameters"]["Lora"], "peft:0.8, kohya:1");

    let plain = folder.path().join("plain");
    let again = trace(&plain, &["--like", out.join("final.png").to_str().unwrap()]);
    let told = stderr(&again);
    for flag in ["`--lora peft.safetensors:0.8`", "`--lora kohya.safetensors:1`"] {
        assert!(told.contains(&format!("the picture was drawn with a LoRA: name it with {flag}")), "{told}");
    }
    assert!(trace(&plain, &["--force"]).status.success());
    assert!(!std::fs::read_to_string(plain.join("run.json")).unwrap().contains("loras"));

    let output = trace(&folder.path().join("bad"), &["--lora", "peft.safetensors:strong"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!("bad_weight", stderr(&output));
}

/// LoRAs and their weights are part of what names a sweep's cell; without them the name is what it was.
#[test]
fn cells_of_a_sweep_differ_by_their_loras() {
    let plan = Plan { prompt: "a cat".into(), width: 0, height: 0, scheduler: String::new(), ..Plan::default() };
    let draft = &drafts(&[], &plan).unwrap()[0];
    let id = |loras: Vec<LoraChoice>| {
        let model = golden_file("tiny-sd").display().to_string();
        let options = LoadOptions { loras, ..LoadOptions::default() };
        Loaded::load(Some(&model), None, &options).unwrap().cell(draft).unwrap().id
    };
    let (peft, kohya) = (golden_file("lora/peft.safetensors"), golden_file("lora/kohya.safetensors"));
    let ids = [vec![], vec![lora(&peft, 1.0)], vec![lora(&peft, 0.5)], vec![lora(&kohya, 1.0)]].map(id);
    for (i, one) in ids.iter().enumerate() {
        assert!(!ids[..i].contains(one), "{ids:?}");
    }
}
