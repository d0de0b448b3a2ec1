//! Reading from folder and memory, on files made by hand.

use crate::synthetic_run::Made;
use half::f16;
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, TensorView};
use sdviz::error::{Error, Result};
use sdviz::record::attention::{
    self, AttendedText, Attending, AttentionRecord, Column, ColumnKind, Detail, Layer, MEAN_HEADS_FILE, Prediction,
};
use sdviz::record::conditions::Phase;
use sdviz::record::schema::RunRecord;
use sdviz::trace::memory::Memory;
use sdviz::trace::reader::Run;
use std::collections::BTreeMap;
use std::path::Path;

/// A run of two pictures of 24×40 pixels, 3×5 latents, with two layers and a text that changes after step 1.
fn record(detail: Detail) -> AttentionRecord {
    let layer = |site: &str, factor| {
        let [h, w] = [3, 5].map(|side| attention::side(side, factor));
        Layer { site: site.into(), factor, heads: 2, h, w }
    };
    let column = |place, kind| Column { place, places: 1, kind, ..Column::default() };
    let text = |columns| AttendedText { text: "a".into(), places: 77, columns };
    let (start, word, end) = (ColumnKind::Start, ColumnKind::Word, ColumnKind::End);
    AttentionRecord {
        detail,
        latents: [3, 5],
        predictions: vec![Attending {
            prediction: Prediction::TEXT,
            schedule: vec![Phase { until: 1, text: 0 }, Phase { until: 4, text: 1 }],
        }],
        texts: vec![
            text(vec![column(0, start), column(1, end)]),
            text(vec![column(0, start), column(1, word), column(2, end)]),
        ],
        layers: vec![layer("unet.a.attn2", 1), layer("unet.b.attn2", 2)],
        self_layers: vec![layer("unet.a.attn1", 1), layer("unet.b.attn1", 2)],
        own: true,
        queries: vec![[0.5, 0.5]],
        ..AttentionRecord::default()
    }
}

/// The bytes of a file of tensors; number i of key k is (k + i) / 64.
fn file(tensors: &[(&str, &[usize], Dtype)]) -> Vec<u8> {
    let bytes = |(k, (_, shape, dtype)): (usize, &(&str, &[usize], Dtype))| -> Vec<u8> {
        let numbers = (0..shape.iter().product()).map(|i| (k + i) as f32 / 64.0);
        match dtype {
            Dtype::F16 => numbers.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
            _ => numbers.flat_map(f32::to_le_bytes).collect(),
        }
    };
    let all: Vec<Vec<u8>> = tensors.iter().enumerate().map(bytes).collect();
    let views = tensors.iter().zip(&all).map(|((name, shape, dtype), bytes)| {
        (name.to_string(), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The files of such a run.
fn files() -> BTreeMap<String, Vec<u8>> {
    let (half, full) = (Dtype::F16, Dtype::F32);
    BTreeMap::from([
        (attention::cross_file(1), file(&[("text/f1", &[2, 2, 3, 5], half), ("text/f2", &[2, 2, 2, 3], half)])),
        (
            attention::cross_file(2),
            file(&[("text/f1", &[2, 3, 3, 5], half), ("text/unet.b.attn2", &[2, 3, 2, 3], half)]),
        ),
        (attention::heads_file(2), file(&[("text/unet.b.attn2", &[2, 2, 3, 2, 3], half)])),
        (attention::self_file(2), file(&[("text/f1", &[2, 15, 15], half), ("text/query/0", &[2, 2, 3, 5], half)])),
        (
            MEAN_HEADS_FILE.to_string(),
            file(&[("text/1/unet.a.attn2", &[2, 2, 3, 3, 5], full), ("text/1/unet.b.attn2", &[2, 2, 3, 2, 3], full)]),
        ),
    ])
}

/// The run in memory and in a folder.
fn both(folder: &Path, detail: Detail) -> [Run; 2] {
    let made = Made { width: 40, height: 24, batch: 2, images: false, ..Made::default() };
    let dir = made.write(folder);
    let mut run: RunRecord = serde_json::from_slice(&std::fs::read(dir.join("run.json")).unwrap()).unwrap();
    run.attention = Some(record(detail));
    std::fs::write(dir.join("run.json"), serde_json::to_vec(&run).unwrap()).unwrap();
    for (name, bytes) in files() {
        std::fs::create_dir_all(dir.join(&name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(&name), bytes).unwrap();
    }
    let (steps, pictures) = (BTreeMap::new(), BTreeMap::new());
    let memory = Memory { record: run, steps, pictures, finished: vec![], files: files(), shapes: vec![] };
    [Run::open(dir).unwrap(), Run::in_memory(memory).unwrap()]
}

fn numbers(array: impl Into<ArrayD<f32>>) -> Vec<f32> {
    array.into().into_iter().collect()
}

/// What [`file`] writes for the `k`th key.
fn written(k: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| (k + i) as f32 / 64.0).collect()
}

fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    format!("{error} / {}", error.hint().unwrap_or_default())
}

#[test]
fn folder_and_memory_give_the_same_maps() {
    let folder = tempfile::tempdir().unwrap();
    for run in both(folder.path(), Detail::Layers) {
        let attention = run.attention().unwrap();
        assert_eq!((attention.steps().unwrap(), attention.self_steps().unwrap()), (vec![1, 2], vec![2]));
        let text = Prediction::TEXT;
        let columns = |step| attention.text(text, step).unwrap().columns.len();
        assert_eq!((columns(1), columns(2)), (2, 3), "the text changes after step 1");
        let maps = attention.maps(1, text, 2).unwrap().unwrap();
        assert_eq!((maps.dim(), numbers(maps.into_dyn())), ((2, 2, 2, 3), written(1, 24)));
        assert_eq!(attention.maps(2, text, 1).unwrap().unwrap().dim(), (2, 3, 3, 5));
        assert_eq!(attention.maps(3, text, 1).unwrap(), None, "a step that was not made");
        let layer = &attention.record().layers[1];
        assert_eq!(numbers(attention.layer(2, text, layer).unwrap().unwrap().into_dyn()), written(1, 36));
        assert_eq!(attention.rows(2, text, 1).unwrap().unwrap().dim(), (2, 15, 15));
        assert_eq!(attention.query(2, text, 0).unwrap().unwrap().dim(), (2, 2, 3, 5));
        let heads = attention.mean_heads(text, 1, 1).unwrap().unwrap();
        assert_eq!((heads.len(), heads[1].layer, heads[1].maps.dim()), (2, 1, (2, 2, 3, 2, 3)));
        assert_eq!(numbers(heads[0].maps.clone().into_dyn()), written(0, 180));
        assert_eq!(attention.mean_heads(text, 0, 1).unwrap(), None);
        assert_eq!(attention.mean_heads(text, 1, 2).unwrap(), None, "there is no second pass");
    }
}

#[test]
fn layers_are_means_of_recorded_heads() {
    let folder = tempfile::tempdir().unwrap();
    let [run, _] = both(folder.path(), Detail::HeadsPerStep);
    let attention = run.attention().unwrap();
    let layer = &attention.record().layers[1];
    let heads = attention.heads(2, Prediction::TEXT, layer).unwrap().unwrap();
    let mean = attention.layer(2, Prediction::TEXT, layer).unwrap().unwrap();
    assert!((mean[[1, 2, 1, 0]] - (heads[[1, 0, 2, 1, 0]] + heads[[1, 1, 2, 1, 0]]) / 2.0).abs() < 1e-6);
}

#[test]
fn what_is_missing_is_told_with_its_flag() {
    let folder = tempfile::tempdir().unwrap();
    let [run, _] = both(folder.path(), Detail::Sizes);
    let attention = run.attention().unwrap();
    let layer = &attention.record().layers[0];
    assert!(said(attention.layer(1, Prediction::TEXT, layer)).ends_with("`sdviz trace … --attention layers`"));
    assert!(said(attention.heads(1, Prediction::TEXT, layer)).ends_with("`sdviz trace … --attention heads-per-step`"));
    assert!(
        said(attention.maps(1, Prediction::Uncond, 1)).contains("no attention of `uncond` recorded, only of `text`")
    );
    assert!(said(attention.maps(1, Prediction::TEXT, 4)).starts_with("unknown size `f4`"));
    assert!(said(attention.query(1, Prediction::TEXT, 1)).contains("--query X,Y"));
    assert!(
        said(attention.maps(2, Prediction::TEXT, 2))
            .contains("002.safetensors` is not a valid safetensors file: it has no `text/f2`")
    );
    let plain = Made::default().write(&folder.path().join("plain"));
    assert!(matches!(Run::open(plain).unwrap().attention(), Err(Error::NotRecorded { .. })));
}

#[test]
fn a_file_of_another_shape_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [run, _] = both(folder.path(), Detail::Sizes);
    let path = run.dir().unwrap().join(attention::cross_file(1));
    std::fs::write(&path, file(&[("text/f1", &[2, 3, 3, 5], Dtype::F16)])).unwrap();
    let attention = run.attention().unwrap();
    let told = said(attention.maps(1, Prediction::TEXT, 1));
    assert!(told.contains("`text/f1` has shape [2, 3, 3, 5], run.json says [2, 2, 3, 5]"), "{told}");
    std::fs::write(&path, &files()[&attention::cross_file(1)][..90]).unwrap();
    assert!(said(attention.maps(1, Prediction::TEXT, 1)).contains("001.safetensors` is not a valid safetensors file"));
}
