//! Sweeps as users run them: stopped, continued, widened, shared out; always the same grid, and no cell made twice.

use crate::common::{command, stderr, stdout};
use image::GenericImageView;
use sdviz::record::plan::Quantity;
use sdviz::sweep::store::Store;
use sdviz::trace::reader::Run;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Three by three, quick, and not so quick that it cannot be caught in the middle.
const NINE: [&str; 6] = ["--prompt", "a red apple", "--steps", "2,4,8", "--guidance-scale", "1,4,7.5"];

fn sdviz() -> Command {
    let mut command = command();
    // Nor may a run that lies about give a sweep its settings.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn sweep(out: &Path, args: &[&str]) -> Output {
    sdviz().arg("sweep").args(args).arg("--out").arg(out).output().unwrap()
}

fn start(out: &Path, args: &[&str]) -> Child {
    let mut command = sdviz();
    command.arg("sweep").args(args).arg("--out").arg(out).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The cells that are there, with the time at which each was finished.
fn cells(out: &Path) -> BTreeMap<String, SystemTime> {
    let Ok(entries) = std::fs::read_dir(out.join("cells")) else { return BTreeMap::new() };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| !name.starts_with('.'));
    names
        .map(|name| {
            let time = std::fs::metadata(out.join("cells").join(&name).join("run.json")).unwrap().modified().unwrap();
            (name, time)
        })
        .collect()
}

/// What is left of cells in the making.
fn leftovers(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out.join("cells")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).filter(|name| name.starts_with('.')).collect()
}

fn grid(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("exports/grid.png")).unwrap()
}

/// The nine cells, made in one go, once for all tests.
fn whole() -> &'static Path {
    static WHOLE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("whole");
        let output = sweep(&path, &NINE);
        assert!(output.status.success(), "{}", stderr(&output));
        (dir, path)
    });
    path
}

/// Waits until the sweep has this many cells.
fn wait_for(out: &Path, count: usize, child: &mut Child) {
    let started = Instant::now();
    while cells(out).len() < count {
        assert!(child.try_wait().unwrap().is_none(), "the sweep ended too early");
        assert!(started.elapsed() < Duration::from_secs(60), "the sweep does not move");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_sweep_goes_on_to_the_same_grid() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("killed");
    let mut child = start(&out, &NINE);
    wait_for(&out, 4, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = cells(&out);
    assert!(before.len() < 9, "it was killed too late");

    // The grid of what is there: full size, with the places of the others marked.
    let half = sdviz().arg("grid").arg(&out).output().unwrap();
    assert!(half.status.success(), "{}", stderr(&half));
    assert_ne!(grid(&out), grid(whole()));
    assert_eq!(
        image::load_from_memory(&grid(&out)).unwrap().dimensions(),
        image::load_from_memory(&grid(whole())).unwrap().dimensions()
    );

    let output = sweep(&out, &NINE);
    let made = 9 - before.len();
    assert!(
        stderr(&output).contains(&format!("9 cells: {made} made, {} there already", before.len())),
        "{}",
        stderr(&output)
    );
    let after = cells(&out);
    assert!(before.iter().all(|(name, time)| after[name] == *time), "a finished cell was made again");
    assert_eq!(after.keys().collect::<Vec<_>>(), cells(whole()).keys().collect::<Vec<_>>());
    assert_eq!(leftovers(&out), [""; 0]);
    assert_eq!(grid(&out), grid(whole()));
}

#[test]
fn two_shards_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("shards");
    let shards: Vec<Child> = ["1/2", "2/2"].map(|shard| start(&out, &[&NINE[..], &["--shard", shard]].concat())).into();
    let outputs: Vec<Output> = shards.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|o| o.status.success()));
    assert!(stderr(&outputs[0]).contains("5 cells: 5 made"), "{}", stderr(&outputs[0]));
    assert!(stderr(&outputs[1]).contains("4 cells: 4 made"), "{}", stderr(&outputs[1]));
    assert_eq!(grid(&out), grid(whole()));
    assert_eq!(std::fs::read(out.join("sweep.json")).unwrap(), std::fs::read(whole().join("sweep.json")).unwrap());
}

#[test]
fn processes_with_the_same_cells_do_not_make_them_twice() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("both");
    let both: Vec<Child> = (0..2).map(|_| start(&out, &NINE)).collect();
    let outputs: Vec<String> = both.into_iter().map(|child| stderr(&child.wait_with_output().unwrap())).collect();
    let made = |text: &String| {
        let line = text.lines().find(|l| l.starts_with("9 cells: ")).unwrap().to_string();
        line.trim_start_matches("9 cells: ").split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(made(&outputs[0]) + made(&outputs[1]), 9, "{outputs:?}");
    assert_eq!(grid(&out), grid(whole()));
}

#[test]
fn a_widened_sweep_makes_only_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("wide");
    assert!(sweep(&out, &["--prompt", "a red apple", "--steps", "2,8", "--guidance-scale", "1,7.5"]).status.success());
    let before = cells(&out);
    let output = sweep(&out, &NINE);
    assert!(stderr(&output).contains("9 cells: 5 made, 4 there already"), "{}", stderr(&output));
    let after = cells(&out);
    assert!(before.iter().all(|(name, time)| after[name] == *time));
    // The values stand in their order, not in the order in which they came.
    assert_eq!(grid(&out), grid(whole()));
}

#[test]
fn a_failed_cell_is_told_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("failed");
    let args = ["--prompt", "a red apple", "--steps", "2", "--guidance-scale", "1e38,4"];
    for _ in 0..2 {
        let output = sweep(&out, &args);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("error: guidance scale 1e38: `"), "{}", stderr(&output));
        assert!(stderr(&output).contains("not finite"), "{}", stderr(&output));
        assert!(out.join("exports/grid.png").is_file());
    }
    let table = std::fs::read_to_string(out.join("exports/cells.csv")).unwrap();
    assert!(table.contains("4,") && table.contains(",complete,") && table.contains("1e38,"), "{table}");
    assert_eq!(table.matches("failed: ").count(), 1, "{table}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_sweep_ends_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("interrupted");
    let mut child = start(&out, &NINE);
    wait_for(&out, 2, &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("error: cancelled\nnote: 9 cells: "), "{}", stderr(&output));
    assert_eq!(leftovers(&out), [""; 0]);
    let store = Store::new(&out).unwrap();
    let complete = |id: &String| store.state(id) == sdviz::sweep::store::State::Complete;
    assert!(cells(&out).keys().all(complete), "a cell that is not whole has its name");
}

#[test]
fn everything_is_checked_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("never");
    for (args, message) in [
        (&["--prompt", "x", "--scheduler", "ddim,eulr"][..], "unknown scheduler `eulr`; did you mean `euler`?"),
        (&["--prompt", "x", "--width", "128,100"], "width 100 is not a multiple of 8"),
        (&["--prompt", "x", "--steps", "2,0"], "0 steps make no picture"),
        (&["--prompt", "x", "--steps", "2,5000"], "5000"),
        (&["--prompt", "x", "--guidance-scale", "high"], "`high` is not a number from 0 up or a range"),
        (&["--prompt", "a cat", "--replace", "cow=cow,dog"], "`cow` does not stand in the prompt `a cat`"),
        (&["--prompt", "x", "--model", "pocket,/no/such"], "no model `/no/such`"),
        (&["--prompt", "x", "--shard", "3/2"], "`3/2` names no part of a sweep"),
        (&["--steps", "2"], "there is no prompt"),
    ] {
        let output = sweep(&out, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(message), "{args:?}: {}", stderr(&output));
        assert!(!out.exists(), "{args:?}");
    }
}

#[test]
fn a_dry_run_counts_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("dry");
    let output = sweep(&out, &[&NINE[..], &["--dry-run", "--scheduler", "ddim"]].concat());
    let text = stdout(&output);
    // 2, 4 and 8 calls at three scales, of which one is without guidance: 42 calls, 14 + 2·28 predictions.
    assert!(text.contains("9 cells, 9 to make: 42 model calls (70 predictions of noise)"), "{text}");
    assert!(text.contains("estimated from one call of the model timed now at 128×128"), "{text}");
    assert!(!out.exists());
    let output = sweep(whole(), &[&NINE[..], &["--dry-run"]].concat());
    assert!(stdout(&output).contains("9 cells, nothing to make"));
}

/// What is in a run directory, `run.json` apart, which has timings.
fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [run.to_path_buf(), run.join("steps")] {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
            files.insert(entry.strip_prefix(run).unwrap().display().to_string(), std::fs::read(entry).unwrap());
        }
    }
    files.remove("run.json").unwrap();
    files
}

/// The run directory of the cell with this value.
fn cell(sweep: &Path, axis: &str, value: &str) -> PathBuf {
    let (store, record) = Store::open(sweep).unwrap();
    let cell = record.cells.iter().find(|c| sdviz::sweep::field::label(&c.at[axis]) == value).unwrap();
    store.cell(&cell.cell)
}

#[test]
fn a_cell_is_the_run_that_trace_makes_and_batches_differ_by_rounding_only() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // A scheduler that draws noise at each step, so that the seeds' streams matter.
    let common =
        ["--prompt", "a red apple", "--scheduler", "ddpm", "--steps", "3", "--record", "all", "--decode", "final"];
    let seeds = [&common[..], &["--seed", "7,1,2"]].concat();
    let alone = [&["trace", "--no-report"], &common[..], &["--seed", "1", "--out"]].concat();
    assert!(sdviz().args(alone).arg(at("alone")).status().unwrap().success());
    assert!(sweep(&at("one"), &seeds).status.success());
    assert!(sweep(&at("batch"), &[&seeds[..], &["--batch-seeds", "3"]].concat()).status.success());
    assert_eq!(contents(&at("alone")), contents(&cell(&at("one"), "seed", "1")));

    for seed in ["7", "1", "2"] {
        let [one, batch] = ["one", "batch"].map(|name| Run::open(cell(&at(name), "seed", seed)).unwrap());
        let mut plain = one.record().plan.clone();
        plain.scheduler_config = batch.record().plan.scheduler_config.clone();
        assert_eq!(plain, batch.record().plan);
        let sites = |run: &Run| -> Vec<_> {
            run.site_rows().unwrap().into_iter().map(|row| (row.name, row.symbolic, row.shape)).collect()
        };
        assert_eq!(sites(&one), sites(&batch));
        for step in one.steps().unwrap() {
            for what in Quantity::ALL {
                let tensors = (one.tensors(step, what).unwrap(), batch.tensors(step, what).unwrap());
                let (Some(a), Some(b)) = tensors else { continue };
                let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
                let difference = a.iter().zip(&b).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
                assert!(difference <= 1e-4 * largest, "seed {seed} step {step} {what}: {difference} of {largest}");
            }
        }
    }
}

#[test]
fn grids_show_any_axes_and_move() {
    let out = tempfile::tempdir().unwrap();
    let grid = |args: &[&str]| {
        let output = sdviz().arg("grid").arg(whole()).args(args).arg("--out").arg(out.path()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        let written = stdout(&output);
        written.lines().map(PathBuf::from).collect::<Vec<_>>()
    };
    let size = |path: &Path| image::open(path).unwrap().dimensions();
    let upright = size(&grid(&["--rows", "steps", "--cols", "guidance_scale"])[0]);
    let row = size(&grid(&["--where", "guidance-scale=4"])[0]);
    assert!(row.0 > 3 * 256 && row.1 < upright.1 / 2, "{row:?} {upright:?}");
    assert_eq!(grid(&["--max-cols", "2", "--max-rows", "2"]).len(), 4);
    assert_eq!(grid(&["--what", "x0@50%"]), [out.path().join("grid-x0-50pc.png")]);

    // The first frame stands for a second, the last for two and a half.
    let moving = grid(&["--what", "x0", "--format", "gif", "--align", "step", "--cell-size", "64", "--fps", "4"]);
    let mut decoder = gif::DecodeOptions::new().read_info(std::fs::File::open(&moving[0]).unwrap()).unwrap();
    let (mut frames, mut centiseconds) = (0, 0);
    while let Some(frame) = decoder.next_frame_info().unwrap() {
        frames += 1;
        centiseconds += usize::from(frame.delay);
    }
    // The start and eight more.
    assert_eq!((frames, centiseconds), (9, 100 + 7 * 25 + 250));
}

#[test]
fn more_than_three_axes_make_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("four");
    let args = ["--prompt", "a red apple", "--replace", "red=red,green", "--steps", "1,2", "--seed", "0,1"];
    let output =
        sweep(&out, &[&args[..], &["--guidance-scale", "1,2", "--decode", "final", "--record", "none"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!out.join("exports/grid.png").exists());
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 17, "{text}");
    let titles: Vec<&str> = text.lines().next().unwrap().split("  ").map(str::trim).filter(|t| !t.is_empty()).collect();
    assert_eq!(titles, ["red", "steps", "seed", "guidance scale", "cell", "state", "picture"]);
    let grid = sdviz().arg("grid").arg(&out).args(["--rows", "red", "--where", "seed=1"]).output().unwrap();
    assert_eq!(stdout(&grid).lines().count(), 2, "{}", stderr(&grid));
}
