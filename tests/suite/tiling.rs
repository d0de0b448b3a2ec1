//! Decoding in tiles: diffusers' numbers, what the record and the shape log say of it, and what names a sweep's cell.

use crate::common::{chosen, command, golden_file, stderr};
use sdviz::model::tiling::Tiling;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::trace::reader::Run;
use sdviz::watch::probe::Probe;
use std::collections::HashMap;
use std::path::Path;
use std::process::Output;
use tch::Tensor;

/// A run of `tiny-sd`, whose tiles are 64×64 pixels, two tiles wide and one high.
fn sdviz(verb: &str, out: &Path, tiling: &str) -> Output {
    let mut command = command();
    command.args([verb, "--prompt", "a cat", "--steps", "1", "--scheduler", "ddim", "--guidance-scale", "1"]);
    command.args(["--width", "112", "--height", "64", "--vae-tiling", tiling, "--model"]).arg(golden_file("tiny-sd"));
    command.arg("--out").arg(out).output().unwrap()
}

fn load(vae_tiling: Tiling) -> Pipeline {
    let choice = chosen(golden_file("tiny-sd"));
    Pipeline::load(&choice, LoadOptions { vae_tiling, ..LoadOptions::default() }).unwrap()
}

#[test]
fn tiles_agree_with_diffusers() {
    let golden: HashMap<String, Tensor> =
        Tensor::read_safetensors(golden_file("tiling.safetensors")).unwrap().into_iter().collect();
    let (tiled, whole) = (load(Tiling::On), load(Tiling::Auto));
    let _no_gradients = tch::no_grad_guard();
    let cases: Vec<&str> = golden.keys().filter_map(|key| key.strip_suffix("/image")).collect();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (latents, image) = (&golden[&format!("{case}/latents")], &golden[&format!("{case}/image")]);
        let difference = |pipeline: &Pipeline| {
            let ours = pipeline.vae.decode(latents, &Probe::silent()).unwrap();
            assert_eq!(ours.size(), image.size());
            (ours - image).abs().max().double_value(&[]) / image.abs().max().double_value(&[])
        };
        let found = difference(&tiled);
        println!("{case}: {found:.1e}");
        assert!(found <= 1e-5, "{case} differs by {found:.1e}");
        assert!(difference(&whole) > 0.01, "{case} is the same without tiles");
    }
}

#[test]
fn a_record_says_that_and_how_its_pictures_were_tiled() {
    let dir = tempfile::tempdir().unwrap();
    let [on, off] = ["on", "off"].map(|tiling| {
        let out = dir.path().join(tiling);
        let output = sdviz("trace", &out, tiling);
        let told = stderr(&output);
        assert!(output.status.success(), "{told}");
        assert_eq!(told.contains("decoding in tiles of 64×64 pixels"), tiling == "on", "{told}");
        Run::open(&out).unwrap()
    });
    assert_eq!((on.record().plan.vae_tile, off.record().plan.vae_tile), (Some(64), None));
    let file = |name: &str, tiling: &str| std::fs::read(dir.path().join(tiling).join(name)).unwrap();
    assert_eq!(file("steps/001.safetensors", "on"), file("steps/001.safetensors", "off"));
    let pixels = |tiling: &str| image::load_from_memory(&file("steps/001.png", tiling)).unwrap().to_rgb8();
    assert_ne!(pixels("on"), pixels("off"));

    // The first tile stands for all; what is there before and after the tiles is the whole picture's.
    let (rows, whole) = (on.site_rows().unwrap(), off.site_rows().unwrap());
    let names = |rows: &[sdviz::record::schema::SiteRow]| rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&rows), names(&whole));
    let shape = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        format!("{} {:?}", row.symbolic, row.shape)
    };
    assert_eq!(shape("vae.latents"), "[B, 4, H/8, W/8] [1, 4, 8, 14]");
    assert_eq!(shape("vae.decoder.conv_in"), "[B, 16, H/8, T/8] [1, 16, 8, 8]");
    assert_eq!(shape("vae.decoder.conv_out"), "[B, 3, H, T] [1, 3, 64, 64]");
    assert_eq!(shape("image"), "[B, 3, H, W] [1, 3, 64, 112]");
}

#[test]
fn a_cell_of_a_sweep_is_another_with_tiles() {
    let dir = tempfile::tempdir().unwrap();
    for (tiling, cells) in [("off", 1), ("auto", 1), ("on", 2)] {
        let output = sdviz("sweep", dir.path(), tiling);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(dir.path().join("cells")).unwrap().count(), cells, "{tiling}");
    }
}

#[test]
fn an_unknown_way_to_tile_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = sdviz("trace", &dir.path().join("run"), "always");
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(told.contains("unknown way to tile `always`") && told.contains("auto, on, off"), "{told}");
}
