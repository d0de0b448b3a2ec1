//! Two models mixed to a new one.

use crate::draw::model::{Model, ModelOptions};
use crate::error::{IoContext, Result, caught};
use crate::model::baked;
use crate::model::merge::{Merge, Mode, Recipe};
use crate::model::resolve::{self, ModelChoice};
use std::path::Path;

/// The model (1 − ratio)·A + ratio·B. Either may be a name, a loaded [`Model`], or [`Model::options`] with LoRAs, which
/// count as part of it. It computes as A does.
///
/// # Errors
/// When a model cannot be read, the two are of different architectures, or there is no room for the new one.
pub fn merge(a: impl Into<ModelOptions>, b: impl Into<ModelOptions>, ratio: f32) -> Result<Model> {
    let (a, b): (ModelOptions, ModelOptions) = (a.into(), b.into());
    caught(|| {
        let folder = tempfile::tempdir().at("write in", &std::env::temp_dir())?;
        // Added to the weights, a LoRA needs more digits than a file of half precision has: then both have them.
        let as_they_are = [&a, &b].iter().all(|side| side.loras.is_empty() && side.variant.is_none());
        let side = |options: &ModelOptions, name: &str| -> Result<ModelChoice> {
            let choice = options.choice()?;
            if as_they_are {
                return Ok(choice);
            }
            let baked = folder.path().join(name);
            baked::write(&choice, &options.loras, options.variant.as_deref(), &baked)?;
            Ok(ModelChoice { files: named(&baked)?.files, ..choice })
        };
        let models = [side(&a, "a")?, side(&b, "b")?];
        let recipe = Recipe { mode: Mode::Weighted, ratio, blocks: vec![] };
        let merged = folder.path().join("merged");
        Merge::new(&models, None, &recipe)?.write(&merged)?;
        let id = format!("{} and {}, mixed at {ratio}", models[0].id, models[1].id);
        let options = a.of_folder(&merged);
        options.load_as(ModelChoice { id, chosen_by: "merge", files: named(&merged)?.files }, Some(folder))
    })
}

fn named(folder: &Path) -> Result<ModelChoice> {
    resolve::resolve(Some(&folder.to_string_lossy()))
}
