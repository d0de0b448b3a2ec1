//! A run that diffusers' own pipeline made, recorded by `python/sdviz_trace.py` (`tests/goldens/make_python_run.py`): every
//! verb that reads runs opens it, and it is the run that sdviz makes of the same settings.

use crate::common::{copy, root, sdviz_in, stderr, stdout};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::{SiteRow, Status};
use sdviz::trace::reader::Run;
use std::collections::HashMap;

/// A folder with the run that Python made, and one that sdviz makes of its settings.
fn both() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&root("tests/goldens/python_run"), &folder.path().join("python"));
    let model = root("tests/goldens/tiny-sd");
    let words =
        ["trace", "--prompt", "a lovely cat", "-n", "Sunshine", "--steps", "4", "-g", "3", "--scheduler", "ddim"];
    let more = ["--seed", "7", "-H", "64", "-W", "96", "--out", "ours", "--model", model.to_str().unwrap()];
    let made = sdviz_in(folder.path(), &[&words[..], &more[..]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    folder
}

#[test]
fn diffusers_and_sdviz_make_the_same_run() {
    let folder = both();
    let diff = sdviz_in(folder.path(), &["diff", "python", "ours", "--tolerance", "1e-4"]);
    let said = stdout(&diff);
    assert_eq!(diff.status.code(), Some(0), "{said}");
    assert!(!said.contains("plan."), "the plans differ: {said}");
    let [python, ours] = ["python", "ours"].map(|run| Run::open(folder.path().join(run)).unwrap());
    assert_eq!(python.record().status, Status::Complete);
    // Every tensor of every step is there to be compared.
    for step in 0..=4 {
        for what in Quantity::ALL {
            let kept = python.tensors(step, what).unwrap().is_some();
            assert_eq!(kept, step > 0 || what == Quantity::Latents, "{step} {what}");
        }
    }
    assert_eq!(python.pictured_steps(Quantity::Latents, 0).unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(python.pictured_steps(Quantity::PredictedOriginal, 0).unwrap(), [1, 2, 3, 4]);
    let (a, b) = (python.record(), ours.record());
    assert_eq!(a.tokens, b.tokens);
    assert_eq!(a.schedule.len(), b.schedule.len());
    for (one, other) in a.schedule.iter().zip(&b.schedule) {
        assert_eq!(one.timestep, other.timestep);
        assert!((one.sigma - other.sigma).abs() <= 1e-6 * other.sigma.max(1e-3), "{one:?} {other:?}");
        assert!((one.alpha_cumprod - other.alpha_cumprod).abs() <= 1e-6, "{one:?} {other:?}");
        assert_eq!(one.latent_scale, other.latent_scale);
    }
}

/// The recorder's shape log has the tensors between prompt and picture under our names, with our symbols and numbers.
#[test]
fn the_shape_log_is_ours() {
    let folder = both();
    let rows = |run: &str| Run::open(folder.path().join(run)).unwrap().site_rows().unwrap();
    let ours: HashMap<String, SiteRow> = rows("ours").into_iter().map(|row| (row.name.clone(), row)).collect();
    let theirs = rows("python");
    assert!(theirs.len() > 80, "{}", theirs.len());
    for row in &theirs {
        let own = ours.get(&row.name).unwrap_or_else(|| panic!("sdviz has no `{}`", row.name));
        assert_eq!(
            (&row.symbolic, &row.shape, &row.dtype, row.brief),
            (&own.symbolic, &own.shape, &own.dtype, own.brief)
        );
        let scale = own.max.abs().max(own.min.abs());
        for (a, b) in [(row.min, own.min), (row.max, own.max), (row.mean, own.mean), (row.std, own.std)] {
            assert!((a - b).abs() <= 1e-4 * scale, "{}: {a} and {b}", row.name);
        }
    }
    let order = |rows: &[SiteRow]| -> Vec<String> {
        let mut rows: Vec<&SiteRow> = rows.iter().collect();
        rows.sort_by_key(|row| row.order);
        rows.iter().map(|row| row.name.clone()).filter(|name| theirs.iter().any(|row| row.name == *name)).collect()
    };
    assert_eq!(order(&theirs), order(&rows("ours")));
    assert_eq!(theirs[0].name, "text_embeddings");
}

#[test]
fn every_verb_that_reads_runs_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    copy(&root("tests/goldens/python_run"), &folder.path().join("run"));
    for (verb, says) in [
        (&["shapes", "run"][..], "noise_guided"),
        (&["latents", "run"], "run/exports"),
        (&["plot", "run"], "run/exports"),
        (&["filmstrip", "run"], "filmstrip"),
        (&["frames", "run"], "run"),
        (&["video", "run", "--format", "gif"], "gif"),
        (&["preview", "run"], "run"),
        (&["report", "run"], "index.html"),
        (&["metadata", "run/final.png"], "a lovely cat"),
        (&["metadata", "run/steps/003-x0.png"], "Sunshine"),
    ] {
        let output = sdviz_in(folder.path(), verb);
        let (out, said) = (stdout(&output), stderr(&output));
        assert!(output.status.success(), "{verb:?}: {said}");
        assert!(out.contains(says) || said.contains(says), "{verb:?}: {out}{said}");
        assert!(!said.contains("warning"), "{verb:?}: {said}");
    }
    assert!(folder.path().join("run/index.html").metadata().unwrap().len() > 10_000);
}
