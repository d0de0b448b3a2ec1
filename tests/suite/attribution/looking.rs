//! What is drawn and printed of what words cause, from the record alone.

use crate::attribution::{sdviz, trace};
use sdviz::arithmetic::correlation;
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::ndarray::Axis;
use sdviz::prelude::*;
use serde_json::Value;

#[test]
fn maps_and_tables_are_made_of_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let (done, said) = trace(
        folder.path(),
        "-p a~red~cat -W 48 -H 32 --attention --attribute drop,gradient --at 1,3 --batch-size 2 -o run",
    );
    assert!(done && said.contains("attribution: 3 words at steps 1, 3; 7 predictions"), "{said}");
    let (done, printed, said) = sdviz(folder.path(), "attribution run --beside attention --batch 1 --json");
    assert!(done, "{said}");
    let table: Value = serde_json::from_str(&printed).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for name in ["attribution-b1.png", "attribution-b1-table.png", "attribution-b1-gradient.png", "attribution-b1.csv"]
    {
        assert!(folder.path().join("run/exports").join(name).is_file(), "{name}");
    }
    let csv = std::fs::read_to_string(folder.path().join("run/exports/attribution-b1.csv")).unwrap();
    assert!(csv.lines().count() == 7 && csv.lines().nth(1).unwrap().starts_with("\"a\",1,"), "{csv}");

    // The numbers are those of the files.
    let run = Run::open(folder.path().join("run")).unwrap();
    let found = run.attribution(3).unwrap().unwrap();
    let dropped = found.drop.unwrap();
    let row = rows.iter().find(|row| row["word"] == "red" && row["step"] == 3).unwrap();
    let near = |key: &str, expected: f64| {
        let number = row[key].as_f64().unwrap();
        assert!((number - expected).abs() < 1e-5 * expected.abs().max(1e-3), "{key}: {number}, {expected}");
    };
    near("norm", f64::from(dropped.norms[[1, 1]]));
    near("share", f64::from(dropped.norms[[1, 1]] / dropped.whole_norm[1]));
    near("relative", f64::from(dropped.norms[[1, 1]] / dropped.text_norm[1]));
    let tokens = found.gradient.unwrap().tokens;
    // `red` is the second token behind the start.
    near("gradient", f64::from(tokens[[1, 2]] / tokens.index_axis(Axis(0), 1).sum()));
    let recorded = Recorded::open(&run, Prediction::TEXT, 1).unwrap();
    let attended = recorded.map(3, &"red".parse().unwrap(), &How::default()).unwrap().unwrap();
    let map = dropped.maps.index_axis(Axis(0), 1).index_axis_move(Axis(0), 1).to_owned();
    near("correlation", correlation(&map, &attended).unwrap());
    let norm: f32 = map.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((norm / dropped.norms[[1, 1]] - 1.0).abs() < 1e-3);

    // The same as curves over the steps.
    let (done, printed, said) = sdviz(folder.path(), "plot run --what attribution --batch 1 --format json,png --json");
    assert!(done, "{said}");
    let figure: Value = serde_json::from_str(&printed).unwrap();
    let panels = figure["attribution"]["panels"].as_array().unwrap();
    let names: Vec<&str> = panels.iter().map(|panel| panel["y"].as_str().unwrap()).collect();
    assert_eq!(names, ["moved without the word, %", "share of the gradients, %", "alike to its attention"]);
    let text = printed.replace([' ', '\n'], "");
    let share =
        format!("[3.0,{}", (100.0 * f64::from(dropped.norms[[1, 1]]) / f64::from(dropped.whole_norm[1])) as i64);
    assert!(text.contains(&share), "{share}: {text}");

    // Words and steps that were not asked for.
    for (words, expected) in [
        ("attribution run --words dog", "unknown word of the prompt `dog`"),
        ("attribution run --step 2", "it has that of steps 1, 3"),
        ("attribution run --batch 2", "the batch has no picture 2"),
        ("attribution run --beside geometry", "unknown kind of map `geometry`"),
    ] {
        let (done, _, said) = sdviz(folder.path(), words);
        assert!(!done && said.contains(expected), "{words}: {said}");
    }
    // One word at one step, of a run that was cut short.
    std::fs::remove_file(folder.path().join("run/attribution/003.safetensors")).unwrap();
    let (done, printed, said) = sdviz(folder.path(), "attribution run --words cat --over none -o out");
    assert!(done && printed.contains("\ncat") && !printed.contains("\nred"), "{printed} {said}");
}

#[test]
fn a_run_without_it_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(trace(folder.path(), "-p a~cat -W 32 -H 32 -o run").0);
    let (done, _, said) = sdviz(folder.path(), "attribution run");
    assert!(!done && said.contains("--attribute") && said.contains("--at 6,12"), "{said}");
    assert!(trace(folder.path(), "-p a~cat -W 32 -H 32 -o run --force --attribute").0);
    let (done, _, said) = sdviz(folder.path(), "attribution run --beside attention");
    assert!(!done && said.contains("sdviz trace … --attention"), "{said}");
    // Another run in the same folder has nothing of it.
    assert!(trace(folder.path(), "-p a~cat -W 32 -H 32 -o run --force").0);
    assert!(!folder.path().join("run/attribution").exists());
}
