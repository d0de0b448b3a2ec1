//! `sdviz eval attention`: pictures are drawn, and maps compared with where their object is.

use crate::common::{self, stderr, stdout, words};
use serde_json::Value;

fn sdviz(line: &str) -> (Option<i32>, String, String) {
    let output = common::sdviz(&words(line));
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn maps_are_measured_against_the_object() {
    let (code, json, _) = sdviz("eval attention --count 2 --steps 6 --json");
    assert_eq!(code, Some(0));
    let found: Value = serde_json::from_str(&json).unwrap();
    let miou = |row: &Value| row["miou"].as_f64().unwrap();
    let rows = found["rows"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["map"] == name).map(miou).unwrap();
    // The whole picture has as much in common with the object as the object takes of it.
    assert!((of("(the whole picture)") - found["area"].as_f64().unwrap()).abs() < 1e-9);
    assert!(rows.iter().map(miou).all(|share| (0.0..1.0).contains(&share)), "{json}");
    assert!(of("shares, f1") > of("(the whole picture)") && of("shares, f1") > of("shares, f4"), "{json}");
    // Both are the mean over the heads of one size, but for f4 the middle block's, and what f16 rounds.
    assert!((of("shares, f1") - of("p2p, f1")).abs() < 0.01, "{json}");
    let windows: Vec<&Value> = rows.iter().filter(|row| row["map"] == "shares, f1").map(|row| &row["steps"]).collect();
    assert_eq!(windows, ["1–6", "1–1", "2–4", "5–6"]);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let said = ["--count 0", "--cut 1.5"].map(|flags| sdviz(&format!("eval attention {flags}")).2);
    assert!(said[0].contains("no pictures are asked for"), "{}", said[0]);
    assert!(
        said[1].contains("cannot cut maps at `1.5`") && said[1].contains("hint: `--cut` goes from 0"),
        "{}",
        said[1]
    );
}
