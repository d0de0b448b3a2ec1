//! Models as people carry them about: an autoencoder exchanged, a checkpoint in one file, merges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn tiny() -> String {
    root("tests/goldens/tiny-sd").display().to_string()
}

fn sdviz(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdviz"));
    command.env_remove("SDVIZ_MODEL").env_remove("RUST_BACKTRACE").env("HF_HUB_CACHE", "/nowhere");
    command.args(arguments).current_dir(root("")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed: its standard output.
fn done(arguments: &[&str]) -> String {
    let output = sdviz(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail: what it says, without this machine's folders.
fn complaint(arguments: &[&str], folder: &Path) -> String {
    let output = sdviz(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    let said =
        text(&output.stderr).replace(folder.to_str().unwrap(), "FOLDER").replace(root("").to_str().unwrap(), "ROOT/");
    said.lines().filter(|l| !l.starts_with("model: ")).collect::<Vec<_>>().join("\n")
}

/// A short trace with more arguments: the run's folder.
fn trace(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let out = folder.join(name);
    let base = ["trace", "--prompt", "a lovely cat", "--steps", "2", "--decode", "final", "--quiet", "--out"];
    done(&[&base[..], &[out.to_str().unwrap()], more].concat());
    out
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn parameters(picture: &Path) -> String {
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(picture).unwrap()));
    let reader = decoder.read_info().unwrap();
    let chunks = &reader.info().uncompressed_latin1_text;
    chunks.iter().find(|c| c.keyword == "parameters").unwrap().text.clone()
}

/// Every step's tensors and the picture's pixels, byte by byte.
fn made(run: &Path) -> Vec<Vec<u8>> {
    let steps = (0..).map(|k| run.join(format!("steps/{k:03}.safetensors"))).take_while(|p| p.exists());
    let mut all: Vec<Vec<u8>> = steps.map(|p| std::fs::read(p).unwrap()).collect();
    assert!(all.len() > 2, "no steps in {}", run.display());
    all.push(image::open(run.join("final.png")).unwrap().to_rgb8().into_raw());
    all
}

mod vae {
    use super::*;

    #[test]
    fn another_autoencoder_changes_the_picture_but_not_the_latents_and_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let model = tiny();
        let own = trace(folder, "own", &["--model", &model]);
        let swapped = trace(folder, "swapped", &["--model", &model, "--vae", "pocket"]);
        let (own_made, swapped_made) = (made(&own), made(&swapped));
        assert_eq!(own_made[..own_made.len() - 1], swapped_made[..swapped_made.len() - 1]);
        assert_ne!(own_made.last(), swapped_made.last());

        let vae = &json(&swapped.join("run.json"))["model"]["components"][2];
        let hash =
            json(&trace(folder, "pocket", &["--model", "pocket"]).join("run.json"))["model"]["components"][2]["sha256"]
                .clone();
        assert_eq!((&vae["name"], &vae["from"], &vae["sha256"]), (&"vae".into(), &"pocket".into(), &hash));
        assert_eq!(vae["file"], "vae/diffusion_pytorch_model.safetensors");
        assert_eq!(json(&swapped.join("run.json"))["model"]["scaling_factor"], 0.4009618179901033);
        let said = parameters(&swapped.join("final.png"));
        assert!(said.contains(&format!(", VAE hash: {}, VAE: pocket, ", &hash.as_str().unwrap()[..10])), "{said}");
        assert!(!parameters(&own.join("final.png")).contains("VAE"));
    }

    #[test]
    fn an_autoencoder_is_named_by_its_own_folder_or_by_its_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny();
        let vae = format!("{model}/vae");
        let whole = trace(folder.path(), "whole", &["--vae", &model]);
        let alone = trace(folder.path(), "alone", &["--vae", &vae]);
        assert_eq!(made(&whole), made(&alone));
        let component = json(&alone.join("run.json"))["model"]["components"][2].clone();
        assert_eq!(component["from"], vae);
        assert_eq!(component["file"], "diffusion_pytorch_model.safetensors");
        assert!(parameters(&alone.join("final.png")).contains("VAE: vae"));
    }

    #[test]
    fn a_sweep_uses_it_for_all_cells_and_keeps_the_cells_apart() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("sweep");
        let base = ["sweep", "--prompt", "a cat", "--steps", "1,2", "--no-grid", "--quiet", "--out"];
        for more in [&[][..], &["--vae", "tests/goldens/tiny-sd"]] {
            done(&[&base[..], &[out.to_str().unwrap()], more].concat());
        }
        let cells: Vec<PathBuf> =
            std::fs::read_dir(out.join("cells")).unwrap().map(|e| e.unwrap().path().join("run.json")).collect();
        let from = cells.iter().filter(|c| json(c)["model"]["components"][2]["from"] == "tests/goldens/tiny-sd");
        assert_eq!((cells.len(), from.count()), (4, 2));
    }

    #[test]
    fn one_that_does_not_fit_is_refused_and_a_doubtful_one_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let out = folder.join("run").display().to_string();
        let refused = |name: &str, vae: &str| {
            let said = complaint(&["trace", "--prompt", "a cat", "--out", &out, "--vae", vae], folder);
            insta::assert_snapshot!(format!("vae_{name}"), said);
            assert!(!Path::new(&out).exists(), "{name} left a half-written run");
        };
        refused("factor", "tests/goldens/tiny-sd2");
        let wide = folder.join("wide");
        std::fs::create_dir(&wide).unwrap();
        let config = std::fs::read_to_string(root("tests/goldens/tiny-sd/vae/config.json")).unwrap();
        std::fs::write(wide.join("config.json"), config.replace("\"latent_channels\": 4", "\"latent_channels\": 16"))
            .unwrap();
        refused("channels", wide.to_str().unwrap());
        std::fs::write(wide.join("config.json"), config).unwrap();
        refused("no_weights", wide.to_str().unwrap());
        refused("no_config", folder.to_str().unwrap());
        refused("not_there", "no/such/folder");
        let output = sdviz(&[
            "trace",
            "--prompt",
            "a cat",
            "--steps",
            "1",
            "--decode",
            "final",
            "--out",
            &out,
            "--vae",
            "tests/goldens/tiny-sd",
        ]);
        let said = text(&output.stderr);
        assert!(said.contains("scales its latents by 0.18215, the model's own by 0.40"), "{said}");
    }
}
