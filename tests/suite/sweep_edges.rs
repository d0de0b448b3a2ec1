//! Sweeps at their edges: words left away and exchanged, values that are there twice, large seeds, few open files, a
//! model whose configuration changed, a format that cannot hold a grid, a run that gives its settings.

use crate::common::{root, sdviz_in, stderr, stdout};
use image::RgbImage;
use sdviz::sweep::store::{State, Store};
use sdviz::trace::reader::Run;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Small, and no more than is needed.
const QUICK: [&str; 8] = ["--width", "32", "--height", "32", "--record", "latents", "--decode", "final"];

/// A quick sweep in `folder/sweep`: what it said on standard error.
fn sweep(folder: &Path, args: &[&str]) -> String {
    let output = sdviz_in(folder, &[&["sweep"], args, &QUICK].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

/// What a program reads: the lines on standard output.
fn grid(folder: &Path, args: &[&str]) -> Vec<String> {
    let output = sdviz_in(folder, &[&["grid"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output).lines().map(String::from).collect()
}

fn runs(folder: &Path) -> Vec<Run> {
    let (store, record) = Store::open(&folder.join("sweep")).unwrap();
    record.cells.iter().map(|cell| Run::open(store.cell(&cell.cell)).unwrap()).collect()
}

fn prompts(folder: &Path) -> Vec<String> {
    runs(folder).iter().map(|run| run.record().plan.prompt.clone()).collect()
}

#[test]
fn words_are_left_away_exchanged_and_named() {
    let home = tempfile::tempdir().unwrap();
    let prompt = ["--prompt", "a flat red apple, green", "--steps", "1"];
    let words =
        ["--replace", "red=red,", "--replace", "style:flat=flat,\"flat, round\"", "--replace", "apple=red apple"];
    let told = sweep(home.path(), &[&prompt[..], &words].concat());
    assert!(told.contains("style flat, round"), "{told}");
    assert_eq!(
        prompts(home.path()),
        [
            "a flat red red apple, green",
            "a flat red apple, green",
            "a flat, round red red apple, green",
            "a flat, round red apple, green"
        ]
    );
    let shown =
        grid(home.path(), &["--rows", "style", "--cols", "red", "--where", "style=flat, round", "--out", "one"]);
    assert_eq!(shown, ["one/grid.png"]);
    let table = std::fs::read_to_string(home.path().join("sweep/exports/cells.csv")).unwrap();
    assert!(table.starts_with("red,style,cell,") && table.contains("(none),\"flat, round\","), "{table}");
    // Two axes that exchange words with each other.
    let other = tempfile::tempdir().unwrap();
    let swap = ["--replace", "red=red,green", "--replace", "green=green,red"];
    sweep(other.path(), &[&prompt[..], &swap].concat());
    assert_eq!(
        prompts(other.path()),
        ["a flat red apple, green", "a flat green apple, green", "a flat red apple, red", "a flat green apple, red"]
    );
}

#[test]
fn what_is_there_twice_is_made_once() {
    let home = tempfile::tempdir().unwrap();
    let twice =
        ["--seed", "1,1,1-2", "--seed", "2", "--guidance-scale", "4,4.0", "--prompt", "a cat", "--prompt", "a cat"];
    let told = sweep(home.path(), &[&twice[..], &["--steps", "1"]].concat());
    assert!(told.contains("2 cells: 2 made"), "{told}");
    // Two places of one picture.
    let places = [
        "--prompt",
        "red",
        "--prompt",
        "blue",
        "--negative-prompt",
        "red blue",
        "--replace",
        "red=x",
        "--replace",
        "blue=x",
    ];
    let batched = [&places[..], &["--steps", "1", "--seed", "1,2", "--batch-seeds", "4", "--out", "places"]].concat();
    let told = sweep(home.path(), &batched);
    assert!(told.contains("2 cells: 2 made") && !told.contains("another process"), "{told}");
}

fn told_of_refusal(folder: &Path, args: &[&str]) -> String {
    let output = sdviz_in(folder, &[&["sweep"], args, &QUICK].concat());
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn large_seeds_keep_all_their_digits() {
    let home = tempfile::tempdir().unwrap();
    sweep(
        home.path(),
        &["--prompt", "a cat", "--steps", "1", "--seed", "9007199254740993,18446744073709551614-18446744073709551615"],
    );
    let seeds: Vec<u64> = runs(home.path()).iter().map(|run| run.record().plan.seed).collect();
    assert_eq!(seeds, [9007199254740993, u64::MAX - 1, u64::MAX]);
    sweep(home.path(), &["--prompt", "a cat", "--steps", "1", "--seed", "9007199254740992"]);
    let record = std::fs::read_to_string(home.path().join("sweep/sweep.json")).unwrap();
    let values = record.split("\"values\": [").nth(1).unwrap().split(']').next().unwrap();
    let values: Vec<&str> = values.split(',').map(str::trim).collect();
    assert_eq!(values, ["9007199254740992", "9007199254740993", "18446744073709551614", "18446744073709551615"]);
    grid(home.path(), &["--where", "seed=18446744073709551615"]);
}

#[test]
fn a_batch_from_a_picture_has_every_row_of_its_shape_log() {
    let home = tempfile::tempdir().unwrap();
    let assets = root("assets");
    let [sketch, mask] = ["sketch.png", "sketch-mask.png"].map(|name| assets.join(name).display().to_string());
    let common =
        ["--prompt", "a red apple", "--steps", "2", "--init-image", &sketch, "--mask", &mask, "--seed", "3,1,2"];
    sweep(home.path(), &common);
    let alone: Vec<_> = runs(home.path()).iter().map(rows).collect();
    let batched = home.path().join("batched");
    std::fs::create_dir(&batched).unwrap();
    sweep(&batched, &[&common[..], &["--batch-seeds", "3"]].concat());
    let together: Vec<_> = runs(&batched).iter().map(rows).collect();
    assert_eq!(alone.len(), 3);
    assert!(alone[0].iter().any(|(name, ..)| name.starts_with("vae.encoder.")), "no encoder");
    assert_eq!(alone, together);
}

fn rows(run: &Run) -> Vec<(String, String, Vec<i64>)> {
    run.site_rows().unwrap().into_iter().map(|row| (row.name, row.symbolic, row.shape)).collect()
}

#[cfg(unix)]
#[test]
fn a_batch_needs_no_more_open_files_than_there_are() {
    let home = tempfile::tempdir().unwrap();
    let command = format!(
        "ulimit -n 40; exec '{}' sweep --prompt 'a cat' --steps 1 --seed 1-48 --batch-seeds 48 --no-grid {}",
        env!("CARGO_BIN_EXE_sdviz"),
        QUICK.join(" ")
    );
    let shell = Command::new("sh").args(["-c", &command]).current_dir(home.path()).output();
    let output = shell.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("48 cells: 48 made"), "{}", stderr(&output));
    let (store, record) = Store::open(&home.path().join("sweep")).unwrap();
    assert!(record.cells.iter().all(|cell| store.state(&cell.cell) == State::Complete));
    let left = std::fs::read_dir(home.path().join("sweep/cells")).unwrap();
    assert_eq!(left.count(), 48, "nothing but cells is left");
}

#[test]
fn another_configuration_or_tokenizer_is_another_cell() {
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("model");
    assert!(sdviz_in(home.path(), &["convert", "pocket", "model"]).status.success());
    let args = ["--prompt", "a cat", "--steps", "1", "--model", "model"];
    sweep(home.path(), &args);
    assert!(sweep(home.path(), &args).contains("1 cells: 0 made, 1 there already"));
    let change = |name: &str, field: &str, value: serde_json::Value| {
        let path = model.join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json[field] = value;
        std::fs::write(&path, json.to_string()).unwrap();
    };
    // Where a file was saved by another program, nothing changes.
    change("unet/config.json", "_diffusers_version", "9.9.9".into());
    assert!(sweep(home.path(), &args).contains("1 there already"));
    change("unet/config.json", "norm_eps", 1e-3.into());
    assert!(sweep(home.path(), &args).contains("1 made"));
    change("tokenizer/special_tokens_map.json", "pad_token", "a</w>".into());
    assert!(sweep(home.path(), &args).contains("1 made"));
}

#[test]
fn one_format_that_cannot_hold_a_grid_does_not_stop_the_others() {
    let home = tempfile::tempdir().unwrap();
    sweep(home.path(), &["--prompt", "a cat", "--steps", "1", "--seed", "1-5"]);
    let output =
        sdviz_in(home.path(), &["grid", "--format", "mp4,png,gif,gif", "--cell-size", "1000", "--what", "latents"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("H.264 is written up to 3840×2160") && told.contains("`--cell-size 128`"), "{told}");
    let written = stdout(&output);
    assert_eq!(
        written.lines().collect::<Vec<_>>(),
        ["sweep/exports/grid-latents.png", "sweep/exports/grid-latents.gif"]
    );
    assert!(!told.contains("grid-latents.png"), "a path is printed once: {told}");
    for (flag, value) in [("--max-cols", "0"), ("--max-rows", "0")] {
        let output = sdviz_in(home.path(), &["grid", flag, value]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
    }
    // Left to itself, a high grid is made to fit.
    let high = ["grid", "--rows", "seed", "--format", "mp4", "--max-rows", "5"];
    assert!(sdviz_in(home.path(), &high).status.success());
}

#[test]
fn pages_that_a_narrower_grid_no_longer_has_go() {
    let home = tempfile::tempdir().unwrap();
    sweep(home.path(), &["--prompt", "a cat", "--steps", "1", "--seed", "1-4"]);
    let pages = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(home.path().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("grid")).collect()
    };
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    std::fs::create_dir(home.path().join("mine")).unwrap();
    for (folder, to) in [("sweep/exports", &[][..]), ("mine", &["--out", "mine"])] {
        // A page of somebody else's is not ours to remove.
        std::fs::write(home.path().join(folder).join("grid-7.png"), "").unwrap();
        assert_eq!(grid(home.path(), &[&["--max-cols", "1"], to].concat()).len(), 4);
        grid(home.path(), &[&["--max-cols", "2", "--what", "latents"], to].concat());
        assert_eq!(grid(home.path(), &[&["--max-cols", "2"], to].concat()).len(), 2);
        let latents = ["grid-latents-1.png", "grid-latents-2.png"];
        assert_eq!(
            pages(folder),
            named(&[&["grid-1.png", "grid-2.png", "grid-7.png"][..], &latents].concat()),
            "{folder}"
        );
        grid(home.path(), to);
        assert_eq!(pages(folder), named(&[&["grid-7.png", "grid.png"][..], &latents].concat()), "{folder}");
    }
}

#[test]
fn a_small_model_decodes_every_step_and_a_grid_says_where_it_did_not() {
    let home = tempfile::tempdir().unwrap();
    let common =
        ["sweep", "--prompt", "a red apple", "--steps", "3", "--width", "64", "--height", "64", "--seed", "1,2"];
    assert!(sdviz_in(home.path(), &common).status.success());
    let pictures = |run: &Run, what| run.pictured_steps(what, 0).unwrap().len();
    use sdviz::record::plan::Quantity::{Latents, PredictedOriginal};
    for run in runs(home.path()) {
        let calls = run.record().schedule.len() - 1;
        assert_eq!([pictures(&run, Latents), pictures(&run, PredictedOriginal)], [calls + 1, calls]);
    }
    let open = |path: &str| image::open(home.path().join(path)).unwrap().to_rgb8();
    let size = |path: &str| open(path).dimensions();
    // The colours in a row of pixels through the first cell, near its lower edge.
    let colours = |page: &RgbImage| (20..190).map(|x| page.get_pixel(x, page.height() - 20).0).collect::<BTreeSet<_>>();
    let decoded = open(&grid(home.path(), &["--what", "x0@2"])[0]);
    // The same cells without those pictures: one square for each of the eight latents in a row, and the heading says why.
    let undecoded = [&common[..], &["--decode", "final", "--out", "final"]].concat();
    assert!(sdviz_in(home.path(), &undecoded).status.success());
    let mapped = open(&grid(home.path(), &["final", "--what", "x0@2"])[0]);
    assert!(colours(&mapped).len() <= 8 && colours(&decoded).len() > 30, "{:?}", colours(&mapped));
    assert!(mapped.height() > decoded.height(), "{:?} {:?}", mapped.dimensions(), decoded.dimensions());
    assert_eq!(
        size(&grid(home.path(), &["final"])[0]),
        size(&grid(home.path(), &[])[0]),
        "finished pictures are decoded"
    );
}

#[test]
fn without_a_prompt_a_sweep_takes_the_run_that_is_there() {
    let home = tempfile::tempdir().unwrap();
    let refused = told_of_refusal(home.path(), &["--steps", "1,2"]);
    assert!(
        refused.contains("there is no prompt") && refused.contains("the newest run here, `run`, and there is none"),
        "{refused}"
    );
    let sketch = root("assets/sketch.png").display().to_string();
    let trace = [
        "trace",
        "--prompt",
        "a red apple",
        "--negative-prompt",
        "blue",
        "--seed",
        "18446744073709551615",
        "--guidance-scale",
        "4",
        "--scheduler",
        "ddim",
        "--eta",
        "0.5",
        "--steps",
        "4",
        "--width",
        "64",
        "--height",
        "48",
        "--out",
        "run",
        "--init-image",
        &sketch,
        "--strength",
        "0.5",
        "--resize",
        "crop",
        "--record",
        "latents",
    ];
    let output = sdviz_in(home.path(), &trace);
    assert!(output.status.success(), "{}", stderr(&output));
    let output =
        sdviz_in(home.path(), &["sweep", "--steps", "4,8", "--replace", "red=red,green", "--record", "latents"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("from `run`: the prompt \"a red apple\", and whatever is not given here"),
        "{}",
        stderr(&output)
    );
    let made = runs(home.path());
    assert_eq!(made.len(), 4);
    let run = Run::open(home.path().join("run")).unwrap();
    let (mut plain, mut cell) = (run.record().plan.clone(), made[0].record().plan.clone());
    assert_eq!((cell.prompt.as_str(), cell.steps, cell.seed), ("a red apple", 4, u64::MAX));
    // The picture is the run's copy of it; what is kept is the sweep's own affair.
    plain.init_image = cell.init_image.clone();
    (cell.decode, cell.decode_what) = (plain.decode, plain.decode_what.clone());
    assert_eq!(cell, plain);
    let tensors = |run: &Run| run.tensors(2, sdviz::record::plan::Quantity::Latents).unwrap();
    assert_eq!(tensors(&made[0]), tensors(&run));
    // What is typed counts.
    let output =
        sdviz_in(home.path(), &["sweep", "--steps", "1", "--negative-prompt", "", "--strength", "1", "--out", "typed"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (store, record) = Store::open(&home.path().join("typed")).unwrap();
    let plan = Run::open(store.cell(&record.cells[0].cell)).unwrap().record().plan.clone();
    assert_eq!((plan.negative_prompt.as_str(), plan.strength, plan.eta), ("", Some(1.0), 0.5));
}

#[test]
fn a_moving_grid_is_a_small_file() {
    let home = tempfile::tempdir().unwrap();
    let args = ["sweep", "--prompt", "a red apple", "--steps", "6", "--seed", "1-4", "--width", "64", "--height", "64"];
    assert!(sdviz_in(home.path(), &args).status.success());
    let path: PathBuf = home.path().join(&grid(home.path(), &["--format", "gif"])[0]);
    let bytes = std::fs::metadata(&path).unwrap().len();
    let (width, height) = {
        let decoder = gif::DecodeOptions::new().read_info(std::fs::File::open(&path).unwrap()).unwrap();
        (u64::from(decoder.width()), u64::from(decoder.height()))
    };
    // Magnified three times: a ninth of the pixels are different ones.
    assert!(bytes < 7 * width * height / 3, "{bytes} bytes for {width}×{height}");
}
