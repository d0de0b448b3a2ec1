//! Times sdviz's side of `make bench` and prints one JSON object; `scripts/bench.py` sets it beside diffusers.
//!
//! `load`, `text`, `step` and `decode` mean what they mean in `scripts/bench_diffusers.py`; `recorded` is `step` with a
//! recorder that keeps latents and predicted originals, the two loops taken in turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::Parser;
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline, device};
use sdviz::record::plan::{Decode, Plan};
use sdviz::trace::writer::Recorder;
use sdviz::watch::probe::Probe;
use serde_json::json;
use std::time::Instant;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "pocket")]
    model: String,
    #[arg(long, default_value = "f32")]
    dtype: String,
    #[arg(long, default_value_t = 20)]
    steps: usize,
    #[arg(long)]
    width: Option<usize>,
    #[arg(long)]
    height: Option<usize>,
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    #[arg(long, default_value_t = 2)]
    threads: i32,
    /// Run once as a user does and print the peak memory instead
    #[arg(long)]
    memory: bool,
}

fn main() {
    let options = Options::parse();
    sdviz::model::allocator::keep_freed_memory();
    tch::set_num_threads(options.threads);
    let device = tch::Device::Cpu;
    let kind = device::dtype(&options.dtype, device).unwrap();
    let choice = resolve::resolve(Some(&options.model)).unwrap();
    let load = || Pipeline::load(&choice, LoadOptions { device, kind, ..LoadOptions::default() }).unwrap();
    let pipeline = load();
    let native = pipeline.native_size();
    let plan = Plan {
        prompt: "a red apple".into(),
        seed: 1024,
        steps: options.steps,
        width: options.width.unwrap_or(native),
        height: options.height.unwrap_or(native),
        scheduler: "pndm".into(),
        decode: if options.memory { Decode::Final } else { Decode::Nothing },
        ..Plan::default()
    };
    if options.memory {
        pipeline.generate(&plan, &Probe::silent()).unwrap();
        println!("{}", json!({ "peak_resident": status("VmHWM"), "anonymous_at_end": status("RssAnon") }));
        return;
    }

    let latents = pipeline.generate(&plan, &Probe::silent()).unwrap().latents;
    let folder = tempfile::tempdir().unwrap();
    let (mut loads, mut texts, mut steps, mut recorded, mut decodes) = (vec![], vec![], vec![], vec![], vec![]);
    let calls = (pipeline.plan(&plan).unwrap().0.schedule.len() - 1) as f64;
    let text_of =
        |outcome: &sdviz::pipeline::Outcome| outcome.stages.iter().find(|s| s.name == "text").unwrap().seconds;
    for _ in 0..options.repeat {
        let start = Instant::now();
        drop(load());
        loads.push(start.elapsed().as_secs_f64());

        let start = Instant::now();
        let outcome = pipeline.generate(&plan, &Probe::silent()).unwrap();
        let text = text_of(&outcome);
        steps.push((start.elapsed().as_secs_f64() - text) / calls);
        texts.push(text);

        let mut recorder = Recorder::create(folder.path(), &plan).unwrap();
        let start = Instant::now();
        let outcome = pipeline.generate(&plan, &Probe::new(vec![&mut recorder])).unwrap();
        recorded.push((start.elapsed().as_secs_f64() - text_of(&outcome)) / calls);

        let _no_gradients = tch::no_grad_guard();
        let scaled = &latents / pipeline.vae.config().scaling_factor;
        drop(pipeline.vae.decode(&scaled, &Probe::silent()).unwrap());
        let start = Instant::now();
        drop(pipeline.vae.decode(&scaled, &Probe::silent()).unwrap());
        decodes.push(start.elapsed().as_secs_f64());
    }
    println!("{}", json!({ "load": loads, "text": texts, "step": steps, "recorded": recorded, "decode": decodes }));
}

/// A line of /proc/self/status in bytes.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
}
