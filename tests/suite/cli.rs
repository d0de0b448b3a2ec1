//! What a user sees: the program as it is typed, its messages, exit codes, and what it leaves on disk.

use crate::common::{self, command, root, stderr, stdout, tiny_sd};
use sdviz::record::plan::Quantity;
use sdviz::record::schema::Status;
use sdviz::trace::reader::Run;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A short trace of the tiny model into `out`, with more arguments.
fn trace(out: &Path, more: &[&str]) -> Output {
    let model = tiny_sd();
    let out = out.to_str().unwrap();
    let base = ["trace", "--prompt", "a lovely cat", "--steps", "3", "--model", &model, "--out", out];
    command().args(base).args(more).output().unwrap()
}

/// The error and its hint, without the folder of this test.
fn complaint(output: &Output, folder: &Path) -> String {
    let text = common::complaint(output, &"").replace(folder.to_str().unwrap(), "FOLDER");
    let text = text.replace(root("").to_str().unwrap(), "ROOT/");
    text.lines().filter(|l| !l.starts_with("model: ")).collect::<Vec<_>>().join("\n")
}

/// A copy of the tiny model that a test may damage.
fn copy_of_tiny(to: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let model = to.join("model");
    copy(&root("tests/goldens/tiny-sd"), &model);
    model
}

#[test]
fn bad_requests_are_named_with_the_way_out_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = folder.join("run");
    let cases: [(&str, &[&str]); 10] = [
        ("zero_steps", &["--steps", "0"]),
        ("size", &["--width", "100"]),
        ("scheduler", &["--scheduler", "eular"]),
        ("device", &["--device", "cuda"]),
        ("dtype", &["--dtype", "f23"]),
        ("record", &["--record", "latent"]),
        ("decode", &["--decode", "0"]),
        ("model_folder", &["--model", "no/such/folder"]),
        ("model_file", &["--model", "Cargo.toml"]),
        ("too_many_steps", &["--steps", "2000"]),
    ];
    for (name, more) in cases {
        let model = tiny_sd();
        let mut arguments = vec!["trace", "--out", out.to_str().unwrap()];
        for (flag, value) in [("--prompt", "a lovely cat"), ("--steps", "3"), ("--model", &model)] {
            if !more.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        let output = command().current_dir(root("")).args(arguments).args(more).output();
        insta::assert_snapshot!(format!("bad_{name}"), complaint(&output.unwrap(), folder));
        assert!(!out.exists(), "{name} left a half-written run");
    }
}

#[test]
fn bad_model_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = folder.join("run");
    let unet = "unet/diffusion_pytorch_model.safetensors";
    type Harm<'a> = &'a dyn Fn(&Path);
    let damage: [(&str, Harm); 8] = [
        ("missing_component", &|m| std::fs::remove_dir_all(m.join("vae")).unwrap()),
        ("missing_weights", &|m| std::fs::remove_file(m.join(unet)).unwrap()),
        ("truncated", &|m| {
            let bytes = std::fs::read(m.join(unet)).unwrap();
            std::fs::write(m.join(unet), &bytes[..bytes.len() - 1000]).unwrap();
        }),
        ("empty_weights", &|m| std::fs::write(m.join(unet), b"").unwrap()),
        ("wrong_shape", &|m| {
            edit(&m.join("unet/config.json"), "\"cross_attention_dim\": 24", "\"cross_attention_dim\": 32")
        }),
        ("extra_tensors", &|m| edit(&m.join("vae/config.json"), "\"layers_per_block\": 2", "\"layers_per_block\": 1")),
        ("unsupported", &|m| {
            edit(&m.join("unet/config.json"), "\"class_embed_type\": null", "\"class_embed_type\": \"timestep\"")
        }),
        ("pickle", &|m| {
            std::fs::remove_file(m.join(unet)).unwrap();
            std::fs::write(m.join("unet/diffusion_pytorch_model.bin"), b"\x80\x02.").unwrap();
        }),
    ];
    for (name, harm) in damage {
        let model = copy_of_tiny(folder);
        harm(&model);
        let output = trace_with(&model, &out);
        insta::assert_snapshot!(format!("model_{name}"), complaint(&output, folder));
        assert!(!out.exists(), "{name} left a half-written run");
        std::fs::remove_dir_all(model).unwrap();
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn trace_with(model: &Path, out: &Path) -> Output {
    let arguments = ["trace", "--prompt", "a cat", "--steps", "2"];
    command().args(arguments).arg("--model").arg(model).arg("--out").arg(out).output().unwrap()
}

#[test]
fn an_output_folder_is_never_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("thesis.txt"), "years of work").unwrap();
    insta::assert_snapshot!("out_not_empty", complaint(&trace(&out, &[]), folder.path()));

    assert!(trace(&out, &["--force"]).status.success());
    assert!(trace(&out, &["--force", "--steps", "2", "--decode", "none"]).status.success());
    assert_eq!(std::fs::read_to_string(out.join("thesis.txt")).unwrap(), "years of work");
    assert!(!out.join("final.png").exists(), "a picture of the run before is left");
    assert_eq!(Run::open(&out).unwrap().steps().unwrap(), [0, 1, 2, 3]);

    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    insta::assert_snapshot!("out_is_a_file", complaint(&trace(&file, &[]), folder.path()));
    insta::assert_snapshot!("out_cannot_be_made", complaint(&trace(Path::new("/proc/sdviz/run"), &[]), folder.path()));
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let output = trace(&out, &[&["--record", "all"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        out
    };
    let (a, b, other) = (run("a", &[]), run("b", &[]), run("other", &["--seed", "1"]));
    let mut files = vec!["final.png".to_string(), "shapes.jsonl".into()];
    files.extend(
        std::fs::read_dir(a.join("steps")).unwrap().map(|e| format!("steps/{}", e.unwrap().file_name().display())),
    );
    assert_eq!(
        files.len(),
        2 + 2 * 5 + 4,
        "three PNDM steps are the start and four calls, which predict x0: {files:?}"
    );
    for file in &files {
        assert!(std::fs::read(a.join(file)).unwrap() == std::fs::read(b.join(file)).unwrap(), "{file} differs");
    }
    let mut records = [&a, &b].map(|dir| Run::open(dir).unwrap().record().clone());
    records.iter_mut().for_each(|r| r.timings = Default::default());
    assert_eq!(records[0], records[1]);
    assert_eq!(records[0].status, Status::Complete);
    for file in ["steps/000.safetensors", "steps/004.safetensors", "final.png"] {
        assert!(
            std::fs::read(a.join(file)).unwrap() != std::fs::read(other.join(file)).unwrap(),
            "seed 1 gives {file} too"
        );
    }
}

#[test]
fn the_first_picture_of_a_batch_is_the_single_picture() {
    let folder = tempfile::tempdir().unwrap();
    for scheduler in ["pndm", "euler_a"] {
        let (one, three) = (folder.path().join("one"), folder.path().join("three"));
        let more = ["--scheduler", scheduler, "--seed", "5", "--force"];
        assert!(trace(&one, &more).status.success());
        assert!(trace(&three, &[&more[..], &["--batch-size", "3"]].concat()).status.success());
        let (one, three) = (Run::open(&one).unwrap(), Run::open(&three).unwrap());
        for step in one.steps().unwrap() {
            let [a, b] = [&one, &three].map(|r| r.tensor(step, Quantity::Latents, 0).unwrap().unwrap());
            let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
            let difference = (&a - &b).iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(difference <= 1e-5 * largest, "{scheduler}, step {step}: {difference}");
        }
        // The third picture is that of the third seed.
        let third = folder.path().join("third");
        assert!(trace(&third, &["--scheduler", scheduler, "--seed", "7", "--force"]).status.success());
        let (a, b) =
            (Run::open(&third).unwrap().final_picture(0).unwrap().unwrap(), three.final_picture(2).unwrap().unwrap());
        assert!(a.iter().zip(b.iter()).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}

#[test]
fn what_is_recorded_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let more =
        ["--record", "all", "--decode", "2", "--decode-what", "latents,x0", "--scheduler", "ddim", "--steps", "5"];
    let output = trace(&out, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).trim(), out.join("final.png").to_str().unwrap());
    let run = Run::open(&out).unwrap();
    assert_eq!(run.steps().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(run.pictured_steps(Quantity::Latents, 0).unwrap(), [0, 2, 4, 5]);
    assert_eq!(run.pictured_steps(Quantity::PredictedOriginal, 0).unwrap(), [2, 4, 5]);
    assert_eq!(run.picture(5, Quantity::Latents, 0).unwrap(), run.final_picture(0).unwrap());
    let get = |step, what| run.tensor(step, what, 0).unwrap().unwrap();
    let [uncond, text, guided] =
        [Quantity::NoiseUncond, Quantity::NoiseText, Quantity::NoiseGuided].map(|what| get(3, what));
    let again = &uncond + &((&text - &uncond) * 7.5);
    assert!((&again - &guided).iter().all(|d| d.abs() < 1e-5));
    assert!(run.tensor(0, Quantity::NoiseText, 0).unwrap().is_none(), "no noise is predicted before the first call");

    // x0 = (x − sqrt(1 − ᾱ)·ε) / sqrt(ᾱ), from the latents that entered the call.
    let a = run.level(2).unwrap().alpha_cumprod;
    let x0 =
        (&get(2, Quantity::Latents) - &(get(3, Quantity::NoiseGuided) * (1.0 - a).sqrt() as f32)) / a.sqrt() as f32;
    assert!((&x0 - &get(3, Quantity::PredictedOriginal)).iter().all(|d| d.abs() < 1e-4));

    let bare = folder.path().join("bare");
    assert!(trace(&bare, &["--record", "none", "--decode", "final", "--guidance-scale", "1"]).status.success());
    let run = Run::open(&bare).unwrap();
    assert!(run.tensor(2, Quantity::Latents, 0).unwrap().is_none());
    assert_eq!(run.pictured_steps(Quantity::Latents, 0).unwrap().len(), 1);
}

#[test]
fn the_picture_tells_how_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let more = ["--negative-prompt", "rain, snow", "--scheduler", "Euler a", "--guidance-scale", "5.5", "--seed", "42"];
    assert!(trace(&out, &more).status.success());
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(out.join("final.png")).unwrap()));
    let reader = decoder.read_info().unwrap();
    let text = |keyword: &str| {
        let chunks = &reader.info().uncompressed_latin1_text;
        chunks.iter().find(|c| c.keyword == keyword).unwrap().text.clone()
    };
    let hash = Run::open(&out).unwrap().record().model.components[1].sha256.clone();
    assert_eq!(hash, sha256_of(&root("tests/goldens/tiny-sd/unet/diffusion_pytorch_model.safetensors")));
    let expected = format!(
        "a lovely cat\nNegative prompt: rain, snow\nSteps: 3, Sampler: Euler a, CFG scale: 5.5, Seed: 42, Size: 64x64, \
         Model hash: {}, Model: tiny-sd, RNG: CPU, Version: sdviz {}",
        &hash[..10],
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(text("parameters"), expected);
    let own: serde_json::Value = serde_json::from_str(&text("sdviz")).unwrap();
    assert_eq!(own["plan"]["seed"], 42);
    assert_eq!(own["tokens"]["prompt"][1]["piece"], "a</w>");
}

fn sha256_of(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    stdout(&output)[..64].to_string()
}

#[test]
fn a_long_prompt_is_cut_with_a_warning_that_quotes_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let prompt = format!("{} and a Tail, that is lost", ["cat"; 74].join(" "));
    let output = command()
        .args(["trace", "--steps", "1", "--decode", "none", "--prompt", &prompt, "--model", &tiny_sd(), "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let warning = "warning: the prompt is longer than 77 tokens; this part of it is not seen: `a Tail, that is lost`";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    assert_eq!(Run::open(&out).unwrap().record().tokens.prompt_cut.as_deref(), Some("a Tail, that is lost"));
}

#[test]
fn the_shape_log_tells_the_story_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert!(trace(&out, &["--width", "96"]).status.success());
    let shapes = command().arg("shapes").arg(&out).output().unwrap();
    // The statistics' last digits depend on the processor: the snapshot keeps names, shapes and types.
    let table = String::from_utf8(shapes.stdout).unwrap();
    let kept: Vec<String> = table
        .lines()
        .map(|l| l.split("  ").filter(|p| !p.trim().is_empty()).take(4).map(str::trim).collect::<Vec<_>>().join(" | "))
        .collect();
    insta::assert_snapshot!("shapes", kept.join("\n"));

    let rows = Run::open(&out).unwrap().site_rows().unwrap();
    assert!(rows.len() > 150, "{} sites", rows.len());
    assert!(rows.iter().enumerate().all(|(i, row)| row.order == i));
    let of = |name: &str| rows.iter().find(|r| r.name == name).unwrap();
    assert_eq!(of("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2").symbolic, "[2·B, H/16·W/16, 32]");
    assert_eq!(of("unet.up_blocks.3.resnets.2").shape, [2, 16, 8, 12]);
    assert!(of("noise").mean.abs() < 0.3 && (of("noise").std - 1.0).abs() < 0.3);
    let json = command().args(["shapes", "--full", "--json"]).arg(&out).output().unwrap();
    assert_eq!(String::from_utf8(json.stdout).unwrap().lines().count(), rows.len());
}

#[test]
fn lists_and_help_are_as_documented() {
    let output = |args: &[&str]| String::from_utf8(command().args(args).output().unwrap().stdout).unwrap();
    insta::assert_snapshot!("schedulers", output(&["schedulers"]));
    insta::assert_snapshot!("inspect_pocket", output(&["inspect", "--depth", "2"]));
    let json: serde_json::Value = serde_json::from_str(&output(&["inspect", &tiny_sd(), "--json"])).unwrap();
    assert_eq!(json["components"][1]["children"]["conv_in"]["parameters"], 16 * 4 * 9 + 16);
}

/// Waits until the run has recorded at least one step.
fn wait_for_step(out: &Path, step: usize) {
    let file = out.join(format!("steps/{step:03}.safetensors"));
    for _ in 0..2000 {
        if file.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("step {step} never came");
}

fn start_long_trace(out: &Path) -> std::process::Child {
    let model = tiny_sd();
    let arguments = ["trace", "--prompt", "a cat", "--steps", "500", "--scheduler", "ddim", "--model", &model, "--out"];
    let mut command = command();
    command.args(arguments).arg(out).stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn ctrl_c_leaves_a_readable_run_and_says_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let child = start_long_trace(&out);
    wait_for_step(&out, 3);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let run = Run::open(&out).unwrap();
    assert_eq!((run.record().status, run.record().failure.as_deref()), (Status::Failed, Some("cancelled")));
    let last = *run.steps().unwrap().last().unwrap();
    assert!((3..500).contains(&last));
    let said = stderr(&output);
    assert!(said.contains("error: cancelled"), "{said}");
    assert!(said.contains(&format!("steps 0 to {last} of 500, readable as they are")), "{said}");
}

#[test]
fn a_killed_run_is_readable_up_to_its_last_whole_step() {
    let folder = tempfile::tempdir().unwrap();
    for (i, pause) in [0, 7, 19, 42, 90].into_iter().enumerate() {
        let out = folder.path().join(format!("run{i}"));
        let mut child = start_long_trace(&out);
        wait_for_step(&out, i);
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        let run = Run::open(&out).unwrap();
        assert_eq!(run.record().status, Status::Killed);
        let steps = run.steps().unwrap();
        assert_eq!(steps, (0..steps.len()).collect::<Vec<_>>(), "a step is missing");
        for step in steps {
            assert!(run.tensor(step, Quantity::Latents, 0).unwrap().is_some());
            assert!(run.picture(step, Quantity::Latents, 0).unwrap().is_some());
        }
        assert!(!run.site_rows().unwrap().is_empty() || i == 0);
    }
}

/// Needs the right to mount; without it the test says so and passes.
#[test]
fn a_full_disk_keeps_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|m| m.status.success()) {
        eprintln!("not checked: mounting a small disk is not allowed here");
        return;
    }
    let output = start_long_trace(&disk.join("run")).wait_with_output().unwrap();
    let said = stderr(&output);
    let run = Run::open(disk.join("run")).unwrap();
    let steps = run.steps().unwrap();
    let readable = steps.iter().all(|s| run.tensor(*s, Quantity::Latents, 0).unwrap().is_some());
    let (status, left) = (run.record().status, std::fs::read_dir(disk.join("run/steps")).unwrap().flatten());
    let temporary = left.filter(|e| e.file_name().to_string_lossy().ends_with(".part")).count();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no space left on device") && said.contains("hint: free some disk space"), "{said}");
    assert!(said.contains(&format!("steps 0 to {} of 500, readable as they are", steps.len() - 1)), "{said}");
    assert!(readable && steps.len() > 3 && temporary == 0);
    assert_eq!(status, Status::Failed, "{said}");
}
