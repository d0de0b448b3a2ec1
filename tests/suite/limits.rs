//! Sizes, batches and steps for which no machine has room are refused when they are planned, and nothing is written.

use crate::common::refused;
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::Plan;
use sdviz::watch::probe::Probe;
use std::path::Path;

/// Runs a command that must fail: what it says.
fn complaint(out: &Path, arguments: &[&str]) -> String {
    let out_name = out.to_str().unwrap();
    let said = refused(&[arguments, &["--prompt", "a red apple", "--out", out_name]].concat());
    assert!(!out.join("run.json").exists() && !out.join("cells").exists(), "{arguments:?} began");
    said.lines().filter(|line| !line.starts_with("model: ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_cannot_be_is_refused_when_it_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut said = vec![];
    for arguments in [
        &["trace", "--width", "100000", "--height", "100000"][..],
        &["trace", "--height", "18446744073709551608"],
        &["trace", "--width", "0", "--height", "18446744073709551615"],
        &["trace", "--batch-size", "1000000000"],
        &["trace", "--batch-size", "0"],
        &["trace", "--steps", "0"],
        &["trace", "--steps", "18446744073709551615"],
        &["trace", "--hires", "8", "--width", "8192"],
        &["trace", "--hires", "1e300"],
        &["trace", "--hires", "2", "--hires-steps", "1000000"],
        &["sweep", "--steps", "5,0"],
        &["sweep", "--steps", "5,1000001"],
        &["sweep", "--width", "128,100000"],
        &["sweep", "--batch-seeds", "0"],
    ] {
        said.push(format!("sdviz {}\n{}", arguments.join(" "), complaint(&out, arguments)));
    }
    insta::assert_snapshot!("refused", said.join("\n"));
}

/// The largest pictures that the ceilings leave are beyond any machine's memory when there are thousands of them.
#[test]
fn what_this_machine_has_no_memory_for_is_refused_with_what_it_has() {
    let choice = resolve::resolve(Some("pocket")).unwrap();
    let pipeline = Pipeline::load(&choice, LoadOptions::default()).unwrap();
    let plan = Plan { prompt: "a cat".into(), steps: 1, scheduler: "ddim".into(), ..Plan::default() };
    let refused = |plan: &Plan| {
        let planned = pipeline.plan(plan).map(|(record, _)| record.plan.width);
        // Also where nobody has planned before: before a seed is drawn.
        assert!(pipeline.generate(plan, &Probe::silent()).is_err());
        planned.unwrap_err().to_string()
    };
    let many = Plan { width: 4096, height: 4096, batch_size: 4096, ..plan.clone() };
    let said = refused(&many);
    let begins = "4096 pictures of 4096×4096 at once take at least ";
    assert!(said.starts_with(begins) && said.contains(" TB of memory, and there are "), "{said}");
    assert_eq!(
        refused(&Plan { batch_size: usize::MAX, ..many }),
        format!("a batch of {} pictures is more than 4096", usize::MAX)
    );
}
