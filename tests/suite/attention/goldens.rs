//! Probabilities against diffusers': in memory as they are summed, and from the files as they are rounded.

use crate::common::root;
use sdviz::ndarray::{ArrayD, IxDyn};
use sdviz::prelude::*;
use sdviz::record::attention::Layer;
use sdviz::trace::attention_file::MapFile;
use sdviz::trace::attention_log::AttentionLog;
use sdviz::watch::site::Grid;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// As diffusers' numbers are read.
fn array(tensor: &Tensor) -> ArrayD<f32> {
    let shape: Vec<usize> = tensor.size().iter().map(|side| *side as usize).collect();
    let flat = tensor.to_kind(Kind::Float).contiguous().view(-1);
    ArrayD::from_shape_vec(IxDyn(&shape), Vec::try_from(&flat).unwrap()).unwrap()
}

/// The log by itself, whose tensors have not been rounded yet.
#[derive(Default)]
struct Unrounded {
    log: AttentionLog,
    tensors: BTreeMap<String, ArrayD<f32>>,
}

impl Unrounded {
    fn keep(&mut self, file: &MapFile, name: &str) {
        let tensors = file.tensors.iter().map(|(key, tensor)| (format!("{name}/{key}"), array(tensor)));
        self.tensors.extend(tensors);
    }
}

impl Observer for Unrounded {
    fn wants(&self, ask: Ask) -> bool {
        self.log.wants(ask)
    }

    fn wants_branch(&self, branch: Branch) -> bool {
        self.log.wants_branch(branch)
    }

    fn wants_queries(&self, site: &str, step: usize, grid: Grid) -> Option<Vec<i64>> {
        self.log.wants_queries(site, step, grid)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        self.log.on_event(event)?;
        if let Event::Step(step) = event {
            for file in self.log.files(step.index, step.timestep) {
                let own = if file.name.contains("self") { "self/" } else { "" };
                self.keep(&file, &format!("{own}{}", step.index));
            }
        }
        Ok(Flow::Continue)
    }
}

pub struct Golden {
    pub tensors: HashMap<String, ArrayD<f32>>,
    case: Value,
}

impl Golden {
    pub fn of(name: &str) -> Golden {
        let path = root("tests/goldens/attention.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&header.metadata().clone().unwrap()["cases"]).unwrap();
        let case = cases.into_iter().find(|case| case["name"] == name).unwrap();
        let own =
            |(key, tensor): (String, Tensor)| Some((key.strip_prefix(name)?.strip_prefix('/')?.into(), array(&tensor)));
        Golden { tensors: Tensor::read_safetensors(path).unwrap().into_iter().filter_map(own).collect(), case }
    }

    /// Its run, which keeps everything.
    pub fn drawing(&self) -> Drawing {
        let case = &self.case;
        let number = |key: &str| case[key].as_u64().unwrap();
        let side = |i: usize| case["hw"][i].as_u64().unwrap() as usize;
        let query = [0, 1].map(|i| case["query"][i].as_f64().unwrap());
        let sd = Model::load(root("tests/goldens").join(case["model"].as_str().unwrap())).unwrap();
        let drawing = sd.draw(case["prompt"].as_str().unwrap()).negative_prompt(case["negative"].as_str().unwrap());
        drawing
            .seed(number("seed"))
            .steps(number("steps") as usize)
            .guidance_scale(case["guidance"].as_f64().unwrap())
            .scheduler(case["scheduler"].as_str().unwrap())
            .size(side(1), side(0))
            .record(Quantity::Latents)
            .decode(Decode::Nothing)
            .attention(AttentionPlan {
                detail: Some(Detail::HeadsPerStep),
                own: true,
                all_branches: true,
                queries: vec![query],
                ..AttentionPlan::default()
            })
    }
}

/// The largest difference, beside what f16 loses of a number.
fn difference(ours: &ArrayD<f32>, golden: &ArrayD<f32>, rounding: f32) -> f32 {
    assert_eq!(ours.shape(), golden.shape());
    let pairs = ours.iter().zip(golden);
    pairs.map(|(a, b)| (a - b).abs() - rounding * b.abs()).fold(f32::NEG_INFINITY, f32::max)
}

fn of_one<D: sdviz::ndarray::Dimension>(maps: sdviz::ndarray::Array<f32, D>) -> ArrayD<f32> {
    maps.into_dyn().index_axis_move(Axis(0), 0)
}

/// Every golden of probabilities that a case has, against what a run gives for its key; gives how many there were.
fn check(golden: &Golden, layers: &[Layer], given: impl Fn(&[&str]) -> ArrayD<f32>, rounding: f32) -> usize {
    let others = ["daam", "daam-normalised", "latents", "p2p"];
    let mut checked = 0;
    for (key, expected) in &golden.tensors {
        let parts: Vec<&str> = key.split('/').collect();
        if others.contains(&parts[0]) || parts[1].starts_with("a-and-e") {
            continue;
        }
        let (ours, site) = (given(&parts), parts.last().unwrap());
        assert!(site.starts_with('f') || site.ends_with("attn1") || layers.iter().any(|layer| layer.site == **site));
        let away = difference(&ours, expected, rounding);
        assert!(away < 1e-5, "{key}: {away}");
        checked += 1;
    }
    checked
}

/// In f32, as they lie on the device: every layer, every head, self-attention, the mean over the steps.
fn in_memory(name: &str) -> usize {
    let golden = Golden::of(name);
    let mut unrounded = Unrounded::default();
    let run = golden.drawing().watched(&mut unrounded).unwrap();
    let means = unrounded.log.mean_file().unwrap();
    unrounded.keep(&means, "mean");
    let record = run.attention().unwrap().record();
    let latents = run.tensors(run.record().last_step(), Quantity::Latents).unwrap().unwrap();
    assert!(difference(&latents.into_dyn(), &golden.tensors["latents"], 1e-4) < 1e-4, "it is another run");
    let own_site = |site: &str| record.self_layers.iter().position(|layer| layer.site == site);
    let given = |parts: &[&str]| {
        let all = &unrounded.tensors;
        match *parts {
            ["mean", branch, site] => of_one(all[&format!("mean/{branch}/0/{site}")].clone()),
            [step, branch, "heads", site] => of_one(all[&format!("{step}/{branch}/{site}")].clone()),
            [step, branch, "self", size] => of_one(all[&format!("self/{step}/{branch}/{size}")].clone()),
            [step, branch, "query", site] => of_one(all[&format!("self/{step}/{branch}/query/0")].clone())
                .index_axis_move(Axis(0), own_site(site).unwrap()),
            [step, branch, site] => of_one(all[&format!("{step}/{branch}/{site}")].clone()).mean_axis(Axis(0)).unwrap(),
            _ => panic!("{parts:?}"),
        }
    };
    check(&golden, &record.layers, given, 0.0)
}

/// From the files of a folder, through the reader: half an f16's last digit is lost of each number.
fn from_files(name: &str) -> usize {
    let golden = Golden::of(name);
    let folder = tempfile::tempdir().unwrap();
    let run = golden.drawing().out(folder.path().join("run")).run().unwrap();
    let attention = run.attention().unwrap();
    let record = attention.record();
    let layer = |site: &str| record.layers.iter().position(|layer| layer.site == site).unwrap();
    let own_site = |site: &str| record.self_layers.iter().position(|layer| layer.site == site);
    let given = |parts: &[&str]| {
        let told: Prediction = parts[1].parse().unwrap();
        let step = || parts[0].parse().unwrap();
        match *parts {
            ["mean", _, site] => of_one(attention.mean_heads(told, 0, 1).unwrap().unwrap()[layer(site)].maps.clone()),
            [_, _, "heads", site] => {
                of_one(attention.heads(step(), told, &record.layers[layer(site)]).unwrap().unwrap())
            }
            [_, _, "self", size] => of_one(attention.rows(step(), told, size[1..].parse().unwrap()).unwrap().unwrap()),
            [_, _, "query", site] => of_one(attention.query(step(), told, 0).unwrap().unwrap())
                .index_axis_move(Axis(0), own_site(site).unwrap()),
            _ => of_one(attention.layer(step(), told, &record.layers[layer(parts[2])]).unwrap().unwrap()),
        }
    };
    let checked = check(&golden, &record.layers, given, 1.0 / 2048.0);
    sizes_are_means_of_layers(&attention);
    checked
}

/// A size's map is the mean of its layers', and its columns add up to one.
fn sizes_are_means_of_layers(attention: &sdviz::trace::attention::Attention) {
    let record = attention.record();
    for factor in record.factors() {
        let maps = attention.maps(2, Prediction::TEXT, factor).unwrap().unwrap();
        let layers: Vec<_> = record.layers_of(factor).collect();
        let all = layers.iter().map(|layer| attention.layer(2, Prediction::TEXT, layer).unwrap().unwrap());
        let mean = all.reduce(|a, b| a + b).unwrap() / layers.len() as f32;
        assert!(crate::attention::away(&maps, &mean) < 1e-3, "f{factor}");
        let sums = maps.sum_axis(Axis(1));
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 2e-3), "f{factor}: {sums}");
    }
}

#[test]
fn a_square_picture_is_attended_as_in_diffusers() {
    assert_eq!((in_memory("sd1-square"), from_files("sd1-square")), (140, 140));
}

#[test]
fn a_wide_picture_is_attended_as_in_diffusers() {
    assert_eq!(in_memory("sd1-wide"), 116);
}

#[test]
fn sizes_that_do_not_halve_evenly_are_attended_as_in_diffusers() {
    assert_eq!(from_files("sd2-odd"), 78);
}

#[test]
fn a_trained_model_is_attended_as_in_diffusers() {
    assert_eq!((in_memory("pocket"), from_files("pocket")), (10, 10));
}
