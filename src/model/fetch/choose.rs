//! Which files of a repository a run needs.
//!
//! Enters: what the hub says of a repository. Leaves: configurations, tokenizer and the weights of text encoder, UNet and
//! autoencoder, of one variant, as safetensors; `model_index.json` last, so that a folder with it is whole. No safety
//! checker, no pickles, no second copy.

use crate::config::PIPELINES;
use crate::error::{Error, Result};
use crate::model::convert::{TEXTS, weights_file};
use serde_json::Value;

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
    let Some(index) = find(TEXTS[0]) else { return Err(no_layout(repository, &all)) };
    let class = info["config"]["diffusers"]["_class_name"].as_str();
    if let Some(class) = class.filter(|class| !PIPELINES.contains(class)) {
        return Err(Error::Unsupported {
            field: "_class_name".into(),
            found: format!("`{class}`"),
            place: format!("`{repository}`"),
            supported: "StableDiffusionPipeline, that is Stable Diffusion 1.x and 2.x".into(),
        });
    }
    let mut files: Vec<RemoteFile> = TEXTS[1..].iter().filter_map(|name| find(name)).collect();
    let has = |name: &str| files.iter().any(|file| file.name == name);
    let vocabulary = has("tokenizer/tokenizer.json") || has("tokenizer/vocab.json") && has("tokenizer/merges.txt");
    let configurations =
        TEXTS[1..].iter().filter(|name| name.contains("config.json") && !name.starts_with("tokenizer"));
    let missing = configurations.copied().find(|name| !has(name));
    if let Some(missing) = missing.or((!vocabulary).then_some("tokenizer/vocab.json")) {
        return Err(Error::invalid(
            format!("`{repository}` is not whole: it lacks `{missing}`"),
            "a model in diffusers' layout has tokenizer, text_encoder, unet, vae and scheduler folders",
        ));
    }
    for component in ["text_encoder", "unet", "vae"] {
        files.push(weights(repository, &all, component, variant)?);
    }
    files.push(index);
    Ok(files)
}

/// A component's weights: the variant that was asked for, else the plain file, else the one variant there is.
fn weights(repository: &str, all: &[RemoteFile], component: &str, variant: Option<&str>) -> Result<RemoteFile> {
    let plain = weights_file(component);
    let stem = plain.trim_end_matches(".safetensors");
    let middle = |file: &RemoteFile| {
        let middle = file.name.strip_prefix(stem)?.strip_suffix(".safetensors")?;
        (middle.is_empty() || middle.starts_with('.')).then(|| middle.trim_start_matches('.').to_string())
    };
    let variants: Vec<(String, &RemoteFile)> = all.iter().filter_map(|file| Some((middle(file)?, file))).collect();
    if let Some((_, file)) = variants.iter().find(|(name, _)| name == variant.unwrap_or_default()) {
        return Ok((*file).clone());
    }
    if let ([(_, one)], None) = (variants.as_slice(), variant) {
        return Ok((*one).clone());
    }
    let asked = variant.map(|v| format!(".{v}")).unwrap_or_default();
    let there = |file: &&RemoteFile| file.name.starts_with(&format!("{component}/")) && !file.name.ends_with(".json");
    let there: Vec<String> = all.iter().filter(there).map(|file| format!("`{}`", file.name)).collect();
    let message = format!("`{repository}` has no `{stem}{asked}.safetensors`");
    Err(if there.is_empty() {
        Error::invalid(message, "take a repository with weights in safetensors format")
    } else {
        let only = variants.is_empty();
        let pickles = if only { "; pickles and weights in several parts are not fetched" } else { "" };
        let hint = match (only, variant) {
            (true, _) => "take a revision or a repository with safetensors",
            (false, Some(_)) => "leave `--variant` away, or name one that is there",
            (false, None) => "choose with `--variant`",
        };
        Error::invalid(format!("{message}, but {}{pickles}", there.join(", ")), hint)
    })
}

/// The repository is not in diffusers' layout: what there is instead.
fn no_layout(repository: &str, all: &[RemoteFile]) -> Error {
    let single = |file: &&RemoteFile| file.name.ends_with(".safetensors") && !file.name.contains('/');
    let singles: Vec<String> = all.iter().filter(single).map(|file| format!("`{}`", file.name)).collect();
    let message = format!("`{repository}` is not in diffusers' layout: it has no `{}`", TEXTS[0]);
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
        assert!(pickle.contains("pickles") && pickle.contains("`unet/diffusion_pytorch_model.bin`"), "{pickle}");
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
