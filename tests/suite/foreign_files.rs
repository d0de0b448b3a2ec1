//! Files that are something else than what they are named as, and models that say of themselves how they were trained:
//! each is told as what it is, wherever weights are read, and nothing is written of it.

use crate::common::{Tensors, done, refused, root, tensors, tiny_sd, write_tensors};
use safetensors::{Dtype, SafeTensors};
use sdviz::error::Error;
use sdviz::model::embedding::EmbeddingChoice;
use sdviz::model::lora::LoraChoice;
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::Plan;
use std::path::{Path, PathBuf};

/// A file with these keys, each a small tensor.
fn keys(path: &Path, keys: &[&str]) {
    let one = |key: &&str| (key.to_string(), (Dtype::F32, vec![2, 3], vec![0; 24]));
    write_tensors(path, &keys.iter().map(one).collect(), None);
}

/// The places that a weight file may be named at.
const DOORS: [&str; 4] = ["--model", "--vae", "--lora", "--embedding"];

/// What the door says to a file.
fn at(door: &str, path: &Path) -> Error {
    let name = path.to_str().unwrap();
    let load = |options: LoadOptions| {
        let tiny = resolve::resolve(Some(&tiny_sd())).unwrap();
        Pipeline::load(&tiny, options).map(drop)
    };
    let ended = match door {
        "--model" => resolve::resolve(Some(name)).map(drop),
        "--vae" => resolve::resolve_with(Some(&tiny_sd()), Some(name)).map(drop),
        "--lora" => {
            load(LoadOptions { loras: vec![LoraChoice { path: path.into(), weight: 1.0 }], ..LoadOptions::default() })
        }
        _ => load(LoadOptions {
            embeddings: vec![EmbeddingChoice { name: "strange-word".into(), path: path.into() }],
            ..LoadOptions::default()
        }),
    };
    ended.expect_err(&format!("{name} was taken at {door}"))
}

/// An error as it is printed, without this machine's folders.
fn text(error: &Error, folder: &Path) -> String {
    format!("{error}\nhint: {}\n", error.hint().unwrap_or_default()).replace(folder.to_str().unwrap(), "FOLDER")
}

/// Files that are no safetensors.
const OTHERS: [(&str, &[u8]); 9] = [
    ("page", b"<html>log in</html><html>log in</html>"),
    ("refusal", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
    ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3438167540\n"),
    ("pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
    ("torch", b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pklFB"),
    ("gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0"),
    ("json", b"{\"_class_name\": \"UNet2DConditionModel\"}"),
    ("words", b"Entry not found"),
    ("zeros", &[0; 4096]),
];

#[test]
fn what_is_no_safetensors_is_told_as_what_it_is_at_every_door() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = vec![];
    for (name, bytes) in OTHERS {
        let path = folder.path().join(format!("{name}.safetensors"));
        std::fs::write(&path, bytes).unwrap();
        let all = DOORS.map(|door| text(&at(door, &path), folder.path()));
        assert!(all.iter().all(|one| *one == all[0]), "{name}: {all:?}");
        said.push(all[0].clone());
    }
    insta::assert_snapshot!("no_safetensors", said.join("\n"));
}

#[test]
fn weights_in_a_folder_that_are_none_are_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    done(&["convert", &tiny_sd(), model.to_str().unwrap()]);
    let weights = model.join("unet/diffusion_pytorch_model.safetensors");
    std::fs::write(&weights, OTHERS[2].1).unwrap();
    let out = folder.path().join("out");
    let (model, out) = (model.to_str().unwrap(), out.to_str().unwrap());
    for arguments in [
        &["trace", "--prompt", "a cat", "--model", model, "--out", out][..],
        &["convert", model, out],
        &["merge", &tiny_sd(), model, "--out", out],
        &["inspect", model],
    ] {
        let said = refused(arguments);
        assert!(said.contains("diffusion_pytorch_model.safetensors` is a Git LFS pointer"), "{said}");
        assert!(said.contains("hint: the file itself was not fetched: run `git lfs pull`"), "{said}");
        assert!(!Path::new(out).exists(), "{arguments:?} wrote something");
    }
    // By another name than weights have, and by that of a pickle.
    for (name, bytes, expected) in [
        ("model.gguf", OTHERS[5].1, "is a GGUF file"),
        ("page.html", OTHERS[0].1, "is a web page (HTML), not weights"),
        ("page.ckpt", OTHERS[0].1, "is a web page (HTML), not weights"),
        ("model.ckpt", OTHERS[4].1, "is a pickle file, which can run code"),
        ("notes.txt", b"[1] a note", "is no model: a model in one file ends in .safetensors"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let said = text(&at("--model", &path), folder.path());
        assert!(said.contains(expected), "{name}: {said}");
    }
    let renamed = folder.path().join("renamed.pt");
    keys(&renamed, &["emb_params"]);
    let said = text(&at("--embedding", &renamed), folder.path());
    assert!(said.contains("is called as pickles are, which can run code, but holds safetensors"), "{said}");
}

#[test]
fn what_goes_elsewhere_or_nowhere_is_told_by_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let up = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight";
    let layer = |end: &str| format!("lora_unet_mid_block_attentions_0_proj_in.{end}");
    let (dora, loha, lokr, glora) = (layer("dora_scale"), layer("hada_w1_a"), layer("lokr_w1"), layer("a1.weight"));
    let cases: [(&str, &[&str], &[&str]); 15] = [
        ("lora", &[up], &["--model", "--vae", "--embedding"]),
        ("dora", &[up, &dora], &["--model", "--vae", "--embedding"]),
        ("loha", &[&loha], &["--model", "--vae", "--embedding"]),
        ("lokr", &[&lokr], &["--model", "--vae", "--embedding"]),
        ("glora", &[&glora], &DOORS),
        ("xl_lora", &[up, "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"], &DOORS),
        ("flux_lora", &["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"], &DOORS),
        ("sd3_lora", &["lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight"], &DOORS),
        ("embedding", &["emb_params"], &["--model", "--vae", "--lora"]),
        ("xl_embedding", &["clip_g", "clip_l"], &DOORS),
        ("checkpoint", &["model.diffusion_model.out.0.bias"], &["--lora", "--embedding"]),
        ("xl", &["conditioner.embedders.0.x", "first_stage_model.decoder.mid.block_1.conv1.bias"], &DOORS),
        ("controlnet", &["controlnet_cond_embedding.conv_in.bias", "down_blocks.0.resnets.0.conv1.bias"], &DOORS),
        ("vae", &["decoder.mid.block_1.conv1.bias", "encoder.conv_in.bias"], &["--lora", "--embedding"]),
        ("part", &["down_blocks.0.resnets.0.conv1.bias", "conv_in.bias"], &DOORS),
    ];
    let mut said = vec![];
    for (name, all, doors) in cases {
        let path = folder.path().join(format!("{name}.safetensors"));
        keys(&path, all);
        let texts: Vec<String> = doors.iter().map(|door| text(&at(door, &path), folder.path())).collect();
        assert!(texts.iter().all(|one| *one == texts[0]), "{name}: {texts:?}");
        said.push(texts[0].clone());
    }
    insta::assert_snapshot!("by_keys", said.join("\n"));
}

/// The tiny model in one file without its scheduler's configuration, as others leave it. The other configurations stay in
/// our header: shapes do not tell that it is tiny.
fn single(folder: &Path, name: &str, change: impl Fn(&mut Tensors), more: &[(&str, &str)]) -> PathBuf {
    let (own, path) = (folder.join("own.safetensors"), folder.join(name));
    if !own.exists() {
        done(&["convert", &tiny_sd(), own.to_str().unwrap()]);
    }
    let mut all = tensors(&own);
    change(&mut all);
    let bytes = std::fs::read(&own).unwrap();
    let mut header = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    let mut texts: serde_json::Value = serde_json::from_str(&header["sdviz"]).unwrap();
    texts.as_object_mut().unwrap().remove("scheduler/scheduler_config.json").unwrap();
    header.insert("sdviz".into(), texts.to_string());
    header.extend(more.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    write_tensors(&path, &all, Some(header));
    path
}

fn mark(key: &str) -> impl Fn(&mut Tensors) {
    move |all| drop(all.insert(key.into(), (Dtype::F32, vec![0], vec![])))
}

fn texts(path: &Path) -> serde_json::Value {
    let choice = resolve::resolve(path.to_str()).unwrap();
    serde_json::from_str(&choice.files.required_text("scheduler/scheduler_config.json").unwrap()).unwrap()
}

#[test]
fn a_single_file_that_says_v_predicts_v() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plain = texts(&single(folder, "plain.safetensors", |_| {}, &[]));
    assert_eq!(plain["prediction_type"], serde_json::Value::Null);
    let type_of = |value: &str| {
        let path = single(folder, "spec.safetensors", |_| {}, &[("modelspec.prediction_type", value)]);
        texts(&path)["prediction_type"].clone()
    };
    assert_eq!((type_of("v"), type_of("epsilon")), ("v_prediction".into(), serde_json::Value::Null));

    let path = single(folder, "v.safetensors", mark("v_pred"), &[]);
    let choice = resolve::resolve(path.to_str()).unwrap();
    assert_eq!(texts(&path)["prediction_type"], "v_prediction");
    let pipeline = Pipeline::load(&choice, LoadOptions::default()).unwrap();
    assert_eq!(pipeline.model().prediction_type, "v_prediction");
    let plan =
        Plan { prompt: "a cat".into(), steps: 2, width: 64, height: 64, scheduler: "ddim".into(), ..Plan::default() };
    let (record, _) = pipeline.plan(&plan).unwrap();
    assert_eq!(record.plan.scheduler_config["prediction_type"], "v_prediction");
    // It stays so in a folder.
    let out = folder.join("folder");
    done(&["convert", path.to_str().unwrap(), out.to_str().unwrap()]);
    assert_eq!(texts(&out)["prediction_type"], "v_prediction");
    // And in one file again, which says so to other programs too.
    let marks = |model: &Path| {
        let to = model.with_extension("again.safetensors");
        done(&["convert", model.to_str().unwrap(), to.to_str().unwrap()]);
        assert!(Pipeline::load(&resolve::resolve(to.to_str()).unwrap(), LoadOptions::default()).is_ok());
        let bytes = std::fs::read(to).unwrap();
        let names = SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(String::from).collect::<Vec<_>>();
        names.into_iter().filter(|name| ["v_pred", "ztsnr"].contains(&name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(marks(&out), ["v_pred"]);
    let path = folder.join("plain");
    done(&["convert", &tiny_sd(), path.to_str().unwrap()]);
    assert_eq!(marks(&path), [""; 0]);

    // A schedule that ends in pure noise is not ignored: what would have to know of it says so.
    let zero = |all: &mut Tensors| {
        mark("v_pred")(all);
        mark("ztsnr")(all);
    };
    let zero = single(folder, "zero.safetensors", zero, &[]);
    assert_eq!(
        (&texts(&zero)["_class_name"], &texts(&zero)["rescale_betas_zero_snr"]),
        (&"DDIMScheduler".into(), &true.into())
    );
}

#[test]
fn models_whose_tensors_mean_something_else_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let copy = |name: &str, file: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let model = folder.join(name);
        done(&["convert", &tiny_sd(), model.to_str().unwrap()]);
        let path = model.join(file);
        let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(path, json.to_string()).unwrap();
        model.display().to_string()
    };
    let v = copy("v", "scheduler/scheduler_config.json", &|c| c["prediction_type"] = "v_prediction".into());
    let scaled = copy("scaled", "vae/config.json", &|c| c["scaling_factor"] = 0.13025.into());
    let heads = copy("heads", "unet/config.json", &|c| c["attention_head_dim"] = 2.into());
    let words = copy("words", "tokenizer/vocab.json", &|c| {
        let (cat, dog) = (c["cat</w>"].take(), c["dog</w>"].take());
        (c["cat</w>"], c["dog</w>"]) = (dog, cat);
    });
    let out = folder.join("out").display().to_string();
    let tiny = tiny_sd();
    let said = [&v, &heads, &scaled, &words].map(|other| {
        let one = refused(&["merge", &tiny, other, "--out", &out]);
        let three = refused(&["merge", &tiny, &tiny, other, "--mode", "add-difference", "--out", &out]);
        assert_eq!(one, three);
        one.replace(folder.to_str().unwrap(), "FOLDER").replace(root("").to_str().unwrap(), "ROOT/")
    });
    insta::assert_snapshot!("not_mixed", said.join("\n"));
    assert!(!Path::new(&out).exists());
    done(&["merge", &v, &v, "--out", &out]);
    assert_eq!(texts(Path::new(&out))["prediction_type"], "v_prediction");
}

#[test]
fn a_damaged_model_is_found_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = folder.join("model");
    done(&["convert", &tiny_sd(), model.to_str().unwrap()]);
    let vae = model.join("vae/diffusion_pytorch_model.safetensors");
    let whole = std::fs::read(&vae).unwrap();
    let changed = |change: &dyn Fn(&mut Tensors)| {
        std::fs::write(&vae, &whole).unwrap();
        let mut all = tensors(&vae);
        change(&mut all);
        write_tensors(&vae, &all, None);
    };
    let name = model.to_str().unwrap();
    let before = std::fs::read_dir(folder).unwrap().count();
    let hindered = |expected: &str| {
        let new = ["new", "new.safetensors", "deep/new"].map(|out| folder.join(out).display().to_string());
        for arguments in
            [&["convert", name, &new[0]][..], &["convert", name, &new[1]], &["merge", name, name, "--out", &new[2]]]
        {
            let said = refused(arguments);
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), before);
    };
    let bias = "decoder.conv_out.bias";
    changed(&|all| drop(all.remove(bias)));
    hindered("tensor `decoder.conv_out.bias` [3] is missing");
    changed(&|all| drop(all.insert(bias.into(), (Dtype::F32, vec![4], vec![0; 16]))));
    hindered("tensor `decoder.conv_out.bias` in ");
    changed(&|all| drop(all.insert("extra.bias".into(), (Dtype::F32, vec![1], vec![0; 4]))));
    hindered("holds 1 tensor the configuration has no place for: `extra.bias`");
    std::fs::write(&vae, &whole[..whole.len() - 1]).unwrap();
    hindered("it is cut short");

    // What is there already stays as it is: also an empty folder where a file is to be, and a link that leads nowhere.
    std::fs::write(&vae, &whole).unwrap();
    let place = folder.join("place.safetensors");
    std::fs::create_dir(&place).unwrap();
    assert!(refused(&["convert", name, place.to_str().unwrap()]).contains("is there already"));
    std::fs::remove_dir(&place).unwrap();
    std::os::unix::fs::symlink(folder.join("nowhere"), &place).unwrap();
    assert!(refused(&["convert", name, place.to_str().unwrap()]).contains("is there already"));
    std::fs::remove_file(&place).unwrap();
    done(&["convert", name, folder.join("deep/new.safetensors").to_str().unwrap()]);
    let made: Vec<_> = std::fs::read_dir(folder.join("deep")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(made, ["new.safetensors"]);
}
