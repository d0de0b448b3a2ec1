//! A model with LoRAs added to its weights for good.
//!
//! Enters: a model and LoRAs. Leaves: a folder in diffusers' layout, its numbers in f32.

use super::components::{COMPONENTS, UNET};
use super::config::{Config, UNetConfig};
use super::convert::{self, Form, Staged, texts};
use super::lora::{Adapters, LoraChoice};
use super::resolve::ModelChoice;
use crate::error::Result;
use crate::numbers;
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A tensor as it is written.
struct Baked {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

impl View for Baked {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(numbers::to_f32(&self.numbers))
    }

    fn data_len(&self) -> usize {
        4 * self.numbers.len()
    }
}

/// Writes the model with these LoRAs in it; `variant` names the weight files to take.
///
/// # Errors
/// When a file cannot be read or a LoRA does not fit, when the folder is there already or cannot be written.
pub fn write(choice: &ModelChoice, loras: &[LoraChoice], variant: Option<&str>, out: &Path) -> Result<()> {
    let files = &choice.files;
    let unet = UNetConfig::parse(&files.required_text(UNET.config)?, &files.path(UNET.config))?;
    let adapters = Adapters::open(loras, &unet, |component| Ok(files.weights(component, variant)?.1))?;
    let mut components = vec![];
    for component in COMPONENTS {
        let file = files.weights(component, variant)?.1;
        let weights = adapters.weights(component.name, file.clone(), Device::Cpu, Kind::Float);
        let mut tensors = vec![];
        for (name, entry) in file.entries() {
            let numbers = numbers(&weights.tensor(name, &entry.shape)?)?;
            tensors.push((name.clone(), Baked { shape: entry.shape.iter().map(|n| *n as usize).collect(), numbers }));
        }
        components.push((component, tensors));
    }
    let folder = Staged::new(out, Form::Folder, components.iter().map(|(_, tensors)| convert::bytes(tensors)).sum())?;
    for (name, text) in texts(files)? {
        folder.text(name, &text)?;
    }
    for (component, tensors) in components {
        folder.weights(component, tensors)?;
    }
    folder.finish()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(Vec::try_from(&tensor.contiguous().view(-1))?)
}
