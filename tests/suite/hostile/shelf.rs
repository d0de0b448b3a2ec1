//! The valid files that are damaged: a model and what is made with it, each kind in a folder; and which verbs read them.

use crate::common::{command, root, stderr};
use crate::hostile::{Dice, pick};
use std::path::{Path, PathBuf};
use tch::Tensor;
use tempfile::TempDir;

/// A file, and who reads it.
pub struct Target {
    /// The folder on the shelf that is laid out for the case.
    pub subject: &'static str,
    /// The file in it; `*` is the first in its folder.
    pub file: &'static str,
    /// The verbs' words, see [`crate::hostile::limits::run`].
    pub verbs: &'static [&'static str],
}

const fn target(subject: &'static str, file: &'static str, verbs: &'static [&'static str]) -> Target {
    Target { subject, file, verbs }
}

impl Target {
    /// Where the file is, when its subject lies in this folder.
    pub fn path(&self, folder: &Path) -> PathBuf {
        self.file.split('/').fold(folder.to_path_buf(), |path, name| match name {
            "*" => std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()).min().unwrap(),
            name => path.join(name),
        })
    }
}

const INSPECT: &str = "inspect {d}/model";
const TRACE: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model -o {d}/out";
const TOKENS: &str = "tokens a~cat --model {d}/model";
const CONVERT: &str = "convert {d}/model {d}/one.safetensors";
const MERGE: &str = "merge {d}/model {d}/model -o {d}/merged";
const SCHEDULE: &str = "schedule --model {d}/model -o {d}/out";
const TRACE_ONE: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/one.safetensors -o {d}/out";
const VAE: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model --vae {d}/vae -o {d}/out";
const VAE_ONE: &str =
    "trace -p a --steps 1 -W 32 -H 32 --model {d}/model --vae {d}/vae/diffusion_pytorch_model.safetensors -o {d}/out";
const SKETCH: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model --preview-vae {d}/vae -o {d}/out";
const SAVED: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model --lora {d}/saved/x.safetensors -o {d}/out";
const LORA: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model --lora {d}/x.safetensors:0.5 -o {d}/out";
const EMBEDDING: &str =
    "trace -p a~w7 --steps 1 -W 32 -H 32 --model {d}/model --embedding w7={d}/x.safetensors -o {d}/out";
const WORD: &str = "tokens a~w7 --model {d}/model --embedding w7={d}/x.safetensors";
const OVER: &str = "trace -p a --steps 1 -W 32 -H 32 --model {d}/model -o {d}/run --force";
const LATENTS: &str = "latents {d}/run --format gif -o {d}/out";
const VIDEO: &str = "video {d}/run --format gif,mp4 -o {d}/out";
const STRIP: &str = "filmstrip {d}/run -o {d}/out";
const FRAMES: &str = "frames {d}/run -o {d}/out";
const PREVIEW: &str = "preview {d}/run --format gif -o {d}/out";
const PLOT: &str = "plot {d}/run --format svg -o {d}/out";
const GEOMETRY: &str = "plot {d}/run --what plane,pca,cosines,spectrum,bands --format svg -o {d}/out";
const LAYERS: &str = "plot {d}/run --what blocks --format svg -o {d}/out";
const FEATURES: &str = "features {d}/run unet.mid_block --format png,gif -o {d}/out";
const ATTRIBUTION: &str = "attribution {d}/run -o {d}/out";
const DIFF: &str = "diff {d}/run {d}/other --maps -o {d}/out";
const SHAPES: &str = "shapes {d}/run --full";
const LIKE: &str = "trace --like {d}/it.png --model {d}/model --steps 1 -o {d}/out";
const INIT: &str = "trace -p a --steps 2 --model {d}/model --init-image {d}/it.png --mask {d}/mask.png -o {d}/out";
const INVERT: &str = "invert {d}/it.png -p a --steps 1 --refine 1 -W 32 -H 32 --model {d}/model -o {d}/out";
const LOOK: &str = "look {d}/it.png -p a --at 0.5 -W 32 -H 32 --model {d}/model -o {d}/out";
const START: &str = "trace --start {d}/there --donor {d}/there --pnp --model {d}/model -o {d}/out";
const BEGUN: &str = "trace --start {d}/there@1 --model {d}/model -o {d}/out";
const INVERTED: &str = "latents {d}/there --format gif -o {d}/out";
const MAPS: &str = "attention {d}/there --format png -o {d}/out";
const SHARES: &str = "plot {d}/there --what attention --format svg -o {d}/out";
const HEADS: &str = "attention {d}/there --what heads -o {d}/out";
const GRID: &str = "grid {d}/sweep -o {d}/out";
const GRID_MOVING: &str = "grid {d}/sweep --format gif --what x0 -o {d}/out";
const SWEEP: &str = "sweep -p a --steps 1,2 -W 32 -H 32 --model {d}/model -o {d}/sweep";
const HUB: &str = "inspect owner/name";
const SHEET: &str = "dataset sheet {d}/data --count 4 -o {d}/sheet.png";
const BUILD: &str = "dataset build --icons {d}/icons --config {d}/icons/dataset.toml --count 2 --out {d}/out";
const KEEPS: &str = "eval vae --data {d}/data --count 4 --model {d}/model";
const JUDGE: &str = "eval judge --data {d}/data --count 4 --model {d}/model --judge {d}/judge";
const EVAL: &str =
    "eval prompts --count 1 --unguided 0 --negative 0 --steps 1 --model {d}/model --judge {d}/judge -o {d}/out";
const TEACH: &str = "train lora --data {d}/few --config {d}/tiny.toml --model {d}/model --out {d}/lora --steps 3";
const TRAIN: &str = "train vae --data {d}/few --config {d}/tiny.toml --out {d}/t --steps 3";

/// What is damaged. A file that many verbs read stands here more than once, so that its cases are not few.
pub const TARGETS: &[Target] = &[
    target("model", "model/model_index.json", &[INSPECT, TRACE, CONVERT]),
    target("model", "model/unet/config.json", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("model", "model/unet/config.json", &[TRACE]),
    target("model", "model/vae/config.json", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("model", "model/text_encoder/config.json", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("model", "model/scheduler/scheduler_config.json", &[TRACE, SCHEDULE, INSPECT]),
    target("model", "model/tokenizer/vocab.json", &[TOKENS, TRACE]),
    target("model", "model/tokenizer/merges.txt", &[TOKENS, TRACE]),
    target("model", "model/tokenizer/tokenizer_config.json", &[TOKENS, TRACE]),
    target("model", "model/tokenizer/special_tokens_map.json", &[TOKENS]),
    target("model", "model/tokenizer/added_tokens.json", &[TOKENS]),
    target("model", "model/unet/diffusion_pytorch_model.safetensors", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("model", "model/vae/diffusion_pytorch_model.safetensors", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("model", "model/text_encoder/model.safetensors", &[INSPECT, TRACE, CONVERT, MERGE]),
    target("pieces", "model/unet/diffusion_pytorch_model.safetensors.index.json", &[INSPECT, TRACE]),
    target(
        "pieces",
        "model/unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        &[INSPECT, TRACE, "convert {d}/model {d}/whole"],
    ),
    target("pieces", "model/text_encoder/model-00001-of-00002.safetensors", &[INSPECT, TRACE]),
    target(
        "one",
        "one.safetensors",
        &["inspect {d}/one.safetensors", TRACE_ONE, "convert {d}/one.safetensors {d}/out"],
    ),
    target("vae", "vae/config.json", &[VAE]),
    target("vae", "vae/diffusion_pytorch_model.safetensors", &[VAE, VAE_ONE]),
    target("tiny-vae", "vae/config.json", &[VAE, SKETCH]),
    target("tiny-vae", "vae/diffusion_pytorch_model.safetensors", &[VAE, SKETCH]),
    target("lora-kohya", "x.safetensors", &[LORA]),
    target("lora-peft", "x.safetensors", &[LORA]),
    target("lora-old", "x.safetensors", &[LORA]),
    target("lora-loha", "x.safetensors", &[LORA]),
    target("lora-lokr", "x.safetensors", &[LORA]),
    target("lora-dora", "x.safetensors", &[LORA]),
    target("lora-whole", "x.safetensors", &[LORA]),
    target("lora-saved", "saved/x.safetensors", &[SAVED]),
    target("lora-saved", "saved/adapter_config.json", &[SAVED]),
    target("embedding", "x.safetensors", &[EMBEDDING, WORD]),
    target("embedding-a1111", "x.safetensors", &[EMBEDDING, WORD]),
    target("hub", "hub/models--owner--name/refs/main", &[HUB, "models"]),
    target("run", "run/run.json", &[SHAPES, PLOT, DIFF, LATENTS, VIDEO, STRIP, FRAMES, PREVIEW, OVER]),
    target("run", "run/run.json", &[SHAPES, PLOT, DIFF, LATENTS, VIDEO, STRIP, FRAMES, PREVIEW, OVER]),
    target("run", "run/run.json", &[PLOT, DIFF, LATENTS, PREVIEW, "export {d}/run --all -o {d}/out"]),
    target("run", "run/shapes.jsonl", &[SHAPES]),
    target("run", "run/steps/001.safetensors", &[PLOT, DIFF, LATENTS, PREVIEW, "latents {d}/run --sheet -o {d}/out"]),
    target("run", "run/steps/002.safetensors", &[PLOT, DIFF, LATENTS, PREVIEW]),
    target("run", "run/run.json", &[GEOMETRY, LAYERS, FEATURES]),
    target("run", "run/steps/002.safetensors", &[GEOMETRY]),
    target("run", "run/sites/001.safetensors", &[FEATURES]),
    target("run", "run/blocks.jsonl", &[LAYERS]),
    target("run", "run/attribution/001.safetensors", &[ATTRIBUTION]),
    target("run", "run/steps/001.png", &[VIDEO, STRIP, FRAMES, PREVIEW]),
    target("run", "run/final.png", &[VIDEO, "metadata {d}/run/final.png"]),
    target("inverted", "there/run.json", &[START, BEGUN, INVERTED, MAPS, SHARES, HEADS]),
    target("inverted", "there/run.json", &[START, BEGUN, MAPS]),
    target("inverted", "there/steps/002.safetensors", &[START, INVERTED]),
    target("inverted", "there/init.png", &[START]),
    target("inverted", "there/attention/cross/001.safetensors", &[MAPS, SHARES]),
    target("inverted", "there/attention/heads.safetensors", &[HEADS]),
    target("map", "map.json", &["preview {d}/run --map {d}/map.json --format gif -o {d}/out"]),
    target("picture", "it.png", &["metadata {d}/it.png", LIKE, INIT]),
    target("picture", "it.png", &["metadata {d}/it.png --json", LIKE, INIT, INVERT, LOOK]),
    target("picture", "mask.png", &[INIT]),
    target("picture", "web.jpg", &["metadata {d}/web.jpg"]),
    target("picture", "web.webp", &["metadata {d}/web.webp"]),
    target("sweep", "sweep/sweep.json", &[GRID, GRID_MOVING, SWEEP]),
    target("sweep", "sweep/sweep.json", &[GRID, GRID_MOVING, SWEEP]),
    target("sweep", "sweep/cells/*/run.json", &[GRID, GRID_MOVING, SWEEP]),
    target("sweep", "sweep/cells/*/final.png", &[GRID, GRID_MOVING]),
    target("sweep", "sweep/cells/*/steps/001.safetensors", &[GRID_MOVING]),
    target("data", "data/dataset.json", &[SHEET, JUDGE, KEEPS]),
    target("data", "data/metadata.jsonl", &[SHEET, JUDGE, KEEPS]),
    target("data", "data/images/000/000001.png", &[SHEET, JUDGE, KEEPS]),
    target("data", "judge/judge.json", &[JUDGE, EVAL]),
    target("data", "judge/judge.safetensors", &[JUDGE, EVAL]),
    target("icons", "icons/dataset.toml", &[BUILD]),
    target("icons", "icons/noto/icons.json", &[BUILD]),
    target("icons", "icons/noto/info.json", &[BUILD]),
    target("training", "tiny.toml", &[TRAIN, TEACH]),
    target("training", "few/1.png", &[TRAIN, TEACH]),
    target("training", "few/1.txt", &[TEACH]),
    target("training", "t/vae/checkpoint.safetensors", &[TRAIN]),
    target("training", "t/vae/log.jsonl", &[TRAIN]),
    target("training", "lora/lora/checkpoint.safetensors", &[TEACH]),
    target("training", "lora/lora/log.jsonl", &[TEACH]),
    target("training", "lora/lora/latents.safetensors", &[TEACH]),
];

/// The valid files, in a folder for each subject.
pub struct Shelf(TempDir);

fn source(name: &str) -> PathBuf {
    root(name)
}

/// Copies a folder; large files are linked, for nothing changes those in place.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else if from.metadata().unwrap().len() < 65_536 || std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// Cuts weights into two pieces; gives the list of them.
fn cut(folder: &Path, stem: &str) -> String {
    let whole = folder.join(format!("{stem}.safetensors"));
    let mut tensors = Tensor::read_safetensors(&whole).unwrap();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut map = serde_json::Map::new();
    for (i, tensors) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let piece = format!("{stem}-{:05}-of-00002.safetensors", i + 1);
        Tensor::write_safetensors(tensors, folder.join(&piece)).unwrap();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), piece.clone().into())));
    }
    std::fs::remove_file(whole).unwrap();
    serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()
}

fn done(words: &str, folder: &Path) {
    let words = words.split(' ').map(|word| word.replace("{d}", &folder.display().to_string()).replace('~', " "));
    let output = command().args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

impl Shelf {
    /// Makes the files.
    pub fn make() -> Shelf {
        let shelf = Shelf(tempfile::tempdir().unwrap());
        let at = |name: &str| shelf.0.path().join(name);
        let model = at("model/model");
        copy(&source("tests/goldens/tiny-sd"), &model);
        std::fs::remove_dir_all(model.join("tokenizer")).unwrap();
        copy(&source("assets/pocket/tokenizer"), &model.join("tokenizer"));
        let special = r#"{"bos_token":"<|startoftext|>","pad_token":{"content":"<|endoftext|>","lstrip":false}}"#;
        std::fs::write(model.join("tokenizer/special_tokens_map.json"), special).unwrap();
        std::fs::write(model.join("tokenizer/added_tokens.json"), r#"{"<word>":1000,"<other>":1001}"#).unwrap();

        let with_model = [
            "lora-saved",
            "vae",
            "tiny-vae",
            "pieces",
            "run",
            "inverted",
            "map",
            "picture",
            "sweep",
            "data",
            "training",
        ];
        let files = [
            ("lora-kohya", "kohya"),
            ("lora-peft", "peft"),
            ("lora-old", "old"),
            ("lora-loha", "loha"),
            ("lora-lokr", "lokr"),
            ("lora-dora", "dora"),
            ("lora-whole", "whole"),
            ("embedding", "embedding"),
            ("embedding-a1111", "a1111"),
        ];
        with_model
            .iter()
            .chain(files.iter().map(|(name, _)| name))
            .for_each(|name| copy(&model, &at(name).join("model")));
        for (name, golden) in files {
            let golden = format!("tests/goldens/lora/{golden}.safetensors");
            std::fs::copy(source(&golden), at(name).join("x.safetensors")).unwrap();
        }
        let saved = at("lora-saved/saved");
        copy(&source("tests/goldens/lora/saved"), &saved);
        std::fs::rename(saved.join("adapter_model.safetensors"), saved.join("x.safetensors")).unwrap();
        copy(&model.join("vae"), &at("vae/vae"));
        copy(&source("tests/goldens/tiny-vae"), &at("tiny-vae/vae"));
        let pieces = at("pieces/model");
        let list = cut(&pieces.join("unet"), "diffusion_pytorch_model");
        std::fs::write(pieces.join("unet/diffusion_pytorch_model.safetensors.index.json"), list).unwrap();
        cut(&pieces.join("text_encoder"), "model");
        std::fs::create_dir(at("one")).unwrap();
        done("convert {d}/model {d}/../one/one.safetensors", &at("model"));
        let cached = at("hub/hub/models--owner--name");
        copy(&model, &cached.join("snapshots/0123"));
        std::fs::create_dir(cached.join("refs")).unwrap();
        std::fs::write(cached.join("refs/main"), "0123").unwrap();
        shelf.runs();
        shelf.data();
        shelf
    }

    /// Runs, a sweep, pictures.
    fn runs(&self) {
        let at = |name: &str| self.0.path().join(name);
        let run = "trace -p a -n b --steps 2 -W 32 -H 32 --record all --decode-what latents,x0 --model {d}/model";
        done(
            &format!("{run} --blocks --sites unet.mid_block --attribute drop,gradient --at 1 -o {{d}}/run"),
            &at("run"),
        );
        done(&format!("{run} -o {{d}}/other --seed 1"), &at("run"));
        let picture = at("run/run/final.png").display().to_string();
        let invert = "--steps 2 --refine 1 --attention --no-report --model {d}/model -o {d}/there";
        done(&format!("invert {picture} -p a {invert}"), &at("inverted"));
        copy(&at("run/run"), &at("map/run"));
        done("preview {d}/run --format gif -o {d}/exports --save {d}/map.json", &at("map"));

        std::fs::copy(at("run/run/final.png"), at("picture/it.png")).unwrap();
        let mask = image::GrayImage::from_fn(32, 32, |x, _| image::Luma([(x * 8) as u8]));
        mask.save(at("picture/mask.png")).unwrap();
        let settings = "a cat\nNegative prompt: b\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64";
        std::fs::write(at("picture/web.jpg"), jpeg(&exif(settings))).unwrap();
        std::fs::write(at("picture/web.webp"), webp(&exif(settings))).unwrap();

        done("sweep -p a --steps 1,2 -W 32 -H 32 --model {d}/model -o {d}/sweep", &at("sweep"));
    }

    /// Data sets, a judge, trainings that were stopped.
    fn data(&self) {
        let at = |name: &str| self.0.path().join(name);
        copy(&source("tests/icons"), &at("icons/icons"));
        let build = "dataset build --icons {d}/icons --config {d}/icons/dataset.toml --count 8 --out {d}/../data/data";
        done(build, &at("icons"));
        copy(&source("assets/judge"), &at("data/judge"));

        std::fs::create_dir(at("training/few")).unwrap();
        for i in 0..3u8 {
            let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([80 * i, 40, 200]));
            picture.save(at(&format!("training/few/{i}.png"))).unwrap();
            std::fs::write(at(&format!("training/few/{i}.txt")), "a cat on a table").unwrap();
        }
        std::fs::write(at("training/tiny.toml"), include_str!("tiny.toml")).unwrap();
        done(&TRAIN.replace("--steps 3", "--steps 2"), &at("training"));
        done(&TEACH.replace("--steps 3", "--steps 2"), &at("training"));
    }

    /// A folder of its own with the files of a subject.
    pub fn lay_out(&self, subject: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.0.path().join(subject), folder.path());
        folder
    }

    /// Some valid file.
    pub fn any_file(&self, dice: &mut Dice) -> PathBuf {
        let target = pick(dice, TARGETS);
        target.path(&self.0.path().join(target.subject))
    }
}

/// An EXIF block with a user comment, as web UIs write it.
fn exif(text: &str) -> Vec<u8> {
    let comment = [&b"UNICODE\0"[..], &text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>()].concat();
    let mut tiff = b"MM\0*\0\0\0\x08".to_vec();
    for (tag, kind, count, value) in [(0x8769u16, 4u16, 1, 26u32), (0x9286, 7, comment.len() as u32, 44)] {
        tiff.extend([0, 1]);
        tiff.extend(tag.to_be_bytes());
        tiff.extend(kind.to_be_bytes());
        tiff.extend(count.to_be_bytes());
        tiff.extend(value.to_be_bytes());
        tiff.extend([0; 4]);
    }
    tiff.extend(comment);
    tiff
}

fn jpeg(exif: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 90]));
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    let length = (exif.len() as u16 + 8).to_be_bytes();
    bytes.splice(2..2, [b"\xff\xe1", &length[..], b"Exif\0\0", exif].concat());
    bytes
}

fn webp(exif: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 90]));
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::WebP).unwrap();
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let pad = vec![0; data.len() % 2];
        [&kind[..], &(data.len() as u32).to_le_bytes(), data, &pad].concat()
    };
    // The extended header says that there is EXIF, and the size less one.
    let extended = chunk(b"VP8X", &[8, 0, 0, 0, 31, 0, 0, 31, 0, 0]);
    let body = [b"WEBP", &extended[..], &bytes[12..], &chunk(b"EXIF", exif)].concat();
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}
