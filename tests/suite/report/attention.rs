//! The attention in a page: bit for bit where there is room, within half a level where there is little, and always said.

use super::{block, data, numbers, page_of};
use crate::synthetic_run::{Made, Numbers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use sdviz::record::attention::{
    self as record, AttendedText, Attending, AttentionRecord, Column, ColumnKind, Layer, MEAN_HEADS_FILE, Prediction,
};
use sdviz::record::conditions::Phase;
use sdviz::record::schema::{RunRecord, Status};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A prompt's columns: start, words, end, padding.
fn text(words: &[&str]) -> AttendedText {
    let text = words.join(" ");
    let column = |place, kind| Column { place, places: 1, kind, ..Column::default() };
    let mut columns = vec![column(0, ColumnKind::Start)];
    let mut from = 0;
    for (at, word) in words.iter().enumerate() {
        let span = Some([from, from + word.len()]);
        from += word.len() + 1;
        columns.push(Column { piece: format!("{word}</w>"), word: Some(at), span, ..column(at + 1, ColumnKind::Word) });
    }
    let end = words.len() + 1;
    columns.extend([column(end, ColumnKind::End), Column { places: 76 - end, ..column(end + 1, ColumnKind::Padding) }]);
    AttendedText { text, places: 77, columns }
}

/// Writes halves or numbers under their names.
fn write(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)], dtype: Dtype) {
    let bytes = |values: &[f32]| -> Vec<u8> {
        match dtype {
            Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    };
    let all: Vec<_> = tensors.iter().map(|(name, shape, values)| (name, shape.clone(), bytes(values))).collect();
    let views = all.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Shares of `columns` at `places`, with blobs that move over the steps and some noise; together 1 at each place.
fn shares(chance: &mut Numbers, columns: usize, [h, w]: [usize; 2], step: usize) -> Vec<f32> {
    let mut maps = vec![0.0f32; columns * h * w];
    for place in 0..h * w {
        let (y, x) = ((place / w) as f32 / h as f32, (place % w) as f32 / w as f32);
        for column in 0..columns {
            let centre = 0.1 + 0.8 * column as f32 / columns as f32;
            let distance = (y - 0.5).hypot(x - centre) * (2.0 + step as f32 / 10.0);
            let padding = if column + 1 == columns { 3.0 } else { 0.0 };
            maps[column * h * w + place] = padding + 0.2 + (-distance * distance).exp() + 0.02 * chance.next().abs();
        }
        let sum: f32 = (0..columns).map(|column| maps[column * h * w + place]).sum();
        (0..columns).for_each(|column| maps[column * h * w + place] /= sum);
    }
    maps
}

/// A run with attention in layers of these sizes, each with so many heads.
fn attended(made: &Made, words: &[&str], sizes: &[(usize, usize)], dir: &Path) -> PathBuf {
    let dir = made.write(dir);
    let latents = [made.height / 8, made.width / 8];
    let layer = |(at, (factor, heads)): (usize, &(usize, usize))| {
        let [h, w] = latents.map(|side| record::side(side, *factor));
        Layer {
            site: format!("unet.down_blocks.{at}.attentions.0.transformer_blocks.0.attn2"),
            factor: *factor,
            heads: *heads,
            h,
            w,
        }
    };
    let kept = AttentionRecord {
        latents,
        predictions: vec![Attending {
            prediction: Prediction::TEXT,
            schedule: vec![Phase { until: made.calls, text: 0 }],
        }],
        texts: vec![text(words)],
        layers: sizes.iter().enumerate().map(layer).collect(),
        ..AttentionRecord::default()
    };
    let columns = kept.texts[0].columns.len();
    let mut chance = Numbers::new(3);
    for step in 1..=made.last {
        let maps = sizes.iter().map(|(factor, _)| {
            let [h, w] = kept.grid(*factor, 1);
            (format!("text/f{factor}"), vec![1, columns, h, w], shares(&mut chance, columns, [h, w], step))
        });
        write(&dir.join(record::cross_file(step)), &maps.collect::<Vec<_>>(), Dtype::F16);
    }
    if made.status == Status::Complete {
        let heads = kept.layers.iter().map(|layer| {
            let values = (0..layer.heads).flat_map(|head| shares(&mut chance, columns, [layer.h, layer.w], head));
            (format!("text/0/{}", layer.site), vec![1, layer.heads, columns, layer.h, layer.w], values.collect())
        });
        let heads: Vec<(String, Vec<usize>, Vec<f32>)> = heads.collect();
        write(&dir.join(MEAN_HEADS_FILE), &heads, Dtype::F32);
    }
    let mut run: RunRecord = serde_json::from_slice(&std::fs::read(dir.join("run.json")).unwrap()).unwrap();
    run.attention = Some(kept);
    std::fs::write(dir.join("run.json"), serde_json::to_vec(&run).unwrap()).unwrap();
    dir
}

/// What a step's file holds, all sizes one after another.
fn recorded(dir: &Path, step: usize, sizes: &[(usize, usize)]) -> Vec<f32> {
    let bytes = std::fs::read(dir.join(record::cross_file(step))).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let of = |(factor, _): &(usize, usize)| file.tensor(&format!("text/f{factor}")).unwrap().data().to_vec();
    let halves: Vec<u8> = sizes.iter().flat_map(of).collect();
    halves.chunks(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
}

/// Maps in 256 levels, as the page reads them: the numbers, and half a level of each.
fn from_levels(text: &str, areas: &[usize]) -> Vec<(f32, f32)> {
    let mut bytes = vec![];
    flate2::read::DeflateDecoder::new(STANDARD.decode(text).unwrap().as_slice()).read_to_end(&mut bytes).unwrap();
    let end = |at: usize| f32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap());
    let mut levels = bytes[8 * areas.len()..].iter();
    let mut all = vec![];
    for (map, area) in areas.iter().enumerate() {
        let (lo, hi) = (end(2 * map), end(2 * map + 1));
        let mut level = 0u8;
        for step in levels.by_ref().take(*area) {
            level = level.wrapping_add(*step);
            all.push((lo + f32::from(level) / 255.0 * (hi - lo), (hi - lo) / 509.0));
        }
    }
    all
}

const SMALL: &[(usize, usize)] = &[(1, 3), (4, 2)];

#[test]
fn attention_comes_back_bit_for_bit_where_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let dir = attended(&Made::default(), &["a", "red", "apple", "a"], SMALL, &home.path().join("run"));
    for limit in [None, Some(10_000_000)] {
        let html = page_of(&[&dir], limit);
        let run = &data(&html)["runs"][0];
        let kept = &run["attention"];
        assert_eq!((&kept["dtype"], &kept["heads"]["dtype"]), (&"f16".into(), &"f32".into()));
        assert_eq!(kept["steps"], serde_json::json!([1, 2, 3, 4]));
        assert_eq!(kept["sizes"], serde_json::json!([{ "factor": 1, "heads": 3 }, { "factor": 4, "heads": 2 }]));
        let words: Vec<&str> =
            kept["texts"][0].as_array().unwrap().iter().map(|w| w["word"].as_str().unwrap()).collect();
        assert_eq!(words, ["<start>", "a", "red", "apple", "<end>", "<padding>"]);
        assert_eq!(kept["texts"][0][1]["columns"], serde_json::json!([1, 4]));
        assert_eq!(numbers(block(&html, "a-0-3").unwrap(), "f16"), recorded(&dir, 3, SMALL));
        let heads = numbers(block(&html, "h-0-1").unwrap(), "f32");
        assert_eq!(heads.len(), 2 * 7 * 4, "heads, columns, places");
        // Who gets how much adds up to one.
        for step in 0..4 {
            let shares = kept["shares"].as_array().unwrap().iter();
            let sum: f64 = shares.map(|share| share["points"][step][1].as_f64().unwrap()).sum();
            assert!((sum - 1.0).abs() < 2e-3, "{sum}");
        }
        assert!(run["reduced"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_killed_run_has_the_steps_that_it_has_and_a_run_without_has_none() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { last: 2, status: Status::Running, ..Made::default() };
    let dir = attended(&made, &["a", "red", "apple"], SMALL, &home.path().join("run"));
    // Its maps are there, its own file is not.
    std::fs::copy(dir.join(record::cross_file(2)), dir.join(record::cross_file(3))).unwrap();
    let kept = &data(&page_of(&[&dir], None))["runs"][0]["attention"];
    assert_eq!((&kept["steps"], &kept["heads"]), (&serde_json::json!([1, 2]), &serde_json::Value::Null));
    let bare = Made::default().write(&home.path().join("bare"));
    assert!(data(&page_of(&[&bare], None))["runs"][0]["attention"].is_null());
}

#[test]
fn fifty_steps_of_twelve_words_at_512_pixels_go_into_ten_megabytes() {
    let home = tempfile::tempdir().unwrap();
    let words = ["an", "old", "man", "with", "red", "hat", "reads", "under", "tall", "green", "apple", "tree"];
    // As Stable Diffusion has it: 64, 32, 16 and 8 places to a side.
    let sizes = [(1, 8), (2, 8), (4, 8), (8, 8)];
    let made = Made { width: 512, height: 512, calls: 50, last: 50, images: false, ..Made::default() };
    let dir = attended(&made, &words, &sizes, &home.path().join("run"));
    let html = page_of(&[&dir], Some(10_000_000));
    assert!(html.len() <= 10_000_000, "{}", html.len());
    let run = &data(&html)["runs"][0];
    let kept = &run["attention"];
    assert_eq!(kept["dtype"], "u8");
    let steps: Vec<usize> = kept["steps"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap() as usize).collect();
    assert!(steps.len() >= 25 && steps.contains(&50), "{steps:?}");
    let reduced = run["reduced"].to_string();
    assert!(reduced.contains(r#""kind":"levels","of":["attention"]"#), "{reduced}");
    let columns = words.len() + 3;
    let areas: Vec<usize> = sizes.iter().flat_map(|(factor, _)| vec![(64 / factor) * (64 / factor); columns]).collect();
    let back = from_levels(block(&html, "a-0-50").unwrap(), &areas);
    let theirs = recorded(&dir, 50, &sizes);
    assert_eq!(back.len(), theirs.len());
    assert!(back.iter().zip(&theirs).all(|((value, half), own)| (value - own).abs() <= *half));
}

#[test]
fn with_little_room_there_are_fewer_steps_and_then_none_and_who_gets_how_much_stays() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { width: 256, height: 256, calls: 8, last: 8, images: false, ..Made::default() };
    let dir = attended(&made, &["a", "red", "apple"], &[(1, 2)], &home.path().join("run"));
    let whole = page_of(&[&dir], Some(10_000_000));
    let maps: u64 = (1..=8).map(|step| block(&whole, &format!("a-0-{step}")).unwrap().len() as u64 + 80).sum();
    let spent = |what: &str| data(&whole)["budget"][what].as_u64().unwrap();
    let fixed = whole.len() as u64 - spent("attention") - spent("tensors") - spent("pictures") + 8192;
    let (mut forms, mut kept) = (vec![], vec![]);
    // The maps have two fifths of the room: a tenth more than they take in full, then less and less.
    for percent in [110, 70, 40, 25, 5] {
        let html = page_of(&[&dir], Some(fixed + maps * percent / 100 * 5 / 2));
        let run = &data(&html)["runs"][0];
        forms.push(run["attention"]["dtype"].as_str().unwrap().to_string());
        kept.push(run["attention"]["steps"].as_array().unwrap().len());
        assert_eq!(run["attention"]["shares"][0]["points"].as_array().unwrap().len(), 8);
        assert_eq!(block(&html, "a-0-8").is_some(), kept.last() != Some(&0));
        let said = run["reduced"].to_string().contains(r#""of":["attention"]"#);
        assert_eq!(said, forms.last().unwrap() != "f16" || kept.last() != Some(&8));
    }
    assert_eq!((forms[0].as_str(), kept[0]), ("f16", 8));
    assert_eq!((forms[1].as_str(), kept[1]), ("u8", 8));
    assert!(kept.windows(2).all(|pair| pair[0] >= pair[1]) && kept[2] < 8 && kept[2] > 0, "{forms:?} {kept:?}");
    assert_eq!(kept[4], 0);
}
