//! `sdviz inspect`: a model's components, the tree of its tensors, parameters and output shapes. Reads headers only.

use crate::cli::args::InspectArgs;
use crate::cli::report;
use crate::config::{Config, TextConfig, UNetConfig, VaeConfig};
use crate::error::Result as LibResult;
use crate::model::files::ModelFiles;
use crate::model::resolve;
use crate::model::weights::WeightFile;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// A place in a component's tree.
#[derive(Debug, Default)]
struct Node {
    parameters: u64,
    tensors: u64,
    children: BTreeMap<Natural, Node>,
}

/// A name that sorts with its numbers as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Natural(Option<u64>, String);

/// Prints the model.
pub fn run(args: InspectArgs) -> Result<ExitCode> {
    let choice = resolve::resolve(args.model.as_deref())?;
    let outputs = outputs(&choice.files)?;
    let mut components = vec![];
    for (name, output) in outputs {
        let (file, weights) = choice.files.weights(name, args.variant.as_deref())?;
        components.push((name, file, output, weights));
    }
    if args.json {
        let list: Vec<Value> =
            components.iter().map(|(name, file, output, w)| as_json(name, file, output, w, args.depth)).collect();
        let total: u64 = components.iter().map(|(.., w)| w.parameters()).sum();
        report::print(serde_json::to_string_pretty(
            &json!({ "model": choice.id, "parameters": total, "components": list }),
        )?);
        return Ok(ExitCode::SUCCESS);
    }
    report::print(format!("{} ({})", choice.id, choice.chosen_by));
    let mut table = report::table(&["component", "parameters", "tensors", "dtype", "output", "file"]);
    for (name, file, output, weights) in &components {
        let root = tree(weights);
        let dtype = dtype(weights);
        table.add_row([*name, &report::thousands(root.parameters), &root.tensors.to_string(), &dtype, output, file]);
        add_rows(&mut table, &root, 1, args.depth);
    }
    for column in 1..3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    report::print_table(&table);
    Ok(ExitCode::SUCCESS)
}

/// The components in the order in which a picture passes through them, with the shape each gives.
fn outputs(files: &ModelFiles) -> LibResult<Vec<(&'static str, String)>> {
    fn config<C: Config>(files: &ModelFiles, component: &str) -> LibResult<C> {
        let name = format!("{component}/config.json");
        C::parse(&files.required_text(&name)?, &files.path(&name))
    }
    let text: TextConfig = config(files, "text_encoder")?;
    let unet: UNetConfig = config(files, "unet")?;
    let vae: VaeConfig = config(files, "vae")?;
    let factor = vae.scale_factor();
    Ok(vec![
        ("text_encoder", format!("[2·B, {}, {}]", text.max_position_embeddings, text.hidden_size)),
        ("unet", format!("[2·B, {}, H/{factor}, W/{factor}]", unet.out_channels)),
        ("vae", format!("[B, {}, H, W]", vae.out_channels)),
    ])
}

fn dtype(weights: &WeightFile) -> String {
    weights.dtype().map(|d| format!("{d:?}").to_lowercase()).unwrap_or_default()
}

fn tree(weights: &WeightFile) -> Node {
    let mut root = Node::default();
    for (name, entry) in weights.entries() {
        let count = entry.shape.iter().product::<i64>() as u64;
        let mut node = &mut root;
        for part in name.split('.') {
            node.parameters += count;
            node.tensors += 1;
            node = node.children.entry(Natural(part.parse().ok(), part.into())).or_default();
        }
        node.parameters += count;
        node.tensors += 1;
    }
    root
}

fn add_rows(table: &mut comfy_table::Table, node: &Node, level: usize, depth: usize) {
    if level > depth {
        return;
    }
    for (Natural(_, name), child) in &node.children {
        let indented = format!("{}{name}", "  ".repeat(level));
        table.add_row([&indented, &report::thousands(child.parameters), &child.tensors.to_string(), "", "", ""]);
        add_rows(table, child, level + 1, depth);
    }
}

fn as_json(name: &str, file: &str, output: &str, weights: &WeightFile, depth: usize) -> Value {
    fn branch(node: &Node, depth: usize) -> Value {
        let mut value = json!({ "parameters": node.parameters, "tensors": node.tensors });
        if depth > 0 && !node.children.is_empty() {
            value["children"] = node
                .children
                .iter()
                .map(|(Natural(_, name), child)| (name.clone(), branch(child, depth - 1)))
                .collect();
        }
        value
    }
    let mut value = json!({ "name": name, "file": file, "dtype": dtype(weights), "output": output });
    if let (Value::Object(to), Value::Object(from)) = (&mut value, branch(&tree(weights), depth)) {
        to.extend(from);
    }
    value
}
