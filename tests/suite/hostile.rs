//! Damaged files of every kind that the program reads: whatever is wrong with a file, the program ends by itself, soon,
//! in little memory, with one of its own exit codes, and a refusal names the file.
//!
//! Each case takes a valid file, damages it, and runs a verb that reads it. Case and damage follow from a seed, so a
//! failure can be had again alone: `HOSTILE_SEED=1 HOSTILE_CASES=17 cargo test --test suite hostile::`, which leaves the
//! damaged file in place and prints where. `make hostile` runs 10,000 cases.
//!
//! `shelf` makes the valid files and knows who reads them, `damage` and the files beside it spoil them, `limits` runs
//! the program and watches it.
#![cfg(target_os = "linux")]

mod damage;
mod json;
mod limits;
mod picture;
mod shelf;
mod tensors;

use limits::Outcome;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shelf::{Shelf, TARGETS};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What decides everything in a case.
type Dice = ChaCha8Rng;

/// One of these.
fn pick<'a, T>(dice: &mut Dice, from: &'a [T]) -> &'a T {
    &from[dice.random_range(0..from.len())]
}

fn shelf() -> &'static Shelf {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    SHELF.get_or_init(Shelf::make)
}

/// Does `work` for each of the numbers, on two threads, and collects what it complains of.
fn complaints(numbers: RangeInclusive<usize>, work: impl Fn(usize) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(*numbers.start()), Mutex::new(vec![]));
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > *numbers.end() {
                return;
            }
            if number % 500 == 499 {
                println!("{} of {}", number + 1, numbers.end() + 1);
            }
            if let Some(complaint) = work(number) {
                println!("{complaint}");
                found.lock().unwrap().push(complaint);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    found.into_inner().unwrap()
}

/// What is damaged below is whole before: each verb does its work.
#[test]
fn whole_files_are_read() {
    let mut all: Vec<(&str, &str)> =
        TARGETS.iter().flat_map(|t| t.verbs.iter().map(|verb| (t.subject, *verb))).collect();
    all.sort();
    all.dedup();
    let found = complaints(0..=all.len() - 1, |number| {
        let (subject, verb) = all[number];
        let folder = shelf().lay_out(subject);
        let outcome = limits::run(folder.path(), verb);
        (outcome.code != Some(0)).then(|| format!("{verb}\n{}", outcome.describe()))
    });
    assert!(found.is_empty(), "{} verbs refuse what is whole", found.len());
}

#[test]
fn damaged_files_are_refused_by_name() {
    let seed = std::env::var("HOSTILE_SEED").map_or(1, |text| text.parse().unwrap());
    let cases = std::env::var("HOSTILE_CASES").map_or(0..=299, |text| {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        first.parse().unwrap()..=last.parse().unwrap()
    });
    let keep = cases.start() == cases.end();
    let found = complaints(cases, |number| case(seed, number, keep));
    assert!(found.is_empty(), "{} cases failed", found.len());
}

/// Runs a case; what was wrong, if something was.
fn case(seed: u64, number: usize, keep: bool) -> Option<String> {
    let mut dice = Dice::seed_from_u64(seed);
    dice.set_stream(number as u64);
    let target = pick(&mut dice, TARGETS);
    let verb = pick(&mut dice, target.verbs);
    let mut folder = shelf().lay_out(target.subject);
    let file = target.path(folder.path());
    let damage = damage::damage(&mut dice, &file, shelf());
    let outcome = limits::run(folder.path(), verb);
    if keep {
        folder.disable_cleanup(true);
        println!("{}: {} ({damage})\n{}", folder.path().display(), verb, outcome.describe());
    }
    let wrong = wrong(&outcome, &file, folder.path())?;
    let again = format!("HOSTILE_SEED={seed} HOSTILE_CASES={number} cargo test --test suite hostile:: damaged");
    Some(format!("== {wrong}\n{again}\n{}: {damage}\n{verb}\n{}", target.file, outcome.describe()))
}

/// What must not be, whatever the file holds.
fn wrong(outcome: &Outcome, file: &Path, folder: &Path) -> Option<String> {
    if let Some(limit) = outcome.over {
        return Some(format!("more than {limit}"));
    }
    if let Some(signal) = outcome.signal {
        return Some(format!("signal {signal}"));
    }
    if outcome.said.contains("panicked at") || outcome.said.contains("RUST_BACKTRACE") {
        return Some("a panic".into());
    }
    match outcome.code {
        Some(0 | 1) => None,
        Some(2) => (!names(&outcome.said, file, folder)).then(|| "the file is not named".into()),
        other => Some(format!("exit code {other:?}")),
    }
}

/// Whether an error names the damaged file, or the folder that it lies in. What is said before it does not count.
fn names(said: &str, file: &Path, folder: &Path) -> bool {
    let said: String = said.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    let parent = file.parent().filter(|parent| *parent != folder);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    // Weights that are too large show only in what is computed with them: then the tensor is named.
    let computed = said.contains("the first tensor of the run that is not finite");
    // A configuration that is valid and another than the checkpoint's: then the checkpoint and the setting are named.
    let another = name(file).ends_with(".toml") && names_setting(&said);
    computed
        || another
        || said.contains(&name(file))
        || parent.is_some_and(|parent| said.contains(&format!("/{}", name(parent))))
}

/// Whether an error names a checkpoint, a setting, and what it is and was: "`…/checkpoint.safetensors` is a checkpoint of
/// another configuration: `training.steps` is 3, it was 2".
fn names_setting(said: &str) -> bool {
    let Some((place, what)) = said.split_once("` is a checkpoint of another configuration: `") else { return false };
    let Some((setting, values)) = what.split_once("` is ") else { return false };
    let known = ["seed", "stage", "training.", "model"].iter().any(|begin| setting.starts_with(begin));
    place.ends_with("/checkpoint.safetensors") && known && values.contains(", it was ")
}

#[test]
fn a_checkpoint_of_another_configuration_counts_only_where_the_setting_is_named() {
    let said = |what: &str| {
        format!("error: `out/t/vae/checkpoint.safetensors` is a checkpoint of another configuration: {what}")
    };
    assert!(names_setting(&said("`training.course.batch` is 4, it was 2")));
    assert!(!names_setting(&said("")) && !names_setting(&said("`tiny.toml` is 4, it was 2")));
    assert!(!names_setting(&said("`seed` is 4")));
}
