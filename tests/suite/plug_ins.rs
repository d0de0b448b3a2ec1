//! What is added from outside: verbs on the PATH, a command on each step, an observer in Rust; and the examples in
//! `docs/plug-ins.md`.
#![cfg(unix)]

#[allow(dead_code)]
#[path = "../../examples/my_editor.rs"]
mod my_editor;
#[allow(dead_code)]
#[path = "../../examples/my_observer.rs"]
mod my_observer;

use crate::common::{command, stderr, stdout};
use sdviz::draw::model::Model;
use sdviz::record::plan::{Decode, Plan};
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder to work in, with a folder of programs that stands first on the PATH.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        Place(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn program(&self, name: &str, text: &str, mode: u32) {
        let path = self.at("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = command();
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("SDVIZ_RUN", "stale");
        command.current_dir(self.0.path()).args(words);
        command
    }

    fn sdviz(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The words of a trace of the tiny model into `run`, of 3 DDIM steps.
    fn trace<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");
        let base = ["trace", "--prompt", "a lovely cat", "--steps", "3", "--scheduler", "ddim", "--model", tiny];
        [&base, more].concat()
    }

    fn traced(&self, more: &[&str]) -> Output {
        let output = self.sdviz(&self.trace(more));
        assert!(output.status.success(), "{}", stderr(&output));
        output
    }

    fn run(&self) -> Run {
        Run::open(self.at("run")).unwrap()
    }
}

/// The fenced examples of the docs in this language.
fn examples(language: &str) -> Vec<String> {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plug-ins.md")).unwrap();
    let fence = format!("```{language}\n");
    docs.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_string()).collect()
}

#[test]
fn a_plug_in_gets_its_arguments_and_the_run_and_gives_the_exit_code() {
    let place = Place::new();
    place.program("sdviz-hello", "#!/bin/sh\nprintf '%s\\n' \"$SDVIZ\" \"$SDVIZ_RUN\" \"$@\"\nexit 7\n", 0o755);
    let hello = |words: &[&str]| {
        let output = place.sdviz(&[&["hello"], words].concat());
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        stdout(&output).lines().map(String::from).collect::<Vec<_>>()
    };
    let own = Path::new(env!("CARGO_BIN_EXE_sdviz")).canonicalize().unwrap().display().to_string();
    assert_eq!(hello(&["--quiet", "two words", "-h"]), [&own, "", "--quiet", "two words", "-h"]);
    for run in ["run", "other"] {
        std::fs::create_dir(place.at(run)).unwrap();
        std::fs::write(place.at(run).join("run.json"), "{}").unwrap();
    }
    assert_eq!(hello(&[])[1], place.at("run").display().to_string());
    assert_eq!(hello(&["other", "run"])[1], place.at("other").display().to_string());
}

#[test]
fn plug_ins_are_listed_and_an_unknown_verb_names_the_nearest_and_the_rule() {
    let place = Place::new();
    let said = |words: &[&str], code: i32| {
        // No plug-ins but these, whoever runs the test.
        let output = place.command(words).env("PATH", place.at("bin")).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        (stdout(&output) + &stderr(&output)).replace(&place.at("").display().to_string(), "FOLDER/")
    };
    let none = said(&["plugins"], 0);
    place.program("sdviz-sparkle", "#!/bin/sh\n", 0o755);
    place.program("sdviz-notes", "no program", 0o644);
    place.program("sdviz-trace", "#!/bin/sh\nexit 9\n", 0o755);
    place.program("sdviz-broken", "#!/nowhere/at/all\n", 0o755);
    let parts = [
        none,
        said(&["plugins"], 0),
        said(&["trac"], 2),
        said(&["sprkle"], 2),
        said(&["notes"], 2),
        said(&["broken"], 2),
        // A built-in verb hides a plug-in.
        said(&["trace"], 2),
    ];
    insta::assert_snapshot!("verbs", parts.join("\n"));
}

#[test]
fn the_plug_ins_of_the_docs_do_what_the_docs_say() {
    let place = Place::new();
    place.program("sdviz-spread", &examples("python")[0], 0o755);
    place.program("sdviz-again", &examples("sh")[0], 0o755);
    place.traced(&[]);
    let output = place.sdviz(&["spread", "run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for (step, line) in stdout(&output).lines().enumerate() {
        let (name, spread) = line.split_once(' ').unwrap();
        let latents = place.run().tensor(step, sdviz::record::plan::Quantity::Latents, 0).unwrap().unwrap();
        assert_eq!(name, format!("{step:03}"));
        assert!((spread.parse::<f32>().unwrap() - latents.std(0.0)).abs() < 1e-4, "{line}: {}", latents.std(0.0));
    }
    assert_eq!(stdout(&output).lines().count(), 4);

    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");
    let output = place.sdviz(&["again", "run", "--model", tiny, "--seed", "7"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (before, after) = (place.run().record().plan.clone(), Run::open(place.at("run-again")).unwrap());
    assert_eq!(after.record().plan, Plan { seed: 7, ..before });
}

#[test]
fn a_command_is_handed_each_step_once_its_files_are_there() {
    let place = Place::new();
    // Copies the step's line, and what is on disk at that moment.
    let command = "cat > line; cat line >> lines; ls run/steps | tr '\\n' ' ' >> seen; echo >> seen; echo talk";
    let output = place.traced(&["--decode-what", "latents,x0", "--batch-size", "2", "--on-step", command]);
    assert_eq!(stdout(&output), "run/final.png\nrun/final-b1.png\n", "standard output is ours alone");
    assert_eq!(stderr(&output).matches("talk\n").count(), 4);

    let read = |name: &str| std::fs::read_to_string(place.at(name)).unwrap();
    let (lines, seen) = (read("lines"), read("seen"));
    assert_eq!(lines.lines().count(), 4);
    for (step, (line, seen)) in lines.lines().zip(seen.lines()).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (run, schedule) = (place.at("run"), place.run().record().schedule.clone());
        let file = |end: &str| run.join(format!("steps/{step:03}{end}")).display().to_string();
        let mut pictures = json!({ "latents": [file(".png"), file("-b1.png")] });
        if step > 0 {
            pictures["predicted_original"] = json!([file("-x0.png"), file("-x0-b1.png")]);
        }
        assert_eq!(
            line,
            json!({
                "step": step, "last": 3, "timestep": step.checked_sub(1).map(|k| schedule[k].timestep),
                "sigma": schedule[step].sigma, "run": run, "tensors": file(".safetensors"), "pictures": pictures,
            })
        );
        for path in pictures.as_object().unwrap().values().flat_map(|list| list.as_array().unwrap()) {
            let name = path.as_str().unwrap().rsplit('/').next().unwrap();
            assert!(seen.split(' ').any(|file| file == name), "{name} in {seen}");
        }
        assert!(seen.contains(&format!("{step:03}.safetensors")) && !seen.contains(&format!("{:03}", step + 1)));
    }
    let record = place.run().record().clone();
    let answers = record.on_step.unwrap();
    assert_eq!((answers.command.as_str(), answers.calls, answers.stopped_at), (command, 4, None));
    assert_eq!((answers.failures.len(), record.status), (0, Status::Complete));
}

#[test]
fn a_command_may_stop_the_run_which_stays_readable() {
    let place = Place::new();
    // The example of the docs, with 1 for 10.
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plug-ins.md")).unwrap();
    let command = "test \"$(cat | sed 's/.*\"step\":\\([0-9]*\\).*/\\1/')\" -lt 2 || exit 3";
    assert!(docs.contains("-lt 10 || exit 3"));
    let output = place.sdviz(&place.trace(&["--on-step", command]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
    let run = place.run();
    let record = run.record();
    assert_eq!(run.steps().unwrap(), [0, 1, 2]);
    assert_eq!((record.status, record.on_step.as_ref().unwrap().stopped_at), (Status::Failed, Some(2)));
    assert_eq!(record.failure.as_deref(), Some("stopped after step 2 of 3, as `--on-step` asked"));
    assert!(stderr(&output).contains(record.failure.as_deref().unwrap()), "{}", stderr(&output));
    assert!(place.sdviz(&["filmstrip", "run"]).status.success());

    // After the last step there is nothing left to stop.
    let last = "grep -q '\"step\":3' && exit 3; exit 0";
    place.traced(&["--force", "--on-step", last]);
    let record = place.run().record().clone();
    assert_eq!((record.status, record.on_step.unwrap().stopped_at), (Status::Complete, None));
}

#[test]
fn a_command_that_fails_is_told_once_and_ends_the_run_only_if_asked() {
    let place = Place::new();
    let output = place.traced(&["--on-step", "exit 7"]);
    assert_eq!(stderr(&output).matches("`--on-step` failed").count(), 1, "{}", stderr(&output));
    let answers = place.run().record().on_step.clone().unwrap();
    let failures: Vec<_> = answers.failures.iter().map(|f| (f.step, f.exit_code, f.message.as_str())).collect();
    assert_eq!(failures, [0, 1, 2, 3].map(|step| (step, Some(7), "exit code 7")));

    let output = place.sdviz(&place.trace(&["--force", "--strict", "--on-step", "kill -9 $$"]));
    assert_eq!(output.status.code(), Some(2));
    let record = place.run().record().clone();
    assert_eq!((record.status, place.run().steps().unwrap()), (Status::Failed, vec![0]));
    assert!(record.failure.unwrap().contains("signal: 9"), "{}", stderr(&output));
    assert_eq!(record.on_step.unwrap().failures[0].exit_code, None);
    insta::assert_snapshot!(
        "strict",
        stderr(&place.sdviz(&place.trace(&["--force", "--strict", "--on-step", "no-such-program 2> /dev/null"])))
            .lines()
            .filter(|line| !line.starts_with("model: "))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn bad_commands_are_refused_before_any_work() {
    let place = Place::new();
    let said = |more: &[&str]| {
        let output = place.sdviz(&place.trace(more));
        assert_eq!(output.status.code(), Some(2));
        assert!(!place.at("run").exists());
        stderr(&output)
    };
    let cases: [&[&str]; 4] = [
        &["--on-step", " "],
        &["--on-step", "true", "--on-step-limit", "0"],
        &["--on-step", "true", "--on-step-limit", "-1"],
        &["--strict"],
    ];
    insta::assert_snapshot!("refused", cases.map(said).join("\n"));
}

#[test]
fn a_command_that_never_answers_or_never_stops_talking_does_not_hang_the_run() {
    let place = Place::new();
    // What the command started is ended with it: it would write the file.
    let hang = "(sleep 1; touch survived) & wait; true";
    place.traced(&["--steps", "1", "--on-step", hang, "--on-step-limit", "0.2"]);
    let answers = place.run().record().on_step.clone().unwrap();
    let message = "ended after 0.2 s without an answer";
    assert!(answers.failures.iter().all(|f| f.message == message && f.exit_code.is_none()), "{answers:?}");
    assert_eq!(answers.failures.len(), 2);

    let loud = "seq 100000; seq 100000 >&2";
    let output = place.traced(&["--force", "--steps", "1", "--on-step", loud]);
    assert_eq!(stderr(&output).lines().filter(|line| *line == "100000").count(), 4);
    assert_eq!(place.run().record().on_step.clone().unwrap().failures.len(), 0);
    assert!(!place.at("survived").exists());
}

#[test]
fn an_interrupt_ends_the_command_and_the_run() {
    let place = Place::new();
    let words = place.trace(&["--on-step", "touch started; sleep 600; true"]);
    let mut child = place.command(&words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(300);
    while !place.at("started").exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < patience, "the command was not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: sends a signal to our own child, which was not waited for yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let record = place.run().record().clone();
    assert_eq!((record.status, record.failure.as_deref()), (Status::Failed, Some("cancelled")));
    assert_eq!((place.run().steps().unwrap(), record.on_step.unwrap().failures.len()), (vec![0], 0));
}

#[test]
fn the_observer_of_the_example_shows_each_step_and_stops_a_settled_run() {
    let sd = Model::load("pocket").unwrap();
    let watched = |settled: f64| {
        let mut observer = my_observer::Histogram::new(settled);
        let asked = sd.draw("a red apple").steps(4).size(32, 32).scheduler("ddim").decode(Decode::Nothing);
        let run = asked.watched(&mut observer).unwrap();
        (observer.lines, run.record().status == Status::Failed)
    };
    let (lines, stopped) = watched(0.0);
    assert_eq!((lines.len(), stopped), (5, false));
    assert!(lines.iter().all(|line| line.contains('█')), "the fullest bin is a whole bar: {lines:?}");
    // The first x0 is that of step 1, so the first change is that of step 2.
    let changed: Vec<bool> = lines.iter().map(|line| line.contains("x0 changed by")).collect();
    assert_eq!(changed, [false, false, true, true, true]);
    let (lines, stopped) = watched(f64::INFINITY);
    assert_eq!((lines.len(), stopped), (3, true));
}

/// Where the text has no say from the first step on, the prompt makes no difference.
#[test]
fn the_editor_of_the_example_makes_the_text_silent() {
    let sd = Model::load("pocket").unwrap();
    let drawn = |prompt: &str, from: usize| {
        let asked = sd.draw(prompt).steps(4).seed(1).decode(Decode::Final);
        asked.edited(&mut my_editor::Silence { from }).unwrap().image().unwrap()
    };
    assert_eq!(drawn("a red apple", 0), drawn("a rocket", 0));
    assert!(drawn("a red apple", 3).difference(&drawn("a rocket", 3)) > 1.0);
}
