//! Runs that were drawn with LoRAs and embeddings are taken up again without naming them: a record says where they are.

use crate::common::{golden_file, sdviz_in, stderr, stdout, words};
use sdviz::prelude::*;
use std::path::Path;

/// What a command says, and whether it succeeded.
fn sdviz(folder: &Path, line: &str) -> (bool, String) {
    let output = sdviz_in(folder, &words(&format!("{line} --device cpu --dtype f32")));
    (output.status.success(), format!("{}\n{}", stdout(&output), stderr(&output)))
}

fn done(folder: &Path, words: &str) -> Run {
    let (done, said) = sdviz(folder, words);
    assert!(done, "{words}: {said}");
    Run::open(folder.join(words.rsplit(' ').next().unwrap())).unwrap()
}

fn refused(folder: &Path, words: &str, parts: &[&str]) {
    let (done, said) = sdviz(folder, words);
    assert!(!done, "{words}: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{words}: `{part}` is missing in {said}"));
}

/// A folder with a LoRA, an embedding, and a run that has both.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::copy(golden_file("lora/peft.safetensors"), home.path().join("style.safetensors")).unwrap();
    std::fs::copy(golden_file("lora/embedding.safetensors"), home.path().join("word.safetensors")).unwrap();
    let extras = "--lora style.safetensors:0.8 --embedding my-wool=word.safetensors";
    let run = done(home.path(), &format!("{} -p a~lovely~my-wool~cat {extras} -o run", base()));
    let model = &run.record().model;
    assert_eq!(
        (model.loras[0].path.as_str(), model.embeddings[0].path.as_str()),
        ("style.safetensors", "word.safetensors")
    );
    home
}

fn base() -> String {
    let tiny = golden_file("tiny-sd").display().to_string();
    format!("trace --model {tiny} --scheduler ddim --steps 2 --seed 7 -g 4 -W 32 -H 48 --decode final --no-report -q")
}

fn tensors(run: &Run) -> Vec<Array4<f32>> {
    run.steps().unwrap().into_iter().map(|step| run.tensors(step, Quantity::Latents).unwrap().unwrap()).collect()
}

#[test]
fn branches_donors_patches_and_ablations_take_them_from_the_record() {
    let home = home();
    let folder = home.path();
    let run = Run::open(folder.join("run")).unwrap();
    let branch = done(folder, "trace --branch run@1 --no-report -q -o branch");
    assert!(tensors(&branch) == tensors(&run) && branch.record().model.loras == run.record().model.loras);
    // A donor lends them too, where its model is the run's; `none` leaves them out.
    let copy = format!("{} -p a~lovely~cat --donor run --edit copy~noise_text", base());
    let with = done(folder, &format!("{copy} -o with"));
    assert!(tensors(&with) == tensors(&run) && with.record().model.embeddings[0].name == "my-wool");
    let without = done(folder, &format!("{copy} --lora none -o without"));
    assert!(without.record().model.loras.is_empty() && without.record().model.embeddings.len() == 1);
    refused(
        folder,
        &format!("{copy} --embedding none -o no"),
        &["the embedding `my-wool` in its prompt", "--embedding my-wool="],
    );
    // Patching, effects, and a sweep of the run in `run`.
    done(
        folder,
        &format!("{} -p a~lovely~dog --lora style.safetensors:0.8 --embedding my-wool=word.safetensors -o dog", base()),
    );
    let (patched, said) = sdviz(folder, "patch run dog --sites noise_text --windows all --json -q");
    assert!(patched && said.contains("\"latents\": 1.0"), "{said}");
    let site = "unet.mid_block.attentions.0.transformer_blocks.0.attn2";
    let (ablated, said) = sdviz(folder, &format!("ablate --sites {site} --windows all --json -q"));
    assert!(ablated, "{said}");
    let cell = std::fs::read_dir(folder.join("ablation/cells")).unwrap().flatten().find(|entry| entry.path().is_dir());
    let cell = Run::open(cell.unwrap().path()).unwrap();
    assert_eq!(cell.record().model.loras, run.record().model.loras);
    // Pictures are handed on: they do not say where files are.
    let picture = std::fs::read(folder.join("run/final.png")).unwrap();
    let holds = |text: &str| picture.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("style.safetensors") && !holds("\"path\":"));
}

#[test]
fn a_file_that_is_gone_or_another_is_named() {
    let home = home();
    let folder = home.path();
    let branch = "trace --branch run@1 --no-report -q -o branch";
    std::fs::rename(folder.join("style.safetensors"), folder.join("moved.safetensors")).unwrap();
    refused(
        folder,
        branch,
        &["the LoRA `style.safetensors` of `run` is not at `style.safetensors` any more", "--lora FILE:0.8"],
    );
    let named = done(folder, "trace --branch run@1 --no-report -q --lora moved.safetensors:0.8 -o named");
    assert!(tensors(&named) == tensors(&Run::open(folder.join("run")).unwrap()));
    std::fs::copy(golden_file("lora/kohya.safetensors"), folder.join("style.safetensors")).unwrap();
    refused(folder, branch, &["of `run` was another file than `style.safetensors` is now"]);
    std::fs::rename(folder.join("moved.safetensors"), folder.join("style.safetensors")).unwrap();
    std::fs::remove_file(folder.join("word.safetensors")).unwrap();
    refused(
        folder,
        branch,
        &["the embedding `my-wool` of `run` is not at `word.safetensors` any more", "--embedding my-wool=FILE"],
    );
    // An inversion's too.
    std::fs::copy(golden_file("lora/embedding.safetensors"), folder.join("word.safetensors")).unwrap();
    let tiny = golden_file("tiny-sd").display().to_string();
    let invert =
        format!("invert run/final.png -p a~cat --model {tiny} --steps 2 --lora style.safetensors:0.8 -q -o inverted");
    let inverted = done(folder, &invert);
    let again = done(folder, "trace --start inverted -g 1 --no-report -q -o again");
    assert_eq!(again.record().model.loras, inverted.record().model.loras);
    let old = std::fs::read_to_string(folder.join("run/run.json")).unwrap();
    std::fs::write(folder.join("run/run.json"), old.replace("\"path\": \"style.safetensors\",", "")).unwrap();
    refused(folder, branch, &["has no path in its record", "--lora FILE:0.8"]);
}
