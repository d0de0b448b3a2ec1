//! Prompts as users of AUTOMATIC1111's web UI write them: embeddings against goldens, runs, records, and what is said.
//!
//! `goldens/make_prompt_goldens.py` makes the goldens. What the syntax means is tested beside its parsers in `src/prompt`.

use crate::common::{command, root, stderr, stdout, tiny_pipeline, tiny_sd};
use sdviz::pipeline::Pipeline;
use sdviz::pipeline::conditioning::weighted;
use sdviz::pipeline::shared::Shared;
use sdviz::record::conditions::PromptSyntax;
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::parameters::PictureSettings;
use sdviz::trace::reader::Run;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::Output;
use tch::Tensor;

fn goldens() -> (HashMap<String, Tensor>, Value) {
    let path = root("tests/goldens/prompts.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let about = serde_json::from_str(&header.metadata().clone().unwrap()["about"]).unwrap();
    (Tensor::read_safetensors(&path).unwrap().into_iter().collect(), about)
}

fn plan(prompt: &str) -> Plan {
    Plan {
        prompt: prompt.into(),
        prompt_syntax: PromptSyntax::A1111,
        steps: 2,
        width: 64,
        height: 64,
        scheduler: "ddim".into(),
        decode: Decode::Nothing,
        ..Plan::default()
    }
}

/// Keeps the tensors of some sites, and the latents of every step.
#[derive(Default)]
struct Camera {
    sites: Vec<(String, Tensor)>,
    latents: Vec<Tensor>,
}

impl Camera {
    fn of(pipeline: &Pipeline, plan: &Plan) -> Camera {
        let mut camera = Camera::default();
        pipeline.generate(plan, &Probe::new(vec![&mut camera])).unwrap();
        camera
    }

    fn site(&self, name: &str) -> &Tensor {
        &self.sites.iter().find(|(site, _)| site == name).unwrap_or_else(|| panic!("no {name}")).1
    }
}

impl Observer for Camera {
    fn wants(&self, ask: Ask) -> bool {
        match ask {
            Ask::Quantity(what, _) => what == Quantity::Latents,
            Ask::Site(name, _) => ["tokens", "token_weights", "text_embeddings", "unet.sample"].contains(&name),
            Ask::Picture { .. } => false,
        }
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        match event {
            Event::Tensor(site, tensor) => self.sites.push((site.name.into(), tensor.shallow_clone())),
            Event::Step(step) => self.latents.push(step.tensor(Quantity::Latents).unwrap().shallow_clone()),
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

/// Largest difference over largest value.
fn check(ours: &Tensor, golden: &Tensor, allowed: f64, what: &str) {
    assert_eq!(ours.size(), golden.size(), "{what}");
    let found = (ours - golden).abs().max().double_value(&[]) / golden.abs().max().double_value(&[]);
    assert!(found <= allowed, "{what} differs by {found:.1e}");
}

#[test]
fn clip_skip_is_diffusers_one_less() {
    let (pipeline, golden) = (tiny_pipeline(), goldens().0);
    for skip in [1, 2] {
        let plan = Plan {
            clip_skip: skip + 1,
            prompt_syntax: PromptSyntax::Plain,
            guidance_scale: 1.0,
            ..plan("a lovely cat")
        };
        let camera = Camera::of(&pipeline, &plan);
        check(camera.site("text_embeddings"), &golden[&format!("skip/{skip}")], 1e-5, &format!("skip {skip}"));
    }
    for wrong in [0, 4] {
        let error = pipeline.plan(&Plan { clip_skip: wrong, ..plan("a cat") }).err().unwrap();
        let message = format!("clip skip {wrong} names no layer of the text encoder, which has 3");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn weights_multiply_and_the_mean_stays() {
    let (pipeline, (golden, about)) = (tiny_pipeline(), goldens());
    let plan = Plan { guidance_scale: 1.0, ..plan(about["weighted"].as_str().unwrap()) };
    check(Camera::of(&pipeline, &plan).site("text_embeddings"), &golden["weighted"], 1e-5, "weighted");
    // Beside it in one batch a text without weights stays as it is, to the last bit.
    let guided = Camera::of(&pipeline, &Plan { guidance_scale: 4.0, negative_prompt: "a lovely cat".into(), ..plan });
    let other = Plan { prompt: "a red apple".into(), negative_prompt: "a lovely cat".into(), ..plan_of(&guided) };
    let unweighted = Camera::of(&pipeline, &other);
    assert_eq!(guided.site("text_embeddings").get(0), unweighted.site("text_embeddings").get(0));
}

#[test]
fn a_mean_that_is_none_is_not_restored() {
    // One chunk of three places and two numbers each: the first has a mean of its own, the second as good as none.
    let rows =
        Tensor::from_slice(&[2.0f32, 3.0, 1.0, 4.0, 2.0, 0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -2.9999]).view([2, 3, 2]);
    let weights = Tensor::from_slice(&[1.0f32, 2.0, 1.0, 1.0, 2.0, 1.0]).view([2, 3]);
    let out = weighted(&rows, &weights);
    let by_hand = Tensor::from_slice(&[2.0f32, 3.0, 2.0, 8.0, 2.0, 0.0]) * (12.0 / 17.0);
    check(&out.get(0), &by_hand.view([3, 2]), 1e-6, "with a mean");
    assert_eq!(out.get(1), Tensor::from_slice(&[1.0f32, -1.0, 4.0, -4.0, 3.0, -2.9999]).view([3, 2]));
}

fn plan_of(_: &Camera) -> Plan {
    Plan { guidance_scale: 4.0, ..plan("") }
}

#[test]
fn a_long_prompt_is_cut_behind_a_comma_and_the_other_is_filled_up() {
    let (pipeline, (golden, about)) = (tiny_pipeline(), goldens());
    let long = Plan { guidance_scale: 1.0, ..plan(about["long"].as_str().unwrap()) };
    let camera = Camera::of(&pipeline, &long);
    assert_eq!(camera.site("tokens"), &golden["chunked/ids"]);
    check(camera.site("text_embeddings"), &golden["chunked"], 1e-5, "chunked");

    let guided = Camera::of(&pipeline, &Plan { guidance_scale: 3.0, ..long });
    let (text, ids) = (guided.site("text_embeddings"), guided.site("tokens"));
    assert_eq!(text.size(), [2, 154, 24]);
    check(&text.narrow(0, 1, 1), &golden["chunked"], 1e-5, "chunked, beside an empty one");
    // The empty negative prompt: two chunks, each begin-of-text and then end-of-text only.
    let [bos, eos] = pipeline.tokenizer.ends().map(|token| i64::from(token.id));
    let empty: Vec<i64> = [bos].into_iter().chain([eos; 76]).collect();
    assert_eq!(Vec::<Vec<i64>>::try_from(ids.narrow(0, 0, 2)).unwrap(), [empty.clone(), empty]);
}

#[test]
fn a_prompt_that_changes_and_has_parts_is_drawn_by_the_formula() {
    let (pipeline, (golden, about)) = (tiny_pipeline(), goldens());
    let run = &about["run"];
    let plan = Plan {
        negative_prompt: run["negative"].as_str().unwrap().into(),
        steps: run["steps"].as_u64().unwrap() as usize,
        guidance_scale: run["guidance"].as_f64().unwrap(),
        seed: run["seed"].as_u64().unwrap(),
        ..plan(run["prompt"].as_str().unwrap())
    };
    let camera = Camera::of(&pipeline, &plan);
    assert_eq!(camera.latents.len(), plan.steps + 1);
    for (k, latents) in camera.latents.iter().enumerate() {
        check(latents, &golden[&format!("run/latents/{k:03}")], 1e-4, &format!("step {k}"));
    }
    assert_eq!(camera.site("unet.sample").size()[0], 3, "uncond and two parts in one batch");

    // A batch of two has the first picture in it.
    let batch = Camera::of(&pipeline, &Plan { batch_size: 2, ..plan });
    for (one, two) in camera.latents.iter().zip(&batch.latents) {
        check(&two.narrow(0, 0, 1), one, 1e-4, "batch");
    }
}

#[test]
fn a_prompt_without_marks_is_the_plain_one_to_the_last_bit() {
    let pipeline = tiny_pipeline();
    let web = Plan { negative_prompt: "green".into(), batch_size: 2, ..plan("a lovely cat, on a mat") };
    let plain = Plan { prompt_syntax: PromptSyntax::Plain, ..web.clone() };
    let (web, plain) = (Camera::of(&pipeline, &web), Camera::of(&pipeline, &plain));
    assert_eq!(web.site("text_embeddings"), plain.site("text_embeddings"));
    assert_eq!(web.latents, plain.latents);
}

#[test]
fn shared_texts_are_told_apart_by_all_that_shapes_them() {
    let (pipeline, shared) = (tiny_pipeline(), Shared::new());
    let base = Plan { steps: 1, ..plan("a (red:1.5) apple") };
    let plans = [
        base.clone(),
        Plan { prompt_syntax: PromptSyntax::Plain, ..base.clone() },
        Plan { clip_skip: 2, ..base.clone() },
        Plan { negative_prompt: "a BREAK b".into(), ..base.clone() },
        Plan { prompt: "a [red:green:1] apple".into(), steps: 2, ..base.clone() },
        base,
    ];
    for plan in &plans {
        let alone = pipeline.generate(plan, &Probe::silent()).unwrap().latents;
        let together = pipeline.generate_shared(plan, &[0], &shared, None, &Probe::silent()).unwrap().latents;
        assert_eq!(alone, together, "{plan:?}");
    }
}

#[test]
fn the_record_says_what_was_read_and_old_plans_are_unchanged() {
    let pipeline = tiny_pipeline();
    let asked = Plan { steps: 6, negative_prompt: "x AND y".into(), ..plan("[a|b] (cat:1.2) :2 AND dog BREAK owl") };
    let (record, _) = pipeline.plan(&asked).unwrap();
    let json: Value = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert_eq!(json["plan"]["prompt_syntax"], "a1111");
    let conditions = record.conditions.unwrap();
    let texts: Vec<&str> = conditions.texts.iter().map(|t| t.text.as_str()).collect();
    // `AND` means nothing in a negative prompt; parts are as they were written.
    assert_eq!(texts, ["x AND y", "a (cat:1.2)", "b (cat:1.2)", " dog BREAK owl"]);
    assert_eq!(conditions.prompt.iter().map(|p| p.weight).collect::<Vec<_>>(), [2.0, 1.0]);
    let turns: Vec<_> = conditions.prompt[0].schedule.iter().map(|p| (p.until, p.text)).collect();
    assert_eq!(turns, [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 2)]);
    let pieces: Vec<_> = conditions.texts[1].chunks[0].iter().map(|t| (t.piece.as_str(), t.weight)).collect();
    assert_eq!(pieces, [("a</w>", 1.0), ("cat</w>", 1.2)]);
    assert_eq!(conditions.texts[3].chunks.len(), 2);

    let plain = serde_json::to_value(Plan::default()).unwrap();
    assert!(plain.get("prompt_syntax").is_none() && plain.get("clip_skip").is_none());
    let read: Plan = serde_json::from_value(plain).unwrap();
    assert_eq!(read, Plan::default());
    let (record, _) = pipeline.plan(&Plan { prompt_syntax: PromptSyntax::Plain, ..asked }).unwrap();
    assert!(serde_json::to_value(record).unwrap().get("conditions").is_none());
}

fn sdviz(args: &[&str]) -> Output {
    command().env("SDVIZ_MODEL", tiny_sd()).args(args).output().unwrap()
}

fn said(code: i32, args: &[&str]) -> String {
    let output = sdviz(args);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
    let all = if code == 0 { out } else { err };
    all.replace(root("").to_str().unwrap(), "ROOT/")
        .lines()
        .filter(|l| !l.starts_with("model: "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn tokens_shows_chunks_weights_and_the_schedule() {
    let prompt = "(((cute girl))), [cat:dog:0.4] BREAK [red|green] hat AND sky :0.5";
    let show = ["tokens", prompt, "--prompt-syntax", "a1111", "--steps", "20"];
    insta::assert_snapshot!(said(0, &show));
    let json: Value =
        serde_json::from_str(&said(0, &[&show[..], &["--negative", "(blurry)", "--json"]].concat())).unwrap();
    assert_eq!(json["conditions"]["prompt"][1]["weight"], 0.5);
    let blurry = &json["conditions"]["texts"][0]["chunks"][0][0];
    assert_eq!((blurry["piece"].as_str(), blurry["weight"].as_f64()), (Some("blurry</w>"), Some(1.1)));
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let with =
        |more: &[&str]| said(2, &[&["trace", "--out", out.to_str().unwrap(), "--steps", "2"][..], more].concat());
    let all = [
        with(&["--prompt", "a cat", "--prompt-syntax", "a111"]),
        with(&["--prompt", "a cat", "--prompt-syntax", "compel"]),
        with(&["--prompt", "a cat", "--clip-skip", "0"]),
        with(&["--prompt", "a cat", "--clip-skip", "4"]),
        with(&["--prompt", "(()) [:0.5]", "--prompt-syntax", "a1111"]),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_trace_says_so_and_a_picture_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let at = |out: &Path| out.to_str().unwrap().to_string();
    let err = |args: &[&str]| {
        let output = sdviz(args);
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let base =
        ["trace", "--prompt", "a (cat:1.3)", "--steps", "2", "--decode", "final", "--force", "--out", &at(&first)];
    assert!(err(&base).contains("`--prompt-syntax a1111` reads it"), "a hint");
    let told = err(&[&base[..], &["--prompt-syntax", "a1111", "--clip-skip", "2"]].concat());
    assert!(told.contains("prompts (a1111): 1 part, 2 texts of 1 chunk of up to 75 tokens"), "{told}");
    assert!(!told.contains("hint: "), "{told}");

    let picture = at(&first.join("final.png"));
    let settings = PictureSettings::read(Path::new(&picture)).unwrap();
    assert_eq!((settings.clip_skip, settings.prompt_syntax), (Some(2), Some(PromptSyntax::A1111)));
    assert_eq!(settings.parameters["Clip skip"], "2");
    err(&["trace", "--like", &picture, "--decode", "final", "--out", &at(&second)]);
    let [a, b] = [&first, &second].map(|out| Run::open(out).unwrap());
    assert_eq!(a.record().plan, b.record().plan);
    assert_eq!(a.record().conditions, b.record().conditions);
    assert_eq!(std::fs::read(first.join("final.png")).unwrap(), std::fs::read(second.join("final.png")).unwrap());
}

#[test]
fn a_web_uis_picture_is_read_with_its_syntax() {
    let settings =
        PictureSettings::parse("a (cat:1.3)\nSteps: 20, Sampler: Euler, Seed: 1, Clip skip: 2, Version: v1.9.4");
    assert_eq!((settings.clip_skip, settings.prompt_syntax), (Some(2), Some(PromptSyntax::A1111)));
    let ours = PictureSettings::parse("a (cat:1.3)\nSteps: 20, Sampler: Euler, Seed: 1, Version: sdviz 0.1.0");
    assert_eq!((ours.clip_skip, ours.prompt_syntax), (None, None));
}

#[test]
fn a_sweep_has_both_as_axes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let sweep =
        ["sweep", "--prompt", "a (cat:1.4) AND a dog", "--steps", "1", "--seed", "1,2", "--out", out.to_str().unwrap()];
    let axes = ["--prompt-syntax", "plain,a1111", "--clip-skip", "1,2", "--batch-seeds", "2"];
    said(0, &[&sweep[..], &axes].concat());
    let json: Value = serde_json::from_slice(&std::fs::read(out.join("sweep.json")).unwrap()).unwrap();
    let cells = json["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 8);
    let pipeline = tiny_pipeline();
    for cell in cells {
        let at = &cell["at"];
        assert!(at["prompt_syntax"].is_string() && at["clip_skip"].is_u64(), "{at}");
        let run = Run::open(out.join("cells").join(cell["cell"].as_str().unwrap())).unwrap();
        // Made two at a time, each is what it is alone.
        let alone = pipeline.generate(&run.record().plan, &Probe::silent()).unwrap().latents;
        let recorded = run.tensor(1, Quantity::Latents, 0).unwrap().unwrap();
        let recorded = Tensor::from_slice(recorded.as_slice().unwrap()).view_as(&alone);
        check(&recorded, &alone, 1e-4, &at.to_string());
    }
}
