//! The geometry of runs: numpy's numbers, shapes whose answer is known, and what becomes of killed runs, second passes,
//! batches and missing tensors. No model.

use crate::common::{command, golden_file};
use crate::synthetic_run::{Made, write_tensors};
use ndarray::{Array3, Array4, ArrayD, Axis, IxDyn};
use safetensors::{Dtype, SafeTensors};
use sdviz::export::geometry::trajectory::{Choice, Of};
use sdviz::export::geometry::{Measure, Numbers};
use sdviz::trace::reader::Run;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn of(of: Of) -> Choice {
    Choice { of: Some(of), channels: None }
}

fn take(measure: Measure, runs: &[&Run], choice: &Choice) -> Numbers {
    measure.take(runs, 0, choice).unwrap().numbers
}

/// The numbers as JSON, which is how the file has them.
fn numbers(measure: Measure, runs: &[&Run], choice: &Choice) -> Value {
    json!(take(measure, runs, choice))
}

/// The values of a JSON array, however deep.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap_or(f64::NAN)],
    }
}

/// The second numbers of a curve's points.
fn heights(curve: &Value) -> Vec<f64> {
    curve.as_array().unwrap().iter().map(|point| point[1].as_f64().unwrap()).collect()
}

fn near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f64, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let apart = (found - expected).abs();
        assert!(apart <= 1e-9 * expected.abs() + 1e-12 * scale, "{what}[{at}]: {found}, not {expected}");
    }
}

/// Rewrites the record.
fn edit(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("run.json");
    let mut record: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut record);
    std::fs::write(path, record.to_string()).unwrap();
}

/// A run whose latents are these, step by step, `[channels, height, width]` each; x0 the same from step 1 on.
fn run_of(dir: &Path, latents: &[Array3<f32>]) -> Run {
    let (_, height, width) = latents[0].dim();
    let made = Made {
        width: 8 * width,
        height: 8 * height,
        images: false,
        calls: latents.len() - 1,
        last: 0,
        ..Made::default()
    };
    made.write(dir);
    for (step, values) in latents.iter().enumerate() {
        let values = values.clone().insert_axis(Axis(0));
        let mut tensors = vec![("latents", values.clone())];
        if step > 0 {
            tensors.push(("predicted_original", values));
        }
        write_tensors(&dir.join(format!("steps/{step:03}.safetensors")), &tensors);
    }
    Run::open(dir).unwrap()
}

/// The goldens by name.
fn goldens() -> BTreeMap<String, ArrayD<f64>> {
    let path = golden_file("geometry.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView)| {
        let values = match view.dtype() {
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            _ => view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        };
        (name, ArrayD::from_shape_vec(IxDyn(view.shape()), values).unwrap())
    };
    file.tensors().into_iter().map(read).collect()
}

/// The recorded run that is in the goldens, as a folder.
fn pocket(dir: &Path, goldens: &BTreeMap<String, ArrayD<f64>>) -> Run {
    let tensor = |key: &str, step: usize| -> Array4<f32> {
        let all = goldens[&format!("pocket/{key}")].mapv(|value| value as f32).into_dimensionality().unwrap();
        let all: Array4<f32> = all;
        all.index_axis_move(Axis(0), step).insert_axis(Axis(0))
    };
    let levels = goldens["pocket/sigma"].len();
    Made { width: 128, height: 128, images: false, calls: levels - 1, last: 0, ..Made::default() }.write(dir);
    for step in 0..levels {
        let mut tensors = vec![("latents", tensor("latents", step))];
        if step > 0 {
            let later = ["predicted_original", "noise_guided"];
            tensors.extend(later.map(|key| (key, tensor(key, step - 1))));
        }
        write_tensors(&dir.join(format!("steps/{step:03}.safetensors")), &tensors);
    }
    edit(dir, |record| {
        for (step, level) in record["schedule"].as_array_mut().unwrap().iter_mut().enumerate() {
            for key in ["sigma", "alpha_cumprod", "latent_scale"] {
                level[key] = json!(goldens[&format!("pocket/{key}")][step]);
            }
        }
    });
    Run::open(dir).unwrap()
}

#[test]
fn the_numbers_are_those_of_numpy() {
    let (home, goldens) = (tempfile::tempdir().unwrap(), goldens());
    let made =
        Made { width: 96, height: 64, calls: 6, last: 6, seed: 5, scaled: true, images: false, ..Made::default() };
    let synthetic = Run::open(made.write(&home.path().join("synthetic"))).unwrap();
    let pocket = pocket(&home.path().join("pocket"), &goldens);
    for (name, run) in [("synthetic", &synthetic), ("pocket", &pocket)] {
        let check = |part: &str, key: &str, found: &[f64]| {
            let golden = &goldens[&format!("{name}/{part}/{key}")];
            near(found, golden.as_slice().unwrap(), &format!("{name}/{part}/{key}"));
        };
        let own = numbers(Measure::Plane, &[run], &Choice::default());
        let keys =
            [("along", "along"), ("across", "across"), ("outside", "outside"), ("arc", "arc"), ("angle", "angle")];
        for (golden, key) in keys.into_iter().chain([("two", "unforeseen_by_two"), ("all", "unforeseen_by_all")]) {
            check("plane", golden, &flat(&own[0][key]));
        }
        for (part, what) in [("pca-x", Of::Latents), ("pca-x0", Of::Predicted)] {
            let own = &numbers(Measure::Components, &[run], &of(what))[0];
            let golden = &goldens[&format!("{name}/{part}/explained")];
            check(part, "explained", &flat(&own["explained"])[..golden.len()]);
            let rows = own["members"][0]["scores"].as_array().unwrap();
            check(part, "scores", &rows.iter().flat_map(|row| flat(row)[..3].to_vec()).collect::<Vec<_>>());
        }
        let own = &numbers(Measure::Cosines, &[run], &Choice::default())[0];
        for key in ["change_to_start", "change_to_end", "to_start", "to_end"] {
            check("cosines", key, &heights(&own[key]));
        }
        check("cosines", "lag1", &heights(&own["changes"]["1"]));
        check("cosines", "lag2", &heights(&own["changes"]["2"]));
        check("cosines", "straightness", &flat(&own["straightness"]));
        for (part, what) in [("spectrum-x", Of::Latents), ("spectrum-x0", Of::Predicted)] {
            check(part, "power", &flat(&numbers(Measure::Spectrum, &[run], &of(what))[0]["power"]));
        }
        let own = &numbers(Measure::Bands, &[run], &Choice::default())[0];
        for key in ["error", "coherence", "gaussian_error", "power", "settled"] {
            check("bands", key, &flat(&own[key]));
        }
    }
}

/// Two directions of 4×3×5 numbers that are perpendicular to each other and of length 1.
fn directions() -> [Array3<f32>; 2] {
    let direction = |at: usize| {
        Array3::from_shape_fn((4, 3, 5), |(c, y, x)| f32::from((c * 15 + y * 5 + x) % 2 == at) / 30f32.sqrt())
    };
    [direction(0), direction(1)]
}

#[test]
fn a_circle_lies_in_its_plane() {
    let home = tempfile::tempdir().unwrap();
    let [a, b] = directions();
    let turn = |k: usize| (k as f32 * 0.2).sin_cos();
    let latents: Vec<Array3<f32>> = (0..8).map(|k| &a * (9.0 * turn(k).1) + &b * (9.0 * turn(k).0)).collect();
    let run = run_of(&home.path().join("run"), &latents);
    let plane = &numbers(Measure::Plane, &[&run], &Choice::default())[0];
    assert!(flat(&plane["outside"]).iter().all(|share| *share < 1e-12), "{plane}");
    assert!((plane["angle"].as_f64().unwrap() - 1.4f64.to_degrees()).abs() < 1e-4, "{plane}");
    for k in 0..8 {
        let radius = plane["along"][k].as_f64().unwrap().hypot(plane["across"][k].as_f64().unwrap());
        assert!((radius - 9.0).abs() < 1e-5, "step {k}: {radius}");
    }
    let pca = &numbers(Measure::Components, &[&run], &Choice::default())[0];
    assert!(
        pca["explained"][0].as_f64().unwrap() < 0.999 && pca["explained"][1].as_f64().unwrap() > 1.0 - 1e-9,
        "{pca}"
    );
    let cosines = &numbers(Measure::Cosines, &[&run], &Choice::default())[0];
    assert!(heights(&cosines["changes"]["2"]).iter().all(|cosine| (cosine - 0.4f64.cos()).abs() < 1e-5), "{cosines}");
    let straightness = cosines["straightness"].as_f64().unwrap();
    assert!((straightness - 0.7f64.sin() / (7.0 * 0.1f64.sin())).abs() < 1e-6, "{straightness}");
}

#[test]
fn a_line_is_straight_and_has_one_component() {
    let home = tempfile::tempdir().unwrap();
    let [a, b] = directions();
    let latents: Vec<Array3<f32>> = (0..5).map(|k| &a * 3.0 + &b * (k as f32 * k as f32)).collect();
    let run = run_of(&home.path().join("run"), &latents);
    let cosines = &numbers(Measure::Cosines, &[&run], &Choice::default())[0];
    assert!((cosines["straightness"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{cosines}");
    assert!(heights(&cosines["changes"]["1"]).iter().all(|cosine| (cosine - 1.0).abs() < 1e-9));
    let pca = &numbers(Measure::Components, &[&run], &Choice::default())[0];
    assert!(pca["explained"][0].as_f64().unwrap() > 1.0 - 1e-12, "{pca}");
    // Along the line, from the mean at 6: the last value is on the positive side.
    let scores: Vec<f64> =
        pca["members"][0]["scores"].as_array().unwrap().iter().map(|row| row[0].as_f64().unwrap()).collect();
    near(&scores.iter().map(|s| (s * 1e5).round() / 1e5).collect::<Vec<_>>(), &[-6.0, -5.0, -2.0, 3.0, 10.0], "scores");
    let backwards: Vec<Array3<f32>> = latents.iter().map(|values| -values).collect();
    let turned = run_of(&home.path().join("turned"), &backwards);
    let other = &numbers(Measure::Components, &[&turned], &Choice::default())[0];
    assert_eq!(other["members"][0]["scores"], pca["members"][0]["scores"], "the sign of all numbers means nothing");
    // Whichever value comes last, it stands on the positive side of every component.
    let bent: Vec<Array3<f32>> = latents.iter().enumerate().map(|(k, x)| x + &a * (k as f32 * 1.7).sin()).collect();
    for first in 0..5 {
        let order: Vec<Array3<f32>> = (0..5).map(|k| bent[(first + k) % 5].clone()).collect();
        let run = run_of(&home.path().join(format!("order-{first}")), &order);
        let pca = &numbers(Measure::Components, &[&run], &Choice::default())[0];
        let last = flat(&pca["members"][0]["scores"][4]);
        assert!(last.iter().all(|score| *score >= 0.0), "{first}: {last:?}");
    }
    // A line through the origin has no second direction.
    let ray: Vec<Array3<f32>> = (1..4).map(|k| &a * k as f32).collect();
    let plane = &numbers(Measure::Plane, &[&run_of(&home.path().join("ray"), &ray)], &Choice::default())[0];
    assert!(flat(&plane["across"]).iter().chain(&flat(&plane["outside"])).all(|value| value.abs() < 1e-9), "{plane}");
}

/// Latents that grow with σ are the same way once they are divided; the levels are those that each value belongs to.
#[test]
fn scale_and_level_are_each_values_own() {
    let home = tempfile::tempdir().unwrap();
    let made = |scaled| Made { scaled, images: false, ..Made::default() };
    let runs =
        [false, true].map(|scaled| Run::open(made(scaled).write(&home.path().join(format!("{scaled}")))).unwrap());
    let [plain, scaled] = runs.each_ref().map(|run| numbers(Measure::Plane, &[run], &Choice::default()));
    for key in ["along", "across", "unforeseen_by_all"] {
        let (a, b) = (flat(&plain[0][key]), flat(&scaled[0][key]));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs())), "{key}: {a:?} {b:?}");
    }
    let bands = &numbers(Measure::Bands, &[&runs[0]], &Choice::default())[0];
    let lambda = bands["power"][1].as_f64().unwrap();
    for (at, error) in flat(&bands["gaussian_error"][1]).iter().enumerate() {
        // Step 1 was predicted at the level of step 0, 12, and so on.
        let sigma = 12.0 / (1.0 + at as f64).powi(2);
        assert!((error - (1.0 - (lambda / (lambda + sigma * sigma)).sqrt()).powi(2)).abs() < 1e-12, "step {}", at + 1);
    }
    assert_eq!(bands["steps"], json!([1, 2, 3, 4]));
}

#[test]
fn a_killed_run_goes_as_far_as_it_came() {
    let home = tempfile::tempdir().unwrap();
    let made =
        Made { calls: 9, last: 4, images: false, status: sdviz::record::schema::Status::Failed, ..Made::default() };
    let dir = made.write(&home.path().join("run"));
    let figure =
        |run: &Run, measure: Measure| measure.take(&[run], 0, &Choice::default()).unwrap().figure(String::new());
    for measure in Measure::ALL {
        let note = figure(&Run::open(&dir).unwrap(), measure).note;
        assert!(note.contains("N is step 4, the last one there of 9."), "{measure}: {note}");
    }
    // A hole: the changes beside it are not there, and the way has no length.
    std::fs::remove_file(dir.join("steps/002.safetensors")).unwrap();
    let run = Run::open(&dir).unwrap();
    let cosines = &numbers(Measure::Cosines, &[&run], &Choice::default())[0];
    assert_eq!((&cosines["straightness"], &cosines["changes"]["1"]), (&Value::Null, &json!([])));
    assert_eq!(cosines["change_to_end"].as_array().unwrap().len(), 2);
    assert!(figure(&run, Measure::Plane).panels[1].curves[0].points.iter().all(|(step, _)| *step != 2.0));
    for step in [1, 3, 4] {
        std::fs::remove_file(dir.join(format!("steps/{step:03}.safetensors"))).unwrap();
    }
    let error = Measure::Plane.take(&[&Run::open(&dir).unwrap()], 0, &Choice::default()).unwrap_err();
    assert!(error.to_string().contains("holds x of too few steps for a plane: 1"), "{error}");
}

/// Two passes are two ways, each with its own size and end.
#[test]
fn each_pass_is_a_way_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let dir = Made { calls: 6, last: 6, images: false, ..Made::default() }.write(&home.path().join("run"));
    let second = Made { width: 128, height: 96, calls: 6, last: 6, images: false, seed: 9, ..Made::default() };
    let larger = second.write(&home.path().join("larger"));
    for step in 4..=6 {
        std::fs::copy(
            larger.join(format!("steps/{step:03}.safetensors")),
            dir.join(format!("steps/{step:03}.safetensors")),
        )
        .unwrap();
    }
    edit(&dir, |record| {
        record["hires"] = json!({
            "scale": 2.0, "strength": 0.6, "upscaler": "latent", "steps": 5, "width": 128, "height": 96, "first_step": 4,
            "begin": { "calls_before": 3, "timestep": 500.0, "sigma": 1.0 }
        });
    });
    let run = Run::open(&dir).unwrap();
    let plane = numbers(Measure::Plane, &[&run], &Choice::default());
    assert_eq!((&plane[0]["steps"], &plane[1]["steps"]), (&json!([0, 1, 2, 3]), &json!([4, 5, 6])));
    assert_eq!((&plane[0]["pass"], &plane[1]["pass"]), (&json!(1), &json!(2)));
    let pca = numbers(Measure::Components, &[&run], &Choice::default());
    assert_eq!((&pca[0]["shape"], &pca[1]["shape"]), (&json!([4, 8, 8]), &json!([4, 12, 16])));
    for measure in Measure::ALL {
        let figure = measure.take(&[&run], 0, &Choice::default()).unwrap().figure("about".into());
        assert!(figure.png().is_ok() && !figure.note.contains("last one there"), "{measure}: {}", figure.note);
        let names: Vec<&str> =
            figure.panels.iter().flat_map(|panel| &panel.curves).map(|line| line.name.as_str()).collect();
        assert!(names.contains(&"pass 1") && names.contains(&"pass 2"), "{measure}: {names:?}");
    }
}

#[test]
fn several_runs_share_a_basis_and_batches_have_their_own() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, seed| {
        Run::open(Made { seed, batch: 2, ..Made::default() }.write(&home.path().join(name))).unwrap()
    };
    let (a, b, again) = (write("a", 1), write("b", 2), write("again", 1));
    let pca = numbers(Measure::Components, &[&a, &b, &again], &Choice::default());
    let members = pca[0]["members"].as_array().unwrap();
    assert_eq!((pca.as_array().unwrap().len(), members.len()), (1, 3));
    let leading = |member: &Value| -> Vec<f64> {
        member["scores"].as_array().unwrap().iter().flat_map(|row| flat(row)[..5].to_vec()).collect()
    };
    near(&leading(&members[0]), &leading(&members[2]), "the same run twice");
    assert_ne!(members[0]["scores"], members[1]["scores"]);
    let alone = numbers(Measure::Components, &[&a], &Choice::default());
    assert_ne!(members[0]["scores"], alone[0]["members"][0]["scores"]);
    let second = json!(Measure::Plane.take(&[&a], 1, &Choice::default()).unwrap().numbers);
    assert_ne!(second[0]["along"], numbers(Measure::Plane, &[&a], &Choice::default())[0]["along"]);
    let of_two = Choice { of: None, channels: Some(vec![0, 3]) };
    assert_eq!(numbers(Measure::Components, &[&a], &of_two)[0]["shape"], json!([2, 8, 8]));
    for measure in Measure::ALL {
        let figure = measure.take(&[&a, &b], 0, &Choice::default()).unwrap().figure(String::new());
        assert!(figure.panels.iter().all(|panel| !panel.curves.is_empty()), "{measure}");
    }
    let pictures = numbers(Measure::Spectrum, &[&a], &of(Of::Pictures));
    assert_eq!(pictures[0]["frequencies"].as_array().unwrap().len(), 64 / 2 + 2);
    assert!(numbers(Measure::Bands, &[&a], &of(Of::Pictures))[0]["gaussian_error"].as_array().unwrap().is_empty());
}

#[test]
fn the_command_writes_files_and_refuses_in_words() {
    let home = tempfile::tempdir().unwrap();
    Made { calls: 5, last: 5, ..Made::default() }.write(&home.path().join("run"));
    let sdviz = |arguments: &str| {
        let mut command = command();
        let output = command.args(arguments.split(' ')).current_dir(home.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, error) = sdviz("plot run --what plane,bands --format svg,csv --out made");
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let files: Vec<&str> = out.lines().collect();
    let expected = ["plot-plane.svg", "plot-plane.csv", "plot-bands.svg", "plot-bands.csv", "geometry.json"];
    assert_eq!(files, expected.map(|name| format!("made/{name}")));
    let (code, out, error) = sdviz("plot run --what pca,change --of x0 --json");
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("file: run/exports/geometry.json") && error.contains("plot-pca.png"), "{error}");
    let printed: Value = serde_json::from_str(&out).unwrap();
    let file = std::fs::read_to_string(home.path().join("run/exports/geometry.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file, json!({ "pca": printed["pca"] }));
    assert_eq!(printed["pca"][0]["members"][0]["of"], "x0");
    assert!(printed["change"]["panels"].is_array());
    for (arguments, message, hint) in [
        ("plot run --what plane --of pictures", "there is no plane of pictures", "`--of` x, x0, noise"),
        ("plot run --what bands --of x", "there is no bands of x", "`--of` x0, pictures"),
        (
            "plot run --what pca --channels 1,4",
            "`run/steps/000.safetensors` has no channel 4: it has 4",
            "counted from 0",
        ),
        ("plot run --what spectrum --of pictures --channels 1", "`--channels` are those of latents", "leave out"),
        ("plot run --what pca --of noise", "`run` did not record noise_guided", "--record noise_guided"),
        ("plot run --what planes", "unknown plot `planes`; did you mean `plane`?", "one of: schedule"),
        ("plot run --what pca --of y", "unknown thing to measure `y`", "one of: x, x0, noise, pictures"),
        ("plot run --what plane --batch 3", "the batch has no picture 3", "counted from 0"),
    ] {
        let (code, out, error) = sdviz(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments}: {error}");
        assert!(error.contains(message) && error.contains(hint), "{arguments}: {error}");
    }
    let path = home.path().join("run/steps/003.safetensors");
    write_tensors(&path, &[("latents", Array4::from_elem((1, 4, 8, 8), f32::NAN))]);
    let (code, _, error) = sdviz("plot run --what plane");
    assert!(
        code == Some(2) && error.contains("x in `run/steps/003.safetensors` holds numbers that are not finite"),
        "{error}"
    );
}
