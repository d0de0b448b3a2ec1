//! The judge and what it judges: what it learns, what it is told, and that evaluations count right.

use crate::common::{refused, root, sdviz, stderr, stdout, tiny_sd};
use sdviz::dataset::config::Config;
use sdviz::dataset::manifest::{Dataset, pictures};
use sdviz::eval::judge::{Classes, Judge, Of};
use sdviz::eval::measure::{fidelity, load_vae, through};
use sdviz::model::resolve;
use sdviz::pipeline::batch::PictureRequest;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan};
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tch::Device;

/// What a command prints.
fn printed(arguments: &[&str]) -> String {
    let output = sdviz(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The error and its hint, without the folders of this machine.
fn complaint(arguments: &[&str], folder: &Path) -> String {
    let text = refused(arguments).replace(folder.to_str().unwrap(), "FOLDER");
    text.lines().filter(|line| !line.starts_with("model: ")).collect::<Vec<_>>().join("\n")
}

/// A data set of eight objects in two styles on four backgrounds, 64×64.
fn dataset(out: &Path, seed: &str, count: &str) {
    let (icons, config) = (root("tests/icons"), root("tests/icons/dataset.toml"));
    let places = ["--icons", icons.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let numbers = ["--seed", seed, "--count", count, "--out", out.to_str().unwrap()];
    printed(&[&["-q", "dataset", "build"], &places[..], &numbers].concat());
}

/// A configuration in which the judge learns for a moment.
fn quick_course(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(root("assets/pocket.toml")).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    let judge = table["judge"].as_table_mut().unwrap();
    for (key, value) in [("batch", 32), ("held_back", 16), ("warm_up", 5), ("sample_every", 0)] {
        judge.insert(key.into(), toml::Value::Integer(value));
    }
    let path = folder.join("course.toml");
    std::fs::write(&path, table.to_string()).unwrap();
    path
}

#[test]
fn a_judge_learns_and_the_same_seed_teaches_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let text = |name: &str| place(name).to_str().unwrap().to_string();
    dataset(&place("data"), "1", "256");
    dataset(&place("unseen"), "2", "64");
    let course = quick_course(folder.path());
    let train = |out: &str, steps: &str| {
        let (data, out) = (text("data"), text(out));
        let options = ["--data", &data, "--config", course.to_str().unwrap(), "--out", &out, "--steps", steps];
        printed(&[&["-q", "train", "judge", "--seed", "3"], &options[..]].concat());
    };
    train("long", "80");
    let (judge, unseen) = (text("long/judge"), text("unseen"));
    let more = ["--judge", &judge, "--model", &tiny_sd(), "--json"];
    let found: Value =
        serde_json::from_str(&printed(&[&["eval", "judge", "--data", &unseen], &more[..]].concat())).unwrap();
    let plain = |what: &str| found["plain"][what].as_u64().unwrap();
    assert_eq!((plain("pictures"), plain("background_right")), (64, 64));
    assert!(plain("object_right") >= 48, "{found}");
    assert_eq!(found["decoded"]["pictures"], 64);
    // Its things are not the pocket model's, whose styles are not asked for then.
    let one = ["--count", "1", "--unguided", "0", "--negative", "0", "--steps", "1"];
    let report = printed(&[&["eval", "prompts"], &one[..], &more].concat());
    assert!(report.contains("by_object") && !report.contains("\"styles\""), "{report}");

    train("a", "3");
    train("b", "3");
    let weights = |name: &str| std::fs::read(place(name).join("judge/judge.safetensors")).unwrap();
    assert!(weights("a") == weights("b"));
}

/// A judge of styles learns them, and an evaluation asks for each of them. None takes the place of the other judge.
#[test]
fn a_judge_of_styles_learns_and_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let text = |name: &str| place(name).to_str().unwrap().to_string();
    dataset(&place("data"), "1", "256");
    dataset(&place("unseen"), "2", "64");
    let course = quick_course(folder.path());
    let options = ["--data", &text("data"), "--config", course.to_str().unwrap(), "--out", &text("t"), "--steps", "80"];
    printed(&[&["-q", "train", "judge", "--of", "style"], &options[..]].concat());
    let judge = text("t/style-judge");
    let read = Judge::read(&place("t/style-judge"), Device::Cpu).unwrap();
    assert_eq!(read.classes().of, Of::Style);
    assert_eq!(read.classes().objects.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["flat", "noto"]);
    let unseen = ["eval", "judge", "--data", &text("unseen"), "--judge", &judge, "--model", &tiny_sd(), "--json"];
    let found: Value = serde_json::from_str(&printed(&unseen)).unwrap();
    assert_eq!((found["plain"]["pictures"].as_u64(), found["decoded"]["pictures"].as_u64()), (Some(64), Some(64)));
    let embedded = ["eval", "judge", "--of", "style", "--data", &text("unseen"), "--model", &tiny_sd()];
    let table = printed(&embedded);
    assert!(table.contains("style right") && !table.contains("object right"), "{table}");
    let both = complaint(&[&embedded[..], &["--judge", &judge]].concat(), folder.path());
    assert!(both.contains("--of") && both.contains("--judge"), "{both}");

    let none = ["--count", "4", "--unguided", "0", "--negative", "0", "--steps", "1", "--model", &tiny_sd(), "--json"];
    let asked = [&["eval", "prompts", "--style-judge", &judge, "--styled", "6"], &none[..]].concat();
    let report: Value = serde_json::from_str(&printed(&asked)).unwrap();
    let styles = report["styles"].as_array().unwrap();
    assert_eq!(
        styles.iter().map(|s| (&s["name"], &s["pictures"])).collect::<Vec<_>>(),
        [(&Value::from("flat"), &Value::from(3)), (&Value::from("noto"), &Value::from(3))]
    );
    let sum = |what: &str| styles.iter().map(|s| s[what].as_u64().unwrap()).sum::<u64>();
    assert!(sum("right") <= 6, "{report}");
    assert_eq!(sum("unasked"), 4, "each of the pictures without a style is seen in one");
    let said = complaint(&["eval", "prompts", "--judge", &judge, "--count", "1", "--model", &tiny_sd()], folder.path());
    assert!(said.contains("this judge names styles") && said.contains("--style-judge"), "{said}");
}

#[test]
fn the_embedded_judge_knows_the_pocket_data_set() {
    let judge = Judge::embedded(Device::Cpu).unwrap();
    assert_eq!(*judge.classes(), Classes::of(&Config::pocket().unwrap(), Of::Object));
    let styles = Judge::embedded_of_styles(Device::Cpu).unwrap();
    assert_eq!(*styles.classes(), Classes::of(&Config::pocket().unwrap(), Of::Style));
    let heart = judge.classes().object("green heart").unwrap();
    let things = &judge.classes().objects;
    assert_eq!(things[heart].prompt(Some(&judge.classes().backgrounds[0])), "a green heart on a white background");
    let cherries = judge.classes().object("cherries").unwrap();
    assert_eq!(things[cherries].prompt(None), "cherries");
}

/// Drawings of the tests that the pocket model's data set has, too: the embedded judge must name most of them.
#[test]
fn the_embedded_judge_names_drawings() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, "9", "64");
    let rows = Dataset::read(&data).unwrap().rows;
    let judge = Judge::embedded(Device::Cpu).unwrap();
    let verdicts = judge.judge(&pictures(&data, &rows).unwrap()).unwrap();
    let classes = judge.classes();
    let right = |i: usize| classes.objects[verdicts[i].object].name == rows[i].object;
    assert!((0..64).all(|i| classes.backgrounds[verdicts[i].background].name == rows[i].background));
    let wrong: Vec<_> = (0..64).filter(|i| !right(*i)).map(|i| &rows[i].object).collect();
    assert!(wrong.len() <= 6, "{wrong:?}");
}

#[test]
fn several_prompts_in_one_batch_draw_the_pictures_of_each_alone() {
    let options = LoadOptions::default();
    let pipeline = Pipeline::load(&resolve::resolve(Some(&tiny_sd())).unwrap(), options).unwrap();
    for (scheduler, guidance_scale) in [("ddim", 4.0), ("euler_a", 4.0), ("ddim", 1.0)] {
        let mut plan =
            Plan { steps: 3, guidance_scale, scheduler: scheduler.into(), width: 0, height: 0, ..Plan::default() };
        plan.decode = Decode::Final;
        pipeline.complete(&mut plan).unwrap();
        let request = |prompt: &str, negative: &str, seed| PictureRequest {
            prompt: prompt.into(),
            negative_prompt: negative.into(),
            seed,
        };
        let requests = [request("a cat", "", 5), request("a lovely dog", "red background", 1), request("a cat", "", 2)];
        let together = pipeline.draw_each(&plan, &requests).unwrap();
        assert_eq!(together.len(), 3);
        for (request, picture) in requests.iter().zip(&together) {
            let alone = Plan {
                prompt: request.prompt.clone(),
                negative_prompt: request.negative_prompt.clone(),
                seed: request.seed,
                ..plan.clone()
            };
            let alone = pipeline.generate(&alone, &Probe::silent()).unwrap().images.remove(0);
            let most = alone.as_raw().iter().zip(picture.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(most <= 1, "{scheduler}, {request:?}: {most}");
        }
        assert_ne!(together[0], together[2]);
    }
}

#[test]
fn an_evaluation_counts_what_it_lists() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let run = |out: &Path| -> Value {
        let counts = ["--count", "5", "--unguided", "3", "--negative", "2", "--styled", "6"];
        let drawn = ["--steps", "2", "--batch-size", "3", "--seed", "7", "--model", &tiny_sd()];
        let rest = ["--json", "--out", out.to_str().unwrap()];
        serde_json::from_str(&printed(&[&["eval", "prompts"], &counts[..], &drawn, &rest].concat())).unwrap()
    };
    let report = run(&a);
    assert_eq!(report, run(&b));
    let written: Value = serde_json::from_slice(&std::fs::read(a.join("report.json")).unwrap()).unwrap();
    assert_eq!(report, written);
    for (part, count) in [("guided", 5), ("unguided", 3)] {
        let (scores, list) = (&report[part], report[part]["list"].as_array().unwrap());
        assert_eq!((list.len(), &scores["pictures"]), (count, &Value::from(count)));
        let asked = |one: &Value, what: &str| one["prompt"].as_str().unwrap().contains(one[what].as_str().unwrap());
        let background = list
            .iter()
            .filter(|one| {
                let word = one["background"].as_str().unwrap();
                one["prompt"].as_str().unwrap().ends_with(&format!(" {word} background"))
            })
            .count();
        assert_eq!(scores["background_right"], background);
        assert!(
            scores["object_right"].as_u64().unwrap() as usize <= list.iter().filter(|o| asked(o, "object")).count()
        );
        for by in ["by_object", "by_background"] {
            let sum = |key: &str| scores[by].as_array().unwrap().iter().map(|n| n[key].as_u64().unwrap()).sum::<u64>();
            for key in ["pictures", "background_right", "object_right", "both_right"] {
                assert_eq!(Value::from(sum(key)), scores[key], "{part} {by} {key}");
            }
        }
        // Each picture has the seed that its place gives it, with guidance and without.
        assert!(list.iter().enumerate().all(|(i, one)| one["seed"] == 7 + i as u64));
    }
    assert_eq!(report["guided"]["list"][0]["prompt"], report["unguided"]["list"][0]["prompt"]);
    for pair in report["negative"]["list"].as_array().unwrap() {
        let came = pair[0]["background"].as_str().unwrap();
        assert_eq!(pair[1]["negative_prompt"], format!("{came} background"));
        assert_eq!((&pair[0]["seed"], &pair[0]["prompt"]), (&pair[1]["seed"], &pair[1]["prompt"]));
        assert!(!pair[0]["prompt"].as_str().unwrap().contains("background"));
    }
    assert!(a.join("guided.png").is_file() && a.join("negative.png").is_file());
    // Each style in turn; who names no judge of styles asks the embedded one.
    let styles = report["styles"].as_array().unwrap();
    let pictures: Vec<_> = styles.iter().map(|style| (style["name"].as_str(), style["pictures"].as_u64())).collect();
    assert_eq!(pictures, [("flat", 2), ("glossy", 2), ("noto", 1), ("cartoon", 1)].map(|(n, p)| (Some(n), Some(p))));

    let none = ["-q", "eval", "prompts", "--count", "2", "--unguided", "0", "--negative", "0", "--steps", "1"];
    let table = printed(&[&none[..], &["--styled", "0"]].concat());
    assert!(table.contains("guidance 5") && !table.contains("guidance 1") && table.contains("sunflower"), "{table}");
    assert!(!table.contains("glossy"), "{table}");
}

#[test]
fn fidelity_is_the_mean_of_decibels() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, "4", "5");
    let options = LoadOptions::default();
    let vae = load_vae(&resolve::resolve(Some(&tiny_sd())).unwrap(), &options).unwrap();
    let pictures = pictures(&data, &Dataset::read(&data).unwrap().rows).unwrap();
    let decoded = through(&vae, &pictures, &options, |_| {}).unwrap();
    let decibels = |a: &image::RgbImage, b: &image::RgbImage| {
        let squares = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        10.0 * (255.0 * 255.0 / (squares.sum::<f64>() / a.as_raw().len() as f64)).log10()
    };
    let expected = pictures.iter().zip(&decoded).map(|(a, b)| decibels(a, b)).sum::<f64>() / 5.0;
    assert!((fidelity(&pictures, &decoded).psnr_mean - expected).abs() < 1e-9);
    let said =
        printed(&["eval", "vae", "--data", data.to_str().unwrap(), "--model", &tiny_sd(), "--count", "9", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!((said["vae"]["psnr_mean"].as_f64().unwrap() - expected).abs() < 1e-6, "{said}");
}

/// Pictures of one step of DDIM are noise yet, which shows: they are steep everywhere, and further from compositions than
/// other ones are; what the autoencoder leaves is less steep at its edges.
#[test]
fn noise_is_not_like_compositions() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    dataset(&data, "4", "64");
    let data = ["eval", "likeness", "--data", data.to_str().unwrap()];
    let few = ["--count", "32", "--prompts", "2", "--seeds", "3", "--steps", "1"];
    let said: Value = serde_json::from_str(&printed(&[&data[..], &few, &["--json"]].concat())).unwrap();
    let likeness = &said["likeness"];
    let number =
        |path: &str| likeness.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {said}"));
    assert!(number("/sharpness/drawn/gradient") > 1.5 * number("/sharpness/real/gradient"), "{said}");
    assert!(number("/sharpness/decoded/edges") < number("/sharpness/real/edges"), "{said}");
    assert!(number("/frechet/real") < number("/frechet/drawn"), "{said}");
    assert!(number("/variety/drawn") > 1.0 && number("/variety/real") > 1.0, "{said}");
    assert_eq!((&said["steps"], &likeness["pictures"]), (&1.into(), &32.into()));

    let refused = complaint(&[&data[..], &["--count", "33"]].concat(), folder.path());
    assert!(refused.contains("64 pictures") && refused.contains("`--count`"), "{refused}");
    let table = printed(&[&data[..], &["--count", "2", "--prompts", "1", "--seeds", "2", "--steps", "1"]].concat());
    assert!(table.contains("steepest 2 %") && table.contains("2 seeds of one prompt"), "{table}");
}

#[test]
fn what_cannot_be_evaluated_is_said_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    let complain = |arguments: &[&str]| complaint(arguments, folder.path());
    insta::assert_snapshot!("eval_no_judge", complain(&["eval", "prompts", "--judge", here]));
    insta::assert_snapshot!("eval_no_data", complain(&["eval", "vae", "--data", here]));
    insta::assert_snapshot!(
        "eval_nothing",
        complain(&["eval", "prompts", "--count", "0", "--unguided", "0", "--negative", "0", "--styled", "0"])
    );
    let data = folder.path().join("data");
    dataset(&data, "1", "4");
    let manifest = data.join("metadata.jsonl");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"object\":\"", "\"object\":\"old ")).unwrap();
    let judged = complain(&["eval", "judge", "--data", data.to_str().unwrap()]);
    assert!(judged.starts_with("error: the judge does not know `old "), "{judged}");
    assert!(judged.contains("hint: "), "{judged}");
}
