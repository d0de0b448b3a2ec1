//! What a newcomer does first, and what the program makes of it: no prompt, a random seed, a second run, words that the
//! model never learned, slips on the command line.

use crate::common::{command, copy, root, stderr, stdout, tiny_sd};
use sdviz::record::plan::{Plan, Quantity};
use sdviz::trace::reader::Run;
use std::path::PathBuf;
use std::process::Output;

/// A folder to work in, empty at first.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = command();
        command.args(words).current_dir(self.0.path());
        command.output().unwrap()
    }

    /// What a command that succeeds says on standard error.
    fn said(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = stderr(&output);
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    /// What a command that is refused says.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        said
    }

    fn printed(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// One quick step of a model, with more arguments.
    fn trace(&self, model: &str, more: &[&str]) -> String {
        self.said(&[&["trace", "--model", model, "--steps", "1", "--scheduler", "ddim"], more].concat())
    }

    fn plan(&self, run: &str) -> Plan {
        Run::open(self.at(run)).unwrap().record().plan.clone()
    }

    /// The tiny model, with this text as its `sdviz.json`.
    fn tiny_that_says(&self, about: &str) -> String {
        let model = self.at("model");
        let _ = std::fs::remove_dir_all(&model);
        copy(&root("tests/goldens/tiny-sd"), &model);
        std::fs::write(model.join("sdviz.json"), about).unwrap();
        "model".into()
    }
}

#[test]
fn no_prompt_is_a_wish() {
    let desk = Desk::new();
    let said = desk.trace(&tiny_sd(), &["--prompt", ""]);
    assert!(said.contains("the prompt is empty: the picture is drawn without one"), "{said}");
    let run = Run::open(desk.at("run")).unwrap();
    assert_eq!((run.record().plan.prompt.as_str(), run.record().tokens.prompt.len()), ("", 2));
    let cells = desk.printed(&["sweep", "--prompt", "", "--prompt", "a cat", "--model", &tiny_sd(), "--dry-run"]);
    assert!(cells.contains("2 cells"), "{cells}");
    let said = desk.refused(&["trace"]);
    assert!(said.contains("--prompt <TEXT>"), "{said}");
}

#[test]
fn a_random_seed_is_told_and_recorded_and_draws_the_same_again() {
    let desk = Desk::new();
    let mut seeds = vec![];
    for (seed, out) in [("random", "a"), ("-1", "b")] {
        let said = desk.trace(&tiny_sd(), &["--prompt", "a cat", "--seed", seed, "--out", out]);
        let number = desk.plan(out).seed;
        assert!(said.contains(&format!("seed: {number}, drawn at random")), "{said}");
        assert!(number <= u64::from(u32::MAX));
        seeds.push(number);
    }
    assert_ne!(seeds[0], seeds[1], "two seeds drawn at random are the same");
    desk.trace(&tiny_sd(), &["--prompt", "a cat", "-s", &seeds[0].to_string(), "--out", "again"]);
    let final_picture = |run: &str| std::fs::read(desk.at(run).join("final.png")).unwrap();
    assert!(final_picture("a") == final_picture("again"));
    assert!(desk.refused(&["trace", "-p", "a cat", "--seed", "lucky"]).contains("or `random` for one that is drawn"));
}

#[test]
fn a_second_run_goes_beside_the_first() {
    let desk = Desk::new();
    let (tiny, prompt) = (tiny_sd(), ["--prompt", "a cat"]);
    let said = desk.trace(&tiny, &prompt);
    assert!(said.contains("record: run\n") && !said.contains("holds something already"), "{said}");
    let first = std::fs::read(desk.at("run/run.json")).unwrap();
    std::fs::create_dir(desk.at("run-2")).unwrap();
    std::fs::write(desk.at("run-2/notes.txt"), "mine").unwrap();
    let said = desk.trace(&tiny, &prompt);
    assert!(said.contains("`run` holds something already: this run goes to `run-3`"), "{said}");
    assert!(said.contains("next: sdviz filmstrip run-3, "), "{said}");
    assert_eq!(std::fs::read(desk.at("run/run.json")).unwrap(), first);

    // What reads a run takes the newest, and says which, unless it is told one.
    let shapes = desk.run(&["shapes", "--json"]);
    assert_eq!(stderr(&shapes), "run: run-3, the newest here\n");
    assert_eq!(desk.run(&["shapes", "run", "--json"]).stderr, b"");
    let strip = desk.run(&["export", "filmstrip"]);
    assert!(stdout(&strip).starts_with("run-3/exports/"));
    assert!(stderr(&strip).starts_with("run: run-3, the newest here\n"));

    // A folder that was named is never replaced unasked; without a name `--force` means the first.
    let said = desk.refused(&["trace", "-p", "a cat", "--model", &tiny, "--out", "run"]);
    assert!(said.contains("error: `run` is not empty\nhint: ") && said.contains("--force"), "{said}");
    desk.trace(&tiny, &["--prompt", "a dog", "--force"]);
    assert_eq!((desk.plan("run").prompt.as_str(), desk.at("run-4").exists()), ("a dog", false));
    assert_eq!(desk.run(&["shapes", "--json"]).stderr, b"", "the newest is `run` now");
}

#[test]
fn what_is_wrong_with_the_model_or_the_plan_is_told_before_the_folder() {
    let desk = Desk::new();
    desk.trace(&tiny_sd(), &["--prompt", "a cat", "--out", "run"]);
    for (wrong, told) in
        [(["--model", "modell"], "no model `modell`"), (["--width", "100"], "width 100 is not a multiple")]
    {
        let said = desk.refused(&[&["trace", "-p", "a cat", "--out", "run"], &wrong[..]].concat());
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn words_that_the_embedded_model_never_saw_are_told_with_what_it_draws() {
    let desk = Desk::new();
    let said = |prompt: &str, more: &[&str]| {
        desk.trace("pocket", &[&["--prompt", prompt, "--decode", "none", "--record", "none"], more].concat())
    };
    let gogh = said("a starry night by Van Gogh", &[]);
    let warning = "warning: `pocket` has never seen `starry`, `night`, `by`, `Van`, `Gogh`, and the prompt names nothing that it draws\n\
                   hint: it draws 48 things on 8 backgrounds in 4 styles";
    assert!(gogh.contains(warning), "{gogh}");
    let desert = said("a cat in the desert", &["--negative-prompt", "blurry red"]);
    assert!(desert.contains("has never seen `in`, `desert`, `blurry`\n"), "{desert}");
    assert!(said("two cats", &[]).contains("has never seen `two`, `cats` (but `cat`), and"));
    assert!(said("一只猫", &[]).contains("has never seen `一只猫`, and the prompt names nothing"));
    let known = said("a cat face on a blue background, glossy style", &["--negative-prompt", "red background"]);
    assert!(!known.contains("never seen"), "{known}");

    for printed in [desk.printed(&["models"]), desk.printed(&["inspect", "pocket", "--depth", "0"])] {
        let list = "pocket draws 48 things on 8 backgrounds in 4 styles, as in \"a cat face on a blue background, glossy style\":\n  \
                    things: red apple (apple), green apple, banana,";
        assert!(printed.contains(list) && printed.contains("pumpkin (jack-o'-lantern)"), "{printed}");
        assert!(printed.contains("pocket: guidance scale 5 unless another is asked for"), "{printed}");
    }
}

#[test]
fn a_model_of_ones_own_says_nothing_or_what_its_file_says() {
    let desk = Desk::new();
    assert!(!desk.trace(&tiny_sd(), &["--prompt", "qwertz"]).contains("never seen"));
    assert_eq!(desk.plan("run").guidance_scale, 7.5);

    let model =
        desk.tiny_that_says(r#"{"guidance_scale": 3, "draws": {"things": [["cat"]], "words": ["a"]}, "later": 1}"#);
    let said = desk.trace(&model, &["--prompt", "a big cat", "--out", "own"]);
    assert!(said.contains("`model` has never seen `big`\nhint: it draws 1 thing"), "{said}");
    assert_eq!(desk.plan("own").guidance_scale, 3.0);
    desk.trace(&model, &["--prompt", "a cat", "-g", "4.5", "--out", "typed"]);
    assert_eq!(desk.plan("typed").guidance_scale, 4.5);
    // A LoRA may have taught it the word.
    let lora = root("tests/goldens/lora/kohya.safetensors").display().to_string();
    let said = desk.trace(&model, &["--prompt", "a big cat", "--out", "lora", "--lora", &lora]);
    assert!(!said.contains("never seen"), "{said}");

    // As a single file it says the same; in a sweep its guidance scale counts where none is asked for.
    desk.said(&["convert", &model, "one.safetensors"]);
    let models = ["sweep", "-p", "a cat", "--steps", "1", "--no-grid", "--model"];
    desk.said(&[&models[..], &[&format!("one.safetensors,{}", tiny_sd())]].concat());
    let sweep: serde_json::Value =
        serde_json::from_slice(&std::fs::read(desk.at("sweep/sweep.json")).unwrap()).unwrap();
    let scales: Vec<_> = sweep["cells"].as_array().unwrap().iter().map(|cell| &cell["at"]["guidance_scale"]).collect();
    assert_eq!(scales, [3.0, 7.5]);
    assert_eq!(
        sweep["axes"].as_array().unwrap().len(),
        1,
        "a scale that follows the model is no axis: {}",
        sweep["axes"]
    );

    desk.tiny_that_says(r#"{"guidance_scale": -3}"#);
    let said = desk.refused(&["trace", "-p", "a cat", "--model", "model", "--out", "bad"]);
    assert!(
        said.contains("error: `model/sdviz.json` is not a valid description of a model: `guidance_scale` is -3"),
        "{said}"
    );
}

#[test]
fn of_a_small_model_everything_is_kept_unasked() {
    let desk = Desk::new();
    desk.trace("pocket", &["--prompt", "a cat", "--steps", "3"]);
    let plan = desk.plan("run");
    assert_eq!((plan.guidance_scale, plan.record), (5.0, Quantity::ALL.to_vec()));
    assert_eq!(plan.decode_what, [Quantity::Latents, Quantity::PredictedOriginal]);
    assert!(desk.at("run/steps/001-x0.png").is_file());
    // So every plot is there.
    let plots = desk.printed(&["plot", "run"]);
    assert_eq!(plots.lines().count(), 5, "{plots}");

    let more = ["--prompt", "a cat", "--record", "latents", "--decode", "final", "--out", "less"];
    let said = desk.trace("pocket", &more);
    let plan = desk.plan("less");
    assert_eq!((plan.record, plan.decode_what), (vec![Quantity::Latents], vec![Quantity::Latents]));
    assert!(
        said.contains("next: sdviz latents less, sdviz shapes less; sdviz export less --all makes everything"),
        "{said}"
    );
}

#[test]
fn a_negative_prompt_that_is_not_used_is_told() {
    let desk = Desk::new();
    let said = |more: &[&str]| {
        let base = ["--prompt", "a cat", "--negative-prompt", "a dog", "--force", "-g"];
        desk.trace(&tiny_sd(), &[&base[..], more].concat())
    };
    let warning = "warning: the negative prompt is not used: that takes a guidance scale above 1, and it is 1\n";
    assert!(said(&["1"]).contains(warning));
    assert!(!said(&["2"]).contains("not used"));
    let web = ["--prompt-syntax", "a1111"];
    assert!(said(&[&["1"], &web[..]].concat()).contains(warning));
    let joined = said(&[&["1", "--prompt", "a cat AND a mat"], &web[..]].concat());
    assert!(!joined.contains("not used"), "{joined}");

    let tiny = tiny_sd();
    let sweep = ["sweep", "--model", &tiny, "-p", "a cat", "-n", "a dog", "--steps", "1", "--dry-run", "-g"];
    let said = |scales| desk.said(&[&sweep[..], &[scales]].concat());
    assert!(said("0,1").contains(warning));
    assert!(said("1,4,7").contains(&warning.replace("used:", "used in 1 of 3 cells:")));
    assert!(!said("4,7").contains("not used"));
}

#[test]
fn a_model_that_nobody_typed_is_refused_with_where_its_name_stands() {
    let mut command = command();
    command.args(["tokens", "a cat"]).env("SDVIZ_MODEL", "no-such-folder");
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("folder or file; the environment variable SDVIZ_MODEL names it\n"), "{said}");
    assert!(said.contains("`--model` goes before SDVIZ_MODEL\n"), "{said}");
}

#[test]
fn slips_are_told_with_the_way_out() {
    let desk = Desk::new();
    let cases: [&[&str]; 16] = [
        &["trace", "a red apple"],
        &["sweep", "a red apple"],
        &["trace", "--promt", "a cat"],
        &["trace", "-p", "a cat", "--size", "512"],
        &["trace", "-p", "a cat", "--sampler", "Euler a"],
        &["trace", "-p", "a cat", "--out", "cat.png"],
        &["trace", "-p", "a cat", "-g", "7,5"],
        &["trace", "-p", "a cat", "-g", "-3"],
        &["trace", "-p", "a cat", "--steps", "2.5"],
        &["trace", "-p", "a cat", "--batch-size", "0"],
        &["trace", "-p", "a cat", "--width", "0"],
        &["sweep", "-p", "a cat", "--seed", "-1"],
        &["sweep", "-p", "a cat", "--seed", "3,random"],
        &["shapes"],
        &["plot", "rum"],
        &["trase", "-p", "a cat"],
    ];
    let told: Vec<_> = cases
        .iter()
        .map(|words| {
            let said = desk.refused(words);
            let kept = said.lines().filter(|line| !line.starts_with("model: "));
            format!("$ sdviz {}\n{}", words.join(" "), kept.collect::<Vec<_>>().join("\n"))
        })
        .collect();
    insta::assert_snapshot!("slips", told.join("\n\n"));
    assert!(!desk.at("run").exists());
}
