//! Models of few steps, and what is asked for beside the scheduler, in whole runs against diffusers' pipeline:
//! `tests/goldens/make_few_step_goldens.py` says what was computed and how.

use crate::common::{chosen, command, stderr};
use safetensors::SafeTensors;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::prelude::*;
use sdviz::record::sigmas::Sigmas;
use sdviz::watch::probe::Probe;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use tch::{Kind, Tensor};

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens");

fn golden(key: &str) -> Tensor {
    let all = Tensor::read_safetensors(format!("{GOLDENS}/few_steps.safetensors")).unwrap();
    all.into_iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("no `{key}`")).1
}

fn about() -> Value {
    let bytes = std::fs::read(format!("{GOLDENS}/few_steps.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap()
}

/// tiny-sd2 with another scheduler configuration, and with a projection of the guidance scale if it is to be told it.
fn model(folder: &Path, scheduler: &Value, told: bool) -> PathBuf {
    let to = folder.join("model");
    for part in ["", "text_encoder", "tokenizer", "scheduler", "unet", "vae"] {
        std::fs::create_dir_all(to.join(part)).unwrap();
        for file in std::fs::read_dir(format!("{GOLDENS}/tiny-sd2/{part}")).unwrap().map(|file| file.unwrap().path()) {
            if file.is_file() {
                std::fs::copy(&file, to.join(part).join(file.file_name().unwrap())).unwrap();
            }
        }
    }
    let edit = |path: PathBuf, change: &dyn Fn(&mut Value)| {
        let mut json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(path, json.to_string()).unwrap();
    };
    std::fs::write(to.join("scheduler/scheduler_config.json"), scheduler.to_string()).unwrap();
    let class = scheduler["_class_name"].clone();
    edit(to.join("model_index.json"), &|index| index["scheduler"][1] = class.clone());
    if told {
        edit(to.join("unet/config.json"), &|config| config["time_cond_proj_dim"] = json!(16));
        let weights = to.join("unet/diffusion_pytorch_model.safetensors");
        let mut tensors = Tensor::read_safetensors(&weights).unwrap();
        tensors.push(("time_embedding.cond_proj.weight".into(), golden("cond_proj")));
        Tensor::write_safetensors(&tensors, &weights).unwrap();
    }
    to
}

/// The scheduler configuration of tiny-sd2, with another class.
fn own_scheduler(class: &str) -> Value {
    let bytes = std::fs::read(format!("{GOLDENS}/tiny-sd2/scheduler/scheduler_config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
    config.insert("_class_name".into(), class.into());
    config.into()
}

fn loaded(path: &str) -> Model {
    Model::options(path).device("cpu").dtype("f32").load().unwrap()
}

/// The drawing of all runs, as long as nothing else is said.
fn drawing(sd: &Model, steps: usize, guidance: f64) -> Drawing {
    let drawing = sd.draw("a red cat").negative_prompt("blurry").seed(7).steps(steps).guidance_scale(guidance);
    drawing.record(All).decode(Decode::Nothing)
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    let size = expected.abs().max().double_value(&[]);
    (found - expected).abs().max().double_value(&[]) / size
}

/// Holds the latents of every step to those of diffusers.
fn assert_run(run: &Run, name: &str) {
    let steps = run.steps().unwrap();
    for step in &steps {
        let found = run.quantity(*step, Quantity::Latents).unwrap();
        let off = difference(&found, &golden(&format!("{name}/{step:03}")));
        assert!(off < 1e-4, "{name}: step {step} is off by {off:.1e}");
    }
    let all = Tensor::read_safetensors(format!("{GOLDENS}/few_steps.safetensors")).unwrap();
    assert_eq!(all.iter().filter(|(key, _)| key.starts_with(&format!("{name}/"))).count(), steps.len(), "{name}");
}

#[test]
fn the_network_is_told_the_guidance_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), &own_scheduler("LCMScheduler"), true);
    let choice = chosen(path);
    let pipeline = Pipeline::load(&choice, LoadOptions::default()).unwrap();
    let _no_gradients = tch::no_grad_guard();
    let predict = |scale: Option<f64>| {
        let (sample, timestep, context) = (golden("unet/sample"), golden("unet/timestep"), golden("unet/context"));
        pipeline.unet.forward_guided(&sample, &timestep, &context, scale, &Probe::silent()).unwrap()
    };
    for scale in [1.0, 4.5, 8.5] {
        let off = difference(&predict(Some(scale)), &golden(&format!("unet/guidance-{scale:.1}")));
        assert!(off < 1e-5, "guidance {scale}: off by {off:.1e}");
    }
    assert!(difference(&predict(None), &predict(Some(4.5))) > 1e-3);
    assert_eq!(pipeline.model().time_cond_proj_dim, Some(16));
}

#[test]
fn a_consistency_model_runs_by_its_own_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let sd = loaded(model(folder.path(), &own_scheduler("LCMScheduler"), true).to_str().unwrap());
    let run = drawing(&sd, 4, 8.5).run().unwrap();
    assert_run(&run, "lcm");
    let record = run.record();
    assert_eq!((record.plan.scheduler.as_str(), record.plan.guidance_scale), ("lcm", 8.5));
    assert_eq!(record.plan.scheduler_config["original_inference_steps"], 50);
    // One prediction a step: the scale is told, and not followed.
    assert!(!record.is_guided() && run.tensors(1, Quantity::NoiseUncond).unwrap().is_none());
    let told = run.quantity(1, Quantity::NoiseGuided).unwrap() - run.quantity(1, Quantity::NoiseText).unwrap();
    assert_eq!(told.abs().max().double_value(&[]), 0.0);
    // Each picture of a batch has its own draws: the second is what its seed draws alone.
    let batch = drawing(&sd, 4, 8.5).batch(2).run().unwrap();
    let alone = drawing(&sd, 4, 8.5).seed(8).run().unwrap();
    let of = |run: &Run| run.quantity(4, Quantity::Latents).unwrap();
    assert!(difference(&of(&batch).narrow(0, 1, 1), &of(&alone)) < 1e-4);
}

#[test]
fn a_turbo_model_runs_by_its_own_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let sd = loaded(model(folder.path(), &about()["turbo"], false).to_str().unwrap());
    for (steps, timesteps) in [(1, vec![999.0]), (4, vec![999.0, 749.0, 499.0, 249.0])] {
        let run = drawing(&sd, steps, 1.0).run().unwrap();
        assert_run(&run, &format!("turbo-{steps}"));
        let told: Vec<f64> = run.record().schedule.iter().filter_map(|level| level.timestep).collect();
        assert_eq!((run.record().plan.scheduler.as_str(), told), ("euler", timesteps));
    }
    // Guidance 0 is no guidance either.
    let of = |guidance| drawing(&sd, 1, guidance).run().unwrap().quantity(1, Quantity::Latents).unwrap();
    assert_eq!(difference(&of(0.0), &of(1.0)), 0.0);
}

#[test]
fn runs_in_few_steps_are_those_of_diffusers() {
    let sd = loaded(&format!("{GOLDENS}/tiny-sd2"));
    let tcd = drawing(&sd, 4, 1.5).scheduler("tcd").run().unwrap();
    assert_eq!(tcd.record().plan.eta, 0.3);
    assert_run(&tcd, "tcd");
    assert_run(&drawing(&sd, 4, 4.0).scheduler("dpm2_a").run().unwrap(), "dpm2_a");
    assert_run(&drawing(&sd, 4, 4.0).scheduler("dpmpp_2m_sde").run().unwrap(), "dpmpp_2m_sde");
    let exponential = drawing(&sd, 4, 4.0).scheduler("euler").sigmas(Sigmas::Exponential).run().unwrap();
    assert_run(&exponential, "euler-exponential");
    assert_eq!(exponential.record().plan.scheduler_config["use_exponential_sigmas"], true);
    let zero = drawing(&sd, 4, 7.5).zero_terminal_snr().guidance_rescale(0.7).run().unwrap();
    assert_run(&zero, "zero-snr");
    assert_eq!(zero.record().schedule[0].alpha_cumprod, 0.0);
    assert!(zero.record().schedule[0].sigma.is_finite());
}

/// New schedulers from a picture begin where their strength says, and a branch with placed sigmas is the run.
#[test]
fn new_schedulers_begin_and_go_on_where_they_should() {
    let sd = loaded(&format!("{GOLDENS}/tiny-sd2"));
    let sketch = Picture::from(RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 7) as u8, (y * 7) as u8, 90])));
    for (name, first) in [("dpm2", 4), ("dpm2_a", 4), ("dpmpp_2s_a", 4), ("dpmpp_sde", 4), ("deis", 2), ("lcm", 2)] {
        let run = drawing(&sd, 6, 4.0).size(32, 32).scheduler(name).init_image(&sketch).strength(0.7);
        let run = run.run().unwrap();
        let begin = run.record().begin.as_ref().unwrap();
        assert_eq!(begin.first_call, first, "{name}");
        assert_eq!(run.record().calls(), begin.scheduled_calls - first, "{name}");
        let again = sd.branch(&run, 3).unwrap().run().unwrap();
        assert!(run.tensors(4, Quantity::Latents).unwrap() == again.tensors(4, Quantity::Latents).unwrap(), "{name}");
    }
    for name in ["dpmpp_2m_sde", "dpmpp_sde", "deis", "heun"] {
        let run = drawing(&sd, 5, 4.0).batch(2).scheduler(name).sigmas(Sigmas::Beta).run().unwrap();
        let branch = sd.branch(&run, 2).unwrap().run().unwrap();
        assert_eq!(branch.record().plan.sigmas, Some(Sigmas::Beta));
        let last = run.record().last_step();
        assert!(
            run.tensors(last, Quantity::Latents).unwrap() == branch.tensors(last, Quantity::Latents).unwrap(),
            "{name}"
        );
    }
}

fn trace(out: &Path, more: &[&str]) -> Output {
    let mut command = command();
    let (model, out) = (format!("{GOLDENS}/tiny-sd2"), out.to_str().unwrap());
    command.args(["trace", "-p", "a cat", "--steps", "3", "--model", &model, "--out", out]).args(more).output().unwrap()
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for (more, message, hint) in [
        (&["--scheduler", "ddim", "--sigmas", "karras"][..], "`karras` cannot place them", "`euler`"),
        (&["--scheduler", "dpmpp_2m_karras", "--sigmas", "beta"], "Karras' sigmas by its name", "--sigmas beta"),
        (&["--sigmas", "karas"], "unknown way to place sigmas `karas`; did you mean `karras`?", "exponential"),
        (&["--scheduler", "heun", "--zero-terminal-snr"], "no schedule with zero terminal SNR", "`ddim`"),
        (&["--guidance-rescale", "1.5"], "guidance rescale 1.5 is no share", "0.7"),
        (&["--scheduler", "lcm", "--steps", "60"], "60 steps of `lcm` are more than the 50", "4 are usual"),
        (&["--scheduler", "euler", "--eta", "0.5"], "`eta` means nothing to scheduler `euler`", "`tcd`"),
    ] {
        let output = trace(&out, more);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {told}");
        assert!(told.contains(message) && told.contains(hint), "{more:?}: {told}");
    }
    // What was asked for is in the record, in the picture's text, and in what is made like it.
    assert!(trace(&out, &["--scheduler", "euler_a", "--sigmas", "sgm_uniform"]).status.success());
    let run = Run::open(&out).unwrap();
    assert_eq!(run.record().plan.sigmas, Some(Sigmas::SgmUniform));
    assert_eq!(run.record().plan.scheduler_config["sigmas"], "sgm_uniform");
    let picture = std::fs::read(out.join("final.png")).unwrap();
    let text = String::from_utf8_lossy(&picture).into_owned();
    assert!(text.contains("Sampler: Euler a, Schedule type: SGM Uniform"));
    let like = folder.path().join("like");
    assert!(trace(&like, &["--like", out.join("final.png").to_str().unwrap()]).status.success());
    let like = Run::open(&like).unwrap();
    assert_eq!(like.record().plan.sigmas, Some(Sigmas::SgmUniform));
    assert_eq!(like.quantity(3, Quantity::Latents).unwrap().kind(), Kind::Float);
    assert!(like.tensors(3, Quantity::Latents).unwrap() == run.tensors(3, Quantity::Latents).unwrap());
}

/// Carries out a command in `folder` and gives what it said and the plan of the run in `out`.
fn planned(folder: &Path, words: &str, out: &str) -> (String, Value) {
    let mut command = command();
    command.current_dir(folder);
    let output = command.args(words.split(' ')).output().unwrap();
    let told = stderr(&output);
    assert!(output.status.success(), "{words}: {told}");
    let record = std::fs::read(folder.join(out).join("run.json")).unwrap();
    (told, serde_json::from_slice::<Value>(&record).unwrap()["plan"].clone())
}

#[test]
fn a_consistency_model_brings_its_steps_and_its_scale() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = model(at, &own_scheduler("LCMScheduler"), true);
    let index = path.join("model_index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replace("StableDiffusionPipeline", "LatentConsistencyModelPipeline")).unwrap();
    let of = |plan: &Value| (plan["steps"].as_u64(), plan["guidance_scale"].as_f64(), plan["scheduler"].clone());

    let (told, plan) = planned(at, "trace -p cat --model model --hires 1.5 --out run", "run");
    assert_eq!(of(&plan), (Some(4), Some(8.5), "lcm".into()));
    assert_eq!(plan["hires"]["steps"], 4);
    let line = "few steps: 4 steps, guidance scale 8.5 (a latent consistency model, told the guidance scale); \
                `--steps` and `--guidance-scale` take others";
    assert_eq!(told.matches(line).count(), 1, "{told}");

    // What is typed counts, and only the rest is told.
    let (told, plan) = planned(at, "trace -p cat --model model --steps 2 --out two", "two");
    assert_eq!(of(&plan), (Some(2), Some(8.5), "lcm".into()));
    assert!(told.contains("few steps: guidance scale 8.5 (") && told.contains("`--guidance-scale` takes another"));
    let (told, plan) = planned(at, "trace -p cat --model model --steps 2 --guidance-scale 3 --out three", "three");
    assert_eq!((of(&plan), told.contains("few steps")), ((Some(2), Some(3.0), "lcm".into()), false));

    let (told, _) = planned(at, "sweep -p cat --model model --guidance-scale 2,3 --decode none --out sweep", "run");
    assert!(told.contains("few steps: 4 steps (") && told.contains("`--steps` takes another"), "{told}");
    let cells = std::fs::read_to_string(at.join("sweep/sweep.json")).unwrap();
    assert!(cells.contains("\"steps\": 4") && !cells.contains("\"steps\": 25"), "{cells}");

    // What the folder says itself goes before it.
    std::fs::write(path.join("sdviz.json"), r#"{ "steps": 3, "guidance_scale": 2 }"#).unwrap();
    let (told, plan) = planned(at, "trace -p cat --model model --out own", "own");
    assert_eq!((of(&plan), told.contains("few steps")), ((Some(3), Some(2.0), "lcm".into()), false));
    let sd = loaded(path.to_str().unwrap());
    assert_eq!((sd.steps(), sd.guidance_scale()), (3, 2.0));
    assert_eq!(sd.draw("a cat").decode(Decode::Nothing).run().unwrap().record().plan.steps, 3);
    std::fs::write(path.join("sdviz.json"), r#"{ "steps": 0 }"#).unwrap();
    let refused = Model::options(path.to_str().unwrap()).load().unwrap_err().to_string();
    assert!(refused.contains("`steps` is 0, and makes no picture"), "{refused}");
}

#[test]
fn a_turbo_model_is_known_by_its_name_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), &about()["turbo"], false);
    let of = |path: &Path| {
        let sd = loaded(path.to_str().unwrap());
        (sd.steps(), sd.guidance_scale())
    };
    assert_eq!(of(&path), (25, 7.5));
    let named = folder.path().join("sd-turbo");
    std::fs::rename(&path, &named).unwrap();
    assert_eq!(of(&named), (4, 1.0));
    // Saved anew under another name, its index still says what it was.
    std::fs::rename(&named, &path).unwrap();
    let index = path.join("model_index.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    json["_name_or_path"] = "stabilityai/sd-turbo".into();
    std::fs::write(&index, json.to_string()).unwrap();
    assert_eq!(of(&path), (4, 1.0));
}
