//! Models mixed into a new one, tensor by tensor.
//!
//! Enters: two models, or three, of one shape, and a recipe. Leaves: a folder in diffusers' layout with the recipe beside
//! the weights. Numbers are mixed in f32 and kept in the first model's dtype; one tensor is in memory at a time.

mod fit;

use super::components::{COMPONENTS, Component};
use super::convert::{self, Form, Staged, texts};
use super::fingerprint::Fingerprints;
use super::resolve::ModelChoice;
use super::weights::{Entry, WeightFile};
use crate::error::{Error, Result};
use crate::numbers;
use crate::record::model::{ComponentRecord, ModelRecord};
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// How numbers are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// (1 − ratio)·A + ratio·B.
    Weighted,
    /// A + ratio·(B − C).
    AddDifference,
}

impl Mode {
    fn formula(self) -> &'static str {
        match self {
            Mode::Weighted => "(1 - ratio) * A + ratio * B",
            Mode::AddDifference => "A + ratio * (B - C)",
        }
    }

    fn mix(self, ratio: f32, a: f32, b: f32, c: f32) -> f32 {
        match self {
            Mode::Weighted => (1.0 - ratio) * a + ratio * b,
            Mode::AddDifference => a + ratio * (b - c),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// How.
    pub mode: Mode,
    /// How much.
    pub ratio: f32,
    /// Sites, `unet.up_blocks`, with their own ratio if they have one: only what lies in them is mixed, the rest is A's.
    /// Empty: everything is mixed. The last that fits counts.
    pub blocks: Vec<(String, Option<f32>)>,
}

impl Recipe {
    /// The ratio of a tensor, or `None` where it stays A's.
    fn ratio_of(&self, site: &str) -> Option<f32> {
        let inside =
            |block: &str| site.strip_prefix(block).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match self.blocks.iter().rev().find(|(block, _)| inside(block)) {
            Some((_, ratio)) => Some(ratio.unwrap_or(self.ratio)),
            None => self.blocks.is_empty().then_some(self.ratio),
        }
    }

    fn check(&self, models: usize) -> Result<()> {
        let wanted = if self.mode == Mode::Weighted { 2 } else { 3 };
        if models != wanted {
            return Err(Error::invalid(
                format!("this way of merging takes {wanted} models, not {models}"),
                "`--mode weighted A B` mixes two; `--mode add-difference A B C` adds to A what B has and C has not",
            ));
        }
        let limits = if self.mode == Mode::Weighted { 0.0..=1.0 } else { f32::MIN..=f32::MAX };
        let ratios = self.blocks.iter().filter_map(|(_, ratio)| *ratio).chain([self.ratio]);
        match ratios.into_iter().find(|ratio| !limits.contains(ratio)) {
            Some(ratio) => Err(Error::invalid(
                format!("ratio {ratio} is not between 0 and 1"),
                "0 is A alone, 1 is B alone; 0.3 takes 30 % of B",
            )),
            None => Ok(()),
        }
    }
}

/// A tensor that is mixed when it is written.
struct Mixed {
    mode: Mode,
    /// None: it stays as it is in the first.
    ratio: Option<f32>,
    from: Vec<(Arc<WeightFile>, Entry)>,
    shape: Vec<usize>,
}

impl View for Mixed {
    fn dtype(&self) -> Dtype {
        self.from[0].1.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let (first, entry) = &self.from[0];
        let Some(ratio) = self.ratio else { return Cow::Borrowed(first.data(entry)) };
        let from: Vec<Vec<f32>> = self.from.iter().map(|(file, entry)| floats(entry.dtype, file.data(entry))).collect();
        let third = |i: usize| from.get(2).map_or(0.0, |c| c[i]);
        let mixed = from[0].iter().zip(&from[1]).enumerate();
        let mixed: Vec<f32> = mixed.map(|(i, (a, b))| self.mode.mix(ratio, *a, *b, third(i))).collect();
        Cow::Owned(match entry.dtype {
            Dtype::F16 => numbers::to_f16(&mixed),
            Dtype::BF16 => numbers::to_bf16(&mixed),
            _ => numbers::to_f32(&mixed),
        })
    }

    fn data_len(&self) -> usize {
        self.from[0].0.data(&self.from[0].1).len()
    }
}

/// The numbers of a tensor. Its dtype was checked.
fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F16 => numbers::of_f16(bytes),
        Dtype::BF16 => numbers::of_bf16(bytes),
        _ => numbers::of_f32(bytes),
    }
}

/// A merge that was checked and can be written.
pub struct Merge<'a> {
    models: &'a [ModelChoice],
    variant: Option<&'a str>,
    recipe: &'a Recipe,
    components: Vec<(&'static Component, Vec<(String, Mixed)>)>,
}

impl<'a> Merge<'a> {
    /// Checks that the models can be mixed; `variant` names the weight files to take, `fp16` for `*.fp16.safetensors`.
    ///
    /// # Errors
    /// When the recipe does not fit the number of models, the models differ in a tensor's name or shape (the first is
    /// named) or in what their tensors mean, or a block is in none of them.
    pub fn new(models: &'a [ModelChoice], variant: Option<&'a str>, recipe: &'a Recipe) -> Result<Merge<'a>> {
        recipe.check(models.len())?;
        let mut components = vec![];
        for component in COMPONENTS {
            let files =
                models.iter().map(|m| Ok(m.files.weights(component, variant)?.1)).collect::<Result<Vec<_>>>()?;
            components.push((component, mixed(component.name, &files, models, recipe)?));
        }
        fit::check(models)?;
        let merge = Merge { models, variant, recipe, components };
        match recipe.blocks.iter().find(|(block, _)| !merge.has(block)) {
            None => Ok(merge),
            Some((block, _)) => Err(Error::invalid(
                format!("no tensor lies in `{block}`"),
                "sites are called as `sdviz inspect` has them: `unet.up_blocks.1`",
            )),
        }
    }

    /// Whether a tensor lies in this site.
    fn has(&self, block: &str) -> bool {
        let alone = Recipe { blocks: vec![(block.into(), None)], ..self.recipe.clone() };
        let lies = |component: &str, name: &str| alone.ratio_of(&format!("{component}.{name}")).is_some();
        self.components.iter().any(|(component, all)| all.iter().any(|(name, _)| lies(component.name, name)))
    }

    /// Writes the merged model as a folder.
    ///
    /// # Errors
    /// When a source cannot be read any more, the folder is there already or cannot be written, or the disk has no room.
    pub fn write(self, out: &Path) -> Result<()> {
        let Merge { models, variant, recipe, components } = self;
        let texts = texts(&models[0].files)?;
        let record = record(models, variant, recipe)?;
        let bytes = components.iter().map(|(_, tensors)| convert::bytes(tensors)).sum();
        let folder = Staged::new(out, Form::Folder, bytes)?;
        for (name, text) in texts {
            folder.text(name, &text)?;
        }
        for (component, tensors) in components {
            folder.weights(component, tensors)?;
        }
        folder.text("sdviz_merge.json", &format!("{record:#}\n"))?;
        folder.text("README.md", &card(models, recipe))?;
        folder.finish()
    }
}

/// The tensors of a component, ready to be mixed.
fn mixed(
    component: &str,
    files: &[Arc<WeightFile>],
    models: &[ModelChoice],
    recipe: &Recipe,
) -> Result<Vec<(String, Mixed)>> {
    let hint = "only models of one architecture can be merged";
    let mut all = vec![];
    for (name, entry) in files[0].entries() {
        let site = format!("{component}.{name}");
        let mut from = vec![(files[0].clone(), entry.clone())];
        for (file, model) in files.iter().zip(models).skip(1) {
            let Some(other) = file.entries().get(name) else {
                return Err(Error::invalid(format!("`{}` has no tensor `{site}`", model.id), hint));
            };
            let plain = |entry: &Entry| entry.shape.iter().copied().filter(|n| *n != 1).collect::<Vec<_>>();
            if plain(other) != plain(entry) {
                let (a, b) = (&entry.shape, &other.shape);
                let message =
                    format!("tensor `{site}` has shape {a:?} in `{}`, and {b:?} in `{}`", models[0].id, model.id);
                return Err(Error::invalid(message, hint));
            }
            from.push((file.clone(), other.clone()));
        }
        if let Some((file, entry)) =
            from.iter().find(|(_, e)| ![Dtype::F32, Dtype::F16, Dtype::BF16].contains(&e.dtype))
        {
            let reason = format!("tensor `{name}` holds {:?} numbers, expected F32, F16 or BF16", entry.dtype);
            return Err(Error::bad_file(file.path(), "weight file", reason));
        }
        let shape = entry.shape.iter().map(|n| *n as usize).collect();
        all.push((name.clone(), Mixed { mode: recipe.mode, ratio: recipe.ratio_of(&site), from, shape }));
    }
    for (file, model) in files.iter().zip(models).skip(1) {
        if let Some(name) = file.entries().keys().find(|name| !files[0].entries().contains_key(*name)) {
            return Err(Error::invalid(
                format!("`{}` has a tensor `{component}.{name}`, and `{}` has not", model.id, models[0].id),
                hint,
            ));
        }
    }
    Ok(all)
}

/// `sdviz_merge.json`: what was mixed, with the weights' hashes.
fn record(models: &[ModelChoice], variant: Option<&str>, recipe: &Recipe) -> Result<Value> {
    let mut sources = vec![];
    for (role, model) in ["A", "B", "C"].iter().zip(models) {
        let mut record = ModelRecord::default();
        for component in COMPONENTS {
            let (file, _) = model.files.weights(component, variant)?;
            record.components.push(ComponentRecord { name: component.name.into(), file, ..ComponentRecord::default() });
        }
        let hashes = Fingerprints::start(model, &record).finish()?;
        let components = record.components.iter().zip(hashes);
        let components: Vec<Value> =
            components.map(|(c, sha256)| json!({ "name": c.name, "file": c.file, "sha256": sha256 })).collect();
        sources.push(json!({ "role": role, "model": model.id, "components": components }));
    }
    let blocks: Vec<Value> = recipe
        .blocks
        .iter()
        .map(|(site, ratio)| json!({ "site": site, "ratio": ratio.unwrap_or(recipe.ratio) }))
        .collect();
    Ok(json!({
        "sdviz": env!("CARGO_PKG_VERSION"), "formula": recipe.mode.formula(), "ratio": recipe.ratio,
        "blocks": blocks, "models": sources,
    }))
}

/// The model card.
fn card(models: &[ModelChoice], recipe: &Recipe) -> String {
    let hub = |id: &&str| id.split('/').count() == 2 && !id.starts_with(['.', '/', '~']) && !Path::new(id).exists();
    let names: Vec<&str> = models.iter().map(|m| m.id.as_str()).collect();
    let bases: String = names.iter().filter(|id| hub(id)).map(|id| format!("- {id}\n")).collect();
    let bases =
        if bases.is_empty() { String::new() } else { format!("base_model:\n{bases}base_model_relation: merge\n") };
    let list: String = ["A", "B", "C"].iter().zip(&names).map(|(role, id)| format!("- {role}: `{id}`\n")).collect();
    let blocks: Vec<String> = recipe.blocks.iter().map(|(site, _)| format!("`{site}`")).collect();
    let only =
        if blocks.is_empty() { String::new() } else { format!(" Only in {}; the rest is A's.", blocks.join(", ")) };
    format!(
        "---\nlibrary_name: diffusers\n{bases}tags:\n- stable-diffusion\n- merge\n---\n\n# A merge\n\nMade by sdviz: \
         {}, with a ratio of {}.{only}\n\n{list}\n`sdviz_merge.json` has the recipe and the hashes of the weights. The \
         licences of all its parents hold for it.\n",
        recipe.mode.formula(),
        recipe.ratio
    )
}
