//! Textual inversion embeddings: agreement with diffusers, what is refused, what is kept.
//!
//! `tests/goldens/make_lora_goldens.py` says how the files and the numbers were made.

use crate::common::{chosen, golden_file, relative, sdviz_in, stderr};
use sdviz::model::embedding::EmbeddingChoice;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::reader::Run;
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Device, Kind, Tensor};

fn load(model: &str, embeddings: &[(&str, PathBuf)]) -> sdviz::error::Result<Pipeline> {
    let choice = chosen(golden_file(model));
    let embeddings =
        embeddings.iter().map(|(name, path)| EmbeddingChoice { name: name.to_string(), path: path.clone() });
    Pipeline::load(&choice, LoadOptions { embeddings: embeddings.collect(), ..LoadOptions::default() })
}

#[test]
fn embeddings_agree_with_diffusers() {
    let path = golden_file("lora/latents.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let meta = header.metadata().clone().unwrap();
    let settings: Plan = serde_json::from_str(&meta["settings"]).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&meta["cases"]).unwrap();
    let golden: HashMap<String, Tensor> = Tensor::read_safetensors(&path).unwrap().into_iter().collect();
    let mut checked = 0;
    for case in cases.iter().filter(|case| case["embeddings"].is_array()) {
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let named =
            case["embeddings"].as_array().unwrap().iter().map(|e| (text(&e[0]), golden_file("lora").join(text(&e[1]))));
        let named: Vec<(String, PathBuf)> = named.collect();
        let named: Vec<(&str, PathBuf)> = named.iter().map(|(name, path)| (name.as_str(), path.clone())).collect();
        let (name, pipeline) = (text(&case["name"]), load("tiny-sd", &named).unwrap());
        let plan = Plan { prompt: text(&case["prompt"]), decode: Decode::Nothing, ..settings.clone() };
        let tokens: Vec<Vec<i64>> = Vec::try_from(&golden[&format!("tokens/{name}")]).unwrap();
        assert_eq!(pipeline.tokenizer.encode(&plan.prompt).unwrap().ids, tokens[1]);
        let ids = &golden[&format!("tokens/{name}")];
        let _no_gradients = tch::no_grad_guard();
        let embeddings = pipeline.text_encoder.forward(ids, &Probe::silent()).unwrap();
        assert!(relative(&embeddings, &golden[&format!("text/{name}")]) < 1e-5);
        let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Nothing);
        pipeline.generate(&plan, &Probe::new(vec![&mut reservoir])).unwrap();
        for (k, ours) in reservoir.latents_reservoir.iter().enumerate() {
            let found = relative(ours, &golden[&format!("run/{name}/{k}")]);
            assert!(found < 1e-4, "{name}, step {k}: {found:.2e}");
            checked += 1;
        }
    }
    assert_eq!(checked, 2 * 5);
}

/// The rows that a table has beyond the vocabulary are replaced, as diffusers does: the ids are what counts.
#[test]
fn a_table_that_is_larger_than_the_vocabulary_keeps_its_size_until_it_is_full() {
    let mut encoder = load("tiny-sd2", &[]).unwrap().text_encoder;
    let _no_gradients = tch::no_grad_guard();
    let rows = encoder.config().vocab_size;
    let seen = |encoder: &sdviz::model::text_encoder::TextEncoder, id: i64| {
        encoder.forward(&Tensor::from_slice(&[id]).unsqueeze(0), &Probe::silent()).unwrap()
    };
    let (before, kept) = (seen(&encoder, rows - 1), seen(&encoder, rows - 3));
    encoder.add_embedding(rows - 2, &Tensor::randn([3, 20], (Kind::Float, Device::Cpu)));
    assert_ne!(seen(&encoder, rows - 1), before);
    assert_eq!(seen(&encoder, rows - 3), kept);
    assert_ne!(seen(&encoder, rows), seen(&encoder, rows - 1));
}

fn sdviz(arguments: &[&str]) -> Output {
    sdviz_in(&golden_file("lora"), arguments)
}

#[test]
fn the_word_becomes_its_tokens_and_the_record_names_the_file() {
    let model = golden_file("tiny-sd").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let named = [
        "--model",
        &model,
        "--embedding",
        "sketchy-x=embedding.safetensors",
        "--embedding",
        "ugly-x=a1111.safetensors",
    ];
    let shown = sdviz(&[&["tokens", "a Sketchy-X cat", "--negative", "ugly-x", "--json"], &named[..]].concat());
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let pieces = |name: &str| -> Vec<String> {
        let all = shown[name]["tokens"].as_array().unwrap().iter();
        all.map(|token| token["piece"].as_str().unwrap().to_string()).collect()
    };
    let expected = ["<|startoftext|>", "a</w>", "sketchy-x", "sketchy-x_1", "sketchy-x_2", "cat</w>", "<|endoftext|>"];
    assert_eq!(pieces("prompt"), expected);
    assert_eq!(pieces("negative_prompt")[1], "ugly-x");

    let trace = ["trace", "--prompt", "a sketchy-x cat", "--steps", "1", "--decode", "final", "--out", &out];
    let output = sdviz(&[&trace[..], &named[..]].concat());
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("embedding: sketchy-x, 3 tokens (embedding.safetensors)"), "{said}");
    let run = Run::open(Path::new(&out)).unwrap();
    let found: Vec<_> =
        run.record().model.embeddings.iter().map(|e| (e.name.as_str(), e.vectors, e.sha256.len())).collect();
    assert_eq!(found, [("sketchy-x", 3, 64), ("ugly-x", 1, 64)]);
    assert_eq!(run.record().tokens.prompt[3].piece, "sketchy-x_1");
}

#[test]
fn what_is_no_embedding_of_this_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pickle = folder.path().join("style.pt");
    std::fs::write(&pickle, b"anything").unwrap();
    let flat = folder.path().join("cube.safetensors");
    Tensor::write_safetensors(&[("x", Tensor::zeros([2, 3, 24], (Kind::Float, Device::Cpu)))], &flat).unwrap();
    let good = golden_file("lora/embedding.safetensors");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, PathBuf)]);
    let cases: [Case; 6] = [
        ("width", "tiny-sd2", &[("sketchy-x", good.clone())]),
        ("pickle", "tiny-sd", &[("sketchy-x", pickle)]),
        ("shape", "tiny-sd", &[("sketchy-x", flat)]),
        ("lora", "tiny-sd", &[("sketchy-x", golden_file("lora/kohya.safetensors"))]),
        ("known_word", "tiny-sd", &[("cat", good.clone())]),
        ("twice", "tiny-sd", &[("sketchy-x", good.clone()), ("sketchy-x", golden_file("lora/a1111.safetensors"))]),
    ];
    for (name, model, embeddings) in cases {
        let error = load(model, embeddings).unwrap_err();
        let said = format!("{error}\nhint: {}", error.hint().unwrap_or_default());
        let said = said
            .replace(folder.path().to_str().unwrap(), "FOLDER")
            .replace(golden_file("").to_str().unwrap(), "GOLDENS/");
        insta::assert_snapshot!(format!("bad_{name}"), said);
    }
    let output = sdviz(&["trace", "--prompt", "x", "--embedding", "style.safetensors"]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!("bad_form", stderr(&output));
}
