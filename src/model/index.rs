//! What a model says of itself: `model_index.json`, and the scheduler that it names.
//!
//! Enters: a model's files. Leaves: its pipeline's class, and its scheduler's configuration as that pipeline takes it.

use super::components::{INDEX, SCHEDULER_CONFIG};
use super::files::ModelFiles;
use crate::error::{Error, Result};
use crate::model::config::{SAME_NETWORKS, draws};
use crate::scheduler::SchedulerConfig;
use serde_json::Value;

fn index(files: &ModelFiles) -> Result<Value> {
    serde_json::from_str(&files.required_text(INDEX)?)
        .map_err(|e| Error::bad_file(&files.path(INDEX), "model index", e))
}

/// The pipeline class that a model's index names, if it is one of ours.
///
/// # Errors
/// When it is another, or the index is missing or not JSON.
pub fn class_name(files: &ModelFiles) -> Result<String> {
    let index = index(files)?;
    let named = &index["_class_name"];
    let class = named.as_str().unwrap_or_default();
    if draws(class) {
        return Ok(class.into());
    }
    Err(Error::Unsupported {
        field: "_class_name".into(),
        found: named.as_str().map_or_else(|| named.to_string(), |class| format!("`{class}`")),
        place: format!("`{}`", files.path(INDEX).display()),
        supported: "StableDiffusionPipeline, that is Stable Diffusion 1.x and 2.x".into(),
    })
}

/// A word on a pipeline that draws otherwise than this program does, with the same networks, and on what a checkpoint in
/// one file does not say.
///
/// # Errors
/// As [`class_name`].
pub fn notes(files: &ModelFiles) -> Result<Vec<String>> {
    let class = class_name(files)?;
    let unsaid = match files.of(INDEX) {
        ModelFiles::Single(file) => file.note().cloned(),
        _ => None,
    };
    let other = SAME_NETWORKS.contains(&class.as_str()).then(|| {
        let path = files.path(INDEX);
        format!("`{}`: a {class}'s networks are drawn with as StableDiffusionPipeline does", path.display())
    });
    Ok(other.into_iter().chain(unsaid).collect())
}

/// What the model was called where its files were last saved, if the index has it.
///
/// # Errors
/// When the index is missing or not JSON.
pub fn saved_from(files: &ModelFiles) -> Result<Option<String>> {
    Ok(index(files)?["_name_or_path"].as_str().map(String::from))
}

/// The model's scheduler as its pipeline takes it ([`SchedulerConfig::in_pipeline`]).
///
/// # Errors
/// When one of the two files is missing or is not what it should be.
pub fn scheduler(files: &ModelFiles) -> Result<SchedulerConfig> {
    let path = files.path(SCHEDULER_CONFIG);
    let mut config = SchedulerConfig::parse(&files.required_text(SCHEDULER_CONFIG)?)
        .map_err(|e| Error::bad_file(&path, "scheduler configuration", e))?;
    config.path = Some(path);
    Ok(config.in_pipeline(index(files)?["scheduler"][1].as_str()))
}
