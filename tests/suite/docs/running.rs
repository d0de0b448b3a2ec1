//! The commands of README and docs, run: each as it stands there, in a folder where what it names is there.
//!
//! A trace is stopped by `--on-step` after the latents that it begins with, when all that was asked for has been checked
//! against the model and the runs it takes from; a sweep and an ablation are planned (`--dry-run`). Where a command names a
//! folder to write to, another is given. A command is run if it has a combination of flags, or one of a flag's choices, that
//! none before it has. Not run, but parsed as all others are, is what [`parsed_only`] gives a reason for; `-- --nocapture`
//! lists it.

use super::{ROOT, commands, name, pages, words};
use crate::common::{command, stderr, stdout, succeeded};
use clap::Parser;
use sdviz::cli::args::Cli;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

/// What the docs call the run that they read, and other runs.
const RUNS: [&str; 7] = ["run", "apple", "run-a", "before", "large", "masked", "undecoded-run"];
const OTHERS: [&str; 8] = ["run-2", "run-3", "other-run", "third-run", "run-b", "after", "other", "banana"];

fn sdviz(home: &Path, words: &[impl AsRef<str>]) -> Output {
    let words = words.iter().map(AsRef::as_ref);
    command().args(words).current_dir(home).env("HF_HUB_CACHE", home.join("no-cache")).output().unwrap()
}

fn done(home: &Path, line: &str) {
    succeeded(sdviz(home, &shlex::split(line).unwrap()), &line);
}

fn link(home: &Path, to: impl AsRef<Path>, names: &[&str]) {
    names.iter().for_each(|name| std::os::unix::fs::symlink(to.as_ref(), home.join(name)).unwrap());
}

/// A folder with what the docs speak of: runs of few steps, or a long one for commands that name a step of it.
fn home(long: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    ["assets", "tests", "examples"].iter().for_each(|name| link(home, Path::new(ROOT).join(name), &[name]));
    let trace = "trace -q --no-report -p 'a red apple on a blue background' --attention self --sites \
                 unet.up_blocks.1.resnets.1,unet.mid_block";
    if long {
        done(home, &format!("{trace} -s 1 --decode final --out run"));
        link(home, "run", &RUNS[1..]);
        link(home, "run", &["banana"]);
        return folder;
    }
    done(home, &format!("{trace} -s 1 --steps 3 --blocks --attribute --at 1,2 --out run"));
    done(
        home,
        "trace -q --no-report -p 'a red apple on a blue background' -s 2 --steps 3 --sites unet.up_blocks.1.resnets.1 --out run-2",
    );
    done(home, "sweep -q -p 'a red apple' --steps 2,3 -g 1,4 --out sweep");
    link(home, "run", &RUNS[1..]);
    link(home, "run-2", &OTHERS[1..]);
    link(home, "sweep", &["samples"]);
    link(home, "run/final.png", &["picture.png"]);
    // `sdviz preview run --save` makes it, and the next command takes it.
    done(home, "preview run --format gif --save map.json --out made-before");
    folder
}

/// Why a command is not run.
fn parsed_only(words: &[String]) -> Option<&'static str> {
    let has = |flags: &[&str]| words.iter().any(|word| flags.contains(&word.as_str()));
    let named = |text: &str| words.iter().any(|word| word.contains(text));
    let large = |flag: &str| {
        words.iter().skip_while(|w| *w != flag).nth(1).is_some_and(|n| n.parse().is_ok_and(|n: u32| n >= 512))
    };
    match words[0].as_str() {
        "fetch" => Some("downloads"),
        "train" | "eval" | "dataset" => Some("takes minutes, or a data set"),
        "serve" => Some("does not end"),
        "convert" | "merge" => Some("takes models of the reader's"),
        "patch" | "effects" | "invert" | "look" | "features" => Some("draws for many seconds"),
        "spread" | "again" => Some("a plug-in's verb"),
        _ if words.iter().any(|word| word.contains(['$', '…'])) => Some("stands in a loop, or is a part"),
        _ if has(&["cuda"]) => Some("takes a GPU"),
        "attention" if !has(&["--step"]) && !named("shares") && !named("heads") => Some("draws for many seconds"),
        "inspect" if has(&["--time"]) => Some("draws for many seconds"),
        _ if has(&["--submit", "--status"]) => Some("takes a cluster"),
        _ if has(&["--start"]) => Some("goes on from an inversion"),
        _ if has(&["--model", "--vae", "--lora", "--embedding"]) && !named("pocket") => {
            Some("takes a model of the reader's")
        }
        _ if named("training/model") || named("taesd") => Some("takes a model of the reader's"),
        "grid"
            if words.len() > 1 && has(&["before", "after"])
                || words == ["grid", "--max-cols", "9", "--cell-size", "160"] =>
        {
            Some("follows a sweep of minutes")
        }
        "trace" if large("--width") || has(&["--on-step"]) => Some("takes long, or another program"),
        "report" if named("late") => Some("follows a loop"),
        "export" if has(&["--all"]) => Some("its exporters are run one by one"),
        "trace" if words.ends_with(&["run".into(), "--out".into(), "end".into()]) => {
            Some("goes on with a run that was cut short")
        }
        "trace" if named("quick@") => Some("follows a run of its own"),
        "diff" if has(&["ours"]) => Some("follows a trace with a model of the tests', which runs it"),
        _ => None,
    }
}

/// Whether a command names a step that only the long run has, or goes on from one.
fn needs_long(words: &[String]) -> bool {
    let flags = ["--step", "--at", "--branch", "--donor"];
    ["trace", "attention", "attribution", "latents"].contains(&words[0].as_str())
        && !(words[0] == "trace" && words.iter().any(|word| word == "--attribute"))
        && words.iter().any(|word| flags.contains(&word.as_str()))
}

/// What a command tries out: its verb with its flags together, and each choice after a flag by itself. What is drawn, of which
/// seed and to where, is no matter.
fn tried(words: &[String]) -> BTreeSet<String> {
    let verb = &words[0];
    let drawing = ["-p", "--prompt", "-s", "--seed", "-o", "--out", "-g", "--guidance-scale", "-n", "--steps"];
    let flags: BTreeSet<&str> =
        words.iter().map(String::as_str).filter(|w| w.starts_with('-') && !drawing.contains(w)).collect();
    let runs =
        words.iter().skip(1).filter(|word| RUNS.contains(&word.as_str()) || OTHERS.contains(&word.as_str())).count();
    let mut tried = BTreeSet::from([format!("{verb} {flags:?} {}", runs.min(2))]);
    let chosen = ["--what", "--format", "--normalise", "--beside", "--of", "--preview-vae", "--sigmas"];
    for pair in words.windows(2) {
        match pair[0].as_str() {
            "--edit" => tried.extend(pair[1].split([' ', '=']).next().map(|op| format!("{verb} --edit {op}"))),
            flag if chosen.contains(&flag) => {
                tried.extend(pair[1].split(',').map(|value| format!("{verb} {flag} {value}")))
            }
            _ if verb == "export" => tried.extend([pair[1].clone()].map(|exporter| format!("{verb} {exporter}"))),
            _ => {}
        }
    }
    tried
}

/// The command as it is run: what it writes goes to a folder of its own, and a drawing ends where it begins.
fn made_short(words: &[String], number: usize) -> Vec<String> {
    let mut made: Vec<String> = words.to_vec();
    let out = made.iter().position(|word| ["--out", "-o"].contains(&word.as_str()));
    let drawn = ["trace", "sweep", "ablate"].contains(&words[0].as_str());
    match out {
        Some(at) => made[at + 1] = format!("out-{number}"),
        None if drawn => made.extend(["--out".into(), format!("out-{number}")]),
        None => {}
    }
    match words[0].as_str() {
        "trace" => made.extend(["--on-step", "exit 3", "--no-report"].map(String::from)),
        "sweep" | "ablate" if !made.iter().any(|word| word == "--dry-run") => made.push("--dry-run".into()),
        _ => {}
    }
    made
}

/// Why the program has not done what it was asked, if it has not: a trace that was stopped and a comparison that found a
/// difference say 1.
fn failure(words: &[String], code: Option<i32>, said: &str) -> Option<String> {
    let differs = words[0] == "diff" && words.iter().any(|word| word == "--tolerance");
    let done = code == Some(0) || code == Some(1) && (words[0] == "trace" || differs);
    (!done).then(|| format!("{}\n    {}", words.join(" "), said.trim().replace('\n', "\n    ")))
}

/// The commands that are not run, by the reasons.
type Left = BTreeMap<&'static str, Vec<String>>;

/// The commands to run, each with its page, and those that are not, by their reasons.
fn chosen() -> (Vec<(String, Vec<String>)>, Left) {
    let (mut seen, mut left, mut found) = (BTreeSet::<String>::new(), Left::new(), vec![]);
    let own = |path: &Path| name(path) == "README.md" || path.parent() == Some(&Path::new(ROOT).join("docs"));
    for (path, text) in pages().into_iter().filter(|(path, _)| own(path)) {
        for command in commands(&text).0 {
            let Some(words) = words(&command, "sdviz").filter(|words| !words.is_empty()) else { continue };
            let drawn = ["trace", "sweep", "ablate"].contains(&words[0].as_str());
            let by_gallery = (drawn && name(&path) == "docs/gallery.md").then_some("is run by `make gallery`");
            match parsed_only(&words).or(by_gallery) {
                Some(why) => left.entry(why).or_default().push(format!("{}: {command}", name(&path))),
                None => {
                    let tried = tried(&words);
                    if !tried.is_subset(&seen) {
                        found.push((name(&path), words));
                    }
                    seen.extend(tried);
                }
            }
        }
    }
    (found, left)
}

#[test]
fn commands_of_the_docs_do_what_they_say() {
    let (found, left) = chosen();
    for (why, commands) in &left {
        println!("parsed only, {why}:\n    {}", commands.join("\n    "));
    }
    println!("run: {}", found.len());
    assert!(found.len() > 60, "only {} commands were found", found.len());
    let numbered =
        found.iter().enumerate().map(|(number, (page, words))| (page, made_short(words, number), needs_long(words)));
    let numbered: Vec<_> = numbered.collect();
    let of = |long: bool| numbered.iter().filter(move |one| one.2 == long);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = |long: bool| {
            let home = home(long);
            let (drawn, read): (Vec<_>, Vec<_>) = of(long).partition(|(_, words, _)| words[0] == "trace");
            let mut wrong = together(home.path(), &read.iter().map(|one| one.1.clone()).collect::<Vec<_>>());
            for (page, words, _) in drawn {
                let output = sdviz(home.path(), words);
                let said = failure(words, output.status.code(), &stderr(&output));
                wrong.extend(said.map(|said| format!("{page}: {said}")));
            }
            wrong
        };
        let at_work = [false, true].map(|long| scope.spawn(move || work(long)));
        at_work.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file that [`together`] leaves for its process.
const LINES: &str = "commands.json";

/// Runs commands that only read in one process, for a program's start takes longer than most of them: this test's program
/// once more, at [`runs_what_stands_in_a_file`]. Gives what went wrong.
fn together(home: &Path, all: &[Vec<String>]) -> Vec<String> {
    std::fs::write(home.join(LINES), serde_json::to_string(all).unwrap()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "docs::running::runs_what_stands_in_a_file"]).current_dir(home);
    command.env("HF_HUB_CACHE", home.join("no-cache"));
    let output = command.env("DOCS_LINES", home.join(LINES)).output().unwrap();
    if std::env::var_os("DOCS_TIMES").is_some() {
        println!("{}", std::fs::read_to_string(home.join("times")).unwrap_or_default());
    }
    match (output.status.success(), std::fs::read_to_string(home.join("wrong"))) {
        (true, Ok(wrong)) => wrong.split('\0').filter(|line| !line.is_empty()).map(String::from).collect(),
        _ => vec![format!("{}\n{}", stdout(&output), stderr(&output))],
    }
}

#[test]
#[ignore = "the test above starts it, in a folder of its own"]
fn runs_what_stands_in_a_file() {
    let Some(file) = std::env::var_os("DOCS_LINES") else { return };
    let all: Vec<Vec<String>> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let (mut wrong, mut times) = (String::new(), String::new());
    for words in all {
        let begun = Instant::now();
        let (code, said) = match Cli::try_parse_from(["sdviz".to_string()].iter().chain(&words)) {
            Ok(cli) => match sdviz::cli::run(cli) {
                Ok(code) => (Some(i32::from(code != ExitCode::SUCCESS)), String::new()),
                Err(error) => (Some(2), error.to_string()),
            },
            Err(error) => (Some(2), error.to_string()),
        };
        times += &format!("{:5.2} s  {}\n", begun.elapsed().as_secs_f64(), words.join(" "));
        wrong += &failure(&words, code, &said).map_or(String::new(), |said| said + "\0");
    }
    std::fs::write("times", times).unwrap();
    std::fs::write("wrong", wrong).unwrap();
}
