//! What other programs are given: TensorBoard's event files, read back by a reader of the format's own, and data sets in
//! imagefolder layout. All runs are synthetic.

use crate::common::edit_record;
use crate::synthetic_run::Made;
use sdviz::export::{Outputs, imagefolder, measures, tensorboard};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::Status;
use sdviz::sweep::store::Store;
use sdviz::trace::reader::Run;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A field's value: a number for wire types 0, 1 and 5, bytes for 2.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The fields of a protobuf message by their numbers.
fn fields(mut data: &[u8]) -> BTreeMap<u64, Vec<Field>> {
    fn varint(data: &mut &[u8]) -> u64 {
        let length = data.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = data.split_at(length);
        *data = rest;
        number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
    }
    let mut found: BTreeMap<u64, Vec<Field>> = BTreeMap::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let value = match key & 7 {
            0 => Field::Number(varint(&mut data)),
            wire => {
                let length = match wire {
                    1 => 8,
                    2 => varint(&mut data) as usize,
                    5 => 4,
                    other => panic!("wire type {other}"),
                };
                let (value, rest) = data.split_at(length);
                data = rest;
                match wire {
                    1 => Field::Number(u64::from_le_bytes(value.try_into().unwrap())),
                    5 => Field::Number(u32::from_le_bytes(value.try_into().unwrap()).into()),
                    _ => Field::Bytes(value.into()),
                }
            }
        };
        found.entry(key >> 3).or_default().push(value);
    }
    found
}

fn bytes(message: &BTreeMap<u64, Vec<Field>>, field: u64) -> Vec<u8> {
    match message.get(&field).map(Vec::as_slice) {
        Some([Field::Bytes(bytes)]) => bytes.clone(),
        other => panic!("field {field}: {other:?}"),
    }
}

fn number(message: &BTreeMap<u64, Vec<Field>>, field: u64) -> Option<u64> {
    match message.get(&field)?.as_slice() {
        [Field::Number(number)] => Some(*number),
        other => panic!("field {field}: {other:?}"),
    }
}

/// CRC-32C, a bit at a time.
fn crc32c(data: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !data.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

/// What an event file shows under each tag: its step and the field that holds it, 2, 4 or 8 of `Summary.Value`.
type Tags = BTreeMap<String, Vec<(u64, u64, Field)>>;

/// Reads an event file; every record's sums are right, and the first says the version.
fn events(path: &Path) -> Tags {
    let file = std::fs::read(path).unwrap();
    let (mut rest, mut tags, mut first) = (file.as_slice(), Tags::new(), true);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let data = &rest[12..12 + length];
        for (summed, at) in [(&rest[..8], 8), (data, 12 + length)] {
            let masked = crc32c(summed).rotate_right(15).wrapping_add(0xa282_ead8);
            assert_eq!(u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()), masked);
        }
        rest = &rest[16 + length..];
        let event = fields(data);
        assert_eq!(f64::from_bits(number(&event, 1).unwrap()), 1000.0, "the time is that of the run");
        if std::mem::take(&mut first) {
            assert_eq!(bytes(&event, 3), b"brain.Event:2");
            continue;
        }
        for value in &fields(&bytes(&event, 5))[&1] {
            let Field::Bytes(value) = value else { panic!("{value:?}") };
            let value = fields(value);
            let (kind, plugin, class) = match (value.get(&2), value.get(&4), value.get(&8)) {
                (Some(_), None, None) => (2, "scalars", 1),
                (None, Some(_), None) => (4, "images", 3),
                (None, None, Some(_)) => (8, "text", 2),
                _ => panic!("{value:?}"),
            };
            let about = fields(&bytes(&value, 9));
            assert_eq!(bytes(&fields(&bytes(&about, 1)), 1), plugin.as_bytes());
            assert_eq!(number(&about, 4), Some(class));
            let tag = String::from_utf8(bytes(&value, 1)).unwrap();
            tags.entry(tag).or_default().push((number(&event, 2).unwrap(), kind, value[&kind][0].clone()));
        }
    }
    tags
}

fn scalars(tags: &Tags, tag: &str) -> Vec<(usize, f32)> {
    let all = tags.get(tag).unwrap_or_else(|| panic!("no `{tag}` in {:?}", tags.keys()));
    let point = |(step, kind, value): &(u64, u64, Field)| match (kind, value) {
        (2, Field::Number(bits)) => (*step as usize, f32::from_bits(*bits as u32)),
        other => panic!("{other:?}"),
    };
    all.iter().map(point).collect()
}

/// Step, width, height and file of each picture.
fn pictures(tags: &Tags, tag: &str) -> Vec<(usize, u64, u64, Vec<u8>)> {
    let picture = |(step, _, value): &(u64, u64, Field)| {
        let Field::Bytes(image) = value else { panic!("{value:?}") };
        let image = fields(image);
        assert_eq!(number(&image, 3), Some(3), "not RGB");
        (*step as usize, number(&image, 2).unwrap(), number(&image, 1).unwrap(), bytes(&image, 4))
    };
    tags.get(tag).map(|all| all.iter().map(picture).collect()).unwrap_or_default()
}

fn text(tags: &Tags, tag: &str) -> String {
    let [(0, 8, Field::Bytes(tensor))] = tags[tag].as_slice() else { panic!("{:?}", tags[tag]) };
    String::from_utf8(bytes(&fields(tensor), 8)).unwrap()
}

fn export(run: &Path, make: fn(&Run, &mut Outputs) -> sdviz::error::Result<()>) -> Outputs {
    let run = Run::open(run).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    make(&run, &mut outputs).unwrap();
    outputs
}

#[test]
fn tensorboard_is_given_curves_pictures_and_words() {
    let home = home();
    let made = Made { width: 96, x0: true, scaled: true, ..Made::default() };
    let dir = made.write(&home.path().join("run"));
    std::fs::copy(dir.join("steps/004.png"), dir.join("final.png")).unwrap();
    edit_record(&dir, |record| {
        record["timings"]["started_unix"] = json!(1000);
        record["plan"]["prompt"] = json!("a red | apple\nin Zürich");
        record["plan"]["negative_prompt"] = json!("blurry");
    });
    let outputs = export(&dir, tensorboard::export);
    let file = dir.join("exports/tensorboard/events.out.tfevents.sdviz");
    assert_eq!(outputs.written(), std::slice::from_ref(&file));
    let left_out: Vec<String> = outputs.left_out().iter().filter_map(|error| error.hint()).collect();
    let flags = "`--record noise_uncond,noise_text,noise_guided`";
    assert!(matches!(left_out.as_slice(), [hint] if hint.contains(flags)), "{left_out:?}");
    let tags = events(&file);

    let run = Run::open(&dir).unwrap();
    let narrow = |curve: measures::Curve| curve.into_iter().map(|(k, v)| (k, v as f32)).collect::<Vec<_>>();
    assert_eq!(scalars(&tags, "norm/latents"), narrow(measures::norms(&run, Quantity::Latents, 0).unwrap()));
    let scaled = measures::scaled_latent_norms(&run, 0).unwrap().unwrap();
    assert_eq!(scalars(&tags, "norm/scaled_latents"), narrow(scaled));
    assert_eq!(scalars(&tags, "change/predicted_original"), narrow(measures::change(&run, 0).unwrap()));
    let distance = measures::distance(&run, 0).unwrap();
    assert_eq!(scalars(&tags, "distance/latents"), narrow(distance.latents));
    assert_eq!(scalars(&tags, "distance/predicted_original"), narrow(distance.predicted));
    assert_eq!(scalars(&tags, "distance/picture_latents").len(), 5);
    let levels = &run.record().schedule;
    assert_eq!(scalars(&tags, "schedule/sigma"), levels.iter().map(|l| l.sigma as f32).enumerate().collect::<Vec<_>>());
    assert_eq!(scalars(&tags, "schedule/timestep"), [(0, 961.0), (1, 921.0), (2, 881.0), (3, 841.0)]);

    let recorded = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let shown = pictures(&tags, "picture/latents");
    assert_eq!(shown.len(), 5);
    for (step, (at, width, height, file)) in shown.into_iter().enumerate() {
        assert_eq!((at, width, height), (step, 96, 64));
        assert_eq!(file, recorded(&format!("steps/{step:03}.png")));
    }
    let shown = pictures(&tags, "picture/predicted_original");
    assert_eq!(shown.iter().map(|picture| picture.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(pictures(&tags, "picture/final"), [(4, 96, 64, recorded("final.png"))]);
    assert_eq!(text(&tags, "prompt"), "a red | apple\nin Zürich");
    assert_eq!(text(&tags, "negative_prompt"), "blurry");
    let settings = text(&tags, "settings");
    assert!(settings.contains("| prompt | a red \\| apple in Zürich |\n"), "{settings}");
    assert!(settings.contains("| guidance_scale | 7.5 |\n| num_inference_steps | 4 |\n"), "{settings}");

    let before = std::fs::read(&file).unwrap();
    export(&dir, tensorboard::export);
    assert_eq!(std::fs::read(&file).unwrap(), before, "the same run gives other bytes");
}

#[test]
fn tensorboard_shows_killed_runs_and_each_picture_of_a_batch() {
    let home = home();
    let dir = Made { batch: 2, last: 1, status: Status::Running, ..Made::default() }.write(&home.path().join("run"));
    edit_record(&dir, |record| record["timings"]["started_unix"] = json!(1000));
    export(&dir, tensorboard::export);
    for batch in 0..2 {
        let tags = events(&dir.join(format!("exports/tensorboard/b{batch}/events.out.tfevents.sdviz")));
        let run = Run::open(&dir).unwrap();
        let norms = measures::norms(&run, Quantity::Latents, batch).unwrap();
        let norms: Vec<(usize, f32)> = norms.into_iter().map(|(step, value)| (step, value as f32)).collect();
        assert_eq!(scalars(&tags, "norm/latents"), norms);
        let suffix = ["", "-b1"][batch];
        let file = std::fs::read(dir.join(format!("steps/001{suffix}.png"))).unwrap();
        assert_eq!(pictures(&tags, "picture/latents")[1].3, file);
        assert!(pictures(&tags, "picture/final").is_empty());
        assert!(text(&tags, "settings").contains(&format!("| seed | {batch} |")));
    }
}

/// The rows of a data set's list.
fn rows(folder: &Path) -> Vec<Value> {
    let list = std::fs::read_to_string(folder.join("metadata.jsonl")).unwrap();
    list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_is_a_data_set() {
    let home = home();
    let made = Made { height: 96, batch: 2, x0: true, ..Made::default() };
    let dir = made.write(&home.path().join("run"));
    for (from, to) in [("steps/004.png", "final.png"), ("steps/004-b1.png", "final-b1.png")] {
        std::fs::copy(dir.join(from), dir.join(to)).unwrap();
    }
    edit_record(&dir, |record| {
        record["plan"]["seed"] = json!(7);
        record["plan"]["prompt"] = json!("a \"red\" apple: ripe");
        record["model"]["id"] = json!("/home/somebody/models/mine");
    });
    export(&dir, imagefolder::export);
    let folder = dir.join("exports/imagefolder");
    let rows = rows(&folder);
    let of_batch = |batch: u64| rows.iter().filter(move |row| row["batch_item"] == batch);
    assert_eq!((of_batch(0).count(), of_batch(1).count()), (10, 10));
    let find = |name: &str| rows.iter().find(|row| row["file_name"] == format!("images/{name}")).unwrap();
    let record = Run::open(&dir).unwrap();
    let levels = &record.record().schedule;
    let row = find("002-x0-b1.png");
    // A prediction is made at the level before.
    assert_eq!((&row["timestep"], &row["sigma"]), (&json!(levels[1].timestep), &json!(levels[1].sigma)));
    assert_eq!((&row["kind"], &row["step"], &row["seed"]), (&json!("predicted_original"), &json!(2), &json!(8)));
    assert_eq!((&row["width"], &row["height"]), (&json!(64), &json!(96)));
    assert_eq!((&row["prompt"], &row["model"]), (&json!("a \"red\" apple: ripe"), &json!("mine")));
    let row = find("002.png");
    assert_eq!((&row["timestep"], &row["sigma"]), (&json!(levels[2].timestep), &json!(levels[2].sigma)));
    assert_eq!(find("004.png")["timestep"], Value::Null);
    assert_eq!(find("final.png")["kind"], "final");
    for row in &rows {
        let names = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(row), names(&rows[0]), "rows of different columns");
        let name = row["file_name"].as_str().unwrap().strip_prefix("images/").unwrap();
        let recorded = if name.starts_with("final") { dir.join(name) } else { dir.join("steps").join(name) };
        assert_eq!(std::fs::read(folder.join("images").join(name)).unwrap(), std::fs::read(recorded).unwrap());
    }
    assert_eq!(files(&folder.join("images")).len(), rows.len());
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let head = "---\npretty_name: \"a \\\"red\\\" apple: ripe, step by step\"\ntask_categories:\n- text-to-image\n";
    assert!(readme.starts_with(head), "{readme}");
    assert!(readme.contains("- n<1K\n---\n") && readme.contains("20 pictures"), "{readme}");

    // A shorter run in its place leaves none of the old pictures, and no other file is touched.
    std::fs::write(folder.join("images/mine.png"), "").unwrap();
    for step in 2..=4 {
        for ending in ["", "-b1", "-x0", "-x0-b1"] {
            std::fs::remove_file(dir.join(format!("steps/{step:03}{ending}.png"))).unwrap();
        }
    }
    export(&dir, imagefolder::export);
    let there = files(&folder.join("images"));
    assert_eq!(there.len(), 2 * 4 + 1, "{there:?}");
    assert!(there.contains(&"mine.png".to_string()));
}

#[test]
fn a_run_without_pictures_says_which_flag_it_takes() {
    let home = home();
    let dir = Made { images: false, ..Made::default() }.write(&home.path().join("run"));
    let run = Run::open(&dir).unwrap();
    let mut outputs = Outputs::open(&run, None).unwrap();
    let error = imagefolder::export(&run, &mut outputs).unwrap_err();
    assert!(error.hint().unwrap().contains("--decode every"), "{error}");
}

#[test]
fn a_sweep_is_a_data_set_of_its_finished_pictures() {
    let home = home();
    let dir = home.path().join("sweep");
    let cells: Vec<Value> = [("aa", 7), ("bb", 8), ("cc", 9)]
        .map(|(cell, seed)| json!({"cell": cell, "at": {"seed": seed, "eta": if seed == 7 { json!(0) } else { json!(0.5) }, "replace:red": "green"}}))
        .into();
    let axes = json!([{"name": "seed", "values": [7, 8, 9]}, {"name": "eta", "values": [0, 0.5]},
        {"name": "replace:red", "title": "colour", "values": ["green"]}]);
    for (cell, seed) in [("aa", 7), ("bb", 8)] {
        let run = Made { seed, ..Made::default() }.write(&dir.join("cells").join(cell));
        std::fs::copy(run.join("steps/004.png"), run.join("final.png")).unwrap();
        edit_record(&run, |record| record["plan"]["seed"] = json!(seed));
    }
    let sweep = json!({"schema_version": 1, "axes": axes, "cells": cells});
    std::fs::write(dir.join("sweep.json"), sweep.to_string()).unwrap();
    let (store, record) = Store::open(&dir).unwrap();
    let mut outputs = Outputs::in_folder(&dir.join("exports")).unwrap();
    sdviz::sweep::imagefolder::export(&store, &record, &mut outputs).unwrap();
    assert_eq!(outputs.take_remarks(), ["2 of 3 cells have a finished picture"]);
    let folder = dir.join("exports/imagefolder");
    let rows = rows(&folder);
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("file_name"), ["images/aa.png", "images/bb.png"]);
    assert_eq!(column("seed"), [7, 8]);
    // One type in a column: 0 beside 0.5 is 0.0.
    assert_eq!(column("eta"), [json!(0.0), json!(0.5)]);
    assert_eq!(column("colour"), ["green", "green"]);
    let picture = std::fs::read(folder.join("images/bb.png")).unwrap();
    assert_eq!(picture, std::fs::read(dir.join("cells/bb/final.png")).unwrap());
}
