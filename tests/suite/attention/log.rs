//! The log by itself: attention that comes in pieces, and attention that an editor has changed.

use crate::attention::tiny;
use sdviz::prelude::*;
use sdviz::record::attention::{AttendedText, Attending, AttentionRecord, Column, Layer};
use sdviz::record::conditions::Phase;
use sdviz::trace::attention_file::MapFile;
use sdviz::trace::attention_log::AttentionLog;
use sdviz::watch::site::Grid;

/// A run with one layer of 2×3 places and two heads, whose text has five keys: two columns and the sum of three.
fn record(run: &Run) -> RunRecord {
    let layer = |site: &str| Layer { site: site.into(), factor: 1, heads: 2, h: 2, w: 3 };
    let column = |place, places| Column { place, places, ..Column::default() };
    let kept = AttentionRecord {
        detail: Detail::HeadsPerStep,
        latents: [2, 3],
        predictions: vec![Attending { prediction: Prediction::TEXT, schedule: vec![Phase { until: 9, text: 0 }] }],
        texts: vec![AttendedText {
            places: 5,
            columns: vec![column(0, 1), column(1, 1), column(2, 3)],
            ..Default::default()
        }],
        layers: vec![layer("unet.a.attn2")],
        self_layers: vec![layer("unet.a.attn1")],
        own: true,
        queries: vec![[0.99, 0.5]],
        ..AttentionRecord::default()
    };
    RunRecord { attention: Some(kept), hires: None, ..run.record().clone() }
}

/// What the log makes of these probabilities, `[rows, heads, 6, keys]`, shown so many queries at a time.
fn shown(record: &RunRecord, probs: &[(&str, Tensor)], most: i64, steps: usize) -> (Vec<MapFile>, MapFile) {
    let mut log = AttentionLog::default();
    log.on_event(&Event::Begin(record)).unwrap();
    let rows = Rows { branches: vec![Branch::Uncond, Branch::Text(0)], ..Rows::plain(1) };
    let mut last = vec![];
    for step in 1..=steps {
        for (name, probs) in probs {
            for first_query in (0..6).step_by(most as usize) {
                let piece = probs.narrow(2, first_query, most.min(6 - first_query)) * step as f64;
                let grid: Grid = (2, 3);
                let site = Site { name, axes: Axes::Attention(grid), step, rows: &rows, grid: Some(grid), first_query };
                log.on_event(&Event::Tensor(site, &piece)).unwrap();
            }
        }
        last = log.files(step, None);
    }
    (last, log.mean_file().unwrap())
}

fn named<'a>(file: &'a MapFile, key: &str) -> &'a Tensor {
    &file.tensors.iter().find(|(name, _)| name == key).unwrap().1
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.size() == b.size() && a.allclose(b, 1e-6, 1e-7, false)
}

#[test]
fn attention_in_pieces_is_that_in_one() {
    let run = tiny("a").steps(1).run().unwrap();
    let record = record(&run);
    sdviz::tch::manual_seed(5);
    let random = |keys| Tensor::rand([2, 2, 6, keys], (Kind::Float, Device::Cpu)).softmax(-1, Kind::Float);
    let (cross, own) = (random(5), random(6));
    let probs = [("unet.a.attn2.probs", cross.shallow_clone()), ("unet.a.attn1.probs", own.shallow_clone())];
    let (whole, mean) = shown(&record, &probs, 6, 3);
    let (pieces, mean_of_pieces) = shown(&record, &probs, 4, 3);
    assert_eq!(whole.len(), 3);
    for (a, b) in whole.iter().zip(&pieces) {
        assert!(a.name == b.name && a.tensors.iter().all(|(key, tensor)| same(tensor, named(b, key))), "{}", a.name);
    }
    // By hand: the text's rows are the second ones; step 3 was shown three times as much, the mean is twice.
    let text = cross.get(1);
    let columns = Tensor::cat(&[text.narrow(2, 0, 2), text.narrow(2, 2, 3).sum_dim_intlist(2, true, Kind::Float)], 2);
    let heads = columns.transpose(1, 2).reshape([1, 2, 3, 2, 3]);
    assert!(same(named(&whole[1], "text/unet.a.attn2"), &(&heads * 3.0)));
    assert!(same(named(&whole[0], "text/f1"), &(heads.mean_dim([1i64].as_slice(), false, Kind::Float) * 3.0)));
    for mean in [&mean, &mean_of_pieces] {
        assert!(same(named(mean, "text/0/unet.a.attn2"), &(&heads * 2.0)));
    }
    let rows = own.get(1).mean_dim([0i64].as_slice(), true, Kind::Float) * 3.0;
    assert!(same(named(&whole[2], "text/f1"), &rows));
    // x 0.99 and y 0.5 of 2×3 places is the last one.
    assert!(same(named(&whole[2], "text/query/0"), &rows.get(0).get(5).view([1, 1, 2, 3])));
}

/// A model whose layers are others than the record says is a mistake, and told.
#[test]
fn attention_of_another_shape_is_refused() {
    let run = tiny("a").steps(1).run().unwrap();
    let mut log = AttentionLog::default();
    log.on_event(&Event::Begin(&record(&run))).unwrap();
    let rows = Rows { branches: vec![Branch::Text(0)], ..Rows::plain(1) };
    let site =
        |name| Site { name, axes: Axes::Attention((2, 3)), step: 1, rows: &rows, grid: Some((2, 3)), first_query: 0 };
    let four = Tensor::zeros([1, 2, 6, 4], (Kind::Float, Device::Cpu));
    let told = log.on_event(&Event::Tensor(site("unet.a.attn2.probs"), &four)).unwrap_err().to_string();
    assert!(told.contains("`unet.a.attn2.probs` lies on 2×3 places and has 4 keys at step 1"), "{told}");
    assert!(log.on_event(&Event::Tensor(site("unet.b.attn2.probs"), &four)).is_ok(), "a site that nobody asked for");
}

/// What an editor makes of the probabilities is what the picture is made with, and what is kept.
#[test]
fn changed_probabilities_are_kept() {
    struct Even;
    impl Editor for Even {
        fn wants(&self, site: &str, step: usize) -> bool {
            step == 2 && site.ends_with("attn2.probs")
        }

        fn edit(&mut self, _: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some(tensor.full_like(1.0 / 77.0)))
        }
    }
    let run = tiny("a cat").edited(&mut Even).unwrap();
    let attention = run.attention().unwrap();
    let maps = |step| attention.maps(step, Prediction::TEXT, 2).unwrap().unwrap();
    let padding = |maps: &Array4<f32>| maps.index_axis(Axis(1), 4).to_owned();
    let even = padding(&maps(2));
    assert!(even.iter().all(|share| (share - 73.0 / 77.0).abs() < 1e-3), "{even}");
    let other = padding(&maps(1));
    assert!(other.iter().any(|share| (share - 73.0 / 77.0).abs() > 1e-3), "{other}");
}
