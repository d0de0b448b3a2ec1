//! The models that are here: the embedded one, the one that `SDVIZ_MODEL` names, and those in the Hugging Face cache.
//!
//! Enters: the environment. Leaves: names, kinds, sizes, and what is missing. Only configurations and headers are read.

use super::about::About;
use super::bundled::POCKET;
use super::components::{COMPONENTS, INDEX, SCHEDULER_CONFIG, UNET};
use super::files::ModelFiles;
use super::resolve;
use crate::model::config::{Config, UNetConfig};
use serde::Serialize;

/// A model that is here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// What names it after `--model`.
    pub name: String,
    /// Where it is: `embedded`, `SDVIZ_MODEL` or `cache`.
    pub place: &'static str,
    /// What it is: `Stable Diffusion 1.x, one file`.
    pub kind: String,
    /// Parameters of its three components.
    pub parameters: u64,
    /// Bytes of its weights.
    pub bytes: u64,
    /// Whether everything that a run needs is there.
    pub complete: bool,
    /// What is wrong with it, if it is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it says of itself.
    #[serde(flatten)]
    pub about: About,
}

/// All models that are here.
pub fn all() -> Vec<Listed> {
    let embedded = ModelFiles::pocket().ok().map(|files| describe(POCKET, "embedded", Ok(files)));
    let mut all: Vec<Listed> = embedded.into_iter().collect();
    match resolve::from_env() {
        Ok(Some(name)) if name != POCKET => {
            all.push(describe(&name, "SDVIZ_MODEL", resolve::resolve(Some(&name)).map(|choice| choice.files)));
        }
        Ok(_) => {}
        Err(error) => all.push(describe("?", "SDVIZ_MODEL", Err(error))),
    }
    for (name, folder) in resolve::cached() {
        if all.iter().all(|listed| listed.name != name) {
            all.push(describe(&name, "cache", Ok(ModelFiles::Folder(folder))));
        }
    }
    all
}

fn describe(name: &str, place: &'static str, files: crate::error::Result<ModelFiles>) -> Listed {
    let mut listed = Listed {
        name: name.into(),
        place,
        kind: String::new(),
        parameters: 0,
        bytes: 0,
        complete: false,
        problem: None,
        about: About::default(),
    };
    let mut problems = vec![];
    match files {
        Ok(files) => {
            kind(&files, &mut listed, &mut problems);
            weights(&files, &mut listed, &mut problems);
            listed.about = About::read(&files).map_err(|e| problems.push(e.to_string())).unwrap_or_default();
        }
        Err(error) => problems.push(error.to_string()),
    }
    listed.complete = problems.is_empty();
    listed.problem = problems.into_iter().next();
    listed
}

fn kind(files: &ModelFiles, listed: &mut Listed, problems: &mut Vec<String>) {
    let mut text = |name: &str| files.required_text(name).map_err(|e| problems.push(e.to_string())).ok();
    let index = text(INDEX).unwrap_or_default();
    text(SCHEDULER_CONFIG);
    let configs = COMPONENTS.map(|component| (component.name, text(component.config)));
    let unet = configs.into_iter().find_map(|(name, text)| text.filter(|_| name == UNET.name));
    let index: serde_json::Value = serde_json::from_str(&index).unwrap_or_default();
    let class = index["_class_name"].as_str().unwrap_or("no pipeline");
    let form = if let ModelFiles::Single(_) = files { ", one file" } else { "" };
    let unet = unet.map(|text| UNetConfig::parse(&text, &files.path(UNET.config)));
    listed.kind = match (class.starts_with("StableDiffusion") && !class.contains("XL"), unet) {
        (true, Some(Ok(unet))) if unet.use_linear_projection => format!("Stable Diffusion 2.x{form}"),
        (true, Some(Ok(_))) => format!("Stable Diffusion 1.x{form}"),
        (true, Some(Err(error))) => {
            problems.push(error.to_string());
            class.into()
        }
        _ => class.into(),
    };
    let split = files.has("tokenizer/vocab.json") && files.has("tokenizer/merges.txt");
    if !files.has("tokenizer/tokenizer.json") && !split {
        problems.push(format!("`{}` lacks its vocabulary", files.path("tokenizer").display()));
    }
}

fn weights(files: &ModelFiles, listed: &mut Listed, problems: &mut Vec<String>) {
    for component in COMPONENTS {
        // Any variant will do for the list.
        let found = files.weights(component, None).or_else(|e| files.weights(component, Some("fp16")).map_err(|_| e));
        match found {
            Ok((_, file)) => {
                listed.parameters += file.parameters();
                listed.bytes += file.entries().values().map(|entry| file.data(entry).len() as u64).sum::<u64>();
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
}
