//! Runs of every kind: the run keeps its bits, the files say what they are, and what cannot be is refused before any work.

use crate::attribution::{asked, away, sdviz, tiny_sd, trace};
use sdviz::prelude::*;
use sdviz::record::attribution::{Asked, Dropping};
use sdviz::trace::attributed::Attribution;
use std::path::Path;

fn read(folder: &Path, run: &str, step: usize) -> Attribution {
    Run::open(folder.join(run)).unwrap().attribution(step).unwrap().unwrap()
}

/// Who finds out what words cause has the very run that he has without, in both passes.
#[test]
fn finding_out_changes_no_bit_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let common = "-p a~red~cat -n dog -W 40 -H 32 --hires 1.6 --hires-strength 0.9 --batch-size 2 --record all";
    let all = "--attribute drop,gradient --at 1,2,3,6";
    for (name, more) in [("plain", String::new()), ("with", format!(" {all}"))] {
        let (done, said) = trace(folder.path(), &format!("{common} -o {name}{more}"));
        assert!(done, "{said}");
    }
    let steps = |name: &str| {
        let mut files: Vec<_> = std::fs::read_dir(folder.path().join(name).join("steps"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let plain = steps("plain");
    assert!(plain.len() > 6 && plain == steps("with"));
    assert!(!folder.path().join("plain/attribution").exists());
    let shapes = |name: &str| std::fs::read(folder.path().join(name).join("shapes.jsonl")).unwrap();
    assert!(shapes("plain") == shapes("with"));
    // The second pass is larger: 64×51.2 pixels, which become multiples of eight.
    let (first, second) = (read(folder.path(), "with", 1), read(folder.path(), "with", 6));
    let dim = |found: &Attribution| found.drop.as_ref().unwrap().maps.dim();
    assert_eq!((dim(&first), dim(&second)), ((2, 3, 4, 5), (2, 3, 6, 8)));
    assert_eq!((first.about.words.join(" "), first.about.step), ("a red cat".into(), 1));
    // Another picture of the batch is another matter.
    let norms = first.drop.unwrap().norms;
    assert!(norms[[0, 1]] > 0.0 && (norms[[0, 1]] - norms[[1, 1]]).abs() > 1e-5 * norms[[0, 1]]);
    assert_eq!(first.gradient.unwrap().tokens.dim(), (2, 77));
}

/// Found out later from the recorded latents it is the same, whether the scheduler scales them or not.
#[test]
fn it_can_be_found_out_later() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_sd().display().to_string();
    for scheduler in ["ddim", "euler"] {
        let run = format!("-p a~red~cat -W 40 -H 32 --scheduler {scheduler}");
        let (done, said) = trace(folder.path(), &format!("{run} -o with-{scheduler} --attribute --at 1,3"));
        assert!(done, "{said}");
        let (done, said) = trace(folder.path(), &format!("{run} -o later-{scheduler}"));
        assert!(done, "{said}");
        let (done, printed, said) =
            sdviz(folder.path(), &format!("attribution later-{scheduler} --at 1,3 --over none"));
        assert!(done, "{said} {model}");
        assert!(printed.contains("red") && printed.contains("step 3"), "{printed}");
        for step in [1, 3] {
            let [with, later] = ["with", "later"].map(|name| read(folder.path(), &format!("{name}-{scheduler}"), step));
            let (a, b) = (with.drop.unwrap(), later.drop.unwrap());
            assert!(away(&a.norms, &b.norms) < 1e-4 && away(&a.maps, &b.maps) < 2e-3, "{scheduler} {step}");
            assert_eq!(with.about, later.about);
        }
    }
    let (done, _, said) = sdviz(folder.path(), "attribution later-ddim --step 2");
    assert!(!done && said.contains("does not have what its words cause in step 2"), "{said}");
    std::fs::remove_file(folder.path().join("later-ddim/steps/001.safetensors")).unwrap();
    let (done, _, said) = sdviz(folder.path(), "attribution later-ddim --at 2");
    assert!(!done && said.contains("has no step 1"), "{said}");
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    for (words, expected) in [
        ("-p a~red~cat --attribute drop --words dog", "unknown word of the prompt `dog`"),
        ("-p a~red~cat --attribute drop --at 4", "step 4 makes no prediction"),
        ("-p a~red~cat --attribute drop --at 0", "step 0 makes no prediction"),
        ("-p a~red~cat --attribute sum", "unknown kind of attribution `sum`"),
        ("-p a~red~cat --attribute gradient --drop rows", "`--drop` goes with `--attribute drop`"),
        ("-p a~red~cat --attribute drop --drop them", "unknown way to drop a word `them`"),
        ("-p a~red~cat --attribute drop --drop retokenise --words <padding>", "`<padding>` is no word"),
        ("-p a~red~cat --attribute gradient --area 0.5,0,0.2,1", "`0.5,0,0.2,1` is no part of the picture"),
        ("-p a~red~cat --attribute gradient --dtype bf16", "gradients in bf16"),
        ("-p a~cat~AND~a~dog --prompt-syntax a1111 --attribute", "prompt of several parts"),
        ("-p a~red~cat --attribute --edit zero~unet.mid_block", "the edit `zero unet.mid_block`"),
        ("-p a~red~cat --hires 2 --attribute --at 4", "step 4 makes no prediction"),
    ] {
        let (done, said) = trace(folder.path(), &format!("{words} -W 32 -H 32 --scheduler ddim -o run"));
        assert!(!done && said.contains(expected), "{words}: {said}");
        assert!(!folder.path().join("run").exists(), "{words}");
    }
}

fn record_of(model: &Model, prompt: &str, syntax: &str) -> RunRecord {
    let plan = Plan {
        prompt: prompt.into(),
        prompt_syntax: syntax.parse().unwrap(),
        steps: 4,
        width: 32,
        height: 32,
        scheduler: "ddim".into(),
        ..Plan::default()
    };
    model.plan(&plan).unwrap().0
}

/// Weights, windows and schedules: words are found where they stand, at the steps whose text has them.
#[test]
fn prompts_of_every_kind() {
    let model = Model::load(tiny_sd()).unwrap();
    let sample = Tensor::from_slice(&(0..64).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()).view([1, 4, 4, 4]);
    let found = |prompt: &str, asked: &Asked, step| {
        let record = record_of(&model, prompt, "a1111");
        model.attributor(&record, asked, 1).unwrap().attribute(step, 500.0, &sample).unwrap()
    };
    for dropping in Dropping::ALL {
        let all = asked(Some(dropping), false, &[]);
        // The second window's word, and a word that is heavier than the rest.
        let two = found("a (red:1.4) cat BREAK a blue dog", &all, 1);
        assert_eq!((two.about.words.join(" "), two.about.text.places), ("a red cat blue dog".into(), 154));
        let norms = crate::attribution::numbers(&two.drop.unwrap().norms);
        assert!(norms.iter().all(|norm| *norm > 1e-4), "{norms:?}");
        let words = |step| found("a [cat:dog:0.5] here", &all, step).about.words.join(" ");
        assert_eq!((words(1), words(4)), ("a cat here".into(), "a here dog".into()));
    }
    // Without its tokens a text is the text that was never written so.
    let without = found("a (red:1.4) cat", &asked(Some(Dropping::Retokenise), false, &["red"]), 1);
    let norm = without.drop.unwrap().norms.double_value(&[0, 0]);
    assert!(norm > 0.0);
    // Without guidance too.
    let record = RunRecord {
        plan: Plan { guidance_scale: 1.0, ..record_of(&model, "a cat", "plain").plan },
        ..record_of(&model, "a cat", "plain")
    };
    let all = asked(Some(Dropping::Rows), true, &[]);
    let alone = model.attributor(&record, &all, 1).unwrap().attribute(2, 500.0, &sample).unwrap();
    let (drop, gradient) = (alone.drop.unwrap(), alone.gradient.unwrap());
    let score = gradient.score.double_value(&[0]);
    // There the score is the distance from the empty prompt.
    let whole = drop.whole_norm.double_value(&[0]).powi(2);
    assert!((score - whole).abs() < 1e-4 * whole, "{score} {whole}");
}

/// In batches that memory bounds it is the same as each word by itself.
#[test]
fn batches_of_words_are_all_the_words() {
    let model = Model::load(tiny_sd()).unwrap();
    let words: Vec<String> = ('b'..='z')
        .map(String::from)
        .chain(["one", "two", "three", "four", "five", "six", "seven"].map(String::from))
        .collect();
    let record = record_of(&model, &words.join(" "), "plain");
    // Of 32×32 places there are 32 rows at once, and here are 32 words beside what is not changed and the empty prompt.
    let sample = Tensor::arange(4 * 32 * 32, (Kind::Float, Device::Cpu)).sin().view([1, 4, 32, 32]);
    let found = |words: &[&str]| {
        let asked = Asked { steps: vec![1], ..asked(Some(Dropping::Rows), false, words) };
        let found = model.attributor(&record, &asked, 1).unwrap().attribute(1, 500.0, &sample).unwrap();
        crate::attribution::numbers(&found.drop.unwrap().norms)
    };
    let (all, each) = (found(&[]), found(&["b", "seven"]));
    assert_eq!(all.len(), 32);
    assert!(away(&[all[0], all[31]], &each) < 1e-3 && each[0] > 0.0, "{all:?} {each:?}");
}
