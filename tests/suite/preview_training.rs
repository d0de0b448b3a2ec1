//! `sdviz train preview-vae`: a small decoder learns what the pocket model's own makes of latents, and serves as preview.

use crate::common::{complaint, root, sdviz_in, stderr, succeeded, words};
use image::RgbImage;
use sdviz::files::pictures;
use sdviz::record::plan::Quantity;
use sdviz::trace::reader::Run;
use sdviz::train::log::{self, LogLine};
use sdviz::viz::distance::psnr;
use std::path::Path;
use std::process::Output;

/// Few and small: what it learns is coarse, and far from nothing.
const COURSE: &str = r#"
steps = 150
batch = 2
learning_rate = 8e-3
warm_up = 5
ema = 0.9
width = 16
blocks = [0, 0, 0, 0]
pictures = 14
held_back = 4
log_every = 50
checkpoint_every = 150
sample_every = 0
"#;

/// The embedded configuration with another course for the preview decoder.
fn configuration(folder: &Path, changes: &[(&str, &str)]) {
    let mut course = COURSE.to_string();
    for (from, to) in changes {
        assert!(course.contains(from));
        course = course.replace(from, to);
    }
    let embedded = include_str!("../../assets/pocket.toml");
    let mut table: toml::Table = embedded.parse().unwrap();
    table.insert("preview_vae".into(), course.parse::<toml::Table>().unwrap().into());
    std::fs::write(folder.join("course.toml"), table.to_string()).unwrap();
}

fn sdviz(line: &str, folder: &Path) -> Output {
    sdviz_in(folder, &words(line))
}

fn done(line: &str, folder: &Path) -> String {
    stderr(&succeeded(sdviz(line, folder), &line))
}

fn refused(line: &str, folder: &Path) -> String {
    complaint(&sdviz(line, folder), &line)
}

/// A folder with some pictures and a course.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let icons = root("tests/icons").display().to_string();
    let build = format!("dataset build --icons {icons} --config {icons}/dataset.toml --count 18 --seed 1 --out data");
    done(&build, folder.path());
    configuration(folder.path(), &[]);
    folder
}

const TRAIN: &str = "train preview-vae --data data --config course.toml --model pocket --seed 1 --out training";

#[test]
fn a_small_decoder_learns_what_the_models_own_gives() {
    let workshop = workshop();
    let folder = workshop.path();
    let told = done(TRAIN, folder);
    assert!(told.contains("14 pictures and 4 held back") && told.contains("--preview-vae training/model/preview_vae"));

    // The log: the loss falls, and the last line has every distance, far beyond the linear map's.
    let lines: Vec<LogLine> = log::read(&folder.join("training/preview_vae")).unwrap();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [50, 100, 150]);
    assert!(lines[2].loss < 0.6 * lines[0].loss, "{} then {}", lines[0].loss, lines[2].loss);
    let of = |name: &str| lines[2].more[name].as_f64().unwrap();
    for (kind, better) in [("clean", 1.0), ("noised", 0.0), ("predicted", 1.0)] {
        let (tiny, linear) = (of(kind), of(&format!("linear_{kind}")));
        assert!(tiny > linear + better, "{kind}: {tiny:.1} dB, the linear map {linear:.1} dB");
    }

    // The sheet: own, learned and linear below each other, nine of the twelve pairs.
    let sheet = pictures::open(&folder.join("training/preview_vae/samples-000150.png"), "sheet").unwrap();
    assert_eq!((sheet.width(), sheet.height()), (9 * 128 + 8 * 4, 3 * 128 + 2 * 4));

    // What was learned is a decoder alone, in half precision.
    let bytes = std::fs::read(folder.join("training/model/preview_vae/diffusion_pytorch_model.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let halves = weights
        .tensors()
        .iter()
        .all(|(name, tensor)| name.starts_with("decoder.layers.") && tensor.dtype() == safetensors::Dtype::F16);
    assert!(halves && !weights.is_empty(), "{:?}", weights.names());

    // As preview of a run it is nearer to the own decoder's pictures than the linear map, and changes nothing else.
    let trace = |out: &str, more: &str| {
        let words = "trace --prompt cat --steps 6 --seed 4 --decode-what x0 --no-report --out";
        done(&format!("{words} {out}{more}"), folder);
        Run::open(folder.join(out)).unwrap()
    };
    let own = trace("own", "");
    let learned = trace("learned", " --preview-vae training/model/preview_vae");
    let linear = trace("linear", " --preview-vae linear");
    let far = |run: &Run| {
        let picture =
            |run: &Run, step| -> RgbImage { run.picture(step, Quantity::PredictedOriginal, 0).unwrap().unwrap() };
        (1..=6).map(|step| psnr(&picture(&own, step), &picture(run, step)).unwrap()).sum::<f64>() / 6.0
    };
    assert!(far(&learned) > far(&linear) + 1.0, "learned {:.1} dB, linear {:.1} dB", far(&learned), far(&linear));
    assert_eq!(own.final_picture(0).unwrap(), learned.final_picture(0).unwrap());
    assert_eq!(learned.record().model.preview.as_ref().unwrap().class_name, "AutoencoderTiny");
}

#[test]
fn what_cannot_be_learned_is_refused_by_name() {
    let workshop = workshop();
    let folder = workshop.path();
    for (change, message) in [
        (("held_back = 4", "held_back = 18"), "`preview_vae.held_back` is 18 of 18 pictures: none is left"),
        (("[0, 0, 0, 0]", "[1, 0]"), "`preview_vae.blocks` has 2 stages, the model's decoder 4"),
        (("batch = 2", "batch = 0"), "`preview_vae.batch` is 0"),
        (("width = 16", "width = 0"), "`encoder_block_out_channels` is 0 in `the training's configuration`"),
        (("width = 16", "widht = 16"), "there is no `preview_vae.widht`"),
    ] {
        configuration(folder, &[change]);
        let told = refused(TRAIN, folder);
        assert!(told.contains(message), "{change:?}: {told}");
        assert!(!folder.join("training").exists(), "{change:?}: a refused training leaves nothing");
    }
    configuration(folder, &[]);
    // A decoder that somebody put there stays.
    let theirs = folder.join("other/model/preview_vae");
    std::fs::create_dir_all(&theirs).unwrap();
    std::fs::write(theirs.join("config.json"), "{}").unwrap();
    let told = refused(&TRAIN.replace("--out training", "--out other"), folder);
    assert!(told.contains("was not trained here, and would be overwritten") && told.contains("`--out`"), "{told}");
    assert_eq!(std::fs::read(theirs.join("config.json")).unwrap(), b"{}");
}
