//! The files a model may come in: half precision, variants, old key names, both kinds of tokenizer files, the hub's cache.

use crate::common::{chosen, command, golden_file, narrowed, root};
use safetensors::Dtype;
use sdviz::error::Error;
use sdviz::model::convert;
use sdviz::model::files::ModelFiles;
use sdviz::model::resolve::{self, ModelChoice};
use sdviz::model::tokenizer::Tokenizer;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;
use sdviz::watch::site::Axes;
use std::path::Path;
use tch::{Kind, Tensor};

const WEIGHTS: [&str; 3] = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

fn choice(folder: &Path) -> ModelChoice {
    chosen(folder.to_path_buf())
}

fn load(folder: &Path, kind: Kind, variant: Option<&str>) -> sdviz::error::Result<Pipeline> {
    let options = LoadOptions { kind, variant: variant.map(String::from), ..LoadOptions::default() };
    Pipeline::load(&choice(folder), options)
}

fn plan() -> Plan {
    Plan { prompt: "a lovely cat".into(), steps: 3, width: 64, height: 64, scheduler: "ddim".into(), ..Plan::default() }
}

fn latents(pipeline: &Pipeline) -> Tensor {
    let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Final);
    pipeline.generate(&plan(), &Probe::new(vec![&mut reservoir])).unwrap();
    assert_eq!(reservoir.latents_reservoir.len(), 4);
    assert_eq!(reservoir.images[0].dimensions(), (64, 64));
    reservoir.latents_reservoir.pop().unwrap()
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.abs().max()).double_value(&[])
}

/// A copy of the tiny model whose weight files are rewritten: tensors by `change`, names by `name_of`.
fn rewritten(to: &Path, name_of: impl Fn(&str) -> String, change: impl Fn(String, Tensor) -> Vec<(String, Tensor)>) {
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "unet/config.json",
        "vae/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
    ] {
        std::fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
        std::fs::copy(golden_file("tiny-sd").join(file), to.join(file)).unwrap();
    }
    for file in WEIGHTS {
        let tensors = Tensor::read_safetensors(golden_file("tiny-sd").join(file)).unwrap();
        let changed: Vec<_> = tensors.into_iter().flat_map(|(name, tensor)| change(name, tensor)).collect();
        Tensor::write_safetensors(&changed, to.join(name_of(file))).unwrap();
    }
}

#[test]
fn half_precision_files_and_variants_load() {
    let folder = tempfile::tempdir().unwrap();
    let exact = latents(&load(&golden_file("tiny-sd"), Kind::Float, None).unwrap());
    for (kind, variant, allowed) in [(Kind::Half, "fp16", 5e-3), (Kind::BFloat16, "bf16", 5e-2)] {
        let to = folder.path().join(variant);
        let name_of = |file: &str| file.replace(".safetensors", &format!(".{variant}.safetensors"));
        rewritten(&to, name_of, |name, tensor| vec![(name, tensor.to_kind(kind))]);
        // Half-precision files, computed in f32: what the one variant there holds, or the one asked for.
        for asked in [None, Some(variant)] {
            let found = difference(&latents(&load(&to, Kind::Float, asked).unwrap()), &exact);
            assert!(found > 0.0 && found < allowed, "{variant}: {found}");
        }
        let error = load(&to, Kind::Float, Some("nonsense")).unwrap_err().to_string();
        let said = format!("` has a variant `nonsense`: there is `{variant}`");
        assert!(error.starts_with("no part of `") && error.ends_with(&said), "{error}");
    }
}

#[test]
fn half_precision_computes_close_to_full() {
    let exact = latents(&load(&golden_file("tiny-sd"), Kind::Float, None).unwrap());
    for (kind, allowed) in [(Kind::Half, 1e-2), (Kind::BFloat16, 1e-1)] {
        let pipeline = load(&golden_file("tiny-sd"), kind, None).unwrap();
        // f16 would overflow in the VAE of Stable Diffusion: its configuration says so, and it falls back to f32.
        let expected = if kind == Kind::Half { Kind::Float } else { kind };
        assert_eq!(pipeline.vae.kind(), expected);
        let found = difference(&latents(&pipeline), &exact);
        assert!(found > 0.0 && found < allowed, "{kind:?}: {found}");
    }
}

#[test]
fn old_key_names_load_to_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let old = |name: String, tensor: Tensor| {
        let renamed = if let Some((front, back)) = name.split_once("mid_block.attentions.0.") {
            let back = back.replace("to_out.0.", "proj_attn.").replace("to_q.", "query.").replace("to_k.", "key.");
            // The UNet's middle block has attentions too, whose parts lie deeper.
            format!("{front}mid_block.attentions.0.{}", back.replace("to_v.", "value."))
        } else if ["embeddings.", "encoder.layers.", "final_layer_norm."].iter().any(|p| name.starts_with(p)) {
            format!("text_model.{name}")
        } else {
            name.clone()
        };
        let renamed = if name.contains("transformer_blocks") { name.clone() } else { renamed };
        let ids = Tensor::arange(77, (Kind::Int64, tch::Device::Cpu)).unsqueeze(0);
        match name.as_str() {
            "embeddings.token_embedding.weight" => {
                vec![(renamed, tensor), ("text_model.embeddings.position_ids".into(), ids)]
            }
            // Single-file checkpoints have 1×1 convolutions in place of linear layers.
            n if n.starts_with("decoder.mid_block.attentions.0.to_q.weight") => {
                vec![(renamed, tensor.unsqueeze(-1).unsqueeze(-1))]
            }
            _ => vec![(renamed, tensor)],
        }
    };
    rewritten(folder.path(), str::to_string, old);
    let names: Vec<_> =
        Tensor::read_safetensors(folder.path().join(WEIGHTS[2])).unwrap().into_iter().map(|t| t.0).collect();
    assert!(names.iter().any(|n| n == "decoder.mid_block.attentions.0.proj_attn.weight"), "nothing was renamed");
    let (ours, theirs) =
        (load(folder.path(), Kind::Float, None).unwrap(), load(&golden_file("tiny-sd"), Kind::Float, None).unwrap());
    assert_eq!(latents(&ours), latents(&theirs));
}

/// transformers passes over them too, and none changes a number.
#[test]
fn what_else_a_clip_has_is_passed_over_in_the_text_encoder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (to, other) = (folder.path().join("clip"), folder.path().join("unet"));
    let small = || Tensor::ones([4, 4], (Kind::Float, tch::Device::Cpu));
    let beside = |after: &'static str, names: &'static [&'static str]| {
        move |name: String, tensor: Tensor| {
            let more = if name == after { names } else { &[] };
            more.iter().map(|name| (name.to_string(), small())).chain([(name.clone(), tensor)]).collect::<Vec<_>>()
        }
    };
    let of_clip = &[
        "text_projection.weight",
        "logit_scale",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "visual_projection.weight",
    ];
    rewritten(&to, str::to_string, beside("embeddings.token_embedding.weight", of_clip));
    // A whole CLIP's configuration has the text encoder's in it.
    let config = to.join("text_encoder/config.json");
    let own: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    std::fs::write(&config, serde_json::json!({ "model_type": "clip", "text_config": own }).to_string()).unwrap();
    let pipeline = load(&to, Kind::Float, None).unwrap();
    assert!(latents(&pipeline) == latents(&load(&golden_file("tiny-sd"), Kind::Float, None).unwrap()));
    let said = pipeline.notes().join("\n");
    let expected = "model.safetensors`: `logit_scale` and 3 more: passed over, no picture needs them";
    assert!(said.ends_with(expected), "{said}");

    rewritten(&other, str::to_string, beside("conv_in.weight", &["logit_scale"]));
    let error = load(&other, Kind::Float, None).unwrap_err().to_string();
    assert!(error.contains("unet/") && error.contains("`logit_scale`"), "{error}");
}

#[test]
fn weights_of_eight_bits_draw_as_the_same_numbers_in_f32_do() {
    let folder = tempfile::tempdir().unwrap();
    let e4m3 = (Kind::Float8e4m3fn, Dtype::F8_E4M3);
    for (name, narrow) in [("e4m3", e4m3), ("e5m2", (Kind::Float8e5m2, Dtype::F8_E5M2))] {
        let (wide, to) = (folder.path().join(format!("{name}-wide")), folder.path().join(name));
        for folder in [&wide, &to] {
            rewritten(folder, str::to_string, |key, tensor| vec![(key, tensor.to_kind(narrow.0).to_kind(Kind::Float))]);
        }
        WEIGHTS.iter().for_each(|file| narrowed(&to.join(file), narrow, &[]));
        let narrow = load(&to, Kind::Float, None).unwrap();
        assert!(narrow.model().components.iter().all(|part| part.file_dtype.starts_with("f8_e")));
        assert_eq!(latents(&narrow), latents(&load(&wide, Kind::Float, None).unwrap()), "{name}");
    }
    // With numbers beside them that they are to be multiplied by.
    for mark in ["scaled_fp8", "conv_in.scale_weight"] {
        let scaled = folder.path().join(mark);
        rewritten(&scaled, str::to_string, |key, tensor| vec![(key, tensor)]);
        narrowed(&scaled.join(WEIGHTS[1]), e4m3, &[(mark, &[2.0])]);
        let error = load(&scaled, Kind::Float, None).unwrap_err();
        assert!(error.to_string().ends_with(&format!("holds scaled fp8 weights: it has the key `{mark}`")), "{error}");
        assert_eq!(error.hint().unwrap(), "take the same model in f16 or bf16, or in fp8 without scales");
    }
}

#[test]
fn a_folder_without_an_autoencoder_draws_with_one_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("model");
    rewritten(&to, str::to_string, |name, tensor| vec![(name, tensor)]);
    std::fs::remove_dir_all(to.join("vae")).unwrap();
    let error = load(&to, Kind::Float, None).unwrap_err();
    assert!(error.to_string().ends_with("vae/config.json` is missing"), "{error}");
    assert!(error.hint().unwrap().ends_with("or name an autoencoder with `--vae`"));
    let with = |vae: &str| resolve::resolve_with(to.to_str(), Some(vae));
    let own = Pipeline::load(&with(golden_file("tiny-sd").to_str().unwrap()).unwrap(), LoadOptions::default()).unwrap();
    let whole = load(&golden_file("tiny-sd"), Kind::Float, None).unwrap();
    let drawn = |pipeline: &Pipeline| {
        let mut reservoir = Reservoir::new(&[], Decode::Final);
        pipeline.generate(&plan(), &Probe::new(vec![&mut reservoir])).unwrap();
        reservoir.images.remove(0)
    };
    assert!(drawn(&own) == drawn(&whole));
    // Written with it, the folder is whole.
    let index = to.join("model_index.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    json["vae"] = serde_json::json!([null, null]);
    std::fs::write(&index, json.to_string()).unwrap();
    let baked = folder.path().join("baked");
    let vae = golden_file("tiny-sd");
    convert::to_folder(&with(vae.to_str().unwrap()).unwrap().files, None, &baked).unwrap();
    json = serde_json::from_slice(&std::fs::read(baked.join("model_index.json")).unwrap()).unwrap();
    assert_eq!(json["vae"], serde_json::json!(["diffusers", "AutoencoderKL"]));
    assert!(drawn(&load(&baked, Kind::Float, None).unwrap()) == drawn(&whole));
    // It is held to the channels that the UNet takes.
    let wide = folder.path().join("wide");
    std::fs::create_dir(&wide).unwrap();
    let config = std::fs::read_to_string(golden_file("tiny-sd/vae/config.json")).unwrap();
    std::fs::write(wide.join("config.json"), config.replace("\"latent_channels\": 4", "\"latent_channels\": 16"))
        .unwrap();
    let error = with(wide.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("does not fit: its latents have 16 channels, the model's have 4"), "{error}");
}

#[test]
fn pipelines_with_the_same_networks_draw_and_say_how() {
    let folder = tempfile::tempdir().unwrap();
    rewritten(folder.path(), str::to_string, |name, tensor| vec![(name, tensor)]);
    let path = folder.path().join("model_index.json");
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let named = |class: serde_json::Value| {
        let mut index = index.clone();
        index["_class_name"] = class;
        std::fs::write(&path, index.to_string()).unwrap();
        load(folder.path(), Kind::Float, None)
    };
    let notes = |class: &str| named(class.into()).unwrap().notes().join("\n");
    assert_eq!(notes("StableDiffusionPipeline"), "");
    for class in ["StableDiffusionPAGPipeline", "StableDiffusionAttendAndExcitePipeline"] {
        let said = notes(class);
        let expected = format!("a {class}'s networks are drawn with as StableDiffusionPipeline does");
        assert!(said.ends_with(&expected), "{said}");
    }
    for (class, found) in [
        (serde_json::json!(["diffusers", "StableDiffusionPipeline"]), r#"["diffusers","StableDiffusionPipeline"]"#),
        (serde_json::Value::Null, "null"),
        ("StableDiffusionXLPipeline".into(), "`StableDiffusionXLPipeline`"),
    ] {
        let error = named(class).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`_class_name` is {found} in ")), "{error}");
    }
}

#[test]
fn the_hub_cache_is_found_offline() {
    let cache = tempfile::tempdir().unwrap();
    let repository = cache.path().join("models--someone--tiny");
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::create_dir_all(repository.join("snapshots")).unwrap();
    std::fs::write(repository.join("refs/main"), "abc123\n").unwrap();
    std::os::unix::fs::symlink(golden_file("tiny-sd"), repository.join("snapshots/abc123")).unwrap();
    let program = |model: &str| {
        let mut command = command();
        command.args(["inspect", "--depth", "0", model]).env("HF_HUB_CACHE", cache.path());
        command.output().unwrap()
    };
    let found = program("someone/tiny");
    assert!(found.status.success());
    assert!(String::from_utf8(found.stdout).unwrap().starts_with("someone/tiny (--model)\n"));
    let missing = program("someone/else");
    assert_eq!(missing.status.code(), Some(2));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("the Hugging Face cache") && said.contains("sdviz fetch someone/else"), "{said}");
}

#[test]
fn both_kinds_of_tokenizer_files_give_the_same_ids() {
    let goldens = root("tests/goldens");
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer");
    std::fs::create_dir(&tokenizer).unwrap();
    std::fs::copy(goldens.join("tokenizer.json"), tokenizer.join("tokenizer.json")).unwrap();
    std::fs::copy(goldens.join("tiny-sd2/tokenizer/tokenizer_config.json"), tokenizer.join("tokenizer_config.json"))
        .unwrap();
    let json = Tokenizer::load(&ModelFiles::Folder(folder.path().into()), 77).unwrap();
    let vocabulary = Tokenizer::load(&ModelFiles::Folder(goldens.join("tiny-sd2")), 77).unwrap();
    for prompt in
        ["a red apple", "A  CAT's face,\n on ÉCLAIR-blue… 2024!", "", "zebra ネコ 🦓", "don't <|endoftext|> stop"]
    {
        assert_eq!(json.encode(prompt).unwrap(), vocabulary.encode(prompt).unwrap(), "{prompt:?}");
    }
}

/// CLIP's published ids.
#[test]
fn clip_tokens_are_the_published_ones() {
    let tokenizer = Tokenizer::load(&ModelFiles::Folder(golden_file("tiny-sd")), 77).unwrap();
    let horse = tokenizer.encode("a photograph of an astronaut riding a horse").unwrap();
    assert_eq!(horse.ids[..10], [49406, 320, 8853, 539, 550, 18376, 6765, 320, 4558, 49407]);
    assert!(horse.ids[10..].iter().all(|id| *id == 49407) && horse.ids.len() == 77);
    assert_eq!(tokenizer.encode("").unwrap().tokens.len(), 2);
    let long = tokenizer.encode(&"cat ".repeat(75)).unwrap();
    assert_eq!((long.cut, long.tokens.len()), (None, 77));
    let longer = tokenizer.encode(&format!("{}Dog  ", "cat ".repeat(75))).unwrap();
    assert_eq!((longer.cut.as_deref(), longer.ids), (Some("Dog"), long.ids));
}

/// Looks at one site, and stops there if told so.
struct Look {
    site: &'static str,
    stop: bool,
    seen: Vec<(usize, Vec<i64>)>,
}

impl Observer for Look {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if name == self.site)
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        if let Event::Tensor(site, tensor) = event {
            assert_eq!((site.axes, site.grid), (Axes::Attention((2, 2)), Some((2, 2))));
            self.seen.push((site.step, tensor.size()));
        }
        Ok(if self.stop && !self.seen.is_empty() { Flow::Stop } else { Flow::Continue })
    }
}

#[test]
fn attention_can_be_watched_without_changing_the_picture() {
    let pipeline = load(&golden_file("tiny-sd"), Kind::Float, None).unwrap();
    let site = "unet.up_blocks.1.attentions.2.transformer_blocks.0.attn2.probs";
    let mut look = Look { site, stop: false, seen: vec![] };
    let watched = pipeline.generate(&plan(), &Probe::new(vec![&mut look])).unwrap().latents;
    assert_eq!(look.seen, (1..=3).map(|step| (step, vec![2, 4, 4, 77])).collect::<Vec<_>>());
    assert!(watched.equal(&latents(&pipeline)), "who looks changes no bit");

    let mut look = Look { site, stop: true, seen: vec![] };
    let stopped = pipeline.generate(&plan(), &Probe::new(vec![&mut look]));
    assert!(matches!(stopped, Err(Error::Cancelled)), "an observer stops the run in the middle of a step");
}

#[test]
fn a_tensor_that_is_not_finite_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let poison = |name: String, tensor: Tensor| {
        let bad = if name == "mid_block.resnets.0.conv1.bias" { tensor * f64::NAN } else { tensor };
        vec![(name, bad)]
    };
    rewritten(folder.path(), str::to_string, poison);
    let pipeline = load(folder.path(), Kind::Float, None).unwrap();
    let error = pipeline.generate(&plan(), &Probe::silent()).unwrap_err().to_string();
    let expected =
        "`unet.mid_block.resnets.0` holds NaN at step 1 in f32: the first tensor of the run that is not finite";
    assert_eq!(error, expected);
}

/// The embedded model is the folder that the repository shows.
#[test]
fn the_embedded_model_is_whole() {
    let ModelChoice { files: ModelFiles::Embedded(_, files), chosen_by, .. } =
        resolve::resolve(Some("pocket")).unwrap()
    else {
        panic!("pocket is not embedded")
    };
    assert_eq!(chosen_by, "--model");
    for (name, bytes) in files {
        let on_disk = std::fs::read(root("assets/pocket").join(name)).unwrap();
        assert!(on_disk == *bytes, "{name}");
    }
}
