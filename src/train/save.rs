//! A model folder in diffusers' layout, written part by part as it is learned.
//!
//! Enters: a component's configuration and weights. Leaves: `vae/config.json` with `diffusion_pytorch_model.safetensors`,
//! and so on. Each file appears under its name when it is whole.

use crate::error::Result;
use crate::files::atomic::{make_folder_of, write_atomically, write_with};
use crate::model::about::About;
use crate::model::components::{self, ABOUT_FILE, Component, INDEX};
use crate::model::convert::{self, Numbers};
use serde_json::{Map, Value, json};
use std::path::Path;
use tch::Tensor;

/// Writes safetensors, in half precision if `half`.
///
/// # Errors
/// When the file cannot be written.
pub fn tensors(path: &Path, tensors: &[(String, Tensor)], half: bool, metadata: (&str, String)) -> Result<()> {
    make_folder_of(path)?;
    let tensors =
        tensors.iter().map(|(name, tensor)| Ok((name.clone(), Numbers::of(tensor, half)?))).collect::<Result<_>>()?;
    write_with(path, |temporary| convert::write(temporary, tensors, metadata))
}

/// Writes a text file of a model folder.
///
/// # Errors
/// When it cannot be written.
pub fn text(model: &Path, name: &str, text: &str) -> Result<()> {
    let path = model.join(name);
    make_folder_of(&path)?;
    write_atomically(&path, text.as_bytes())
}

/// Writes a component: its configuration, with what names its class, and its weights in half precision.
///
/// # Errors
/// When a file cannot be written.
pub fn component(
    model: &Path,
    component: &Component,
    config: &Map<String, Value>,
    weights: &[(String, Tensor)],
) -> Result<()> {
    let class = match component.library {
        "transformers" => json!({"architectures": [component.class], "model_type": "clip_text_model"}),
        _ => json!({"_class_name": component.class}),
    };
    let mut whole = class.as_object().cloned().unwrap_or_default();
    whole.extend(config.clone());
    text(model, component.config, &format!("{:#}\n", Value::Object(whole)))?;
    tensors(&model.join(component.weights_file()), weights, true, ("format", "pt".into()))
}

/// Writes what the model says of itself: the guidance scale that its samples were drawn with is the one to use unasked.
///
/// # Errors
/// When it cannot be written.
pub fn about(model: &Path, guidance_scale: f64) -> Result<()> {
    let about = json!(About { guidance_scale: Some(guidance_scale), ..About::default() });
    text(model, ABOUT_FILE, &format!("{about:#}\n"))
}

/// Writes the index of a whole model.
///
/// # Errors
/// When it cannot be written.
pub fn index(model: &Path, scheduler_class: &str) -> Result<()> {
    text(model, INDEX, &format!("{:#}\n", components::index(scheduler_class)))
}
