//! Donors: what is copied from another run is what diffusers' hooks copy, and copying a run from itself changes nothing.

use crate::common::{sdviz, stderr};
use sdviz::prelude::*;
use serde_json::Value;
use std::path::Path;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");

fn model() -> Model {
    Model::options(TINY).device("cpu").dtype("f32").load().unwrap()
}

fn drawing(sd: &Model, prompt: &str) -> Drawing {
    let drawing = sd.draw(prompt).negative_prompt("blurry").seed(7).size(64, 64).steps(4).guidance_scale(5.0);
    drawing.scheduler("ddim").record(All).decode(Decode::Nothing)
}

/// The largest difference of the latents of two runs over all steps, over their largest value.
fn apart(ours: &Run, theirs: &Run) -> f64 {
    let steps = ours.steps().unwrap();
    let latents = |run: &Run, step| run.quantity(step, Quantity::Latents).unwrap();
    let largest = |tensor: Tensor| tensor.abs().max().double_value(&[]);
    let over = |of: &dyn Fn(usize) -> Tensor| steps.iter().map(|step| largest(of(*step))).fold(0.0, f64::max);
    over(&|step| latents(ours, step) - latents(theirs, step)) / over(&|step| latents(theirs, step))
}

#[test]
fn what_is_copied_is_what_diffusers_hooks_copy() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/donors.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let golden = Tensor::read_safetensors(file).unwrap();
    let far = |run: &Run, name: &str| {
        let one = |step: usize| {
            let wanted =
                golden.iter().find(|(key, _)| *key == format!("{name}/latents/{step}")).map(|(_, t)| t).unwrap();
            (run.quantity(step, Quantity::Latents).unwrap() - wanted).abs().max().double_value(&[])
        };
        (0..=4).map(one).fold(0.0, f64::max)
    };
    let sd = model();
    let donor = drawing(&sd, about["donor"].as_str().unwrap()).run().unwrap();
    assert!(far(&donor, "donor") < 1e-4);
    let cases = about["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (name, case) in cases {
        let mut drawing = drawing(&sd, case["prompt"].as_str().unwrap()).donor(&donor);
        for edit in case["edits"].as_array().unwrap() {
            drawing = drawing.edit(edit.as_str().unwrap());
        }
        let run = drawing.run().unwrap();
        let far = far(&run, &format!("case/{name}"));
        assert!(far < 1e-4, "{name}: {far}");
        assert!(run.record().edits_fired.iter().all(|fired| *fired > 0));
        let parent = &run.record().plan.donors[0];
        assert_eq!((parent.step, parent.sha256.len()), (4, 64));
    }
}

/// A batch of other length rounds in another way; beyond that a copy of oneself is oneself.
#[test]
fn a_copy_of_the_run_itself_is_the_run() {
    let sd = model();
    let wide = |seed| drawing(&sd, "a lovely cat").size(48, 64).seed(seed).scheduler("pndm").batch(2);
    let run = wide(7).run().unwrap();
    for edit in ["copy unet.mid_block", "copy unet.**.attn2.probs map=words", "copy unet.**.attn1", "copy noise_pred"] {
        let again = wide(7).donor(&run).edit(edit).run().unwrap();
        let apart = apart(&again, &run);
        assert!(apart < 1e-5, "{edit}: {apart}");
    }
    // A donor of one picture lends it to each of a batch, and one of several each its own.
    let one = drawing(&sd, "a dog").size(48, 64).scheduler("pndm").run().unwrap();
    let copied = wide(7).donor(&one).edit("copy unet.mid_block branch=both").run().unwrap();
    assert!(apart(&copied, &run) > 1e-4);
    let several = wide(70).donor(&run).edit("copy latents steps=2").run().unwrap();
    let latents = |run: &Run| run.tensors(2, Quantity::Latents).unwrap();
    assert!(latents(&several) == latents(&run), "recorded latents are copied bit for bit");
}

/// What was recorded of a donor is copied bit for bit: with its predictions the run is the donor's.
#[test]
fn with_the_donors_predictions_the_run_is_the_donors() {
    let sd = model();
    let donor = drawing(&sd, "a lovely cat").run().unwrap();
    let run = drawing(&sd, "a green house").donor(&donor).edit("copy noise_text").run().unwrap();
    assert_eq!(apart(&run, &donor), 0.0);
    let half = drawing(&sd, "a green house").donor(&donor).edit("copy noise_text blend=0.5").run().unwrap();
    let text = |run: &Run| run.quantity(1, Quantity::NoiseText).unwrap();
    let own = drawing(&sd, "a green house").run().unwrap();
    let mean = (text(&donor) + text(&own)) * 0.5;
    assert!((text(&half) - mean).abs().max().double_value(&[]) < 1e-6);
}

/// A run of another length lends where it has the same noise level; two passes and branches lend and borrow too.
#[test]
fn donors_go_with_branches_and_second_passes() {
    let sd = model();
    let donor = drawing(&sd, "a dog").run().unwrap();
    let run = drawing(&sd, "a lovely cat").run().unwrap();
    let branch = sd.branch(&run, 2).unwrap().donor(&donor).edit("copy unet.mid_block").run().unwrap();
    assert_eq!(branch.record().edits_fired, [2], "only the steps that are made");
    let whole = drawing(&sd, "a lovely cat").donor(&donor).edit("copy unet.mid_block steps=3-4").run().unwrap();
    assert!(apart(&branch, &whole) < 1e-5);
    // The steps that were changed are not made again, and the rest is changed as it was.
    let again = sd.branch(&whole, 3).unwrap().donor(&donor).run().unwrap();
    assert!(apart(&again, &whole) < 1e-5);
    let tall = |prompt: &str| drawing(&sd, prompt).hires(1.5, 0.5);
    let (from, plain) = (tall("a dog").run().unwrap(), tall("a lovely cat").run().unwrap());
    let copied = tall("a lovely cat").donor(&from).edit("copy unet.mid_block").run().unwrap();
    assert!(apart(&copied, &plain) > 5e-5);
}

#[test]
fn what_goes_by_a_name_is_recorded_and_what_is_wrong_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let base = [
        "trace",
        "--model",
        TINY,
        "--steps",
        "3",
        "--scheduler",
        "ddim",
        "--decode",
        "none",
        "--no-report",
        "-q",
        "--record",
        "latents",
    ];
    let run = |out: &str, more: &[&str]| sdviz(&[&base[..], &["--force", "--out", out], more].concat());
    let (donor, small, out) = (path("donor"), path("small"), path("out"));
    assert!(run(&donor, &["-p", "a lovely cat"]).status.success());
    assert!(run(&small, &["-p", "a lovely cat", "-W", "48"]).status.success());
    for (flags, edits) in [
        (&["--p2p"][..], 2),
        (&["--p2p", "--p2p-blend", "cat,dog"], 3),
        (&["--p2p", "1,0"], 1),
        (&["--pnp"], 7),
        (&["--masactrl"], 2),
    ] {
        let output = run(&out, &[&["-p", "a lovely dog", "--donor", &donor][..], flags].concat());
        assert!(output.status.success(), "{flags:?}: {}", stderr(&output));
        let record = Run::open(Path::new(&out)).unwrap().record().clone();
        assert_eq!(record.plan.edits.len(), edits, "{flags:?}: {:?}", record.plan.edits);
        assert_eq!(record.plan.donors[0].plan.prompt, "a lovely cat");
    }
    for (flags, expected) in [
        (&["--donor", &donor][..], "nothing is copied from it"),
        (&["--p2p"], "name one with `--donor RUN`"),
        (&["--donor", &small, "--pnp"], "has 48×64 pixels"),
        (&["--donor", &donor, "--p2p", "2,0"], "is no share"),
        (&["--donor", &donor, "--edit", "copy unet.mid_block from=1"], "there is no donor 1"),
        (&["--donor", &donor, "--edit", "copy noise_guided"], "--record latents,noise_guided"),
        (&["--donor", &donor, "--edit", "copy unet.mid_block", "--scheduler", "euler"], "the same `--scheduler`"),
        (&["--donor", &donor, "--edit", "copy text_embeddings"], "text_embeddings"),
        (&["--donor", &donor, "--edit", "copy latents outside=bird"], "none of the words"),
        (&["--donor", &donor, "--edit", "copy unet.**.attn2 map=replace", "-p", "a"], "`map=refine`"),
    ] {
        let output = run(&out, &[&["-p", "a lovely dog"][..], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
    }
}

/// What `patch` and `effects` write as JSON.
fn table(args: &[&str]) -> Value {
    let output = sdviz(&[args, &["--json", "-q", "--device", "cpu", "--dtype", "f32"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_patch_recovers_what_it_copies_and_an_effect_is_that_of_the_edit() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (clean, corrupted, out) = (path("clean"), path("corrupted"), path("patch"));
    let base =
        ["trace", "--model", TINY, "--steps", "3", "--scheduler", "unipc", "--decode", "final", "--no-report", "-q"];
    for (out, prompt) in [(&clean, "a lovely cat"), (&corrupted, "a lovely dog")] {
        let output = sdviz(&[&base[..], &["-W", "32", "-H", "48", "-p", prompt, "--out", out]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // Copied at all steps, the clean run's predictions are the clean run; at the last, a part of it.
    let words =
        ["patch", &clean, &corrupted, "--sites", "noise_text,unet.mid_block", "--windows", "all,3", "--out", &out];
    let patched = table(&words);
    let cell = |row: &str, window: &str| {
        let cells = patched["cells"].as_array().unwrap();
        cells.iter().find(|cell| cell["row"] == row && cell["window"] == window).unwrap().clone()
    };
    let (all, last) = (cell("noise_text", "all"), cell("noise_text", "3"));
    assert_eq!(
        (all["latents"].as_f64(), all["direct"].as_f64(), all["psnr"].as_f64()),
        (Some(1.0), Some(1.0), Some(99.0))
    );
    let part = last["latents"].as_f64().unwrap();
    assert!(part > 0.0 && part < 1.0 && last["direct"].as_f64() == Some(1.0), "{last}");
    for name in ["patch-latents.png", "patch-pictures.png", "patch.json"] {
        assert!(Path::new(&out).join(name).is_file(), "{name}");
    }
    // Cells that are there are not made again: one that is changed by hand stays as it is.
    let cells = std::fs::read_dir(Path::new(&out).join("cells")).unwrap().flatten().map(|entry| entry.path());
    for path in cells.filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let text = std::fs::read_to_string(&path).unwrap().replace("\"latents\": 1.0", "\"latents\": 0.25");
        std::fs::write(&path, text).unwrap();
    }
    let again = table(&words);
    assert!(again["cells"].as_array().unwrap().iter().any(|cell| cell["latents"] == 0.25), "{again}");

    // Two parts make the whole: each its own cells, and whoever comes last has the table of all.
    let parts = path("parts");
    let part = |k: &str| {
        table(&[
            "patch",
            &clean,
            &corrupted,
            "--sites",
            "noise_text,unet.mid_block",
            "--windows",
            "all,3",
            "--shard",
            k,
            "--out",
            &parts,
        ])
    };
    assert_eq!(part("1/3")["cells"].as_array().unwrap().len(), 2);
    assert_eq!(part("2/3")["cells"].as_array().unwrap().len(), 3);
    let whole = part("3/3");
    assert_eq!(whole["cells"], patched["cells"]);
    assert_eq!(
        std::fs::read(Path::new(&parts).join("patch.json")).unwrap(),
        serde_json::to_vec_pretty(&whole).unwrap()
    );
    let output = sdviz(&["patch", &clean, &corrupted, "--shard", "4/3", "--out", &parts]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("names no part"), "{}", stderr(&output));

    // Without its last layer the model predicts nothing at all; an effect is what the edit does to that step of a run.
    let effects = table(&["effects", &clean, "--step", "1", "--sites", "unet.conv_out,unet.mid_block"]);
    let of = |site: &str, which: &str| {
        let all = effects["effects"].as_array().unwrap();
        all.iter().find(|effect| effect["site"] == site).unwrap()[which].as_f64().unwrap()
    };
    assert!((of("conv_out", "text") - 1.0).abs() < 1e-12 && (of("conv_out", "uncond") - 1.0).abs() < 1e-12);
    let sd = model();
    let run = Run::open(&clean).unwrap();
    let edited = sd.branch(&run, 1).unwrap().edit("zero unet.mid_block branch=both steps=2").run().unwrap();
    let noise = |run: &Run| run.quantity(2, Quantity::NoiseText).unwrap();
    let norm = |t: Tensor| t.to_kind(Kind::Double).square().sum(Kind::Double).sqrt().double_value(&[]);
    let expected = norm(noise(&edited) - noise(&run)) / norm(noise(&run));
    assert!((of("mid_block", "text") - expected).abs() < 1e-4 * expected, "{expected}");
}
