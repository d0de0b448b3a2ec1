//! Sweeps over runs that begin from a picture: strength as an axis, the picture in every cell.

use crate::common::{root, sdviz, stderr, stdout};
use sdviz::record::plan::Quantity;
use sdviz::trace::reader::Run;
use std::path::{Path, PathBuf};

const PROMPT: [&str; 6] = ["--prompt", "a red apple", "--steps", "5", "--scheduler", "ddim"];

fn sketch() -> String {
    root("assets/sketch.png").display().to_string()
}

fn sweep(out: &Path, args: &[&str]) -> String {
    let output = sdviz(&[&["sweep", "--out", out.to_str().unwrap()], &PROMPT[..], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stderr(&output) + &stdout(&output)
}

/// The cells' runs, by strength.
fn runs(out: &Path) -> Vec<(f64, PathBuf, Run)> {
    let cells = std::fs::read_dir(out.join("cells")).unwrap().flatten().map(|e| e.path());
    let mut runs: Vec<_> = cells
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .map(|path| {
            let run = Run::open(&path).unwrap();
            (run.record().plan.strength.unwrap(), path, run)
        })
        .collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    runs
}

#[test]
fn strength_is_an_axis() {
    let folder = tempfile::tempdir().unwrap();
    let (out, alone) = (folder.path().join("sweep"), folder.path().join("alone"));
    let picture = ["--init-image", &sketch()];

    // 1, 3 and 5 of five steps.
    let dry = sweep(&out, &[&picture[..], &["--strength", "0.2,0.6,1", "--dry-run"]].concat());
    assert!(dry.contains("3 cells, 3 to make: 9 model calls"), "{dry}");

    // Stopped half-way, as far as the folder can tell: two strengths first, then all.
    sweep(&out, &[&picture[..], &["--strength", "0.2,0.6"]].concat());
    let told = sweep(&out, &[&picture[..], &["--strength", "0.2,0.6,1"]].concat());
    assert!(told.contains("3 cells: 1 made, 2 there already"), "{told}");
    let all = runs(&out);
    assert_eq!(all.iter().map(|(strength, ..)| *strength).collect::<Vec<_>>(), [0.2, 0.6, 1.0]);
    assert_eq!(all.iter().map(|(.., run)| run.record().schedule.len() - 1).collect::<Vec<_>>(), [1, 3, 5]);
    let grid = image::open(out.join("exports/grid.png")).unwrap();
    assert!(grid.width() > 3 * 100);

    // A cell is what `sdviz trace` makes.
    let trace = [&["trace", "--strength", "0.6", "--out", alone.to_str().unwrap()], &PROMPT[..], &picture].concat();
    assert!(sdviz(&trace).status.success());
    let (cell, alone_run) = (&all[1], Run::open(&alone).unwrap());
    for step in 0..=3 {
        let latents = |run: &Run| run.tensor(step, Quantity::Latents, 0).unwrap().unwrap();
        assert_eq!(latents(&cell.2), latents(&alone_run), "step {step}");
    }
    for file in ["init.png", "steps/000.safetensors"] {
        assert!(std::fs::read(cell.1.join(file)).unwrap() == std::fs::read(alone.join(file)).unwrap(), "{file}");
    }

    // The same picture under another name is the same picture; another picture is not.
    let (copy, other) = (folder.path().join("copy.png"), folder.path().join("other.png"));
    std::fs::copy(sketch(), &copy).unwrap();
    image::open(sketch()).unwrap().fliph().save(&other).unwrap();
    let told = sweep(&out, &["--init-image", copy.to_str().unwrap(), "--strength", "0.6"]);
    assert!(told.contains("1 cells: 0 made, 1 there already"), "{told}");
    let told = sweep(&out, &["--init-image", other.to_str().unwrap(), "--strength", "0.6"]);
    assert!(told.contains("1 cells: 1 made"), "{told}");
}

#[test]
fn a_masked_picture_at_two_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep");
    let mask = root("assets/sketch-mask.png").display().to_string();
    let picture = ["--init-image", &sketch(), "--mask", &mask, "--paste", "--resize", "crop"];
    sweep(
        &out,
        &[&picture[..], &["--width", "64,96", "--height", "64", "--strength", "0.5", "--seed", "1,2"]].concat(),
    );
    let all = runs(&out);
    assert_eq!(all.len(), 4);
    for (_, path, run) in &all {
        let plan = &run.record().plan;
        for file in ["init.png", "mask.png", "final.png"] {
            let picture = image::open(path.join(file)).unwrap();
            assert_eq!((picture.width() as usize, picture.height() as usize), (plan.width, plan.height), "{file}");
        }
        let [init, last, mask] =
            ["init.png", "final.png", "mask.png"].map(|f| image::open(path.join(f)).unwrap().to_rgb8());
        let kept = mask.enumerate_pixels().filter(|(.., pixel)| pixel.0[0] == 0);
        assert!(kept.clone().count() > 0);
        assert!(kept.clone().all(|(x, y, _)| init.get_pixel(x, y) == last.get_pixel(x, y)));
    }
}

#[test]
fn what_does_not_go_together_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sweep").display().to_string();
    let said = |args: &[&str]| {
        let output = sdviz(&[&["sweep", "--out", &out], &PROMPT[..], args].concat());
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    let alone = said(&["--strength", "0.5"]);
    assert!(alone.contains("a strength, but no picture to begin from") && alone.contains("--init-image"), "{alone}");
    let (picture, image) = (sketch(), "--init-image");
    assert!(said(&[image, &picture, "--strength", "0.5,2"]).contains("strength 2 is not above 0"), "too much");
    assert!(said(&[image, &picture, "--strength", "0.1"]).contains("strength 0.1"), "no step is made");
    assert!(said(&[image, "/no/such.png", "--strength", "0.5"]).contains("/no/such.png"), "no picture");
    assert!(!Path::new(&out).exists());
}
