//! Which files of a repository a run needs.
//!
//! Enters: what the hub says of a repository. Leaves: configurations, tokenizer and the weights of text encoder, UNet and
//! autoencoder, of one variant, as safetensors; `model_index.json` last, so that a folder with it is whole. No safety
//! checker, no pickles, no second copy.

use crate::error::{Error, Result};
use crate::model::components::{self, COMPONENTS, Component, INDEX, SCHEDULER_CONFIG};
use crate::model::config;
use serde_json::Value;
use std::collections::BTreeMap;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name in the repository.
    pub name: String,
    /// Its size in bytes, if the hub says it.
    pub size: Option<u64>,
    /// Its SHA-256 sum, for the large ones.
    pub sha256: Option<String>,
    /// Its name among the blobs of the cache: the sum, or git's own for the small ones.
    pub blob: Option<String>,
}

/// The files that the hub's answer lists.
pub fn listing(info: &Value) -> Vec<RemoteFile> {
    let sum = |value: &Value| value.as_str().filter(|sum| sum.bytes().all(|b| b.is_ascii_hexdigit())).map(String::from);
    let file = |entry: &Value| {
        let sha256 = sum(&entry["lfs"]["sha256"]);
        Some(RemoteFile {
            name: entry["rfilename"].as_str()?.into(),
            size: entry["lfs"]["size"].as_u64().or(entry["size"].as_u64()),
            blob: sha256.clone().or(sum(&entry["blobId"])),
            sha256,
        })
    };
    info["siblings"].as_array().into_iter().flatten().filter_map(file).collect()
}

/// The files that a run needs, in the order to fetch them.
///
/// # Errors
/// When the repository holds another kind of model or layout, or lacks something.
pub fn needed(repository: &str, info: &Value, variant: Option<&str>) -> Result<Vec<RemoteFile>> {
    let all = listing(info);
    let find = |name: &str| all.iter().find(|file| file.name == name).cloned();
    let Some(index) = find(INDEX) else { return Err(no_layout(repository, &all)) };
    let class = info["config"]["diffusers"]["_class_name"].as_str();
    if let Some(class) = class.filter(|class| !config::draws(class)) {
        return Err(Error::Unsupported {
            field: "_class_name".into(),
            found: format!("`{class}`"),
            place: format!("`{repository}`"),
            supported: "StableDiffusionPipeline, that is Stable Diffusion 1.x and 2.x".into(),
        });
    }
    let texts = components::texts().into_iter().filter(|name| *name != INDEX);
    let mut files: Vec<RemoteFile> = texts.filter_map(find).collect();
    let has = |name: &str| files.iter().any(|file| file.name == name);
    let vocabulary = has("tokenizer/tokenizer.json") || has("tokenizer/vocab.json") && has("tokenizer/merges.txt");
    let mut configurations = [SCHEDULER_CONFIG].into_iter().chain(COMPONENTS.iter().map(|component| component.config));
    let missing = configurations.find(|name| !has(name));
    if let Some(missing) = missing.or((!vocabulary).then_some("tokenizer/vocab.json")) {
        return Err(Error::invalid(
            format!("`{repository}` is not whole: it lacks `{missing}`"),
            "a model in diffusers' layout has tokenizer, text_encoder, unet, vae and scheduler folders",
        ));
    }
    let groups = COMPONENTS.map(|component| (component, groups(&all, component)));
    // Each part comes in the variant that was asked for, or plain; but some part must have it.
    let anywhere = variant.filter(|variant| groups.iter().any(|(_, groups)| groups.contains_key(*variant)));
    for (component, groups) in &groups {
        let chosen = match (variant, groups.get(variant.unwrap_or_default()), groups.get("")) {
            (_, Some(own), _) => Some(own),
            (Some(_), None, plain) => plain.filter(|_| anywhere.is_some()),
            (None, ..) => groups.values().next().filter(|_| groups.len() == 1),
        };
        let chosen = chosen.ok_or_else(|| no_weights(repository, &all, component, variant))?;
        files.extend(whole_or_pieces(repository, chosen)?);
    }
    files.push(index);
    Ok(files)
}

/// The weights of a component, by the name of their variant, which is empty for the plain ones.
fn groups<'a>(all: &'a [RemoteFile], component: &Component) -> BTreeMap<String, Vec<&'a RemoteFile>> {
    let plain = component.weights_file();
    let stem = plain.trim_end_matches(".safetensors");
    let mut groups: BTreeMap<String, Vec<&RemoteFile>> = BTreeMap::new();
    for file in all {
        if let Some(variant) = file.name.strip_prefix(stem).and_then(variant_of) {
            groups.entry(variant).or_default().push(file);
        }
    }
    groups
}

/// The variant that the rest of a weight file's name tells: `.fp16.safetensors`, with pieces `.fp16-00001-of-00002` or
/// `-00001-of-00002.fp16`, or the index of pieces; `None` for another file.
fn variant_of(rest: &str) -> Option<String> {
    let middle = match rest.strip_suffix(".json") {
        Some(index) => index.contains(".safetensors.index").then(|| index.replacen(".safetensors.index", "", 1))?,
        None => {
            let middle = rest.strip_suffix(".safetensors")?;
            match piece(middle) {
                Some((at, length, _)) => format!("{}{}", &middle[..at], &middle[at + length..]),
                None => middle.into(),
            }
        }
    };
    (middle.is_empty() || middle.starts_with('.')).then(|| middle.trim_start_matches('.').to_string())
}

/// `-00001-of-00002` in a name: where it stands, how long it is, and how many pieces there are.
fn piece(name: &str) -> Option<(usize, usize, usize)> {
    const LENGTH: usize = "-00001-of-00002".len();
    let of = name.find("-of-").filter(|of| *of >= 6)?;
    let text = name.get(of - 6..of - 6 + LENGTH)?;
    let (number, count) = text.strip_prefix('-')?.split_once("-of-")?;
    number.parse::<usize>().ok()?;
    Some((of - 6, LENGTH, count.parse().ok()?))
}

/// Of a component's weights in one variant the one file that has all, or the pieces with their index.
fn whole_or_pieces(repository: &str, files: &[&RemoteFile]) -> Result<Vec<RemoteFile>> {
    let count = |file: &RemoteFile| piece(&file.name).map(|(.., count)| count);
    let is_index = |file: &RemoteFile| file.name.ends_with(".json");
    if let Some(whole) = files.iter().find(|file| count(file).is_none() && !is_index(file)) {
        return Ok(vec![(*whole).clone()]);
    }
    let pieces = files.iter().filter(|file| !is_index(file));
    let (there, wanted) = (pieces.clone().count(), pieces.clone().filter_map(|file| count(file)).max().unwrap_or(0));
    if there == 0 || there != wanted || there == files.len() {
        let name = files.first().map_or("", |file| file.name.as_str());
        return Err(Error::invalid(
            format!(
                "`{repository}` is not whole: of weights in several pieces (`{name}`) it lacks some, or their index"
            ),
            "take another revision, or another repository",
        ));
    }
    Ok(files.iter().map(|file| (*file).clone()).collect())
}

/// A component has no weights of this variant, or several and no plain ones.
fn no_weights(repository: &str, all: &[RemoteFile], component: &Component, variant: Option<&str>) -> Error {
    let plain = component.weights_file();
    let stem = plain.trim_end_matches(".safetensors");
    let asked = variant.map(|v| format!(".{v}")).unwrap_or_default();
    let there =
        |file: &&RemoteFile| file.name.starts_with(&format!("{}/", component.name)) && !file.name.ends_with(".json");
    let there: Vec<String> = all.iter().filter(there).map(|file| format!("`{}`", file.name)).collect();
    let message = format!("`{repository}` has no `{stem}{asked}.safetensors`");
    if there.is_empty() {
        return Error::invalid(message, "take a repository with weights in safetensors format");
    }
    let only = groups(all, component).is_empty();
    let pickles = if only { "; pickles are not fetched" } else { "" };
    let hint = match (only, variant) {
        (true, _) => "take a revision or a repository with safetensors",
        (false, Some(_)) => "leave `--variant` away, or name one that is there",
        (false, None) => "choose with `--variant`",
    };
    Error::invalid(format!("{message}, but {}{pickles}", there.join(", ")), hint)
}

/// The repository is not in diffusers' layout: what there is instead.
fn no_layout(repository: &str, all: &[RemoteFile]) -> Error {
    let single = |file: &&RemoteFile| file.name.ends_with(".safetensors") && !file.name.contains('/');
    let singles: Vec<String> = all.iter().filter(single).map(|file| format!("`{}`", file.name)).collect();
    let message = format!("`{repository}` is not in diffusers' layout: it has no `{}`", INDEX);
    match singles.first() {
        Some(first) => Error::invalid(
            format!("{message}, but in one file {}", singles.join(", ")),
            format!(
                "download one by hand, for example `hf download {repository} {}`, and name it: `--model FILE`",
                first.trim_matches('`')
            ),
        ),
        None => {
            let names: Vec<String> = all.iter().take(5).map(|file| format!("`{}`", file.name)).collect();
            let names = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            Error::invalid(format!("{message}; it has {names}"), "name a repository of Stable Diffusion 1.x or 2.x")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const SMALL: [&str; 8] = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
        "safety_checker/model.safetensors",
    ];

    fn repository(weights: &[&str]) -> Value {
        let files = SMALL.iter().chain(weights).map(|name| json!({ "rfilename": name }));
        json!({ "siblings": files.collect::<Vec<_>>() })
    }

    fn chosen(weights: &[&str], variant: Option<&str>) -> std::result::Result<Vec<String>, String> {
        let files = needed("a/b", &repository(weights), variant).map_err(|e| e.to_string())?;
        assert_eq!(files.last().unwrap().name, "model_index.json");
        assert!(files.iter().all(|file| !file.name.starts_with("safety_checker")));
        Ok(files.into_iter().map(|file| file.name).filter(|name| name.contains("safetensors")).collect())
    }

    #[test]
    fn one_variant_is_taken_and_nothing_twice() {
        let (text, vae) = ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors");
        let unet = "unet/diffusion_pytorch_model.safetensors";
        let half = "unet/diffusion_pytorch_model.fp16.safetensors";
        let ema = "unet/diffusion_pytorch_model.non_ema.safetensors";
        assert_eq!(chosen(&[text, half, ema, unet, vae], None).unwrap(), [text, unet, vae]);
        assert_eq!(chosen(&[text, half, vae], None).unwrap(), [text, half, vae]);
        let several = chosen(&[text, half, ema, vae], None).unwrap_err();
        assert_eq!(several, format!("`a/b` has no `{unet}`, but `{half}`, `{ema}`"));
        let no_half = chosen(&[text, unet, vae], Some("fp16")).unwrap_err();
        assert_eq!(no_half, format!("`a/b` has no `text_encoder/model.fp16.safetensors`, but `{text}`"));
        let pickle = chosen(&[text, "unet/diffusion_pytorch_model.bin", vae], None).unwrap_err();
        // Each part in the variant where it has it.
        assert_eq!(chosen(&[text, half, ema, unet, vae], Some("fp16")).unwrap(), [text, half, vae]);
        assert!(chosen(&[text, half, vae], Some("bf16")).is_err() && chosen(&[text, ema, half, vae], None).is_err());
        assert!(pickle.contains("pickles") && pickle.contains("`unet/diffusion_pytorch_model.bin`"), "{pickle}");
    }

    #[test]
    fn weights_in_pieces_come_with_their_index() {
        let (text, vae) = ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors");
        let name = |end: &str| format!("unet/diffusion_pytorch_model{end}");
        for (variant, ends) in [
            (None, ["-00001-of-00002.safetensors", "-00002-of-00002.safetensors", ".safetensors.index.json"]),
            (
                Some("fp16"),
                [
                    ".fp16-00001-of-00002.safetensors",
                    ".fp16-00002-of-00002.safetensors",
                    ".fp16.safetensors.index.json",
                ],
            ),
            (
                Some("fp16"),
                [
                    "-00001-of-00002.fp16.safetensors",
                    "-00002-of-00002.fp16.safetensors",
                    ".safetensors.index.fp16.json",
                ],
            ),
        ] {
            let pieces = ends.map(name);
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let all = [&[text, vae][..], &pieces].concat();
            assert_eq!(chosen(&all, variant).unwrap(), [&[text][..], &pieces, &[vae]].concat());
            for missing in 2..5 {
                let some: Vec<&str> = all.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, n)| *n).collect();
                assert!(chosen(&some, variant).unwrap_err().contains("it lacks some, or their index"), "{some:?}");
            }
        }
    }

    #[test]
    fn other_layouts_and_models_are_named() {
        let files =
            |names: &[&str]| json!({ "siblings": names.iter().map(|n| json!({ "rfilename": n })).collect::<Vec<_>>() });
        let said = |info: &Value| needed("a/b", info, None).unwrap_err().to_string();
        let single = said(&files(&["README.md", "v1-5-pruned.safetensors"]));
        assert_eq!(
            single,
            "`a/b` is not in diffusers' layout: it has no `model_index.json`, but in one file `v1-5-pruned.safetensors`"
        );
        assert!(said(&files(&["config.json"])).ends_with("it has `config.json`"));
        let mut xl = repository(&[]);
        xl["config"] = json!({ "diffusers": { "_class_name": "StableDiffusionXLPipeline" } });
        assert!(said(&xl).contains("`StableDiffusionXLPipeline` in `a/b`: not supported"));
        assert!(
            said(&files(&["model_index.json", "unet/config.json"]))
                .ends_with("it lacks `scheduler/scheduler_config.json`")
        );
    }
}
