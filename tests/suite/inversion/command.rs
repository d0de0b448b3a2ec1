//! `sdviz invert`, `sdviz look` and `sdviz trace --start`, as a user meets them.

use super::{picture, root};
use crate::common::{command, complaint, sdviz_in, stderr, succeeded, words};
use sdviz::prelude::*;
use sdviz::record::inversion::RunKind;
use std::path::Path;
use std::process::Output;

fn sdviz(folder: &Path, line: &str) -> Output {
    sdviz_in(folder, &words(line))
}

fn tiny() -> String {
    format!("--model {}", root("tests/goldens/tiny-sd").display())
}

fn done(folder: &Path, line: &str) -> String {
    stderr(&succeeded(sdviz(folder, line), &line))
}

fn refused(folder: &Path, line: &str) -> String {
    complaint(&sdviz(folder, line), &line)
}

#[test]
fn an_inversion_is_a_run_that_every_verb_reads() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny());
    let folder = folder.path();
    picture(61, 47).save(folder.join("photo.png")).unwrap();
    let said =
        done(folder, &format!("invert photo.png -p a~lovely~cat --steps 3 --refine 1 -o there --attention {tiny}"));
    for part in
        ["61×47, to 64×48 (stretch)", "told t = 1, 334, 667", "6 predictions, then 3 back", "PSNR to the picture"]
    {
        assert!(said.contains(part), "`{part}` is missing in\n{said}");
    }
    let run = Run::open(folder.join("there")).unwrap();
    let record = run.record();
    assert_eq!((record.kind, record.status), (RunKind::Inversion, Status::Complete));
    let found = &record.inversion.as_ref().unwrap().found;
    assert!(found.psnr_vae.unwrap() >= 0.0 && found.psnr_reconstructed.is_some() && found.residuals.len() == 3);
    for verb in [
        "latents there --format gif -o out",
        "video there --format gif -o out",
        "plot there --format svg -o out",
        "attention there cat --format png -o out",
        "filmstrip there -o out",
        "shapes there",
        "metadata there/final.png",
        "report there -o page.html",
    ] {
        done(folder, verb);
    }
    done(folder, &format!("trace --start there -g 1 -o back --no-report {tiny}"));
    done(
        folder,
        &format!("trace --start there@2 -p a~dog -g 4 -n a~lovely~cat --donor there --pnp -o dog --no-report {tiny}"),
    );
    let dog = Run::open(folder.join("dog")).unwrap();
    assert_eq!((dog.record().last_step(), dog.record().plan.start.as_ref().unwrap().step), (2, 2));
    done(folder, "diff back dog");
    let like = done(folder, &format!("trace --like back/final.png -o like --no-report {tiny}"));
    assert!(like.contains("the inversion `there`: `--start there@3`"), "{like}");
}

#[test]
fn a_look_shows_words_and_layers() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny());
    let folder = folder.path();
    picture(48, 64).save(folder.join("photo.png")).unwrap();
    let words = "look photo.png -p a~lovely~cat --at 0.6,0.2,0.4 --words cat,lovely --site unet.mid_block -o look";
    let said = done(folder, &format!("{words} {tiny}"));
    assert!(said.contains("t = 599, 400, 200"), "{said}");
    let run = Run::open(folder.join("look")).unwrap();
    assert_eq!((run.record().kind, run.record().last_step()), (RunKind::Look, 3));
    let encoded = run.encoded().unwrap().unwrap();
    assert_eq!(super::latents(&run, 3), encoded, "at the end the picture as it is");
    // The same noise at all levels, in the shares that the levels say.
    let noise = |step: usize| {
        let alpha = run.level(step).unwrap().alpha_cumprod as f32;
        (super::latents(&run, step) - &encoded * alpha.sqrt()) / (1.0 - alpha).sqrt()
    };
    assert!(super::apart(&noise(0), &noise(2)) < 1e-4);
    let sheet = image::open(folder.join("look/exports/look.png")).unwrap();
    assert!(sheet.width() > 3 * 150 && sheet.height() > 5 * 200, "{}×{}", sheet.width(), sheet.height());
    let text = std::fs::read_to_string(folder.join("look/exports/look.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["levels"][2]["timestep"], 200.0);
    assert_eq!((json["words"].as_array().unwrap().len(), json["sites"].as_array().unwrap().len()), (2, 1));
    // Without the model: the record is one like others.
    done(folder, "attention look cat --format png -o out");
    done(folder, "features look unet.mid_block --format png -o out");
    let again = done(folder, &format!("{} {tiny}", words.replace("-o look", "-o again")));
    assert!(!again.is_empty());
    let file = |run: &str, name: &str| std::fs::read(folder.join(run).join(name)).unwrap();
    for name in ["steps/002.safetensors", "attention/cross/002.safetensors", "exports/look.png"] {
        assert_eq!(file("look", name), file("again", name), "{name}");
    }
}

#[test]
fn what_cannot_be_inverted_is_refused_by_name() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny());
    let folder = folder.path();
    picture(64, 64).save(folder.join("photo.png")).unwrap();
    let bytes = std::fs::read(folder.join("photo.png")).unwrap();
    std::fs::write(folder.join("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    let refusal = |words: &str, part: &str| {
        let said = refused(folder, &format!("{words} {tiny}"));
        assert!(said.contains(part), "{words}: `{part}` is missing in\n{said}");
    };
    refusal("invert photo.png -p a --scheduler pndm", "scheduler `pndm` has no inverse here");
    refusal("invert photo.png -p a --steps 0", "0 steps");
    refusal("invert nothing.png -p a", "nothing.png");
    refusal("invert cut.png -p a", "cut.png");
    refusal("look cut.png -p a", "cut.png");
    refusal("look photo.png -p a --at 1.5", "`1.5` is no noise level");
    refusal("look photo.png -p a --words dog -o dog", "unknown word of the prompt `dog`");
    assert!(!folder.join("dog").exists(), "a word that is not there is told before anything is computed");
    refusal("invert photo.png -p a -W 60", "width 60 is not a multiple of 8");
    done(folder, &format!("invert photo.png -p a --steps 2 --no-way-back --no-report -o there {tiny}"));
    refusal("trace --start there --steps 5", "`--steps 5`, but the inversion `there` was made with 2");
    refusal("trace --start there --scheduler pndm", "`--scheduler pndm`");
    refusal("trace --start there -W 32", "`--width 32`");
    refusal("trace --start there --batch-size 2", "`--batch-size 2`");
    refusal("trace --start there@9", "has no step 9");
    refusal("trace --start there@0", "the picture itself");
    refusal("trace --start nowhere", "nowhere");
    refusal("trace --start there --init-image photo.png", "one of the two");
    refusal("trace --branch there@1", "`--start");
    let run = Run::open(folder.join("there")).unwrap();
    assert_eq!(run.record().inversion.as_ref().unwrap().found.psnr_reconstructed, None);
    done(folder, &format!("trace -p a --steps 2 --no-report -o drawn {tiny}"));
    refusal("trace --start drawn", "`drawn` is no inversion");
}

/// Ctrl-C leaves whole steps, from which a run can begin.
#[cfg(unix)]
#[test]
fn an_inversion_that_is_stopped_can_be_begun_from() {
    let (folder, tiny) = (tempfile::tempdir().unwrap(), tiny());
    let folder = folder.path();
    picture(64, 64).save(folder.join("photo.png")).unwrap();
    let words = format!("invert photo.png -p a --steps 400 --no-report -o there {tiny}");
    let mut child = command();
    let child = child.args(words.split(' ')).current_dir(folder).stderr(std::process::Stdio::null()).spawn().unwrap();
    let third = folder.join("there/steps/003.safetensors");
    while !third.is_file() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let run = Run::open(folder.join("there")).unwrap();
    let last = *run.steps().unwrap().last().unwrap();
    assert!(run.record().status == Status::Failed && (3..400).contains(&last));
    done(folder, "latents there --format gif -o out");
    done(folder, &format!("trace --start there@3 -g 1 --no-report -o back {tiny}"));
    assert_eq!(Run::open(folder.join("back")).unwrap().record().last_step(), 3);
}
