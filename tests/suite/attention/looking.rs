//! What is drawn of recorded attention, on runs made by hand: painted numbers are the formulas', and messages say the way
//! out.

use crate::synthetic_run::Made;
use half::f16;
use ndarray::{Array3, Array4};
use safetensors::tensor::{Dtype, TensorView};
use sdviz::error::{Error, Result};
use sdviz::export::Outputs;
use sdviz::export::attention::maps::{Merge, Method, Mix, Upsampling};
use sdviz::export::attention::measures;
use sdviz::export::attention::paint::Colours;
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::export::attention::under::Over;
use sdviz::export::attention::words::Word;
use sdviz::export::attention::{self, Made as File, Options, What};
use sdviz::export::encode::AnimationFormat;
use sdviz::export::plots::{self, Plot};
use sdviz::record::attention::{
    self as record, AttendedText, Attending, AttentionRecord, Column, ColumnKind, Detail, Layer, MEAN_HEADS_FILE,
    Prediction,
};
use sdviz::record::conditions::Phase;
use sdviz::record::schema::{RunRecord, Status};
use sdviz::trace::reader::Run;
use sdviz::viz::colour::ColourMap;
use sdviz::viz::normalise::Normalisation;
use std::path::{Path, PathBuf};

/// `a red apple` on latents of so many rows and columns: start, three words, end, padding.
fn attention(latents: [usize; 2], last: usize) -> AttentionRecord {
    let layer = |site: &str, factor, heads| {
        let [h, w] = latents.map(|side| record::side(side, factor));
        Layer { site: site.into(), factor, heads, h, w }
    };
    let column = |place, kind| Column { place, places: 1, kind, ..Column::default() };
    let word = |place, piece: &str, span: [usize; 2]| Column {
        piece: piece.into(),
        word: Some(place - 1),
        span: Some(span),
        ..column(place, ColumnKind::Word)
    };
    let mut columns = vec![column(0, ColumnKind::Start)];
    columns.extend([word(1, "a</w>", [0, 1]), word(2, "red</w>", [2, 5]), word(3, "apple</w>", [6, 11])]);
    columns.extend([column(4, ColumnKind::End), Column { places: 72, ..column(5, ColumnKind::Padding) }]);
    AttentionRecord {
        detail: Detail::Sizes,
        latents,
        predictions: vec![Attending { prediction: Prediction::TEXT, schedule: vec![Phase { until: last, text: 0 }] }],
        texts: vec![AttendedText { text: "a red apple".into(), places: 77, columns }],
        layers: vec![
            layer("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2", 1, 3),
            layer("unet.mid_block.attentions.0.transformer_blocks.0.attn2", 4, 1),
        ],
        self_layers: vec![layer("unet.mid_block.attentions.0.transformer_blocks.0.attn1", 4, 1)],
        own: true,
        queries: vec![[0.5, 0.5]],
        ..AttentionRecord::default()
    }
}

/// The attention at a step: `apple` looks at a square that grows, the rest goes to the padding.
fn numbers(batch: usize, [h, w]: [usize; 2], step: usize, factor: usize) -> Array4<f32> {
    Array4::from_shape_fn((batch, 6, h, w), |(b, t, y, x)| {
        let apple = 0.125 + 0.5 * f32::from(y + x >= h + b - step.min(h)) / factor as f32;
        match t {
            0 | 4 => 0.0625,
            1 => 0.03125,
            2 => 0.03125 * step as f32 / 4.0,
            3 => apple,
            _ => 1.0 - 0.125 - 0.03125 - 0.03125 * step as f32 / 4.0 - apple,
        }
    })
}

fn write(dir: &Path, name: &str, tensors: Vec<(String, Vec<usize>, Vec<f32>)>, dtype: Dtype) {
    let bytes = |numbers: &Vec<f32>| -> Vec<u8> {
        match dtype {
            Dtype::F16 => numbers.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            _ => numbers.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    };
    let all: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors.into_iter().map(|(name, shape, numbers)| (name, shape, bytes(&numbers))).collect();
    let views = all.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn flat<D: ndarray::Dimension>(array: &ndarray::Array<f32, D>) -> (Vec<usize>, Vec<f32>) {
    (array.shape().to_vec(), array.iter().copied().collect())
}

/// Writes a run and its attention.
fn run(made: &Made, dir: &Path) -> PathBuf {
    let dir = made.write(dir);
    let latents = [made.height / 8, made.width / 8];
    let kept = attention(latents, made.calls);
    for step in 1..=made.last {
        let tensor = |factor| {
            let (shape, values) = flat(&numbers(made.batch, kept.grid(factor, 1), step, factor));
            (format!("text/f{factor}"), shape, values)
        };
        write(&dir, &record::cross_file(step), vec![tensor(1), tensor(4)], Dtype::F16);
        let places = kept.grid(4, 1).iter().product::<usize>();
        // Each place looks at itself, more and more.
        let own = Array3::from_shape_fn((made.batch, places, places), |(_, q, k)| {
            (1.0 + f32::from(q == k) * step as f32) / (places + step) as f32
        });
        let (shape, values) = flat(&own);
        let mut tensors = vec![("text/f4".to_string(), shape, values)];
        let shape = vec![made.batch, 1, latents[0], latents[1]];
        tensors.push((
            "text/query/0".into(),
            shape.clone(),
            (0..shape.iter().product()).map(|i| i as f32 / 1024.0).collect(),
        ));
        write(&dir, &record::self_file(step), tensors, Dtype::F16);
    }
    let mut json: RunRecord = serde_json::from_slice(&std::fs::read(dir.join("run.json")).unwrap()).unwrap();
    if made.status == Status::Complete {
        let heads = |layer: &Layer| {
            let one = numbers(made.batch, kept.grid(layer.factor, 1), 2, layer.factor);
            let (b, t, h, w) = one.dim();
            let all = ndarray::Array5::from_shape_fn((b, layer.heads, t, h, w), |(b, head, t, y, x)| {
                one[[b, t, y, x]] * if head == 0 { 1.0 } else { 0.5 }
            });
            let (shape, values) = flat(&all);
            (format!("text/0/{}", layer.site), shape, values)
        };
        write(&dir, MEAN_HEADS_FILE, kept.layers.iter().map(heads).collect(), Dtype::F32);
    }
    json.attention = Some(kept);
    std::fs::write(dir.join("run.json"), serde_json::to_vec(&json).unwrap()).unwrap();
    dir
}

fn word(typed: &str) -> Word {
    typed.parse().unwrap()
}

fn options(words: &[&str], made: &[File]) -> Options {
    Options { words: words.iter().map(|typed| word(typed)).collect(), made: made.to_vec(), ..Options::default() }
}

fn make(dirs: &[&Path], options: &Options, out: &Path) -> Result<(serde_json::Value, Vec<String>, Vec<String>)> {
    let runs: Vec<Run> = dirs.iter().map(|dir| Run::open(*dir).unwrap()).collect();
    let mut outputs = Outputs::in_folder(out)?;
    let record = attention::make(&runs.iter().collect::<Vec<_>>(), options, &mut outputs)?;
    let names = outputs.written().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    Ok((record, names, outputs.take_remarks()))
}

fn refused(result: Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    format!("{error} / {}", error.hint().unwrap_or_default())
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

/// What stands at a place of the picture is the formula's of the recorded numbers, for the batch's second picture and a
/// picture that is higher than wide.
#[test]
fn painted_numbers_are_the_formulas() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { width: 64, height: 96, batch: 2, x0: true, ..Made::default() };
    let dir = run(&made, &home.path().join("run"));
    let mix = Mix { upsampling: Upsampling::Hard, ..Mix::default() };
    let colours = Colours { map: ColourMap::Viridis, alpha: 0.5, grey: false };
    let asked = Options {
        how: How { mix, ..How::default() },
        colours,
        batch: 1,
        steps: vec![3],
        captions: false,
        size: Some(64 * 3),
        normalise: "fixed:0,0.5".parse().unwrap(),
        ..options(&["apple"], &[File::Film(AnimationFormat::Apng)])
    };
    let out = home.path().join("out");
    let (json, names, _) = make(&[&dir], &asked, &out).unwrap();
    assert_eq!(names, ["attention-apple-fixed0_0.5-b1.apng", "attention-apple-fixed0_0.5-b1.json"]);
    let frame = image::open(out.join(&names[0])).unwrap().into_rgb8();
    // The picture alone, a gap of 8, the map; 192 high, each pixel two.
    assert_eq!(frame.dimensions(), (2 * 128 + 8, 192));
    let below = made.gradient(3, 1);
    let (large, small) = (numbers(2, [12, 8], 3, 1), numbers(2, [3, 2], 3, 4));
    let mut mean = 0.0;
    for (y, x) in (0..12).flat_map(|y| (0..8).map(move |x| (y, x))) {
        let half = |v: f32| f16::from_f32(v).to_f32();
        // Three heads of the large image, one of the small.
        let share = 0.75 * half(large[[1, 3, y, x]]) + 0.25 * half(small[[1, 3, y / 4, x / 4]]);
        mean += f64::from(share) / 96.0;
        let unit = f64::from(share) / 0.5;
        let a = 0.5 * unit.clamp(0.0, 1.0);
        let colour = ColourMap::Viridis.at(unit);
        let (px, py) = (8 * x as u32 + 5, 8 * y as u32 + 2);
        let own = below.get_pixel(px, py);
        let expected = [0, 1, 2].map(|c| ((1.0 - a) * f64::from(own.0[c]) + a * f64::from(colour.0[c]) + 0.5) as i32);
        let found = frame.get_pixel(128 + 8 + 2 * px, 2 * py).0.map(i32::from);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1), "{y} {x}: {found:?}, not {expected:?}");
        assert_eq!(frame.get_pixel(2 * px + 1, 2 * py + 1), own);
    }
    let row = &json["rows"][0];
    assert_eq!((row["of"].as_str(), row["tokens"][0].as_str()), (Some("apple"), Some("apple</w>")));
    close(row["frames"][0]["mean"].as_f64().unwrap(), mean);
    assert_eq!((row["frames"][0]["step"].as_u64(), row["range"]["hi"].as_f64()), (Some(3), Some(0.5)));
    assert_eq!(
        json,
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(out.join(&names[1])).unwrap()).unwrap()
    );
}

#[test]
fn maps_are_those_of_the_methods() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&Made { width: 128, height: 128, ..Made::default() }, &home.path().join("run"));
    let run = Run::open(&dir).unwrap();
    let recorded = Recorded::open(&run, Prediction::TEXT, 0).unwrap();
    let map = |typed: &str, how: &How| recorded.map(2, &word(typed), how).unwrap().unwrap();
    let usual = How::default();
    // Together everything gets all of it, at each place.
    let all = ["a", "red", "apple", "<start>", "<end>", "<padding>"].map(|typed| map(typed, &usual));
    let sum = all.iter().fold(ndarray::Array2::<f32>::zeros((16, 16)), |sum, map| sum + map);
    assert!(sum.iter().all(|share| (share - 1.0).abs() < 2e-3), "{sum}");
    let relative = How { relative: true, ..usual.clone() };
    let sum = ["a", "red", "apple"]
        .iter()
        .fold(ndarray::Array2::<f32>::zeros((16, 16)), |sum, typed| sum + map(typed, &relative));
    assert!(sum.iter().all(|share| (share - 1.0).abs() < 1e-4), "{sum}");
    let mean = How { mix: Mix { merge: Merge::Mean, ..Mix::default() }, ..usual.clone() };
    let (both, half) = (map("red apple", &usual), map("red apple", &mean));
    assert!(both.iter().zip(&half).all(|(a, b)| (a - 2.0 * b).abs() < 1e-6));
    let small = How { mix: Mix { sizes: vec![4], ..Mix::default() }, ..usual.clone() };
    assert_ne!(map("apple", &small), map("apple", &usual));
    // Attend-and-Excite's is nearly all apple's: 100 times more is all in a softmax.
    let excite = map("apple", &How { method: Method::AttendAndExcite, ..usual.clone() });
    assert_eq!(excite.dim(), (4, 4));
    assert!(excite.iter().all(|share| *share > 0.999), "{excite}");
    let by = |method| How { method, ..How::default() };
    // DAAM's: 3 heads of the large image, one of the small, of which the second and third give half.
    let (_, heads) = recorded.heads().unwrap();
    let daam = recorded.whole(&word("a"), &by(Method::Daam), &heads).unwrap().unwrap();
    assert!(daam.iter().all(|share| (share - 0.03125 * (2.0 + 1.0) / 4.0).abs() < 1e-6), "{daam}");
    let two = recorded.whole(&word("a red"), &by(Method::Daam), &heads).unwrap().unwrap();
    assert!(two.iter().all(|share| (share - 0.75 * (0.03125 + 0.015625) / 2.0).abs() < 1e-6), "{two}");
    let text = refused(recorded.whole(&word("apple"), &by(Method::P2p), &heads));
    assert_eq!(text, "`p2p` finds no layer of f4 / name one of f1 with `--sizes`");
}

#[test]
fn shares_add_up_and_figures_hold_them() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&Made::default(), &home.path().join("run"));
    let run = Run::open(&dir).unwrap();
    let recorded = Recorded::open(&run, Prediction::TEXT, 0).unwrap();
    let shares = measures::shares(&recorded, &[word("apple")], 5).unwrap();
    let names: Vec<&str> = shares.rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (names, shares.steps.as_slice()),
        (vec!["<start>", "apple", "other tokens", "<end>", "<padding>"], &[1, 2, 3, 4][..])
    );
    for step in 0..4 {
        let sum: f64 = shares.rows.iter().map(|(_, row)| row[step]).sum();
        assert!((sum - 1.0).abs() < 2e-3, "{sum}");
        let others = 0.03125 + 0.03125 * (step + 1) as f64 / 4.0;
        assert!((shares.rows[2].1[step] - others).abs() < 1e-4);
    }
    let figure = plots::attention::shares(&run, &[word("apple")], (Prediction::TEXT, None), 0).unwrap();
    assert!(figure.panels.len() == 1 && figure.panels[0].stacked && figure.png().unwrap().len() > 10_000);
    assert_eq!(figure.panels[0].curves[1].points[2], (3.0, 100.0 * shares.rows[1].1[2]));
    let whole = Plot::Attention.figure(&[&run], 0).unwrap();
    let panels: Vec<&str> = whole.panels.iter().map(|panel| panel.y.as_str()).collect();
    assert_eq!(
        panels,
        ["share of the attention, %", "spread of a word’s map", "drift of its middle, %", "overlap of two words"]
    );
    // Where it ends it has no way to go.
    assert!(whole.panels[2].curves.iter().all(|curve| curve.points.last() == Some(&(4.0, 0.0))));
    // Several runs: shares are those of one.
    let together = Plot::Attention.figure(&[&run, &run], 0).unwrap();
    assert!(together.panels.iter().all(|panel| !panel.stacked) && !together.panels.is_empty());
}

#[test]
fn every_kind_makes_its_files() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { width: 128, height: 64, x0: true, ..Made::default() };
    let (dir, out) = (run(&made, &home.path().join("run")), home.path().join("out"));
    made.gradient(4, 0).save(dir.join("final.png")).unwrap();
    let sheet = [File::Sheet];
    let kinds = [
        (Options { over: Over::Nothing, ..options(&[], &sheet) }, "attention-words.png"),
        (Options { what: What::Heads, ..options(&["red apple"], &sheet) }, "attention-heads-red-apple.png"),
        (Options { what: What::Places(vec![]), ..options(&[], &sheet) }, "attention-places.png"),
        (Options { what: What::Places(vec![[0.9, 0.1]]), ..options(&[], &sheet) }, "attention-at-0.9-0.1.png"),
        (Options { what: What::Parts, ..options(&[], &sheet) }, "attention-components.png"),
        (
            Options { how: How { method: Method::Daam, ..How::default() }, ..options(&["apple"], &sheet) },
            "attention-apple-daam.png",
        ),
        (Options { over: Over::Final, ..options(&["#3"], &[File::Film(AnimationFormat::Gif)]) }, "attention-3.gif"),
    ];
    for (options, name) in kinds {
        let (_, names, _) = make(&[&dir], &options, &out).unwrap();
        let json = format!("{}.json", name.rsplit_once('.').unwrap().0);
        assert_eq!(names, [name.to_string(), json], "{options:?}");
        if name.ends_with(".gif") {
            continue;
        }
        let picture = image::open(out.join(name)).unwrap().into_rgb8();
        let first = picture.get_pixel(picture.width() / 2, picture.height() / 2);
        assert!(picture.pixels().any(|pixel| pixel != first), "{name} is empty");
    }
    let (_, names, _) = make(&[&dir, &dir], &options(&["apple"], &sheet), &out).unwrap();
    assert_eq!(names[0], "attention-apple-compared.png");
}

/// A killed run shows what it has; what is written at the end of a run is said to be missing.
#[test]
fn a_killed_run_shows_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { last: 2, status: Status::Running, ..Made::default() };
    let (dir, out) = (run(&made, &home.path().join("run")), home.path().join("out"));
    let (json, _, remarks) = make(&[&dir], &options(&["apple"], &[File::Sheet]), &out).unwrap();
    assert_eq!(json["rows"][0]["frames"].as_array().unwrap().len(), 2);
    assert!(remarks.iter().any(|remark| remark.ends_with("step 2 of 4 is the last one there")), "{remarks:?}");
    let said = refused(make(&[&dir], &Options { what: What::Heads, ..options(&["apple"], &[File::Sheet]) }, &out));
    assert!(said.contains("has no heads: they are written when a run ends"), "{said}");
}

/// A word that one of the prompts' texts does not have, by the web UI's schedules: it is there where the text is.
#[test]
fn a_word_is_shown_where_its_text_holds() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&Made::default(), &home.path().join("run"));
    let mut json: RunRecord = serde_json::from_slice(&std::fs::read(dir.join("run.json")).unwrap()).unwrap();
    let kept = json.attention.as_mut().unwrap();
    let mut other = kept.texts[0].clone();
    other.text = "a red grape".into();
    other.columns[3].piece = "grape</w>".into();
    kept.texts.push(other);
    kept.predictions[0].schedule = vec![Phase { until: 2, text: 0 }, Phase { until: 4, text: 1 }];
    std::fs::write(dir.join("run.json"), serde_json::to_vec(&json).unwrap()).unwrap();
    let out = home.path().join("out");
    let (json, ..) = make(&[&dir], &options(&["apple", "grape", "red"], &[File::Sheet]), &out).unwrap();
    let steps = |row: usize| -> Vec<u64> {
        json["rows"][row]["frames"].as_array().unwrap().iter().map(|frame| frame["step"].as_u64().unwrap()).collect()
    };
    assert_eq!((steps(0), steps(1), steps(2)), (vec![1, 2], vec![3, 4], vec![1, 2, 3, 4]));
    let run = Run::open(&dir).unwrap();
    assert_eq!(run.attention_of("grape").unwrap().steps().unwrap(), [3, 4]);
    let shares = plots::attention::shares(&run, &[], (Prediction::TEXT, None), 0).unwrap();
    assert!(shares.note.starts_with("The text changes"), "{}", shares.note);
}

#[test]
fn words_in_the_hand() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&Made::default(), &home.path().join("run"));
    let run = Run::open(&dir).unwrap();
    let maps = run.attention_of("apple").unwrap();
    assert_eq!((maps.to_string(), maps.steps().unwrap()), ("attention to “apple” of 4 steps".into(), vec![1, 2, 3, 4]));
    assert_eq!(maps.map(2).unwrap().dim(), (8, 8));
    let shares = maps.shares().unwrap();
    assert!(shares.len() == 4 && shares[3].1 > shares[0].1, "{shares:?}");
    let path = home.path().join("new/apple.gif");
    maps.size(64).alone().save(&path).unwrap();
    assert!(std::fs::read(&path).unwrap().starts_with(b"GIF89a"));
    let said = [refused(run.attention_of("pear").map(drop)), refused(run.attention_of("apple").unwrap().map(9))];
    assert!(said[0].starts_with("unknown word of the prompt `pear`"), "{}", said[0]);
    assert!(said[1].ends_with("there are maps of steps 1 to 4"), "{}", said[1]);
}

#[test]
fn mistakes_have_a_way_out() {
    let home = tempfile::tempdir().unwrap();
    let made = Made { images: false, ..Made::default() };
    let (dir, out) = (run(&made, &home.path().join("run")), home.path().join("out"));
    let plain = Made::default().write(&home.path().join("plain"));
    let sheet = [File::Sheet];
    let usual = || options(&["apple"], &sheet);
    let sizes = |sizes: &[usize]| How { mix: Mix { sizes: sizes.to_vec(), ..Mix::default() }, ..How::default() };
    let said = [
        refused(make(&[&plain], &usual(), &out)),
        refused(make(&[&dir], &options(&["appel"], &sheet), &out)),
        refused(make(&[&dir], &options(&["apple@2"], &sheet), &out)),
        refused(make(&[&dir], &options(&["#99"], &sheet), &out)),
        refused(make(&[&dir], &Options { steps: vec![9], ..usual() }, &out)),
        refused(make(&[&dir], &Options { over: Over::X0, ..usual() }, &out)),
        refused(make(&[&dir], &Options { over: Over::Final, ..usual() }, &out)),
        refused(make(&[&dir], &Options { batch: 1, ..usual() }, &out)),
        refused(make(&[&dir], &Options { how: sizes(&[2]), ..usual() }, &out)),
        refused(make(&[&dir], &Options { prediction: Prediction::Uncond, ..usual() }, &out)),
        refused(make(
            &[&dir],
            &Options { how: How { method: Method::P2p, relative: true, ..How::default() }, ..usual() },
            &out,
        )),
        refused(make(
            &[&dir],
            &Options {
                how: How { method: Method::AttendAndExcite, ..How::default() },
                ..options(&["<padding>"], &sheet)
            },
            &out,
        )),
        refused(make(&[&dir], &Options { what: What::Places(vec![[0.5, 2.0]]), ..options(&[], &sheet) }, &out)),
        refused(make(
            &[&dir],
            &Options { what: What::Places(vec![[0.1, 0.1]]), how: sizes(&[1]), ..options(&[], &sheet) },
            &out,
        )),
        refused(make(&[&dir], &Options { colours: Colours { alpha: 2.0, ..Colours::default() }, ..usual() }, &out)),
    ];
    let home = home.path().display().to_string();
    insta::assert_snapshot!(said.join("\n").replace(&home, "HOME"));
    assert!(matches!(make(&[&plain], &usual(), &out), Err(Error::NotRecorded { .. })));
}

#[test]
fn the_default_range_is_the_runs_own() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&Made::default(), &home.path().join("run"));
    let out = home.path().join("out");
    let (json, ..) = make(&[&dir], &options(&["red"], &[File::Sheet]), &out).unwrap();
    let range = &json["rows"][0]["range"];
    assert_eq!((range["lo"].as_f64(), range["hi"].as_f64()), (Some(0.0078125), Some(0.03125)));
    let each = Options { normalise: Normalisation::Frame, ..options(&["apple"], &[File::Sheet]) };
    let (json, names, _) = make(&[&dir], &each, &out).unwrap();
    assert!(json["rows"][0]["range"].is_null() && names[0] == "attention-apple-frame.png");
}
