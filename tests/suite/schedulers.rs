//! Every scheduler against diffusers: `tests/goldens/make_scheduler_goldens.py` says what was computed and how.

use safetensors::SafeTensors;
use sdviz::scheduler::{Scheduler, SchedulerConfig, SchedulerKind, build};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

const COLUMNS: usize = 10;

#[derive(Deserialize)]
struct Case {
    name: String,
    scheduler: String,
    config: Map<String, Value>,
    #[serde(default)]
    sd1: bool,
    steps: usize,
    #[serde(default)]
    start: usize,
    #[serde(default)]
    eta: f64,
    #[serde(default)]
    dtype: String,
}

/// The cases with their rows of ten numbers, of both files.
fn cases() -> Vec<(Case, SchedulerConfig, Vec<Vec<f64>>)> {
    ["schedulers.safetensors", "more_schedulers.safetensors"].into_iter().flat_map(cases_of).collect()
}

fn cases_of(file: &str) -> Vec<(Case, SchedulerConfig, Vec<Vec<f64>>)> {
    let bytes = std::fs::read(format!("{}/tests/goldens/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    let sd1: Map<String, Value> = serde_json::from_str(&metadata["sd1"]).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&metadata["cases"]).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read = |case: Case| {
        let mut config = if case.sd1 { sd1.clone() } else { Map::new() };
        config.extend(case.config.clone());
        let config = serde_json::from_value(Value::Object(config)).unwrap();
        let data = tensors.tensor(&case.name).unwrap().data();
        let numbers = data.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
        let rows = numbers.collect::<Vec<_>>().chunks(COLUMNS).map(<[f64]>::to_vec).collect();
        (case, config, rows)
    };
    cases.into_iter().map(read).collect()
}

/// A wave of four numbers, as the recipe makes it.
fn wave(scale: f64, frequency: f64, phase: f64) -> Tensor {
    let numbers: Vec<f32> = (0..4).map(|i| (scale * (frequency * f64::from(i) + phase).cos()) as f32).collect();
    Tensor::from_slice(&numbers).reshape([2, 2, 1, 1])
}

fn latents(row: &[f64], kind: Kind) -> Tensor {
    Tensor::from_slice(row).to_kind(kind).reshape([2, 2, 1, 1])
}

fn model(x: &Tensor, t: f64) -> Tensor {
    (x * 1.5).sin() * 0.7 + x * (t / 1000.0 * 0.3)
}

/// The largest difference, relative to the largest number expected.
fn difference(found: &Tensor, expected: &[f64]) -> f64 {
    let found: Vec<f64> = Vec::try_from(found.to_kind(Kind::Double).reshape([-1])).unwrap();
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1e-3, |size: f64, x| size.max(x.abs()));
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(found.iter().all(|x| x.is_finite()));
    largest / size
}

/// Runs a case from its golden start. The largest differences of the latents and of x0 over the calls.
fn replay(case: &Case, scheduler: &mut dyn Scheduler, rows: &[Vec<f64>]) -> (f64, f64) {
    let kind = match case.dtype.as_str() {
        "f16" => Kind::Half,
        "bf16" => Kind::BFloat16,
        _ => Kind::Float,
    };
    let mut sample = latents(&rows[0][2..6], kind);
    let mut worst = (0.0, 0.0);
    for (i, row) in rows[1..].iter().enumerate() {
        let call = case.start + i;
        let input = scheduler.scale_model_input(&sample, call).unwrap();
        let output = model(&input, row[0]);
        let mut drawn = 0;
        let mut noise = || {
            drawn += 1;
            Ok(wave(1.4, 2.3, 0.7 * call as f64))
        };
        let step = scheduler.step(&output, call, &sample, &mut noise).unwrap();
        assert_eq!(drawn, usize::from(scheduler.draws(call)), "{}: draws at call {call}", case.name);
        assert_eq!(step.prev_sample.kind(), kind, "{}", case.name);
        worst.0 = f64::max(worst.0, difference(&step.prev_sample, &row[2..6]));
        worst.1 = f64::max(worst.1, difference(&step.pred_original, &row[6..10]));
        sample = step.prev_sample;
    }
    worst
}

#[test]
fn every_scheduler_computes_what_diffusers_computes() {
    let mut worst: BTreeMap<(String, String), (f64, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let all = cases();
    assert!(all.len() > 1000);
    for (case, config, rows) in &all {
        let kind = SchedulerKind::parse(&case.scheduler).unwrap();
        let mut scheduler = build(kind, config, case.steps, case.eta).unwrap();
        let (prev, clean) = replay(case, scheduler.as_mut(), rows);
        let entry = worst.entry((case.scheduler.clone(), case.dtype.clone())).or_default();
        if prev.max(clean) > entry.0 {
            *entry = (prev.max(clean), case.name.clone());
        }
        // At high noise x0 is a rounded difference divided by 0.07. And on the CPU libtorch rounds the scalar of
        // `scalar * tensor`, which diffusers writes, to the tensor's half precision, but not that of `tensor * scalar`,
        // which stands here; on a GPU it rounds neither.
        let tolerance = match case.dtype.as_str() {
            "f16" => 2e-2,
            "bf16" => 1.6e-1,
            // Differences of integrals that nearly cancel, which diffusers takes in f32.
            _ if case.scheduler == "deis" && case.name.contains("order-3") => 1e-4,
            _ => 1e-5,
        };
        if prev > tolerance || clean > 2.0 * tolerance {
            wrong.push(format!("{}: latents {prev:.1e}, x0 {clean:.1e}", case.name));
        }
    }
    for ((scheduler, dtype), (difference, name)) in &worst {
        println!("{scheduler} {dtype}: {difference:.1e} in {name}");
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn schedules_are_those_of_diffusers() {
    let mut wrong = Vec::new();
    for (case, config, rows) in &cases() {
        let kind = SchedulerKind::parse(&case.scheduler).unwrap();
        let scheduler = build(kind, config, case.steps, case.eta).unwrap();
        let expected: Vec<f64> = rows[1..].iter().map(|row| row[0]).collect();
        let found = &scheduler.timesteps()[case.start..];
        let exact = found == expected;
        // Placed sigmas' timesteps come from logarithms, whose last bit depends on the processor in NumPy, and so do those
        // inside a step, which diffusers computes in f32.
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        let by_logarithms =
            ["karras", "sigmas", "limits"].iter().any(|way| case.name.contains(way)) || scheduler.order() == 2;
        if !(exact || by_logarithms && found.iter().zip(&expected).all(close)) {
            wrong.push(format!("{}: timesteps {found:?}, expected {expected:?}", case.name));
        }
        for (i, row) in rows[1..].iter().enumerate() {
            let level = scheduler.level(case.start + i);
            let preserving = matches!(case.scheduler.as_str(), "pndm" | "ddim" | "ddpm" | "lcm" | "tcd");
            let found = if preserving { level.alpha_cumprod } else { level.sigma };
            // Two units in the last place: libtorch's vectorised square root does not round correctly everywhere.
            // Where the model is asked inside a step there is a logarithm and a power more, and where the last level is made
            // to be noise alone there are roots and squares of all levels: these differ from processor to processor.
            let more = scheduler.order() == 2 || case.name.contains("zero-snr");
            let tolerance = if more { 5e-7 } else { 2.5e-7 };
            if (found - row[1]).abs() > tolerance * row[1] {
                wrong.push(format!("{}: level {found} at call {i}, expected {}", case.name, row[1]));
            }
        }
        let init = (scheduler.init_noise_sigma(), rows[0][0]);
        if (init.0 - init.1).abs() > 2.5e-7 * init.1 {
            wrong.push(format!("{}: init_noise_sigma {}, expected {}", case.name, init.0, init.1));
        }
        let last = scheduler.level(scheduler.timesteps().len()).sigma;
        if rows[0][1] >= 0.0 && (last - rows[0][1]).abs() > 2.5e-7 * rows[0][1] {
            wrong.push(format!("{}: last sigma {last}, expected {}", case.name, rows[0][1]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn noise_is_added_as_diffusers_adds_it() {
    for (case, config, rows) in cases().iter().filter(|(case, ..)| case.start > 0) {
        let kind = SchedulerKind::parse(&case.scheduler).unwrap();
        let scheduler = build(kind, config, case.steps, case.eta).unwrap();
        let dtype = match case.dtype.as_str() {
            "f16" => Kind::Half,
            "bf16" => Kind::BFloat16,
            _ => Kind::Float,
        };
        let (original, noise) = (wave(1.5, 1.7, 0.3).to_kind(dtype), wave(1.2, 2.3, 5.0).to_kind(dtype));
        let noisy = scheduler.add_noise(&original, &noise, case.start).unwrap();
        assert_eq!(noisy.kind(), dtype);
        let difference = difference(&noisy, &rows[0][2..6]);
        assert!(difference <= 3e-7, "{}: {difference:.1e}", case.name);
    }
}

/// The sums that diffusers' own tests publish, over their dummy model and sample.
#[test]
fn published_sums_are_reached() {
    let published = [
        ("ddim", r#"{"clip_sample": true}"#, 172.0067),
        ("ddim", r#"{"clip_sample": true, "prediction_type": "v_prediction"}"#, 52.5302),
        ("ddim", r#"{"clip_sample": true, "set_alpha_to_one": true, "beta_start": 0.01}"#, 149.8295),
        ("ddim", r#"{"clip_sample": true, "set_alpha_to_one": false, "beta_start": 0.01}"#, 149.0784),
        ("pndm", "{}", 198.1318),
        ("pndm", r#"{"prediction_type": "v_prediction"}"#, 67.3986),
        ("pndm", r#"{"set_alpha_to_one": true, "beta_start": 0.01}"#, 230.0399),
        ("pndm", r#"{"set_alpha_to_one": false, "beta_start": 0.01}"#, 186.9482),
        ("euler", r#"{"num_train_timesteps": 1100}"#, 10.0807),
        ("euler", r#"{"num_train_timesteps": 1100, "use_karras_sigmas": true}"#, 124.523),
        ("lms", r#"{"num_train_timesteps": 1100}"#, 1006.388),
        ("heun", r#"{"num_train_timesteps": 1100, "beta_start": 0.0001, "beta_end": 0.02}"#, 0.1233),
    ];
    for (name, config, expected) in published {
        let config = SchedulerConfig::parse(config).unwrap();
        let mut scheduler = build(SchedulerKind::parse(name).unwrap(), &config, 10, 0.0).unwrap();
        let sample = Tensor::arange(768, (Kind::Float, Device::Cpu)).reshape([3, 8, 8, 4]) / 768.0;
        let mut sample = sample.permute([3, 0, 1, 2]) * scheduler.init_noise_sigma();
        for (call, t) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            // The k-diffusion tests of diffusers step from the scaled sample.
            sample = scheduler.scale_model_input(&sample, call).unwrap();
            let output = &sample * t / (t + 1.0);
            let mut none = || panic!("{name} drew noise");
            sample = scheduler.step(&output, call, &sample, &mut none).unwrap().prev_sample;
        }
        let sum = sample.abs().sum(Kind::Double).double_value(&[]);
        assert!((sum - expected).abs() < 1e-2 * expected.min(1.0), "{name}: {sum}, published {expected}");
    }
}
