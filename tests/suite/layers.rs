//! What layers hold and add: diffusers' numbers at five sites, numpy's components, and what a trace keeps and does not
//! change. On the pocket model.

use crate::common::{golden_file, sdviz_in, stderr, stdout};
use ndarray::{Array4, ArrayD, Axis, IxDyn};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sdviz::export::features::{Features, Fit, Options};
use sdviz::record::layers::{LayerKind, LayerRow};
use sdviz::trace::reader::Run;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const GOLDEN_SITES: [&str; 5] = [
    "unet.down_blocks.0.resnets.0",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2",
    "unet.mid_block",
    "unet.up_blocks.1.resnets.1",
    "unet.up_blocks.2.attentions.0.transformer_blocks.0.ff",
];
const BOTH: &str = "unet.up_blocks.1.resnets.1";

/// Runs a command line in a folder: exit code, standard output, standard error.
fn sdviz(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = sdviz_in(folder, arguments);
    (output.status.code(), stdout(&output), stderr(&output))
}

fn trace(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let usual = ["trace", "--prompt", "a red apple on a blue background", "--seed", "1", "--steps", "2", "-g", "5"];
    let quiet = ["--model", "pocket", "--device", "cpu", "--no-report", "--decode", "none", "--record", "latents"];
    sdviz(folder, &[&usual[..], &quiet, more].concat())
}

/// A folder with a run `watched`, of which everything that these tests look at was kept, and the same run `plain`.
fn home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layers");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        let parts =
            "unet.**.in,unet.**.conv2,unet.**.resnets.*,unet.**.attentions.*,unet.**.attn1,unet.**.attn2,unet.**.ff";
        let sites = format!("{},{parts}", GOLDEN_SITES.join(","));
        let more = ["--out", "watched", "--blocks", "--sites-dtype", "f32", "--sites", &sites];
        let (code, _, error) = trace(&home, &more);
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(trace(&home, &["--out", "plain"]).0, Some(0));
        home
    })
}

fn watched() -> Run {
    Run::open(home().join("watched")).unwrap()
}

/// The goldens by name.
fn goldens() -> BTreeMap<String, ArrayD<f64>> {
    let bytes = std::fs::read(golden_file("layers.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, TensorView)| {
        let values = match view.dtype() {
            Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            _ => view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        };
        (name, ArrayD::from_shape_vec(IxDyn(view.shape()), values).unwrap())
    };
    file.tensors().into_iter().map(read).collect()
}

/// A golden as an image, `[1, channels, height, width]`: places lie in rows of a square.
fn image(golden: &ArrayD<f64>) -> Array4<f64> {
    if let &[batch, places, channels] = golden.shape() {
        let side = places.isqrt();
        let rows = golden.to_shape((batch, side, side, channels)).unwrap().to_owned();
        return rows.permuted_axes([0, 3, 1, 2]);
    }
    golden.clone().into_dimensionality().unwrap()
}

#[test]
fn sites_hold_what_diffusers_computes() {
    let (run, goldens) = (watched(), goldens());
    for (step, site) in GOLDEN_SITES.map(|site| (1, site)).into_iter().chain([(2, BOTH)]) {
        let golden = image(&goldens[&format!("step{step}/{site}")]);
        let found = run.site(step, site).unwrap().unwrap();
        assert_eq!(found.dim(), golden.dim(), "{site}");
        let most = golden.iter().fold(0f64, |most, value| most.max(value.abs()));
        let apart = found.iter().zip(&golden).fold(0f64, |most, (a, b)| most.max((f64::from(*a) - b).abs()));
        assert!(apart <= 1e-5 * most, "{site} at step {step}: {apart} of {most}");
    }
}

#[test]
fn a_run_that_is_watched_is_the_same_run() {
    let files = |run: &str| -> BTreeMap<String, Vec<u8>> {
        let folder = home().join(run).join("steps");
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
    };
    assert_eq!(files("watched"), files("plain"));
    assert_eq!(files("plain").len(), 3);
    assert!(!home().join("plain/sites").exists() && !home().join("plain/blocks.jsonl").exists());
}

/// The log of the layers, from the tensors that were kept.
#[test]
fn the_layers_log_is_what_the_sites_say() {
    let run = watched();
    let rows = run.layer_rows().unwrap();
    let site = |step: usize, name: &str| -> Vec<f64> {
        let all = run.site(step, name).unwrap().unwrap_or_else(|| panic!("{name}"));
        all.iter().map(|value| f64::from(*value)).collect()
    };
    let rms = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
    let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let mut seen = BTreeMap::new();
    for row in &rows {
        *seen.entry((row.step, row.kind)).or_insert(0) += 1;
        let block = row.site.rsplit_once('.').unwrap().0;
        let (before, update) = match row.kind {
            LayerKind::Resnet => {
                let update = site(row.step, &format!("{}.conv2", row.site));
                (minus(&site(row.step, &row.site), &update), update)
            }
            LayerKind::Transformer => {
                let before = site(row.step, &format!("{}.in", row.site));
                let update = minus(&site(row.step, &row.site), &before);
                (before, update)
            }
            LayerKind::Attn1 | LayerKind::Attn2 | LayerKind::Ff => {
                let mut before = site(row.step, &format!("{block}.in"));
                let parts = ["attn1", "attn2", "ff"];
                for part in parts.iter().take_while(|part| !row.site.ends_with(*part)) {
                    before =
                        before.iter().zip(site(row.step, &format!("{block}.{part}"))).map(|(a, b)| a + b).collect();
                }
                (before, site(row.step, &row.site))
            }
        };
        let after: Vec<f64> = before.iter().zip(&update).map(|(a, b)| a + b).collect();
        let dot: f64 = before.iter().zip(&after).map(|(a, b)| a * b).sum();
        let (r_in, r_out, r_update) = (rms(&before), rms(&after), rms(&update));
        let expected = [
            r_in,
            r_out,
            r_update,
            dot / before.len() as f64 / r_in / r_out,
            r_update.powi(2) / (r_in.powi(2) + r_update.powi(2)),
        ];
        for (found, expected) in [row.rms_in, row.rms_out, row.rms_update, row.cos, row.share].into_iter().zip(expected)
        {
            assert!((found - expected).abs() < 1e-4 * expected.abs().max(1e-2), "{row:?}: {found}, not {expected}");
        }
    }
    // Three levels of one layer down and two up, and the middle; at both steps.
    for step in [1, 2] {
        let counts = LayerKind::ALL.map(|kind| seen.get(&(step, kind)).copied().unwrap_or(0));
        assert_eq!(counts, [11, 10, 10, 10, 10], "step {step}");
    }
}

/// Writes a run whose site is this, step by step from 1.
fn with_site(dir: &Path, steps: &[Array4<f32>]) -> Run {
    std::fs::create_dir_all(dir.join("sites")).unwrap();
    std::fs::copy(home().join("watched/run.json"), dir.join("run.json")).unwrap();
    for (step, values) in (1..).zip(steps) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, values.shape().to_vec(), &bytes).unwrap();
        let file = safetensors::serialize([(BOTH, view)], None).unwrap();
        std::fs::write(dir.join(format!("sites/{step:03}.safetensors")), file).unwrap();
    }
    Run::open(dir).unwrap()
}

#[test]
fn components_are_those_of_numpy() {
    let (goldens, folder) = (goldens(), tempfile::tempdir().unwrap());
    let steps = [1, 2].map(|step| image(&goldens[&format!("step{step}/{BOTH}")]).mapv(|value| value as f32));
    let run = with_site(folder.path(), &steps);
    let features = Features::prepare(&[&run], &Options::of(BOTH)).unwrap();
    let expected = goldens["pca/explained"].as_slice().unwrap();
    for (found, expected) in features.explained[0].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6 * expected, "{found}, not {expected}");
    }
    let scores = &goldens["pca/scores"];
    let most = scores.iter().fold(0f64, |most, value| most.max(*value));
    for at in [0, 1] {
        let found = features.coordinates(&run, 0, at, &Options::of(BOTH)).unwrap().unwrap();
        for ((component, y, x), value) in found.indexed_iter() {
            let expected = scores[[64 * at + 8 * y + x, component]];
            assert!(
                (f64::from(value.abs()) - expected).abs() < 1e-5 * most,
                "{component} {y} {x}: {value}, {expected}"
            );
        }
    }
}

/// With a fit by step the same values in a turned order of channels keep their colours.
#[test]
fn a_step_is_turned_towards_the_step_before() {
    let folder = tempfile::tempdir().unwrap();
    let first = watched().site(1, BOTH).unwrap().unwrap();
    let run = with_site(folder.path(), &[first.clone(), -&first, first.clone()]);
    let options = Options { fit: Fit::Step, ..Options::of(BOTH) };
    let features = Features::prepare(&[&run], &options).unwrap();
    assert_eq!(features.explained.len(), 3);
    let all = [0, 1, 2].map(|at| features.coordinates(&run, 0, at, &options).unwrap().unwrap());
    let most = all[0].iter().fold(0f32, |most, value| most.max(value.abs()));
    // The components of −x are those of x; turned, its coordinates are those of x with the other sign, not a mixture.
    assert!(all[0].iter().zip(&all[1]).all(|(a, b)| (a + b).abs() < 1e-4 * most));
    assert!(all[0].iter().zip(&all[2]).all(|(a, b)| (a - b).abs() < 1e-4 * most));
}

#[test]
fn features_are_drawn_and_what_is_missing_is_named() {
    let out = tempfile::tempdir().unwrap();
    let out_name = out.path().to_str().unwrap();
    let features = |more: &[&str]| sdviz(home(), &[&["features"], more, &["--out", out_name]].concat());
    let (code, files, error) = features(&["watched", "watched", BOTH, "--format", "png,apng"]);
    assert_eq!(code, Some(0), "{error}");
    let names: Vec<&str> = files.lines().map(|file| file.rsplit('/').next().unwrap()).collect();
    let stem = format!("features-{BOTH}-compared");
    assert_eq!(names, [format!("{stem}.png"), format!("{stem}.apng"), format!("{stem}.json")]);
    let record = std::fs::read_to_string(out.path().join(format!("{stem}.json"))).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["channels"], &record["steps"]), (&96.into(), &serde_json::json!([[1, 2], [1, 2]])));
    // 8×8 places of 32 pixels each, two steps side by side, two rows: far from one colour.
    let sheet = image::open(out.path().join(format!("{stem}.png"))).unwrap().to_rgb8();
    let colours: std::collections::HashSet<[u8; 3]> = sheet.pixels().map(|pixel| pixel.0).collect();
    assert!(sheet.width() > 512 && colours.len() > 100, "{:?}, {} colours", sheet.dimensions(), colours.len());
    let places = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2";
    assert_eq!(features(&["watched", places, "--channels", "0,5,9", "--format", "png"]).0, Some(0));
    for (arguments, message, hint) in [
        (&["watched"][..], "no site is named", "sdviz features run unet.mid_block"),
        (&["watched", "unet.mid"], "`watched` did not keep the site `unet.mid`", "`watched/sites` holds unet."),
        (&["plain", "unet.mid_block"], "`plain` did not keep the site `unet.mid_block`", "`--sites unet.mid_block`"),
        (
            &["watched", BOTH, "--channels", "0,5,99"],
            "has 96 channels in `watched/sites/001.safetensors`, and 100 are asked for",
            "counted from 0",
        ),
        (&["watched", BOTH, "--fit", "runs"], "unknown fit `runs`; did you mean `run`?", "one of: run, step"),
        (&["watched", BOTH, "--batch", "1"], "the batch has no picture 1", "counted from 0"),
    ] {
        let (code, _, error) = features(arguments);
        assert!(code == Some(2) && error.contains(message) && error.contains(hint), "{arguments:?}: {error}");
    }
    let (code, files, error) =
        sdviz(home(), &["plot", "watched", "--what", "blocks", "--format", "svg", "--out", out_name]);
    assert_eq!(code, Some(0), "{error}");
    let svg = std::fs::read_to_string(home().join(files.trim())).unwrap();
    assert!(svg.contains("cross-attention") && svg.contains("1–3 down, 4 mid, 5–10 up"), "{svg}");
    let (code, _, error) = sdviz(home(), &["plot", "plain", "--what", "blocks"]);
    assert!(code == Some(2) && error.contains("trace again with `--blocks`"), "{error}");
}

#[test]
fn what_is_kept_is_what_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let both = ["--sites", "unet.mid_block,unet.**.attn2", "--sites-branches", "both", "--batch-size", "2", "--blocks"];
    let (code, _, error) = trace(home.path(), &both);
    assert_eq!(code, Some(0), "{error}");
    let run = Run::open(home.path().join("run")).unwrap();
    assert_eq!(run.site_steps().unwrap(), [1, 2]);
    let keys = run.site_keys(1).unwrap();
    // Ten cross-attentions and the middle block, of two branches; nothing from inside them.
    assert_eq!(keys.len(), 22, "{keys:?}");
    let at = |key: &str| run.site(1, key).unwrap().unwrap();
    let (text, uncond) = (at("unet.mid_block"), at("unet.mid_block@uncond"));
    assert!(text.dim() == (2, 160, 4, 4) && uncond.dim() == text.dim() && text != uncond);
    // Half precision, beside what f32 holds of the first picture.
    let whole = watched().site(1, "unet.mid_block").unwrap().unwrap();
    let near = text.index_axis(Axis(0), 0).iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 2e-3 * b.abs().max(0.1));
    assert!(near, "half precision is within three digits");
    let rows: Vec<LayerRow> = run.layer_rows().unwrap();
    let of = |batch: usize| rows.iter().filter(|row| row.batch == batch && row.step == 1).collect::<Vec<_>>();
    assert!(of(0).len() == of(1).len() && of(0)[3].rms_in != of(1)[3].rms_in);
    let alone = watched().layer_rows().unwrap();
    assert!((of(0)[3].rms_in - alone[3].rms_in).abs() < 1e-4 * alone[3].rms_in, "{:?} {:?}", of(0)[3], alone[3]);
    // Replaced by a run without: nothing of the old one stays. Without guidance there is one branch, which is the text's.
    let (code, _, error) = trace(home.path(), &["--force", "-g", "1"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(!home.path().join("run/sites").exists() && !home.path().join("run/blocks.jsonl").exists());
    let (code, _, error) = trace(home.path(), &["--force", "-g", "1", "--sites", "unet.mid_block"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(Run::open(home.path().join("run")).unwrap().site_keys(2).unwrap(), ["unet.mid_block"]);
    for (more, message, hint) in [
        (&["--sites", "vae.**"][..], "no site of the UNet fits `vae.**`", "`sdviz inspect --sites` lists them"),
        (&["--sites", "unet.middle_block"], "no site of the UNet fits `unet.middle_block`", "lists them"),
        (&["--sites", "unet.**.probs"], "is no image and no row of places", "name outputs of layers"),
        (&["--sites", "unet.mid_block", "--sites-dtype", "f8"], "unknown precision of sites `f8`", "one of: f16, f32"),
        (&["--sites", "unet.mid_block", "--sites-branches", "texts"], "did you mean `text`?", "text, uncond, both"),
    ] {
        let (code, _, error) = trace(home.path(), &[&["--force"], more].concat());
        assert!(code == Some(2) && error.contains(message) && error.contains(hint), "{more:?}: {error}");
    }
}

/// What the record says that sites take is what their numbers take, in both passes, of both branches.
#[test]
fn what_sites_take_is_said_before_and_has_a_budget() {
    let home = tempfile::tempdir().unwrap();
    let sites = "unet.**.attn2,unet.up_blocks.*.resnets.*,unet.**.attn2.context,unet.conv_in";
    let wide = ["--width", "96", "--height", "160", "--batch-size", "2", "--hires", "1.4", "--steps", "2", "--force"];
    let kept = [&wide[..], &["--sites", sites, "--sites-branches", "both"]].concat();
    let (code, _, error) = trace(home.path(), &kept);
    assert_eq!(code, Some(0), "{error}");
    let run = Run::open(home.path().join("run")).unwrap();
    let about = run.record().sites.clone().unwrap();
    assert_eq!((about.dtype.as_str(), about.patterns.join(",")), ("f16", sites.to_string()));
    let (mut bytes, mut keys) = (0, vec![]);
    for step in run.site_steps().unwrap() {
        let file = std::fs::read(home.path().join(format!("run/sites/{step:03}.safetensors"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&file).unwrap();
        bytes += file.tensors().iter().map(|(_, tensor)| tensor.data().len() as u64).sum::<u64>();
        keys = file.names().into_iter().filter(|name| !name.contains('@')).map(String::from).collect();
    }
    assert_eq!(about.bytes, bytes);
    let mut named = about.sites.clone();
    named.sort();
    keys.sort();
    assert_eq!(named, keys);
    assert!(error.contains(&format!("sites: {} sites in f16; about", keys.len())), "{error}");
    // More than the budget is refused before anything is made, with the flag that goes on.
    let (code, _, error) = trace(home.path(), &[&kept[..], &["--sites-budget", "1 kB"]].concat());
    let way = format!("go on with `--sites-budget {}MB`", (bytes as f64 / 1e6).ceil());
    assert!(code == Some(2) && error.contains("on disk, more than 1 kB") && error.contains(&way), "{error}");
    let size = Run::open(home.path().join("run")).unwrap().record().sites.clone();
    assert_eq!(size, Some(about), "the run that was there is there");
    for (more, message) in [
        (&["--sites", "unet.mid_block", "--sites-budget", "much"][..], "`much` is no size"),
        (
            &["--sites", "unet.mid_block", "--sites-branches", "uncond", "-g", "1"],
            "without guidance there is no prediction",
        ),
        (&["--sites", "unet.mid_block,unet.nowhere"], "no site of the UNet fits `unet.nowhere`"),
    ] {
        let (code, _, error) = trace(home.path(), &[&["--force"], more].concat());
        assert!(code == Some(2) && error.contains(message), "{more:?}: {error}");
    }
}

#[test]
fn the_parts_of_a_pass_are_timed() {
    let arguments = ["inspect", "pocket", "--time", "--repeat", "2", "--device", "cpu", "--json"];
    let (code, out, error) = sdviz(home(), &arguments);
    assert_eq!(code, Some(0), "{error}");
    let times: Value = serde_json::from_str(&out).unwrap();
    let blocks = times["blocks"].as_array().unwrap();
    let names: Vec<&str> = blocks.iter().map(|block| block["block"].as_str().unwrap()).collect();
    let down = ["conv_in", "down_blocks.0", "down_blocks.1", "down_blocks.2"];
    assert_eq!(names, [&down[..], &["mid_block", "up_blocks.0", "up_blocks.1", "up_blocks.2", "conv_out"]].concat());
    let sum = |parts: &Value| parts.as_object().unwrap().values().map(|ms| ms.as_f64().unwrap()).sum::<f64>();
    let whole = times["ms"].as_f64().unwrap();
    let all: f64 = blocks.iter().map(|block| block["ms"].as_f64().unwrap()).sum();
    assert!((all - whole).abs() < 1e-6 * whole && (sum(&times["parts"]) - whole).abs() < 1e-6 * whole, "{times}");
    assert!(blocks.iter().all(|block| (sum(&block["parts"]) - block["ms"].as_f64().unwrap()).abs() < 1e-6 * whole));
    assert!(times["ms_unwatched"].as_f64().unwrap() > 0.0 && times["passes"] == 2);
    let (code, _, error) = sdviz(home(), &["inspect", "--time", "--repeat", "0"]);
    assert!(code == Some(2) && error.contains("no forward pass to measure"), "{error}");
}
