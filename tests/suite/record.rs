//! What a run directory says is true, whatever happens: two programs in one folder, numbers that are none, refusals of
//! libtorch, signals, readers that go away.
#![cfg(unix)]

use crate::common::{stderr, stdout};
use crate::interpose::{hidden, library, sdviz};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");

fn trace<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let base = ["trace", "--prompt", "a cat", "--scheduler", "ddim", "--model", MODEL, "--out", out.to_str().unwrap()];
    [&base[..], more].concat()
}

/// The words of a run that nobody waits for the end of.
fn long(out: &Path) -> Vec<&str> {
    trace(out, &["--steps", "900", "--decode", "none"])
}

fn status(out: &Path) -> Status {
    Run::open(out).unwrap().record().status
}

/// Waits until the run has recorded a step.
fn wait_for_step(out: &Path, step: usize, child: &mut Child) {
    while !out.join(format!("steps/{step:03}.safetensors")).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before step {step}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The last step on disk.
fn last_step(out: &Path) -> usize {
    *Run::open(out).unwrap().steps().unwrap().last().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn succeeds(words: &[&str], settings: &[(&str, &str)]) {
    let output = sdviz(words, settings).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", stderr(output));
    stderr(output)
}

#[test]
fn a_folder_has_one_writer_and_readers_know_of_it() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let mut first = sdviz(&long(&out), &[]).stderr(Stdio::null()).spawn().unwrap();
    wait_for_step(&out, 2, &mut first);
    assert_eq!(status(&out), Status::Running);
    for more in [&["--steps", "1"][..], &["--steps", "1", "--force"]] {
        let said = refused(&sdviz(&trace(&out, more), &[]).output().unwrap());
        assert!(said.contains("run` is being written by another process"), "{said}");
        assert!(said.contains("hint: name another folder with `--out`, or wait until it is done"), "{said}");
    }
    wait_for_step(&out, last_step(&out) + 1, &mut first);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(status(&out), Status::Killed);
    let said = refused(&sdviz(&trace(&out, &["--steps", "1"]), &[]).output().unwrap());
    assert!(said.contains("is not empty"), "{said}");
    succeeds(&trace(&out, &["--steps", "1", "--force"]), &[]);
    assert_eq!((status(&out), last_step(&out)), (Status::Complete, 1));
    assert_eq!(hidden(&out), [""; 0]);
}

/// Both begin at one time, and neither minds what is there: one of them makes the run, and the other is told while it does.
#[test]
fn two_that_begin_together_do_not_mix() {
    let home = tempfile::tempdir().unwrap();
    for i in 0..3 {
        let out = home.path().join(format!("run{i}"));
        let start = |seed| {
            let words = [&long(&out)[..], &["--force", "--seed", seed]].concat();
            sdviz(&words, &[]).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut both = vec![start("1"), start("2")];
        let told = loop {
            if let Some(ended) = both.iter_mut().position(|child| child.try_wait().unwrap().is_some()) {
                break ended;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let said = refused(&both.remove(told).wait_with_output().unwrap());
        assert!(said.contains("is being written by another process"), "{said}");
        wait_for_step(&out, 3, &mut both[0]);
        signal(&both[0], "-TERM");
        assert_eq!(both[0].wait().unwrap().code(), Some(2));
        let run = Run::open(&out).unwrap();
        assert_eq!((run.record().status, run.record().failure.as_deref()), (Status::Failed, Some("cancelled")));
        assert_eq!(run.record().plan.seed, if told == 0 { 2 } else { 1 });
        let steps = run.steps().unwrap();
        assert!(steps.len() > 3 && steps.iter().enumerate().all(|(i, step)| i == *step), "{steps:?}");
    }
}

/// Where the file system knows no locks, the folder of the steps tells that somebody was first.
#[test]
fn without_locks_the_first_one_stays_alone() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let words = trace(&out, &["--steps", "1"]);
    std::fs::create_dir_all(out.join("steps")).unwrap();
    let said = refused(&sdviz(&words, &[("INTERPOSE_UNLOCKED", "1")]).output().unwrap());
    assert!(said.contains("is being written by another process"), "{said}");
    // With locks the same folder is known to be nobody's.
    succeeds(&words, &[]);
    let unlocked = home.path().join("unlocked");
    succeeds(&trace(&unlocked, &["--steps", "1"]), &[("INTERPOSE_UNLOCKED", "1")]);
    assert_eq!((status(&unlocked), hidden(&unlocked)), (Status::Complete, vec![]));
}

#[test]
fn numbers_that_are_not_finite_are_an_error_and_not_a_record() {
    let home = tempfile::tempdir().unwrap();
    for (scale, site) in [("1e308", "noise_guided"), ("1e38", ""), ("1e36", ""), ("1e30", "")] {
        let out = home.path().join(scale);
        let output = sdviz(&trace(&out, &["--steps", "2", "-g", scale, "--record", "all"]), &[]).output().unwrap();
        let run = Run::open(&out).unwrap();
        for step in run.steps().unwrap() {
            for what in [Quantity::Latents, Quantity::NoiseGuided, Quantity::PredictedOriginal] {
                let tensor = run.tensor(step, what, 0).unwrap();
                assert!(tensor.iter().flatten().all(|v| v.is_finite()), "{scale}: {what} at step {step}");
            }
        }
        if output.status.success() {
            assert!(site.is_empty(), "{scale}: {}", stderr(&output));
            continue;
        }
        let said = refused(&output);
        assert!(said.contains("the first tensor of the run that is not finite"), "{said}");
        assert!(said.contains(site) && said.contains("at step"), "{said}");
        let failure = run.record().failure.clone().unwrap();
        assert!(run.record().status == Status::Failed && said.contains(&failure), "{failure}");
    }
    let out = home.path().join("inf");
    for scale in ["inf", "nan"] {
        let said = refused(&sdviz(&trace(&out, &["-g", scale]), &[]).output().unwrap());
        assert!(said.contains("is not a number from 0 up"), "{said}");
        assert!(!out.exists());
    }
}

#[test]
fn a_refusal_of_libtorch_ends_as_a_failed_run() {
    if library().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let words = trace(&out, &["--steps", "2", "--width", "512", "--height", "512"]);
    let said = refused(&sdviz(&words, &[("INTERPOSE_MEMORY", "3000000")]).output().unwrap());
    assert!(said.contains("error: libtorch: ") && said.contains("you tried to allocate"), "{said}");
    assert!(said.contains("hint: ask for a smaller picture or batch"), "{said}");
    let run = Run::open(&out).unwrap();
    assert_eq!(run.record().status, Status::Failed);
    assert!(run.record().failure.as_ref().unwrap().contains("you tried to allocate"), "{:?}", run.record().failure);
}

#[test]
fn what_nohup_ignores_stays_ignored() {
    let home = tempfile::tempdir().unwrap();
    for (ignored, ends) in [("HUP", "-TERM"), ("HUP INT", "-TERM"), ("", "-HUP")] {
        let out = home.path().join(format!("run{ends}{}", ignored.len()));
        let program = sdviz(&long(&out), &[]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("trap '' {ignored}; exec \"$@\"")).arg("sh").arg(program.get_program());
        let mut child = shell.args(program.get_args()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_step(&out, 1, &mut child);
        for name in ignored.split_whitespace() {
            signal(&child, &format!("-{name}"));
            wait_for_step(&out, last_step(&out) + 3, &mut child);
        }
        signal(&child, ends);
        assert_eq!(child.wait().unwrap().code(), Some(2), "ignoring `{ignored}`");
        let run = Run::open(&out).unwrap();
        assert_eq!((run.record().status, run.record().failure.as_deref()), (Status::Failed, Some("cancelled")));
    }
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("gone");
    let mut child =
        sdviz(&trace(&out, &["--steps", "20"]), &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(status(&out), Status::Complete);

    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let out = home.path().join("full");
    assert!(sdviz(&trace(&out, &["--steps", "2"]), &[]).stderr(full()).stdout(full()).status().unwrap().success());
    assert_eq!(status(&out), Status::Complete);
    // An error, too, is told to nobody, with its own exit code.
    assert_eq!(sdviz(&trace(&out, &["--steps", "0"]), &[]).stderr(full()).status().unwrap().code(), Some(2));
}

#[test]
fn rows_of_numbers_that_are_none_can_be_read() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    succeeds(&trace(&out, &["--steps", "1"]), &[]);
    let log = out.join("shapes.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let rows = text.lines().count();
    let mut first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    first["mean"] = serde_json::Value::Null;
    (first["min"], first["max"]) = ("-Infinity".into(), "NaN".into());
    let others: Vec<&str> = text.lines().skip(1).collect();
    std::fs::write(&log, format!("{first}\n{}\n", others.join("\n"))).unwrap();
    let read = Run::open(&out).unwrap().site_rows().unwrap();
    assert_eq!(read.len(), rows);
    assert!(read[0].mean.is_nan() && read[0].max.is_nan() && read[0].min == f64::NEG_INFINITY);
    let output = sdviz(&["shapes", out.to_str().unwrap(), "--full", "--json"], &[]).output().unwrap();
    assert!(stdout(&output).contains("\"min\":\"-Infinity\""));
}
