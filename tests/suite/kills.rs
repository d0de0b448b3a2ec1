//! Killed at any call that changes a file, or on a disk that is full from there on, the program leaves what is whole and
//! what tells the truth, and the same command goes on from it. In the suite some calls are tried; `make kill` tries every
//! one.
#![cfg(unix)]

use crate::common::stderr;
use crate::interpose::{hidden, library, list, sdviz};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use sdviz::train::log;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");

/// The calls to try of all that a command makes, counted from 1; with KILLS=all every one. Else the last that writes a
/// file of each kind, for then half of it is left, and four spread over all.
fn calls(all: &[(String, String)]) -> BTreeSet<usize> {
    let total = all.len();
    if std::env::var("KILLS").as_deref() == Ok("all") {
        return (1..=total).collect();
    }
    let writes = (1..=total).filter(|call| all[call - 1].0 == "write");
    let last: BTreeMap<String, usize> = writes.map(|call| (kind(&all[call - 1].1), call)).collect();
    last.into_values().chain([1, total / 3, 2 * total / 3, total]).collect()
}

/// What files of one kind have in common: the name without digits, and without what makes it a temporary one.
fn kind(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let whole = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
    let name = whole.map_or(name, |name| name.rsplit_once('.').map_or("", |(name, _)| name));
    name.replace(|c: char| c.is_ascii_digit(), "")
}

/// Carries out a command that is killed at a call. It makes at least the calls that were counted, so it cannot end before.
fn kill(words: &[&str], under: &Path, call: usize) {
    let call = call.to_string();
    let settings = [("INTERPOSE_UNDER", under.to_str().unwrap()), ("INTERPOSE_KILL", &call)];
    let output = sdviz(words, &settings).output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "call {call}: {}", stderr(&output));
}

fn done(words: &[&str]) {
    let output = sdviz(words, &[]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
}

/// A trace of so many steps into a folder.
fn trace<'a>(out: &'a Path, steps: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    // The report is made from the record, after it.
    let base = ["trace", "--prompt", "a lovely cat", "--scheduler", "ddim", "--model", MODEL, "--no-report"];
    [&base[..], &["--steps", steps, "--out", out.to_str().unwrap()], more].concat()
}

/// The files in a folder and in the folders in it, but for hidden ones.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else if !name.starts_with('.') {
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

/// The files without the one that tells the time.
fn timeless(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(folder);
    files.remove("run.json");
    files
}

/// Reads every step that a run says to have: they are in a row from 0 and whole, with their pictures.
fn check_steps(run: &Run) -> usize {
    let steps = run.steps().unwrap();
    assert_eq!(steps, (0..steps.len()).collect::<Vec<_>>(), "a step is missing");
    for step in &steps {
        assert!(run.tensor(*step, Quantity::Latents, 0).unwrap().is_some());
        assert!(run.picture(*step, Quantity::Latents, 0).unwrap().is_some());
    }
    steps.len()
}

#[test]
fn a_trace() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let made = list(&trace(&whole, "3", &[]), &whole);
    let whole = timeless(&whole);
    for call in calls(&made) {
        let out = home.path().join(format!("run{call}"));
        kill(&trace(&out, "3", &[]), &out, call);
        let mut more = vec!["--force"];
        match Run::open(&out) {
            Ok(run) => match run.record().status {
                Status::Killed => drop(check_steps(&run)),
                Status::Complete => {
                    assert_eq!(check_steps(&run), 4, "call {call}");
                    assert!(timeless(&out) == whole, "call {call}");
                }
                other => panic!("call {call}: {other}"),
            },
            // It had not begun: the folder is as good as empty.
            Err(_) => more.clear(),
        }
        done(&trace(&out, "3", &more));
        assert!(timeless(&out) == whole, "call {call}");
        assert_eq!(hidden(&out), [""; 0], "call {call}");
    }
}

#[test]
fn a_trace_in_the_place_of_another() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (old, out) = (home.path().join("old"), home.path().join("run"));
    let copy = || {
        let _ = std::fs::remove_dir_all(&out);
        assert!(std::process::Command::new("cp").arg("-r").args([&old, &out]).status().unwrap().success());
    };
    done(&trace(&old, "6", &[]));
    copy();
    let new = trace(&out, "3", &["--force"]);
    let made = list(&new, &out);
    let (before, whole) = (timeless(&old), timeless(&out));
    for call in calls(&made) {
        copy();
        kill(&new, &out, call);
        let run = Run::open(&out).unwrap();
        let status = run.record().status;
        match (status, run.record().plan.steps) {
            (Status::Complete, 6) => {
                assert!(timeless(&out) == before, "call {call}: an old run with something missing")
            }
            (Status::Complete, _) => assert!(timeless(&out) == whole, "call {call}"),
            (Status::Failed, 6) => {
                assert_eq!(run.record().failure.as_deref(), Some("it was being replaced by another run"));
            }
            (Status::Killed, 3) => assert!(check_steps(&run) <= 4, "call {call}: steps of the old run"),
            other => panic!("call {call}: {other:?}"),
        }
        done(&new);
        assert!(timeless(&out) == whole, "call {call}");
        assert_eq!(hidden(&out), [""; 0], "call {call}");
    }
}

#[test]
fn a_sweep() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let words = |out: &Path| {
        let base = ["sweep", "--prompt", "a lovely cat", "--scheduler", "ddim", "--model", MODEL, "--steps", "1,2"];
        let out = ["--out".to_string(), out.display().to_string()];
        base.map(String::from).into_iter().chain(out).collect::<Vec<_>>()
    };
    let pictures = |out: &Path| {
        let files = files(out);
        files.into_iter().filter(|(name, _)| name.ends_with(".png")).collect::<BTreeMap<_, _>>()
    };
    let whole = home.path().join("whole");
    let all = words(&whole);
    let made = list(&all.iter().map(String::as_str).collect::<Vec<_>>(), &whole);
    let whole = pictures(&whole);
    for call in calls(&made) {
        let out = home.path().join(format!("sweep{call}"));
        let all = words(&out);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        kill(&all, &out, call);
        for entry in std::fs::read_dir(out.join("cells")).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with('.') {
                assert_eq!(Run::open(entry.path()).unwrap().record().status, Status::Complete, "call {call}");
            }
        }
        done(&all);
        assert!(pictures(&out) == whole, "call {call}");
        let left: Vec<String> = hidden(&out.join("cells")).into_iter().filter(|name| name.contains("part")).collect();
        assert_eq!(left, [""; 0], "call {call}");
    }
}

/// A training whose checkpoints and lines of the log come at different steps.
fn course(home: &Path) -> std::path::PathBuf {
    for i in 0..4u8 {
        std::fs::create_dir_all(home.join("data")).unwrap();
        let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([60 * i, 40, 200]));
        picture.save(home.join(format!("data/{i}.png"))).unwrap();
        std::fs::write(home.join(format!("data/{i}.txt")), "a plain page").unwrap();
    }
    let config = include_str!("../../assets/pocket.toml");
    let model = &config[..config.find("[vae]").unwrap()];
    let model = model.replace("sample_size = 128", "sample_size = 32");
    let vae = "[vae]\nsteps = 5\nbatch = 2\ncrop = 16\nwarm_up = 1\nheld_back = 1\nlog_every = 3\n\
               checkpoint_every = 2\nsample_every = 0\n";
    std::fs::write(home.join("course.toml"), model.to_string() + vae).unwrap();
    home.join("course.toml")
}

#[test]
fn a_training() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (config, data) = (course(home.path()), home.path().join("data"));
    let words = |out: &Path, more: &[&str]| -> Vec<String> {
        let paths = [&config, &data, out].map(|path| path.display().to_string());
        let [config, data, out] = paths;
        let base = ["train", "vae", "--config", &config, "--data", &data, "--out", &out];
        base.into_iter().chain(more.iter().copied()).map(String::from).collect()
    };
    fn text(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let learned = |out: &Path| {
        let log = log::read(&out.join("vae")).unwrap();
        let lines: Vec<_> = log.iter().map(|line| (line.step, line.loss, line.more.get("kl").cloned())).collect();
        let mut files = files(out);
        files.remove("vae/log.jsonl");
        (lines, files)
    };
    let whole = home.path().join("whole");
    let made = list(&text(&words(&whole, &[])), &whole);
    let whole = learned(&whole);
    assert_eq!(whole.0.len(), 2);
    for (i, call) in calls(&made).into_iter().enumerate() {
        let out = home.path().join(format!("training{call}"));
        // Every other one in the place of a training that was there.
        let force: &[&str] = if i % 2 == 1 { &["--force"] } else { &[] };
        if !force.is_empty() {
            done(&text(&words(&out, &["--steps", "4"])));
        }
        kill(&text(&words(&out, force)), &out, call);
        done(&text(&words(&out, force)));
        let found = learned(&out);
        assert_eq!(found.0, whole.0, "call {call}");
        assert!(found.1.keys().eq(whole.1.keys()), "call {call}: {:?}", found.1.keys());
        assert!(found.1 == whole.1, "call {call}");
        assert_eq!(hidden(&out.join("vae")), [""; 0], "call {call}");
    }
}

#[test]
fn an_export() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (run, whole) = (home.path().join("run"), home.path().join("whole"));
    done(&trace(&run, "3", &[]));
    let words = |out: &Path| -> Vec<String> {
        let base = ["export", run.to_str().unwrap(), "frames", "filmstrip", "latents", "--out", out.to_str().unwrap()];
        base.map(String::from).to_vec()
    };
    fn text(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let made = list(&text(&words(&whole)), &whole);
    let whole = files(&whole);
    for call in calls(&made) {
        let out = home.path().join(format!("exports{call}"));
        kill(&text(&words(&out)), &out, call);
        for (name, bytes) in files(&out) {
            assert!(whole[&name] == bytes, "call {call}: half a `{name}`");
        }
        done(&text(&words(&out)));
        assert!(files(&out) == whole, "call {call}");
    }
}

/// A disk that is full from some call on: the run says so, and keeps the steps that it made.
#[test]
fn a_full_disk() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let whole = home.path().join("whole");
    let made = list(&trace(&whole, "3", &[]), &whole);
    for call in calls(&made) {
        let out = home.path().join(format!("run{call}"));
        let text = call.to_string();
        let settings = [("INTERPOSE_UNDER", out.to_str().unwrap()), ("INTERPOSE_FULL", text.as_str())];
        let output = sdviz(&trace(&out, "3", &[]), &settings).output().unwrap();
        let said = stderr(&output);
        if output.status.success() {
            assert_eq!(Run::open(&out).unwrap().record().status, Status::Complete, "call {call}: {said}");
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "call {call}: {said}");
        assert!(said.contains("no space left on device") && said.contains("hint: free some disk space"), "{said}");
        if let Ok(run) = Run::open(&out) {
            let record = run.record();
            assert_eq!(record.status, Status::Failed, "call {call}: {said}");
            assert!(record.failure.as_ref().unwrap().contains("no space left on device"), "call {call}: {record:?}");
            check_steps(&run);
        }
        assert_eq!(hidden(&out), [""; 0], "call {call}: {said}");
    }
}
