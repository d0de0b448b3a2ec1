//! `--like`: what a picture gives to a new one, and that whatever it does not give is said.

use crate::common::{refused, root, sdviz, stderr, tiny_sd};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The line of settings that most of these pictures have.
const LINE: &str = "Steps: 3, Sampler: Euler a, CFG scale: 5, Seed: 3, Size: 64x64, RNG: CPU";

/// A PNG with this `parameters` text.
fn picture(folder: &Path, text: &str) -> String {
    let path = folder.join("picture.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_itxt_chunk("parameters".into(), text.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0; 3]).unwrap();
    path.display().to_string()
}

/// What `trace --like` says of a picture before it looks for a model, which is not there.
fn told(like: &str, more: &[&str]) -> String {
    refused(&[&["trace", "--like", like, "--model", "no/tiny", "--out", "no/run"][..], more].concat())
}

/// The warnings among it.
fn warnings(like: &str, more: &[&str]) -> Vec<String> {
    let told = told(like, more);
    told.lines().filter_map(|line| line.strip_prefix("warning: ")).map(String::from).collect()
}

/// Draws like a picture, and gives the plan and what was said.
fn drawn(like: &str, out: &Path, more: &[&str]) -> (Value, String) {
    let base = ["trace", "--like", like, "--model", &tiny_sd(), "--out", out.to_str().unwrap()];
    let output = sdviz(&[&base[..], &["--steps", "2", "--decode", "final", "--force"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    (json["plan"].clone(), stderr(&output))
}

#[test]
fn a_web_uis_unipc_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let said = |more: &str| {
        let line = format!(
            "a house\nSteps: 3, Sampler: UniPC, CFG scale: 7, Seed: 5, Size: 64x64, Model: tiny, RNG: CPU{more}"
        );
        warnings(&picture(folder.path(), &line), &[]).join("\n")
    };
    assert!(said("").contains("order 3 in the variant bh1 (if nobody set it otherwise)"), "{}", said(""));
    let told = said(", UniPC variant: bh2");
    assert!(told.contains("`UniPC variant: bh2`") && !told.contains("also says"), "{told}");
}

#[test]
fn a_picture_that_gives_everything_needs_no_word() {
    let folder = tempfile::tempdir().unwrap();
    let like = picture(folder.path(), &format!("a house\n{LINE}, Model: tiny, Version: v1.10.1"));
    assert_eq!(warnings(&like, &[]), Vec::<String>::new());
}

#[test]
fn what_is_not_taken_over_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        "Variation seed: 9, Variation seed strength: 0.4",
        "Denoising strength: 0.4",
        "Denoising strength: 0.4, Mask blur: 4, Inpaint area: Whole picture",
        "TI hashes: \"a: 00\"",
        "Lora hashes: \"wood: 1234\"",
        "VAE hash: 1234, VAE: other.pt",
        "Model hash: cc6cb27103, Model: v1-5-pruned-emaonly",
        "Denoising strength: 0.7, Hires upscale: 2, Hires upscaler: R-ESRGAN 4x+",
        "ENSD: 31337, Face restoration: GFPGAN, ADetailer model: \"face, 8n\"",
        "Eta: 0.7",
        "Schedule type: Uniform",
        "Civitai resources: [{\"type\":\"lora\",\"modelName\":\"wood, old\",\"weight\":0.7},{\"type\":\"checkpoint\"}], Civitai metadata: {}",
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|more| {
            let like = picture(folder.path(), &format!("a house\n{LINE}, {more}"));
            format!("{more}\n  {}", warnings(&like, &[]).join("\n  "))
        })
        .collect();
    insta::assert_snapshot!("not_taken_over", said.join("\n"));
    // What was typed needs no word.
    let like = picture(folder.path(), &format!("a house\n{LINE}, {}, {}, {}", cases[0], cases[3], cases[4]));
    let typed = ["--seed", "1", "--embedding", "a=a.safetensors", "--lora", "wood.safetensors"];
    assert_eq!(warnings(&like, &typed), Vec::<String>::new());
}

#[test]
fn what_a_picture_of_ours_had_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    RgbImage::from_pixel(64, 64, Rgb([0, 128, 128])).save(at("in.png")).unwrap();
    GrayImage::from_fn(64, 64, |x, _| Luma([if x < 32 { 0 } else { 255 }])).save(at("mask.png")).unwrap();
    let goldens = root("tests/goldens");
    let golden = |name: &str| goldens.join("lora").join(name).display().to_string();
    let (lora, word) =
        (format!("{}:0.5", golden("peft.safetensors")), format!("my-word={}", golden("embedding.safetensors")));
    let first = folder.path().join("first");
    let base =
        ["trace", "--prompt", "a my-word cat", "--model", &tiny_sd(), "--steps", "4", "--out", first.to_str().unwrap()];
    let from =
        ["--init-image", &at("in.png"), "--mask", &at("mask.png"), "--strength", "0.5", "--resize", "pad", "--paste"];
    let with = ["--lora", &lora, "--embedding", &word, "--vae", &tiny_sd(), "--decode", "final"];
    let output = sdviz(&[&base[..], &from, &with].concat());
    assert!(output.status.success(), "{}", stderr(&output));

    let like = first.join("final.png").display().to_string();
    let said = warnings(&like, &[]).join("\n").replace(&goldens.display().to_string(), "GOLDENS");
    insta::assert_snapshot!("not_taken_over_ours", said);
    let typed = [&from[..4], &with[..6]].concat();
    let out = folder.path().join("again");
    let (plan, said) = drawn(&like, &out, &typed);
    assert!(!said.contains("warning: "), "{said}");
    // What belongs to the picture that was typed comes from the other's settings.
    assert_eq!((&plan["strength"], &plan["resize"], &plan["paste"]), (&0.5.into(), &"pad".into(), &true.into()));
}

/// A model keeps its name when it is trained further: its weights' hash tells.
#[test]
fn other_weights_of_the_same_name_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("tiny-sd"), folder.path().join("run"));
    assert!(Command::new("cp").args(["-rL", &tiny_sd()]).arg(&model).status().unwrap().success());
    let trace = |out: &Path, more: &[&str]| {
        let base = ["trace", "--model", model.to_str().unwrap(), "--steps", "1", "--decode", "final", "--force"];
        let output = sdviz(&[&base[..], &["--out", out.to_str().unwrap()], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    trace(&out, &["--prompt", "a cat"]);
    let like = out.join("final.png").display().to_string();
    let again = |out: &Path| trace(out, &["--like", &like]);
    assert!(!again(&folder.path().join("same")).contains("warning: "));
    // The last number of the last tensor.
    let weights = model.join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let said = again(&folder.path().join("other"));
    assert!(said.contains("warning: the picture was drawn with other weights of that name"), "{said}");
}

#[test]
fn tags_of_networks_are_never_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (like, out) = (picture(folder.path(), &format!("a <lora:wood:0.7> house\n{LINE}")), folder.path().join("run"));
    let word =
        "warning: `<lora:wood:0.7>` in the prompt loads nothing and is not drawn: `--lora wood.safetensors:0.7` would";
    let (plan, said) = drawn(&like, &out, &[]);
    assert_eq!((&plan["prompt"], said.matches(word).count()), (&"a  house".into(), 1), "{said}");
    // Typed, it stays in the plan and out of the tokens.
    let typed = ["--prompt", "a <lora:wood:0.7> house # of wood", "--prompt-syntax", "a1111"];
    let (plan, said) = drawn(&like, &out, &typed);
    assert_eq!((&plan["prompt"], said.matches(word).count()), (&typed[1].into(), 1), "{said}");
    let json: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(json["conditions"]["texts"][1]["text"], "a  house");
    let (_, said) = drawn(&like, &out, &typed[..2]);
    assert!(said.contains("`<lora:wood:0.7>` in the prompt is drawn as words"), "{said}");
}

#[test]
fn a_sampler_that_is_not_here_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let line = |sampler: &str| format!("a house\n{}", LINE.replace("Sampler: Euler a", &format!("Sampler: {sampler}")));
    for (sampler, name) in [
        ("Euler, Schedule type: KL Optimal", "Euler KL Optimal"),
        ("Euler Polyexponential", "Euler Polyexponential"),
        ("DDIM, Schedule type: Karras", "DDIM Karras"),
        ("DPM++ 3M SDE, Schedule type: Karras", "DPM++ 3M SDE Karras"),
        ("DPM adaptive", "DPM adaptive"),
    ] {
        let like = picture(folder.path(), &line(sampler));
        let told = told(&like, &[]);
        assert!(told.contains(&format!("error: the picture's sampler `{name}` is not known here\nhint: ")), "{told}");
        assert_eq!(warnings(&like, &["--scheduler", "euler"]), Vec::<String>::new());
    }
    let out = folder.path().join("run");
    for (sampler, ours, sigmas) in [
        ("DPM++ 2M, Schedule type: Automatic", "dpmpp_2m_karras", Value::Null),
        ("Euler, Schedule type: Normal", "euler", "normal".into()),
        ("DPM++ SDE Karras", "dpmpp_sde", "karras".into()),
        ("Euler, Schedule type: Uniform", "euler", Value::Null),
    ] {
        let (plan, said) = drawn(&picture(folder.path(), &line(sampler)), &out, &[]);
        assert_eq!((&plan["scheduler"], &plan["sigmas"]), (&ours.into(), &sigmas), "{sampler}");
        let spaced = said.contains("the picture's noise levels were spaced as `Uniform`");
        assert_eq!(spaced, sampler.ends_with("Uniform"), "{said}");
    }
}

#[test]
fn lines_behind_the_settings_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let like = picture(folder.path(), &format!("a house\nNegative prompt: rain\n{LINE}\nTemplate: a {{house|hut}}"));
    let (plan, said) = drawn(&like, &folder.path().join("run"), &[]);
    assert_eq!((&plan["prompt"], &plan["negative_prompt"]), (&"a house".into(), &"rain".into()));
    assert_eq!((&plan["seed"], &plan["scheduler"]), (&3.into(), &"euler_a".into()));
    assert!(said.contains("behind the picture's settings is not taken over: `Template: a {house|hut}`"), "{said}");
}

#[test]
fn settings_in_another_form_are_no_prompt() {
    let folder = tempfile::tempdir().unwrap();
    for between in [" | ", "; ", "\t"] {
        let line = LINE.replace(", ", between);
        let like = picture(folder.path(), &format!("a house\nNegative prompt: rain\n{line}"));
        let told = told(&like, &[]);
        assert!(told.contains("picture.png` says how it was made in a form that is not known here"), "{told}");
        assert!(told.contains(&format!("hint: its settings are `{line}`")), "{told}");
        let output = sdviz(&["metadata", &like]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}

#[test]
fn brackets_without_end_in_a_picture_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out: PathBuf = folder.path().join("run");
    for prompt in ["(".repeat(20_000), format!("{}{}", "[".repeat(20_000), ":1]".repeat(20_000))] {
        let like = picture(folder.path(), &format!("{prompt}\n{LINE}"));
        let output = sdviz(&["trace", "--like", &like, "--model", &tiny_sd(), "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.contains("error: 20000 brackets of the prompt stand in each other"), "{said}");
        assert!(!out.exists());
    }
}
