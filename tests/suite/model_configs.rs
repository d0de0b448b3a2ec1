//! Models as other programs leave them: old and converted configurations, variants, weights in pieces, and where the cache
//! is. The numbers are those of diffusers 0.42.1.

use crate::common::{chosen, command, copy, golden_file, stderr};
use sdviz::pipeline::{LoadOptions, Pipeline, start};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Kind, Tensor};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const TEXT: &str = "text_encoder/model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A copy of the tiny model.
fn tiny(to: &Path) -> PathBuf {
    let model = to.join("model");
    copy(&golden_file("tiny-sd"), &model);
    model
}

/// Changes fields of a JSON file; "-" takes a field out.
fn change(file: &Path, fields: Value) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let all = json.as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        match value.as_str() {
            Some("-") => drop(all.remove(name)),
            _ => drop(all.insert(name.clone(), value.clone())),
        }
    }
    std::fs::write(file, json.to_string()).unwrap();
}

fn load(model: &Path, variant: Option<&str>) -> sdviz::error::Result<Pipeline> {
    let choice = chosen(model.to_path_buf());
    Pipeline::load(&choice, LoadOptions { variant: variant.map(String::from), ..LoadOptions::default() })
}

fn plan(pipeline: &Pipeline, scheduler: &str) -> Plan {
    let scheduler = scheduler.into();
    let mut plan = Plan { prompt: "a lovely cat".into(), steps: 5, seed: 3, scheduler, ..Plan::default() };
    (plan.width, plan.height) = (64, 64);
    pipeline.complete(&mut plan).unwrap();
    plan
}

/// The latents of five steps with seed 3.
fn latents(pipeline: &Pipeline, scheduler: &str) -> Tensor {
    pipeline.generate(&plan(pipeline, scheduler), &Probe::silent()).unwrap().latents
}

fn sdviz(arguments: &[&str], model: &Path) -> Output {
    command().args(arguments).arg("--model").arg(model).output().unwrap()
}

mod schedulers {
    use super::*;

    fn bare(to: &Path) -> PathBuf {
        let model = tiny(to);
        let fields =
            json!({ "_class_name": "DDIMScheduler", "steps_offset": "-", "clip_sample": "-", "skip_prk_steps": "-" });
        change(&model.join(SCHEDULER), fields);
        model
    }

    /// What diffusers' pipeline sets right: an offset of 1, no clipping, and the class that the index names.
    #[test]
    fn an_old_schedulers_file_is_read_as_diffusers_pipeline_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = bare(folder.path());
        let pipeline = load(&model, None).unwrap();
        assert_eq!(pipeline.default_scheduler().unwrap().name(), "pndm");
        assert!(pipeline.notes().is_empty());
        for (scheduler, timesteps, expected) in [
            ("ddim", vec![801., 601., 401., 201., 1.], [-0.50271, 0.63068, -5.45223, 0.01215]),
            (
                "pndm",
                vec![801., 701., 701., 601., 601., 501., 501., 401., 401., 301., 301., 201., 201., 1.],
                [-0.17087, 0.6643, -5.28643, -0.06219],
            ),
        ] {
            let (record, built) = pipeline.plan(&plan(&pipeline, scheduler)).unwrap();
            assert_eq!(built.timesteps(), timesteps);
            assert_eq!(record.plan.scheduler_config["steps_offset"], 1);
            assert_ne!(record.plan.scheduler_config["clip_sample"], true);
            let found = latents(&pipeline, scheduler).flatten(0, -1).narrow(0, 0, 4).to_kind(Kind::Double);
            let found = Vec::<f64>::try_from(found).unwrap();
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close, "{scheduler}: {found:?}, diffusers draws {expected:?}");
        }
        let output = sdviz(&["schedule", "--scheduler", "ddim", "--steps", "5", "--json"], &model);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let levels = json["schedules"][0]["schedule"].as_array().unwrap();
        let shown: Vec<f64> = levels.iter().filter_map(|level| level["timestep"].as_f64()).collect();
        assert_eq!(shown, [801., 601., 401., 201., 1.]);
    }

    /// diffusers decodes what the last step leaves as it is, though some noise is left in it.
    #[test]
    fn a_last_sigma_above_0_does_not_shrink_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        let much_noise = json!({ "final_sigmas_type": "sigma_min", "beta_start": 0.005, "beta_end": 0.012 });
        change(&model.join(SCHEDULER), much_noise);
        let pipeline = load(&model, None).unwrap();
        let mut reservoir = Reservoir::new(&[Quantity::Latents], Decode::Final);
        pipeline.generate(&plan(&pipeline, "euler"), &Probe::new(vec![&mut reservoir])).unwrap();
        let last = reservoir.latents_reservoir.pop().unwrap() / pipeline.vae.config().scaling_factor;
        let expected = start::to_picture(&(pipeline.vae.decode(&last, &Probe::silent()).unwrap() / 2.0 + 0.5)).unwrap();
        assert_eq!(reservoir.images.pop().unwrap(), expected);
    }

    #[test]
    fn a_file_that_says_otherwise_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let model = bare(folder.path());
        change(&model.join(SCHEDULER), json!({ "steps_offset": 0, "clip_sample": true }));
        let pipeline = load(&model, None).unwrap();
        let notes = pipeline.notes().join("\n");
        assert!(
            notes.contains("`steps_offset` is 0: taken as 1") && notes.contains("`clip_sample` is true"),
            "{notes}"
        );
        assert!(notes.contains(SCHEDULER), "{notes}");
        assert_eq!(pipeline.plan(&plan(&pipeline, "ddim")).unwrap().1.timesteps(), [801., 601., 401., 201., 1.]);
    }

    #[test]
    fn the_class_that_the_index_names_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let model = bare(folder.path());
        let named = |class: Value, of_file: Value| {
            change(&model.join("model_index.json"), json!({ "scheduler": class }));
            change(&model.join(SCHEDULER), json!({ "_class_name": of_file }));
            load(&model, None).unwrap().default_scheduler().unwrap().name()
        };
        assert_eq!(named(json!(["diffusers", "EulerDiscreteScheduler"]), json!("DDIMScheduler")), "euler");
        assert_eq!(named(json!(["diffusers", "LMSDiscreteScheduler"]), json!("-")), "lms");
        assert_eq!(named(json!("-"), json!("DDIMScheduler")), "ddim");
        assert_eq!(named(json!([null, null]), json!("-")), "pndm");
    }

    #[test]
    fn numbers_that_make_no_schedule_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        let file = model.join(SCHEDULER);
        let whole = std::fs::read_to_string(&file).unwrap();
        for (fields, expected) in [
            (
                r#""beta_start": 0.02"#,
                "`beta_start` is 0.02 in `FILE`: not supported (supported: up to `beta_end`, 0.012",
            ),
            (r#""beta_start": -0.1"#, "`beta_start` is -0.1 in `FILE`"),
            (r#""beta_start": 0"#, "`beta_start` is 0 in `FILE`"),
            (r#""beta_end": 1"#, "`beta_end` is 1 in `FILE`"),
            (r#""beta_end": NaN"#, "`beta_end` is \"NaN\""),
            (r#""beta_end": -Infinity"#, "`beta_end` is \"-Infinity\""),
            (r#""beta_start": 0.5, "beta_end": 0.9"#, "the betas in `FILE` make no schedule"),
            (r#""num_train_timesteps": 2147483648"#, "`num_train_timesteps` is 2147483648 in `FILE`"),
            (r#""num_train_timesteps": 0"#, "`num_train_timesteps` is 0 in `FILE`"),
            (r#""num_train_timesteps": -4"#, "`num_train_timesteps` is -4"),
            (r#""num_train_timesteps": 2, "trained_betas": [0.1, 1.5]"#, "`trained_betas` is 1.5 in `FILE`"),
            (r#""num_train_timesteps": 2, "trained_betas": [0.1]"#, "`trained_betas` holds 1 values in `FILE`"),
            (r#""trained_betas": [NaN]"#, "`trained_betas` is [\"NaN\"]"),
        ] {
            // Of two fields of one name the last counts.
            std::fs::write(&file, whole.trim_end().trim_end_matches('}').to_string() + ", " + fields + "}").unwrap();
            let output = sdviz(&["schedule", "--scheduler", "pndm", "--json"], &model);
            let said = stderr(&output).replace(file.to_str().unwrap(), "FILE");
            assert_eq!(output.status.code(), Some(2), "{fields}: {said}");
            assert!(said.contains(expected) && said.contains("FILE"), "{fields}: {said}");
        }
    }
}

/// Null, lists of equal numbers and what training leaves change no number.
#[test]
fn other_spellings_draw_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let exact = latents(&load(&model, None).unwrap(), "ddim");
    for fields in [
        json!({ "upcast_attention": null, "sample_size": null, "freq_shift": null }),
        json!({ "layers_per_block": [2, 2, 2, 2], "cross_attention_dim": [24, 24, 24, 24], "sample_size": [8, 8] }),
        json!({ "attention_head_dim": [4, 4, 4, 4] }),
        json!({ "power": 0.75, "decay": 0.999, "optimization_step": 7 }),
    ] {
        std::fs::copy(golden_file("tiny-sd/unet/config.json"), model.join("unet/config.json")).unwrap();
        change(&model.join("unet/config.json"), fields.clone());
        assert_eq!(latents(&load(&model, None).unwrap(), "ddim"), exact, "{fields}");
    }
    let out = folder.path().join("run").display().to_string();
    let output = sdviz(&["trace", "--prompt", "a", "--steps", "1", "--decode", "none", "--out", &out], &model);
    let expected = "unet/config.json`: `power`, `decay`, `optimization_step` of training: passed over";
    assert!(output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
}

mod weights {
    use super::*;
    use sdviz::model::fingerprint::{self, Fingerprints};
    use std::collections::BTreeMap;

    fn half(model: &Path, file: &str, to: &str) {
        let tensors = Tensor::read_safetensors(model.join(file)).unwrap().into_iter();
        let tensors: Vec<_> = tensors.map(|(name, tensor)| (name, tensor.to_kind(Kind::Half))).collect();
        Tensor::write_safetensors(&tensors, model.join(to)).unwrap();
    }

    /// The files and number types of a loaded model's components.
    fn loaded(pipeline: &Pipeline) -> Vec<(String, String)> {
        pipeline.model().components.iter().map(|c| (c.file.clone(), c.file_dtype.clone())).collect()
    }

    fn named(all: [(&str, &str); 3]) -> Vec<(String, String)> {
        all.map(|(file, dtype)| (file.into(), dtype.into())).to_vec()
    }

    #[test]
    fn each_part_takes_the_variant_where_it_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        let (text, unet) = (TEXT.replace(".s", ".fp16.s"), UNET.replace(".s", ".fp16.s"));
        half(&model, TEXT, &text);
        half(&model, UNET, &unet);
        std::fs::remove_file(model.join(UNET)).unwrap();
        let asked = load(&model, Some("fp16")).unwrap();
        assert_eq!(loaded(&asked), named([(&text, "f16"), (&unet, "f16"), (VAE, "f32")]));
        assert_eq!(loaded(&load(&model, None).unwrap()), named([(TEXT, "f32"), (&unet, "f16"), (VAE, "f32")]));
        let said = load(&model, Some("bf16")).unwrap_err();
        let model = model.display();
        assert_eq!(said.to_string(), format!("no part of `{model}` has a variant `bf16`: there is `fp16`"));
        assert_eq!(said.hint().unwrap(), "leave `--variant` away, or name one that is there");
    }

    /// Cuts weights into two pieces and lists them.
    fn cut(model: &Path, file: &str, pieces: [&str; 2], index: Option<&str>) {
        let folder = model.join(file).parent().unwrap().to_path_buf();
        let tensors: BTreeMap<String, Tensor> =
            Tensor::read_safetensors(model.join(file)).unwrap().into_iter().collect();
        let mut map = serde_json::Map::new();
        let half = tensors.len() / 2;
        let tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
        for (piece, tensors) in pieces.iter().zip([&tensors[..half], &tensors[half..]]) {
            Tensor::write_safetensors(tensors, folder.join(piece)).unwrap();
            map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(piece))));
        }
        if let Some(index) = index {
            std::fs::write(folder.join(index), json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
        }
        std::fs::remove_file(model.join(file)).unwrap();
    }

    #[test]
    fn weights_in_pieces_are_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        let exact = latents(&load(&model, None).unwrap(), "ddim");
        let unet = [
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
        ];
        cut(&model, UNET, unet, Some("diffusion_pytorch_model.safetensors.index.json"));
        let text = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        cut(&model, TEXT, text, None);
        let pipeline = load(&model, None).unwrap();
        assert_eq!(latents(&pipeline, "ddim"), exact);
        let index = format!("{UNET}.index.json");
        let first = format!("text_encoder/{}", text[0]);
        assert_eq!(loaded(&pipeline), named([(&first, "f32"), (&index, "f32"), (VAE, "f32")]));
        let files: Vec<&Path> = pipeline.weight_files().iter().map(|path| path.strip_prefix(&model).unwrap()).collect();
        assert_eq!(files.len(), 5);
        assert_eq!(files[2], Path::new("unet").join(unet[0]));

        // The sum is that over all pieces, one after another.
        let choice = chosen(model.clone());
        let sums = Fingerprints::start(&choice, pipeline.model()).finish().unwrap();
        let all = |folder: &str, pieces: [&str; 2]| {
            pieces.iter().flat_map(|piece| std::fs::read(model.join(folder).join(piece)).unwrap()).collect::<Vec<u8>>()
        };
        assert_eq!(sums[0], fingerprint::of_bytes(&all("text_encoder", text)));
        assert_eq!(sums[1], fingerprint::of_bytes(&all("unet", unet)));
        assert_eq!(sums[2], fingerprint::of_file(&model.join(VAE)).unwrap());

        for (piece, whole) in [(format!("unet/{}", unet[1]), index), (format!("text_encoder/{}", text[1]), first)] {
            let bytes = std::fs::read(model.join(&piece)).unwrap();
            std::fs::remove_file(model.join(&piece)).unwrap();
            let said = load(&model, None).unwrap_err().to_string();
            let (piece, whole) = (model.join(piece), model.join(whole));
            assert_eq!(said, format!("`{}` is missing, a piece of `{}`", piece.display(), whole.display()));
            std::fs::write(piece, bytes).unwrap();
        }
    }

    #[test]
    fn variants_lie_in_pieces_too() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        half(&model, UNET, "unet/half.safetensors");
        let pieces = [
            "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
            "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
        ];
        let index = "diffusion_pytorch_model.safetensors.index.fp16.json";
        cut(&model, "unet/half.safetensors", pieces, Some(index));
        assert_eq!(loaded(&load(&model, Some("fp16")).unwrap())[1], (format!("unet/{index}"), "f16".into()));
        assert_eq!(loaded(&load(&model, None).unwrap())[1], (UNET.into(), "f32".into()));
        let older = "diffusion_pytorch_model.fp16.safetensors.index.json";
        std::fs::rename(model.join("unet").join(index), model.join("unet").join(older)).unwrap();
        assert_eq!(loaded(&load(&model, Some("fp16")).unwrap())[1], (format!("unet/{older}"), "f16".into()));
    }

    #[test]
    fn a_damaged_list_of_pieces_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny(folder.path());
        let (a, b) = ("diffusion_pytorch_model-1-of-2.safetensors", "diffusion_pytorch_model-2-of-2.safetensors");
        cut(&model, UNET, [a, b], None);
        let index = model.join(UNET.to_string() + ".index.json");
        for list in ["{}", "[]", "{", r#"{"weight_map": {"x": "../../x.safetensors"}}"#, r#"{"weight_map": {"x": 5}}"#]
        {
            std::fs::write(&index, list).unwrap();
            let said = load(&model, None).unwrap_err().to_string();
            assert_eq!(
                said,
                format!("`{}` is not a valid list of pieces: it maps no tensors to files beside it", index.display())
            );
        }
        std::fs::remove_file(&index).unwrap();
        std::fs::copy(model.join("unet").join(a), model.join("unet").join(b)).unwrap();
        let said = load(&model, None).unwrap_err().to_string();
        assert!(said.contains(b) && said.contains("another piece of the same weights"), "{said}");
    }
}

mod environment {
    use super::*;

    #[test]
    fn the_old_name_of_the_cache_and_a_home_in_it_are_read() {
        let home = tempfile::tempdir().unwrap();
        let repository = home.path().join("old/models--someone--tiny");
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::create_dir_all(repository.join("snapshots")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc123").unwrap();
        std::os::unix::fs::symlink(golden_file("tiny-sd"), repository.join("snapshots/abc123")).unwrap();
        for (variable, value) in
            [("HUGGINGFACE_HUB_CACHE", "~/old"), ("HF_HUB_CACHE", "$PLACE"), ("HF_HUB_CACHE", "${HOME}/old")]
        {
            let mut command = command();
            for name in ["SDVIZ_MODEL", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] {
                command.env_remove(name);
            }
            command.env("HOME", home.path()).env("PLACE", home.path().join("old")).env(variable, value);
            let output = command.args(["tokens", "a cat", "--model", "someone/tiny"]).output().unwrap();
            assert!(output.status.success(), "{variable}={value}: {}", stderr(&output));
        }
    }

    #[test]
    fn a_model_named_in_other_bytes_than_utf_8_is_not_passed_over() {
        use std::os::unix::ffi::OsStrExt;
        for arguments in [&["tokens", "a cat"][..], &["trace", "--prompt", "a cat", "--out", "/nowhere/run"]] {
            let mut command = command();
            command.env("SDVIZ_MODEL", std::ffi::OsStr::from_bytes(b"/models/caf\xe9"));
            let output = command.args(arguments).output().unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("error: SDVIZ_MODEL is no UTF-8 text: `/models/caf\u{fffd}`"), "{said}");
        }
    }
}
