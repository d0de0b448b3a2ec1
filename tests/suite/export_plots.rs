//! Plots, schedules, tokens and comparisons, on one run of the pocket model and on damaged copies of it.

use crate::common::{command, edit_record, sdviz_in, stderr, stdout};
use ndarray::{Array1, Array4, Axis};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sdviz::export::{diff_maps, measures};
use sdviz::record::plan::Quantity;
use sdviz::trace::reader::Run;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

const STEPS: usize = 8;
/// PNDM calls the model once more than it steps.
const CALLS: usize = STEPS + 1;

/// A folder with the recorded run `run` in it.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export_plots");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        let arguments =
            "trace --steps 8 --scheduler pndm --record all --decode every --decode-what latents,x0 --model pocket -g 7.5 --device cpu";
        let mut command = command();
        let output = command.args(arguments.split(' ')).args(["--prompt", "a red apple"]).current_dir(&home).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        home
    })
}

/// Runs a command line beside the run.
fn sdviz(arguments: &[&str]) -> Output {
    sdviz_in(home(), arguments)
}

/// The output, checked for its exit code: standard output, and standard error below it.
fn said(code: i32, arguments: &[&str]) -> String {
    let output = sdviz(arguments);
    let (out, err) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    if err.is_empty() { out } else { format!("{out}--- stderr\n{err}") }
}

/// A copy of the run without its exports, under another name.
fn copy(name: &str) -> PathBuf {
    let (from, to) = (home().join("run"), home().join(name));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(to.join("steps")).unwrap();
    for folder in ["", "steps"] {
        for entry in std::fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    to
}

/// Rewrites the tensors of a step.
fn edit_step(run: &Path, step: usize, edit: impl Fn(&mut BTreeMap<String, Array4<f32>>)) {
    let path = run.join(format!("steps/{step:03}.safetensors"));
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let &[a, b, c, d] = view.shape() else { panic!("{name}") };
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        tensors.insert(name, Array4::from_shape_vec((a, b, c, d), values).unwrap());
    }
    edit(&mut tensors);
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, t)| (name, t.shape().to_vec(), t.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(n, s, b)| (n.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The run as it would be on disk if it had been killed after step 4.
fn killed(name: &str) -> PathBuf {
    let run = copy(name);
    for step in 5..=CALLS {
        for end in [".safetensors", ".png", "-x0.png"] {
            std::fs::remove_file(run.join(format!("steps/{step:03}{end}"))).unwrap();
        }
    }
    std::fs::remove_file(run.join("final.png")).unwrap();
    edit_record(&run, |record| record["status"] = json!("running"));
    run
}

fn open(name: &str) -> Run {
    Run::open(home().join(name)).unwrap()
}

/// A tensor of the run, flat and in f64.
fn vector(run: &Run, step: usize, what: Quantity) -> Array1<f64> {
    run.tensor(step, what, 0).unwrap().unwrap().mapv(f64::from).flatten().into_owned()
}

fn length(v: &Array1<f64>) -> f64 {
    v.dot(v).sqrt()
}

/// One value per step, in order and near what the formula gives.
fn check(curve: &measures::Curve, first: usize, formula: impl Fn(usize) -> f64) {
    let steps: Vec<usize> = curve.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (first..=CALLS).collect::<Vec<_>>());
    for (step, value) in curve {
        let expected = formula(*step);
        assert!((value - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "step {step}: {value}, not {expected}");
    }
}

#[test]
fn the_numbers_are_those_of_the_formulas() {
    home();
    let run = open("run");
    for (what, first) in Quantity::ALL.into_iter().zip([0, 1, 1, 1, 1]) {
        check(&measures::norms(&run, what, 0).unwrap(), first, |k| length(&vector(&run, k, what)));
    }
    let uncond = |k| vector(&run, k, Quantity::NoiseUncond);
    let text = |k| vector(&run, k, Quantity::NoiseText);
    let guidance = measures::guidance(&run, 0).unwrap();
    check(&guidance.difference, 1, |k| length(&(text(k) - uncond(k))));
    check(&guidance.angle, 1, |k| {
        let cosine = text(k).dot(&uncond(k)) / length(&text(k)) / length(&uncond(k));
        cosine.acos() * 180.0 / std::f64::consts::PI
    });
    // The guided prediction as it was recorded, which the measure computes from its parts.
    check(&guidance.share, 1, |k| {
        7.5 * length(&(text(k) - uncond(k))) / length(&vector(&run, k, Quantity::NoiseGuided))
    });
    let x0 = |k| vector(&run, k, Quantity::PredictedOriginal);
    check(&measures::change(&run, 0).unwrap(), 2, |k| length(&(x0(k) - x0(k - 1))) / length(&x0(k)));
    let distance = measures::distance(&run, 0).unwrap();
    assert_eq!(distance.to, CALLS);
    let end = vector(&run, CALLS, Quantity::Latents);
    check(&distance.predicted, 1, |k| (x0(k) - &end).mapv(|d| d * d).mean().unwrap().sqrt());
    check(&distance.latents, 0, |k| (vector(&run, k, Quantity::Latents) - &end).mapv(|d| d * d).mean().unwrap().sqrt());
    let (last, start) = (image("run/final.png"), image("run/steps/000.png"));
    let squares = last.iter().zip(&start).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let pixels = measures::picture_distance(&run, Quantity::Latents, 0).unwrap();
    assert!((pixels[0].1 - (squares.sum::<f64>() / last.len() as f64).sqrt()).abs() < 1e-9);
    assert_eq!(pixels[CALLS], (CALLS, 0.0));
}

fn image(path: &str) -> Vec<u8> {
    image::open(home().join(path)).unwrap().to_rgb8().into_raw()
}

/// The latents of a k-diffusion scheduler stand beside those of the others once they are divided by their scale.
#[test]
fn latents_are_divided_by_their_scale() {
    let path = copy("scaled");
    for step in 0..=CALLS {
        edit_step(&path, step, |tensors| *tensors.get_mut("latents").unwrap() *= 2.0);
    }
    edit_record(&path, |record| {
        for level in record["schedule"].as_array_mut().unwrap() {
            level["latent_scale"] = json!(2.0);
        }
    });
    let (plain, scaled) = (open("run"), open("scaled"));
    assert_eq!(measures::scaled_latent_norms(&plain, 0).unwrap(), None);
    let norms = measures::norms(&plain, Quantity::Latents, 0).unwrap();
    let divided = measures::scaled_latent_norms(&scaled, 0).unwrap().unwrap();
    assert_eq!(divided, norms);
    assert_eq!(measures::distance(&plain, 0).unwrap(), measures::distance(&scaled, 0).unwrap());
    let output = said(0, &["diff", "run", "scaled", "--tolerance", "0"]);
    assert!(output.contains("within the tolerance of 0"), "{output}");
}

#[test]
fn plots_have_their_size_and_their_labels() {
    let output = said(0, &["plot", "run", "--format", "png,svg", "--out", "plots"]);
    let files: Vec<&str> = output.lines().collect();
    let expected = ["schedule", "norms", "guidance", "change", "distance"];
    let expected = expected.iter().flat_map(|p| [format!("plots/plot-{p}.png"), format!("plots/plot-{p}.svg")]);
    assert_eq!(files, expected.collect::<Vec<_>>());
    for file in files {
        let path = home().join(file);
        if file.ends_with(".png") {
            let picture = image::open(path).unwrap().to_rgb8();
            assert_eq!(picture.dimensions(), (1600, 900));
            let inked = picture.pixels().filter(|p| p.0 != [255; 3]).count();
            assert!(inked > 20_000, "{file}: {inked} pixels are not white");
            assert!(picture.pixels().any(|p| p.0 == [0, 114, 178]), "{file} has no curve");
        } else {
            let svg = std::fs::read_to_string(path).unwrap();
            assert!(
                svg.contains("“a red apple” · PNDM · 8 steps · 9 model calls · guidance 7.5 · seed 0 · pocket"),
                "{file}"
            );
            assert!(svg.contains("DejaVu Sans") && svg.contains("model call"), "{file}");
            let labels: &[&str] = match file {
                "plots/plot-schedule.svg" => &["ᾱ", "σ", "SNR = 1/σ²"],
                "plots/plot-norms.svg" => &["‖x‖, the latents", "ε(∅), without the prompt", "ε(prompt)", "ε guided"],
                "plots/plot-guidance.svg" => &["‖ε(prompt) − ε(∅)‖", "∠", "share of the update", "the empty prompt"],
                "plots/plot-distance.svg" => &["x, the latents", "x₀, the prediction", "distance in pixels"],
                "plots/plot-change.svg" => &["change of x₀, %"],
                other => panic!("{other}"),
            };
            for label in labels {
                // Long titles and notes are wrapped; these are not.
                assert!(svg.contains(label), "{file} lacks `{label}`");
            }
        }
    }
}

/// The points of a curve of `plot-….csv`.
fn csv_curve(file: &str, panel: &str, curve: &str) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(home().join(file)).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("panel,curve,step,value"));
    let start = format!("{panel},{curve},");
    let rows = lines.filter_map(|line| line.strip_prefix(&start)?.split_once(','));
    rows.map(|(step, value)| (step.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn numbers_go_to_csv_and_json() {
    said(0, &["plot", "run", "--what", "guidance,schedule", "--format", "csv,json", "--out", "numbers"]);
    let measured = measures::guidance(&open("run"), 0).unwrap();
    let angle = csv_curve("numbers/plot-guidance.csv", "\"∠ ε(∅), ε(prompt)\"", "\"∠ ε(∅), ε(prompt)\"");
    assert_eq!(angle, measured.angle.iter().map(|(step, value)| (*step as f64, *value)).collect::<Vec<_>>());
    let text = std::fs::read_to_string(home().join("numbers/plot-guidance.json")).unwrap();
    let figure: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(figure["panels"][0]["curves"][0]["points"][0][1], json!(measured.difference[0].1));
    assert_eq!((&figure["panels"][0]["x"], &figure["panels"][0]["logarithmic"]), (&json!("model call"), &json!(false)));
    assert!(figure["subtitle"].as_str().unwrap().starts_with("“a red apple” · PNDM"), "{figure}");
    assert_eq!(csv_curve("numbers/plot-schedule.csv", "σ", "σ").len(), CALLS + 1);
}

#[test]
fn a_title_of_ones_own_or_none() {
    let svg = |title: &str| {
        said(0, &["plot", "run", "--what", "change", "--format", "svg", "--out", "titles", "--title", title]);
        std::fs::read_to_string(home().join("titles/plot-change.svg")).unwrap()
    };
    let own = svg("苹果");
    assert!(own.contains("苹果") && own.contains("“a red apple”") && !own.contains("from step to step"), "{own}");
    let none = svg("none");
    assert!(!none.contains("“a red apple”") && !none.contains("from step to step"), "{none}");
    assert!(none.contains("change of x₀, %"), "the axes stay");
}

#[test]
fn an_axis_that_does_not_begin_at_zero_says_so() {
    said(0, &["plot", "run", "--what", "norms", "--format", "svg,csv", "--out", "axes"]);
    let svg = std::fs::read_to_string(home().join("axes/plot-norms.svg")).unwrap();
    let text = std::fs::read_to_string(home().join("axes/plot-norms.csv")).unwrap();
    let far_from_zero = |panel: &str| {
        let rows = text.lines().filter(|line| line.starts_with(&format!("\"{panel}")));
        let values = rows.map(|line| line.rsplit(',').next().unwrap().parse::<f64>().unwrap());
        let (least, most) = values.fold((f64::INFINITY, 0f64), |(least, most), v| (least.min(v), most.max(v)));
        assert!(most > 0.0, "{panel}");
        least >= 0.6 * most
    };
    let cut = ["‖x‖", "‖ε‖"].into_iter().filter(|panel| far_from_zero(panel)).count();
    assert_eq!(svg.matches(" · axis from ").count(), cut, "{text}");
    let path = copy("level");
    for step in 0..=CALLS {
        edit_step(&path, step, |tensors| tensors.get_mut("latents").unwrap().fill(1.0 + step as f32 / 100.0));
    }
    said(0, &["plot", "level", "--what", "norms", "--format", "svg"]);
    let svg = std::fs::read_to_string(path.join("exports/plot-norms.svg")).unwrap();
    assert!(svg.contains("Euclidean norm · axis from "), "{svg}");
}

/// A copy of the run that was asked for something else, as its record says.
fn other(name: &str, plan: &[(&str, Value)]) {
    edit_record(&copy(name), |record| plan.iter().for_each(|(field, value)| record["plan"][*field] = value.clone()));
}

#[test]
fn several_runs_share_a_plot_and_are_named_by_what_differs() {
    other("weaker", &[("guidance_scale", json!(4.0)), ("negative_prompt", json!("blurry"))]);
    other("img2img", &[("init_image", json!({ "file": "sketch.png" })), ("strength", json!(0.6))]);
    let output = said(0, &["plot", "run", "weaker", "--format", "svg,csv", "--out", "together"]);
    assert_eq!(output.lines().count(), 10, "{output}");
    let svg = std::fs::read_to_string(home().join("together/plot-norms-compared.svg")).unwrap();
    for words in ["no negative prompt · guidance 7.5", "not “blurry” · guidance 4", "ε(prompt)", "seed 0 · pocket"]
    {
        assert!(svg.contains(words), "the plot lacks `{words}`: {svg}");
    }
    assert!(!svg.contains("weaker"), "{svg}");
    let panel = "\"x, as the scheduler holds it\"";
    let curves = ["no negative prompt · guidance 7.5", "not “blurry” · guidance 4"]
        .map(|name| csv_curve("together/plot-norms-compared.csv", panel, name));
    assert!(curves[0].len() == CALLS + 1 && curves[0] == curves[1], "the numbers are the same");

    said(0, &["plot", "run", "img2img", "--what", "change", "--format", "svg", "--out", "pictured"]);
    let svg = std::fs::read_to_string(home().join("pictured/plot-change-compared.svg")).unwrap();
    assert!(svg.contains("from noise") && svg.contains("from sketch.png, strength 0.6"), "{svg}");
    // The same settings: only then the folders' names.
    copy("again");
    said(0, &["plot", "run", "again", "--what", "change", "--format", "svg", "--out", "same"]);
    let svg = std::fs::read_to_string(home().join("same/plot-change-compared.svg")).unwrap();
    assert!(svg.contains("again"), "{svg}");

    edit_record(&copy("unguided-too"), |record| record["plan"]["guidance_scale"] = json!(1.0));
    said(0, &["plot", "run", "unguided-too", "--what", "guidance", "--format", "svg", "--out", "partly"]);
    let svg = std::fs::read_to_string(home().join("partly/plot-guidance-compared.svg")).unwrap();
    assert!(svg.contains("Not recorded: guidance 1."), "{svg}");
    let many = said(2, &["plot", "run", "run", "run", "run", "run", "run", "run"]);
    assert!(many.contains("7 runs are too many for one plot"), "{many}");
}

#[test]
fn a_share_above_100_percent_is_explained() {
    let path = copy("against");
    for step in 1..=CALLS {
        edit_step(&path, step, |tensors| {
            let text = tensors["noise_text"].clone();
            // u + s·(t − u) with u = 1.2·t: much shorter than s·(t − u) where s is 7.5.
            *tensors.get_mut("noise_uncond").unwrap() = text * 1.2;
        });
    }
    let explained = "Above 100 % the two parts of ε guided point against each other.";
    let svg = |run: &str| {
        said(0, &["plot", run, "--what", "guidance", "--format", "svg", "--out", "shares"]);
        std::fs::read_to_string(home().join("shares/plot-guidance.svg")).unwrap()
    };
    assert!(svg("against").contains("Above 100 %"), "{explained}");
    let share = measures::guidance(&open("run"), 0).unwrap().share;
    assert_eq!(svg("run").contains("Above 100 %"), share.iter().any(|(_, share)| *share > 1.0));
}

#[test]
fn the_pictures_of_steps_say_how_they_were_made() {
    for (file, decoded) in [("run/steps/003.png", "latents"), ("run/steps/003-x0.png", "predicted_original")] {
        let told: Value = serde_json::from_str(&said(0, &["metadata", file, "--json"])).unwrap();
        assert_eq!((&told["prompt"], &told["steps"], &told["seed"]), (&json!("a red apple"), &json!(8), &json!(0)));
        assert_eq!((&told["parameters"]["Step"], &told["parameters"]["Decoded"]), (&json!("3"), &json!(decoded)));
    }
    let told = said(0, &["frames", "run", "--captions", "--every", "4", "--out", "captioned"]);
    let first = told.lines().nth(1).unwrap();
    let told: Value = serde_json::from_str(&said(0, &["metadata", first, "--json"])).unwrap();
    assert_eq!((&told["prompt"], &told["parameters"]["Step"]), (&json!("a red apple"), &json!("4")));
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    said(0, &["plot", "run", "--format", "png,svg,pdf", "--out", "once"]);
    said(0, &["plot", "run", "--format", "png,svg,pdf", "--out", "twice"]);
    for entry in std::fs::read_dir(home().join("once")).unwrap().map(Result::unwrap) {
        let other = home().join("twice").join(entry.file_name());
        assert!(std::fs::read(entry.path()).unwrap() == std::fs::read(other).unwrap(), "{entry:?}");
    }
}

#[test]
fn what_was_not_recorded_is_left_out_with_the_way_to_get_it() {
    let path = copy("bare");
    for step in 1..=CALLS {
        edit_step(&path, step, |tensors| tensors.retain(|name, _| !name.starts_with("noise")));
    }
    edit_record(&path, |record| record["plan"]["record"] = json!(["latents", "predicted_original"]));
    insta::assert_snapshot!(said(0, &["plot", "bare"]));
    insta::assert_snapshot!(said(2, &["plot", "bare", "--what", "guidance"]));
    assert!(std::fs::read_to_string(home().join("bare/run.json")).unwrap().contains("apple"));

    let path = copy("unguided");
    edit_record(&path, |record| record["plan"]["guidance_scale"] = json!(1.0));
    insta::assert_snapshot!(said(2, &["plot", "unguided", "--what", "guidance", "--out", "nowhere"]));
    assert!(!home().join("nowhere").exists());
}

#[test]
fn bad_requests_are_refused_before_any_work() {
    insta::assert_snapshot!(said(2, &["plot", "run", "--what", "norm"]));
    insta::assert_snapshot!(said(2, &["plot", "run", "--format", "pgn"]));
    insta::assert_snapshot!(said(2, &["plot", "run", "--batch", "1"]));
    std::fs::write(home().join("taken"), "").unwrap();
    insta::assert_snapshot!(said(2, &["plot", "run", "--out", "taken"]));
    insta::assert_snapshot!(said(2, &["plot", "no-such-run"]));
    insta::assert_snapshot!(said(2, &["diff", "run", "run", "--tolerance", "-1"]));
}

#[test]
fn a_killed_run_is_plotted_as_far_as_it_came() {
    killed("killed");
    said(0, &["plot", "killed", "--format", "svg"]);
    let svg = std::fs::read_to_string(home().join("killed/exports/plot-distance.svg")).unwrap();
    assert!(svg.contains("seed 0 · pocket · running"), "{svg}");
    assert!(svg.contains("Distance to step 4, the last one that is there; the run has 9."), "{svg}");
    assert_eq!(measures::norms(&open("killed"), Quantity::Latents, 0).unwrap().len(), 5);

    // Both curves lead to the last picture there is, that of the latents.
    let pixels = |what| measures::picture_distance(&open("killed"), what, 0).unwrap();
    assert_eq!(pixels(Quantity::Latents)[4], (4, 0.0));
    assert!(pixels(Quantity::PredictedOriginal)[3].1 > 1.0, "{:?}", pixels(Quantity::PredictedOriginal));

    let nothing = killed("nothing-yet");
    for step in 0..5 {
        std::fs::remove_file(nothing.join(format!("steps/{step:03}.safetensors"))).unwrap();
    }
    insta::assert_snapshot!(said(2, &["plot", "nothing-yet", "--what", "change"]));
}

#[test]
fn a_run_is_the_same_as_its_copy() {
    copy("copy");
    insta::assert_snapshot!(said(0, &["diff", "run", "copy", "--tolerance", "0"]));
}

#[test]
fn the_first_step_that_differs_is_found() {
    let path = copy("changed");
    edit_step(&path, 7, |tensors| {
        let value = &mut tensors.get_mut("latents").unwrap()[[0, 2, 3, 5]];
        *value = f32::from_bits(value.to_bits() + 1);
    });
    edit_step(&path, 8, |tensors| tensors.get_mut("latents").unwrap()[[0, 1, 0, 0]] += 0.5);
    let diff = |tolerance: &str, code: i32| -> Value {
        let mut arguments = vec!["diff", "run", "changed", "--json"];
        if !tolerance.is_empty() {
            arguments.extend(["--tolerance", tolerance]);
        }
        serde_json::from_str(&said(code, &arguments)).unwrap()
    };
    let report = diff("", 0);
    assert_eq!(report["parts_at"], json!({ "step": 7, "quantity": "latents" }));
    assert_eq!(report["within_tolerance"], Value::Null);
    assert_eq!(report["fields"], json!([]));
    assert_eq!(report["steps"].as_array().unwrap().len(), CALLS + 1);
    assert_eq!(report["steps"][6]["quantities"]["latents"], json!({ "relative": 0.0, "rms": 0.0 }));
    let run = open("run");
    let largest = vector(&run, 8, Quantity::Latents).iter().fold(0f64, |m, v| m.max(v.abs()));
    let expected = 0.5 / largest;
    let relative = report["steps"][8]["quantities"]["latents"]["relative"].as_f64().unwrap();
    assert!((relative - expected).abs() < 0.02 * expected, "{relative}, not about {expected}");
    let rms = report["steps"][8]["quantities"]["latents"]["rms"].as_f64().unwrap();
    let n = vector(&run, 8, Quantity::Latents).len() as f64;
    assert!((rms - 0.5 / n.sqrt()).abs() < 1e-6, "{rms}");

    assert_eq!(diff("0", 1)["beyond_tolerance_at"]["step"], 7);
    assert_eq!(diff("1e-4", 1)["beyond_tolerance_at"]["step"], 8);
    assert_eq!(diff("1", 0)["within_tolerance"], true);
    let table = said(1, &["diff", "run", "changed", "--tolerance", "1e-4"]);
    assert!(table.contains("the runs part at step 7, first in latents"), "{table}");
    assert!(table.contains("beyond the tolerance of 0.0001 from step 8 on, in latents"), "{table}");

    let (what, maps) = diff_maps::maps(&run, &open("changed"), 0).unwrap();
    assert_eq!((what, maps.len()), (Quantity::Latents, CALLS + 1));
    assert!(maps[6].values.iter().all(|v| *v == 0.0));
    assert!((maps[8].values[[0, 0]] - 0.25).abs() < 1e-5, "0.5 in one of four channels has a root mean square of 0.25");
    assert_eq!(maps[8].values.iter().filter(|v| **v != 0.0).count(), 1);
    let told = said(0, &["diff", "run", "changed", "--maps", "--out", "maps"]);
    assert_eq!(told.lines().last(), Some("maps/diff-maps.png"), "files are named on standard output");
    let sheet = image::open(home().join("maps/diff-maps.png")).unwrap().to_rgb8();
    assert_eq!(sheet.width(), 1600);
}

#[test]
fn a_nan_is_beyond_every_tolerance() {
    let path = copy("broken");
    edit_step(&path, 3, |tensors| tensors.get_mut("noise_text").unwrap()[[0, 0, 0, 0]] = f32::NAN);
    let output = said(1, &["diff", "run", "broken", "--tolerance", "1e30"]);
    assert!(output.contains("the runs part at step 3, first in noise_text"), "{output}");
}

#[test]
fn runs_that_cannot_be_compared_whole_say_why() {
    killed("short");
    let output = said(1, &["diff", "run", "short", "--tolerance", "1"]);
    insta::assert_snapshot!("killed", tail(&output));
    said(0, &["diff", "run", "short"]);

    let path = copy("fewer");
    for step in 5..=CALLS {
        std::fs::remove_file(path.join(format!("steps/{step:03}.safetensors"))).unwrap();
    }
    edit_record(&path, |record| {
        record["plan"]["steps"] = json!(4);
        record["schedule"].as_array_mut().unwrap().truncate(5);
    });
    insta::assert_snapshot!("fewer", tail(&said(1, &["diff", "run", "fewer", "--tolerance", "1"])));

    let path = copy("smaller");
    for step in 0..=CALLS {
        edit_step(&path, step, |tensors| {
            for tensor in tensors.values_mut() {
                let half = tensor.len_of(Axis(2)) / 2;
                *tensor = tensor.slice_axis(Axis(2), (0..half).into()).to_owned();
            }
        });
    }
    insta::assert_snapshot!("smaller", tail(&said(1, &["diff", "run", "smaller", "--tolerance", "1"])));
    let output = said(2, &["diff", "run", "smaller", "--maps"]);
    assert!(output.contains("have no step in common that both recorded at one size"), "{output}");
}

/// What follows the last table.
fn tail(output: &str) -> String {
    output.rsplit("\n\n").next().unwrap_or_default().to_string()
}

#[test]
fn schedules_are_compared_without_a_run() {
    insta::assert_snapshot!(said(
        0,
        &["schedule", "--scheduler", "pndm,euler,dpmpp_2m_karras", "--steps", "4", "--out", "s", "--format", "png,svg"]
    ));
    let svg = std::fs::read_to_string(home().join("s/schedules.svg")).unwrap();
    for label in ["PNDM", "Euler", "DPM++ 2M Karras", "σ", "ᾱ", "PNDM calls it 5 times", "4 steps · pocket"] {
        assert!(svg.contains(label), "the figure lacks `{label}`");
    }
    assert_eq!(image::image_dimensions(home().join("s/schedules.png")).unwrap(), (1600, 900));
    let json: Value =
        serde_json::from_str(&said(0, &["schedule", "--scheduler", "pndm", "--steps", "8", "--json"])).unwrap();
    let recorded = serde_json::to_value(&open("run").record().schedule).unwrap();
    assert_eq!(json["schedules"][0]["schedule"], recorded, "the schedule is that of the run");
    assert!(!home().join("exports").exists());
    insta::assert_snapshot!(said(2, &["schedule", "--scheduler", "eular"]));
}

#[test]
fn tokens_are_shown_with_their_places() {
    insta::assert_snapshot!(said(0, &["tokens", "a red apple", "--negative", "blurry"]));
    let bytes = said(0, &["tokens", "猫"]);
    assert!(bytes.contains("<0xE7>") && bytes.contains("part of 猫"), "{bytes}");
    let json: Value = serde_json::from_str(&said(0, &["tokens", "猫", "--json"])).unwrap();
    let reads: String =
        json["prompt"]["tokens"].as_array().unwrap().iter().map(|t| t["reads"].as_str().unwrap()).collect();
    assert_eq!(reads, "<|startoftext|><0xE7><0x8C><0xAB></w><|endoftext|>");
    let long = "a red apple and ".repeat(30);
    let json: Value = serde_json::from_str(&said(0, &["tokens", &long, "--json"])).unwrap();
    let prompt = &json["prompt"];
    assert_eq!((&json["window"], &prompt["used"], &prompt["free"]), (&json!(77), &json!(77), &json!(0)));
    assert_eq!(prompt["ids"].as_array().unwrap().len(), 77);
    let cut = prompt["cut"].as_str().unwrap();
    assert!(!cut.is_empty() && long.trim_end().ends_with(cut), "{cut}");
    assert!(said(0, &["tokens", &long]).contains("77 of 77 places used, 0 free\ncut, not seen by the model: `"));
}

#[test]
fn exporters_are_listed_named_and_run() {
    assert!(said(0, &["export", "--list"]).contains("plot"));
    let all = said(0, &["export", "run", "--all", "--out", "all"]);
    assert!(all.lines().any(|line| line == "all/plot-guidance.png"), "{all}");
    // Without a run, `run` is meant.
    assert!(said(0, &["export", "plot", "--out", "named"]).contains("named/plot-norms.png"));
    insta::assert_snapshot!(said(2, &["export", "run", "plto"]));
    let none = said(2, &["export", "run"]);
    assert!(none.contains("no exporter is named") && none.contains("--all"), "{none}");
}
