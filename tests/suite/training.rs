//! `sdviz train` as a user meets it: a model from scratch on a small data set, going on after a kill, and what it says.

use crate::common::{command, done, golden_file, refused, root, stderr};
use sdviz::train::log::{self, LogLine};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A model so small that it learns in seconds.
const TINY: &str = r#"
[model]
vocabulary = 600
[model.vae]
block_out_channels = [8, 16, 16, 16]
down_block_types = ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"]
up_block_types = ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]
layers_per_block = 1
latent_channels = 4
norm_num_groups = 4
sample_size = 32
[model.text_encoder]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 20
[model.unet]
sample_size = 4
block_out_channels = [16, 32]
down_block_types = ["CrossAttnDownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "CrossAttnUpBlock2D"]
layers_per_block = 1
attention_head_dim = 2
cross_attention_dim = 32
norm_num_groups = 4
[model.scheduler]
_class_name = "PNDMScheduler"
beta_start = 0.00085
beta_end = 0.012
beta_schedule = "scaled_linear"
skip_prk_steps = true
steps_offset = 1
clip_sample = false
set_alpha_to_one = false
[vae]
steps = 350
batch = 8
crop = 32
learning_rate = 4e-3
warm_up = 20
held_back = 8
log_every = 10
checkpoint_every = 50
sample_every = 0
[diffusion]
steps = 400
batch = 16
learning_rate = 3e-3
warm_up = 20
log_every = 20
checkpoint_every = 100
sample_every = 0
[lora]
steps = 40
batch = 4
learning_rate = 2e-3
rank = 2
alpha = 2
log_every = 10
sample_every = 0
[samples]
prompts = ["a star on a blue background"]
steps = 4
"#;

fn sdviz(arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(arguments);
    command
}

/// A folder with a small data set and the configuration of a tiny model.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn new() -> Workshop {
        let workshop = Workshop(tempfile::tempdir().unwrap());
        std::fs::write(workshop.path("tiny.toml"), TINY).unwrap();
        let icons = root("tests/icons");
        let (data, config) = (workshop.text("data"), icons.join("dataset.toml").display().to_string());
        let icons = icons.display().to_string();
        done(&[
            "dataset", "build", "--icons", &icons, "--config", &config, "--count", "192", "--seed", "1", "--out", &data,
        ]);
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `sdviz train STAGE` into the folder `out`, with more options.
    fn train(&self, stage: &str, out: &str, more: &[&str]) -> Vec<String> {
        let words = ["train", stage, "--data", &self.text("data"), "--config", &self.text("tiny.toml"), "--out"];
        let mut words: Vec<String> = words.map(String::from).to_vec();
        words.push(self.text(out));
        words.extend(more.iter().map(|word| word.to_string()));
        words
    }

    /// The configuration with one more line in a table.
    fn settings(&self, table: &str, line: &str) {
        let head = format!("[{table}]");
        std::fs::write(self.path("tiny.toml"), TINY.replace(&head, &format!("{head}\n{line}"))).unwrap();
    }

    fn log(&self, stage: &str) -> Vec<LogLine> {
        log::read(&self.path(stage)).unwrap()
    }
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// From pictures to a model that draws: each stage reaches the loss it is known to reach, and far from it where gradients,
/// schedule or data are wrong; the model is one like any other; a LoRA can be taught to it.
#[test]
fn a_model_from_scratch() {
    let w = Workshop::new();
    done(&words(&w.train("vae", "t", &["--seed", "6"])));
    let log = w.log("t/vae");
    let last = log.last().unwrap();
    let psnr = last.more["psnr"].as_f64().unwrap();
    println!("vae: loss {} psnr {psnr}", last.loss);
    assert!(last.step == 350 && last.loss < 1.3 && psnr > 15.0, "loss {}, {psnr} dB", last.loss);

    // Threads that share a batch learn the same from it, and half precision nearly the same.
    let learned = |stage: &str, out: &str, setting: &str| {
        w.settings(stage, setting);
        done(&words(&w.train(stage, out, &["--seed", "3", "--steps", "10", "--force"])));
        let last = w.log(&format!("{out}/{stage}")).pop().unwrap();
        (last.loss, last.gradient)
    };
    for (stage, out) in [("vae", "v"), ("diffusion", "t")] {
        let (alone, shared) = (learned(stage, out, "workers = 1"), learned(stage, out, "workers = 3"));
        assert!((alone.0 / shared.0 - 1.0).abs() < 1e-4, "{stage}: loss {} and {}", alone.0, shared.0);
        assert!((alone.1 / shared.1 - 1.0).abs() < 1e-3, "{stage}: gradient {} and {}", alone.1, shared.1);
        let half = learned(stage, out, "dtype = \"bf16\"\nworkers = 2");
        let off = (alone.0 / half.0 - 1.0).abs();
        assert!(off > 0.0 && off < 1e-2, "{stage}: loss {} and {}", alone.0, half.0);
        assert!((alone.1 / half.1 - 1.0).abs() < 5e-2, "{stage}: gradient {} and {}", alone.1, half.1);
    }

    done(&words(&w.train("diffusion", "t", &["--seed", "3", "--force"])));
    let log = w.log("t/diffusion");
    let last = log.last().unwrap();
    println!("diffusion: loss {} unweighted {}", last.loss, last.more["unweighted"]);
    assert!(last.step == 400 && last.loss < 0.9, "loss {}", last.loss);
    for file in ["t/vae/loss.png", "t/diffusion/loss.png", "t/diffusion/samples-000400.png", "t/vae/samples-000350.png"]
    {
        image::open(w.path(file)).unwrap();
    }

    let (model, run) = (w.text("t/model"), w.text("run"));
    done(&["trace", "--model", &model, "--prompt", "a star on a blue background", "--steps", "3", "--out", &run]);
    assert_eq!(image::open(w.path("run/final.png")).unwrap().width(), 32);
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(w.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(record["plan"]["guidance_scale"], 5.0, "the scale that the samples were drawn with");

    only_the_decoder_learns(&w, &model);

    w.settings("lora", "dtype = \"bf16\"");
    let refusal = refused(&words(&w.train("lora", "l", &["--model", &model])));
    assert!(refusal.contains("`lora.dtype`"), "{refusal}");
    w.settings("lora", "");
    let lora = ["train", "lora", "--data", &w.text("data"), "--config", &w.text("tiny.toml"), "--out", &w.text("l")];
    done(&[&lora[..], &["--model", &model]].concat());
    let (lora, with) = (w.text("l/lora.safetensors"), w.text("with"));
    let prompt = ["--prompt", "a star on a blue background", "--steps", "3"];
    done(&[&["trace", "--model", &model, "--lora", &lora, "--out", &with], &prompt[..]].concat());
    let differ = sdviz(&["diff", &run, &with, "--tolerance", "0"]).stdout(Stdio::null()).status().unwrap();
    assert_eq!(differ.code(), Some(1), "the LoRA changes nothing");
}

/// `decoder_only` leaves the encoder, and so all latents, as they were; it needs a model.
fn only_the_decoder_learns(w: &Workshop, model: &str) {
    w.settings("vae", "decoder_only = true");
    let refusal = refused(&words(&w.train("vae", "d", &["--steps", "3"])));
    assert!(refusal.contains("decoder_only") && refusal.contains("--init"), "{refusal}");
    for dtype in ["f32", "bf16"] {
        w.settings("vae", &format!("decoder_only = true\ndtype = \"{dtype}\""));
        done(&words(&w.train("vae", dtype, &["--steps", "3", "--init", model])));
        the_encoder_stayed(w, &format!("{dtype}/model"));
    }
}

/// Of `t/model`, in a folder where its decoder learned.
fn the_encoder_stayed(w: &Workshop, learned: &str) {
    let weights = |folder: &str| {
        let path = w.path(folder).join("vae/diffusion_pytorch_model.safetensors");
        tch::Tensor::read_safetensors(path).unwrap().into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, after) = (weights("t/model"), weights(learned));
    assert_eq!(before.len(), after.len());
    for (key, old) in &before {
        let same = *old == after[key];
        let stays = key.starts_with("encoder.") || key.starts_with("quant_conv.");
        assert!(same || !stays, "{key} has changed");
        assert!(!same || stays || !key.ends_with("conv_in.weight"), "{key} has learned nothing");
    }
}

/// With a limit in minutes a training ends by the clock, with its learning rate down and the model written; one that was
/// killed after its time writes the model and learns no more.
#[test]
fn a_training_ends_by_the_clock() {
    let w = Workshop::new();
    w.settings("vae", "minutes = 0.04");
    let timed = w.train("vae", "t", &["--steps", "1000000"]);
    done(&words(&timed));
    let log = w.log("t/vae");
    let last = log.last().unwrap();
    // How many steps there are in the time, and so how far down the last one begins, depends on what else the machine does.
    assert!(last.step > 1 && last.step < 100_000, "{} steps", last.step);
    assert!(last.learning_rate < 0.5 * 4e-3, "{last:?}");
    let model = w.path("t/model/vae/diffusion_pytorch_model.safetensors");
    std::fs::remove_file(&model).unwrap();
    done(&words(&timed));
    assert!(model.exists());
    assert_eq!(w.log("t/vae").last().unwrap().step, last.step);
    // More minutes, and it goes on.
    done(&words(&w.train("vae", "t", &["--steps", "1000000", "--minutes", "0.06"])));
    assert!(w.log("t/vae").last().unwrap().step > last.step);
    let said = refused(&words(&w.train("vae", "n", &["--minutes", "0"])));
    assert!(said.contains("0 minutes teach nothing"), "{said}");
}

/// Killed at any moment, a training goes on to the same numbers.
#[test]
fn a_killed_training_goes_on_to_the_same_bytes() {
    let w = Workshop::new();
    let config =
        TINY.replace("checkpoint_every = 50", "checkpoint_every = 4").replace("log_every = 10", "log_every = 1");
    std::fs::write(w.path("tiny.toml"), config).unwrap();
    done(&words(&w.train("vae", "whole", &["--steps", "24"])));
    let killed = w.train("vae", "killed", &["--steps", "24"]);
    let mut child = sdviz(&words(&killed)).stderr(Stdio::null()).spawn().unwrap();
    while w.log("killed/vae").len() < 9 {
        assert!(child.try_wait().unwrap().is_none(), "it was done before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    done(&words(&killed));
    for file in ["vae/checkpoint.safetensors", "model/vae/diffusion_pytorch_model.safetensors"] {
        let bytes = |out: &str| std::fs::read(w.path(out).join(file)).unwrap();
        assert!(bytes("whole") == bytes("killed"), "{file}");
    }
    let losses = |out: &str| w.log(out).iter().map(|line| (line.step, line.loss)).collect::<Vec<_>>();
    assert_eq!(losses("killed/vae"), losses("whole/vae"));

    // How fast it learns may change, what it learns may not.
    std::fs::write(w.path("tiny.toml"), TINY.replace("learning_rate = 4e-3", "learning_rate = 5e-3")).unwrap();
    done(&words(&w.train("vae", "killed", &["--steps", "26"])));
    assert_eq!(w.log("killed/vae").last().unwrap().step, 26);
    std::fs::write(w.path("tiny.toml"), TINY.replace("crop = 32", "crop = 24")).unwrap();
    let said = refused(&words(&killed));
    assert!(said.contains("another configuration: `training.crop` is 24, it was 32"), "{said}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let w = Workshop::new();
    // No autoencoder yet.
    let said = refused(&words(&w.train("diffusion", "none", &[])));
    assert!(said.contains("there is no autoencoder in") && said.contains("sdviz train vae"), "{said}");
    // A model of somebody's own.
    std::fs::create_dir_all(w.path("own/model/vae")).unwrap();
    std::fs::write(w.path("own/model/vae/config.json"), "years of work").unwrap();
    let said = refused(&words(&w.train("vae", "own", &["--force"])));
    assert!(said.contains("own/model` holds a model that was not trained here"), "{said}");
    assert!(!w.path("own/vae").exists());
    assert_eq!(std::fs::read(w.path("own/model/vae/config.json")).unwrap(), b"years of work");
    // A loss that is no number.
    std::fs::write(w.path("tiny.toml"), TINY.replace("learning_rate = 4e-3", "learning_rate = 1e30")).unwrap();
    let said = refused(&words(&w.train("vae", "nan", &["--steps", "30"])));
    assert!(said.contains("at step") && said.contains("the last checkpoint is kept"), "{said}");
    assert!(w.path("nan/vae/checkpoint.safetensors").is_file());
    // A setting that there is not.
    std::fs::write(w.path("tiny.toml"), TINY.replace("warm_up = 20", "warmup = 20")).unwrap();
    let said = refused(&words(&w.train("vae", "bad", &[])));
    assert!(said.contains("there is no `vae.warmup`"), "{said}");

    std::fs::write(w.path("tiny.toml"), TINY).unwrap();
    std::fs::remove_dir_all(w.path("data")).unwrap();
    std::fs::create_dir(w.path("data")).unwrap();
    let said = refused(&words(&w.train("vae", "empty", &[])));
    assert!(said.contains("holds no picture with a caption") && said.contains("metadata.jsonl"), "{said}");
    // Four good pictures of any size, one without a caption, one that is none.
    for i in 0..12 {
        image::RgbImage::from_pixel(50, 40 + i, image::Rgb([20 * i as u8; 3]))
            .save(w.path(&format!("data/{i}.png")))
            .unwrap();
        std::fs::write(w.path(&format!("data/{i}.txt")), "a grey page ".repeat(20)).unwrap();
    }
    std::fs::remove_file(w.path("data/7.txt")).unwrap();
    std::fs::write(w.path("data/8.png"), b"no picture").unwrap();
    let output = done(&words(&w.train("vae", "some", &["--steps", "2"])));
    let said = stderr(&output);
    assert!(said.contains("7.png` is left out: it has no caption"), "{said}");
    assert!(said.contains("8.png` is left out: it cannot be read"), "{said}");
    assert!(said.contains("2 of 12 pictures are left out"), "{said}");
    let output = done(&words(&w.train("diffusion", "some", &["--steps", "2"])));
    let said = stderr(&output);
    assert!(said.contains("10 captions are longer than 20 tokens"), "{said}");
}

/// A new word is learned beside a model that stays, and what it learned can be drawn with.
#[test]
fn a_new_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    for i in 0..3u8 {
        let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([80 * i, 40, 200]));
        picture.save(folder.path().join(format!("data/{i}.png"))).unwrap();
        std::fs::write(folder.path().join(format!("data/{i}.txt")), "a qzx on a table").unwrap();
    }
    let model = golden_file("tiny-sd").display().to_string();
    let (data, out) = (path("data"), path("out"));
    let train = ["train", "embedding", "--model", &model, "--data", &data, "--out", &out, "--steps", "2", "--word"];
    done(&[&train[..], &["qzx"]].concat());
    assert!(refused(&[&train[..], &["xyzzy"]].concat()).contains("no caption has the word `xyzzy`"));

    let draw = ["trace", "--model", &model, "--prompt", "a qzx", "--steps", "2", "--decode", "none", "--out"];
    let (plain, with, word) = (path("plain"), path("with"), format!("qzx={}", path("out/qzx.safetensors")));
    done(&[&draw[..], &[&plain]].concat());
    done(&[&draw[..], &[&with, "--embedding", &word]].concat());
    let differ = sdviz(&["diff", &plain, &with, "--tolerance", "0"]).stdout(Stdio::null()).status().unwrap();
    assert_eq!(differ.code(), Some(1), "the word means nothing");
}
