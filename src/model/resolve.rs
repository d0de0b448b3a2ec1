//! Which model: the first of `--model`, `SDVIZ_MODEL` and the embedded one. A name `owner/name` is looked up in the local
//! Hugging Face cache, never on the network.

use super::bundled::POCKET;
use super::cache;
use super::files::ModelFiles;
use super::single_file::{SingleFile, Wanted};
use super::sniff;
use super::tiny_files::{DECODER_FILE, TinyFiles};
use super::vae_override;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model that was found, and why it was chosen.
#[derive(Debug, Clone)]
pub struct ModelChoice {
    /// What names it: `pocket`, a folder, a file, `owner/name`.
    pub id: String,
    /// `--model`, `SDVIZ_MODEL` or `embedded`.
    pub chosen_by: &'static str,
    /// Its files.
    pub files: ModelFiles,
}

/// Finds the model that `--model` names, else the one that the environment variable `SDVIZ_MODEL` names, else the
/// embedded one.
///
/// # Errors
/// When the name is neither a folder with a model nor a checkpoint nor in the cache, or `SDVIZ_MODEL` is not UTF-8.
pub fn resolve(model: Option<&str>) -> Result<ModelChoice> {
    choose(model, Wanted::Model)
}

fn choose(model: Option<&str>, wanted: Wanted) -> Result<ModelChoice> {
    let (name, chosen_by) = match model {
        Some(name) => (name.to_string(), "--model"),
        None => match from_env()? {
            Some(name) => (name, "SDVIZ_MODEL"),
            None => return Ok(ModelChoice { id: POCKET.into(), chosen_by: "embedded", files: ModelFiles::pocket()? }),
        },
    };
    let files = find(&name, wanted).map_err(|error| match chosen_by {
        "SDVIZ_MODEL" => named_by_env(error),
        _ => error,
    })?;
    Ok(ModelChoice { id: name, chosen_by, files })
}

/// What the environment variable `SDVIZ_MODEL` names.
///
/// # Errors
/// When it is not UTF-8.
pub(super) fn from_env() -> Result<Option<String>> {
    let set = std::env::var_os("SDVIZ_MODEL").filter(|name| !name.is_empty());
    set.map(OsString::into_string).transpose().map_err(|name| {
        Error::invalid(
            format!("SDVIZ_MODEL is no UTF-8 text: `{}`", name.to_string_lossy()),
            "rename the folder so that its name is UTF-8, or reach it by a link that is",
        )
    })
}

/// Nobody typed the name that is refused.
fn named_by_env(error: Error) -> Error {
    match error {
        Error::Invalid { message, hint } => Error::Invalid {
            message: format!("{message}; the environment variable SDVIZ_MODEL names it"),
            hint: hint.map(|hint| format!("{hint}; `--model` goes before SDVIZ_MODEL")),
        },
        other => other,
    }
}

/// Finds the model as [`resolve`] does, and with `vae` exchanges its autoencoder: for that of another model, or one in a
/// folder of its own. Then the model need not have one.
///
/// # Errors
/// As [`resolve`]; also when the autoencoder does not fit the model.
pub fn resolve_with(model: Option<&str>, vae: Option<&str>) -> Result<ModelChoice> {
    let Some(name) = vae else { return resolve(model) };
    let choice = choose(model, Wanted::ModelWithoutVae)?;
    Ok(ModelChoice { files: vae_override::with_vae(choice.files, name, find_vae(name)?)?, ..choice })
}

/// The files of an autoencoder: in a folder or file of its own, or of a whole model.
///
/// # Errors
/// When the name names none.
pub fn find_vae(name: &str) -> Result<ModelFiles> {
    let path = Path::new(name);
    if path.is_file() {
        return single(path, Wanted::Vae);
    }
    if path.is_dir() && !path.join("model_index.json").is_file() {
        let tiny = path.join(DECODER_FILE);
        if tiny.is_file() && !path.join("config.json").is_file() {
            return single(&tiny, Wanted::Vae);
        }
        if path.join("config.json").is_file() {
            return Ok(ModelFiles::Component(path.to_path_buf()));
        }
        return Err(Error::invalid(
            format!("`{name}` holds no autoencoder: it has no config.json"),
            "name the folder that holds config.json and diffusion_pytorch_model.safetensors, or a whole model's",
        ));
    }
    find(name, Wanted::Model)
}

/// A checkpoint in one file.
fn single(path: &Path, wanted: Wanted) -> Result<ModelFiles> {
    let ends = |wanted: &[&str]| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| wanted.iter().any(|w| e.eq_ignore_ascii_case(w)))
    };
    if !ends(&["safetensors", "bin", "ckpt", "pt", "pth"]) {
        let unknown = || {
            Error::invalid(
                format!("`{}` is no model: a model in one file ends in .safetensors", path.display()),
                "name a checkpoint, or the folder in diffusers' layout that holds model_index.json",
            )
        };
        return Err(sniff::named(path).unwrap_or_else(unknown));
    }
    if wanted == Wanted::Vae
        && let Some(tiny) = TinyFiles::open(path)?
    {
        return Ok(ModelFiles::Tiny(Arc::new(tiny)));
    }
    Ok(ModelFiles::Single(Arc::new(SingleFile::open(path, wanted)?)))
}

fn find(name: &str, wanted: Wanted) -> Result<ModelFiles> {
    if name == POCKET {
        return ModelFiles::pocket();
    }
    let path = Path::new(name);
    if path.is_file() {
        return single(path, wanted);
    }
    if path.is_dir() {
        return if path.join("model_index.json").is_file() {
            Ok(ModelFiles::Folder(path.to_path_buf()))
        } else {
            Err(Error::invalid(
                format!("`{name}` has no model_index.json"),
                "name the folder in diffusers' layout that holds model_index.json, unet, vae, …",
            ))
        };
    }
    let looks_like_hub = name.split('/').count() == 2 && !name.starts_with(['.', '/', '~']);
    if looks_like_hub && let Some(cache) = cache::folder() {
        let folder = cache.join(format!("models--{}", name.replace('/', "--")));
        return snapshot(&folder).map(ModelFiles::Folder).ok_or_else(|| {
            Error::invalid(
                format!(
                    "no model `{name}`: there is no such folder, and the Hugging Face cache `{}` does not have it",
                    cache.display()
                ),
                format!("download it once with `sdviz fetch {name}`, or use the embedded model: `--model pocket`"),
            )
        });
    }
    Err(Error::invalid(
        format!("no model `{name}`: there is no such folder or file"),
        "name a folder in diffusers' layout, a .safetensors checkpoint, `owner/name` from the Hugging Face cache, or `pocket`",
    ))
}

/// The models in the Hugging Face cache that have an index: their names and folders, by name.
pub fn cached() -> Vec<(String, PathBuf)> {
    let entries = cache::folder().and_then(|cache| std::fs::read_dir(cache).ok()).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix("models--")?.replacen("--", "/", 1), snapshot(&entry.path())?))
        })
        .collect();
    found.sort();
    found
}

/// The snapshot that `main` points to, else the only one with a model in it.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let complete = |path: &PathBuf| path.join("model_index.json").is_file();
    let main = std::fs::read_to_string(folder.join("refs/main")).ok().map(|hash| snapshots.join(hash.trim()));
    main.filter(complete).or_else(|| {
        let mut all: Vec<_> = std::fs::read_dir(snapshots).ok()?.flatten().map(|e| e.path()).filter(complete).collect();
        (all.len() == 1).then(|| all.remove(0))
    })
}
