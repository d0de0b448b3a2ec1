//! `sdviz inspect`: a model's components, the tree of its tensors, parameters and output shapes. The shapes come from a
//! forward pass at the smallest size, seen through the same sites as a trace.

use super::timing;
use crate::cli::advice;
use crate::cli::args::InspectArgs;
use crate::cli::report;
use crate::error::Error;
use crate::model::about::About;
use crate::model::components::COMPONENTS;
use crate::model::resolve::{self, ModelChoice};
use crate::model::weights::WeightFile;
use crate::pipeline::{LoadOptions, Pipeline};
use crate::record::plan::Plan;
use crate::record::schema::SiteRow;
use crate::trace::shapes::ShapeLog;
use crate::watch::probe::Probe;
use crate::watch::site::Pattern;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;

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
    if args.time {
        return timing::run(&args, &choice);
    }
    if let Some(pattern) = &args.sites {
        let log = one_step(&choice, args.variant.as_deref(), ShapeLog::of_every_site())?;
        return print_sites(&log.rows, pattern, args.json);
    }
    let outputs = outputs(&choice, args.variant.as_deref())?;
    let about = About::read(&choice.files)?;
    let mut components = vec![];
    for component in COMPONENTS {
        let (file, weights) = choice.files.weights(component, args.variant.as_deref())?;
        components.push((component.name, file, weights));
    }
    if args.json {
        let component = |(name, file, weights): &(&str, String, Arc<WeightFile>)| {
            let mut value = as_json(&tree(weights), name, &outputs, args.depth);
            value["name"] = json!(name);
            value["file"] = json!(file);
            value["dtype"] = json!(weights.dtype_name());
            value
        };
        let list: Vec<Value> = components.iter().map(component).collect();
        let total: u64 = components.iter().map(|(.., weights)| weights.parameters()).sum();
        let mut model = json!({ "model": choice.id, "parameters": total });
        if let (Value::Object(model), Value::Object(about)) = (&mut model, json!(about)) {
            model.extend(about);
        }
        model["components"] = list.into();
        report::print(serde_json::to_string_pretty(&model)?);
        return Ok(ExitCode::SUCCESS);
    }
    report::print(format!("{} ({})", choice.id, choice.chosen_by));
    let mut table = report::table(&["component", "parameters", "tensors", "dtype", "output", "file"]);
    for (name, file, weights) in &components {
        let root = tree(weights);
        let (parameters, tensors) = (report::thousands(root.parameters), root.tensors.to_string());
        table.add_row([*name, &parameters, &tensors, &weights.dtype_name(), output(&outputs, name), file]);
        add_rows(&mut table, &root, name, &outputs, args.depth);
    }
    for column in 1..3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    report::print_table(&table);
    let about = advice::about(&choice.id, &about, None);
    if !about.is_empty() {
        report::print(format!("\n{about}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The symbolic output shape of every site, by its name, from one step at the smallest size.
fn outputs(choice: &ModelChoice, variant: Option<&str>) -> Result<HashMap<String, String>> {
    let log = one_step(choice, variant, ShapeLog::default())?;
    let mut shapes: HashMap<_, _> = log.rows.into_iter().map(|row| (row.name, row.symbolic)).collect();
    for component in COMPONENTS {
        let shape = shapes.get(component.output).cloned();
        shapes.extend(shape.map(|shape| (component.name.to_string(), shape)));
    }
    Ok(shapes)
}

/// What a log sees of one step at the smallest size.
fn one_step(choice: &ModelChoice, variant: Option<&str>, mut log: ShapeLog) -> Result<ShapeLog> {
    let options = LoadOptions { variant: variant.map(String::from), ..LoadOptions::default() };
    let pipeline = Pipeline::load(choice, options)?;
    let halvings = pipeline.unet.config().block_out_channels.len() - 1;
    let size = pipeline.model().vae_scale_factor << halvings;
    let plan = Plan { steps: 1, width: size, height: size, scheduler: "ddim".into(), ..Plan::default() };
    pipeline.generate(&plan, &Probe::new(vec![&mut log]))?;
    Ok(log)
}

/// Lists the sites whose names fit the pattern, in the order of computation.
fn print_sites(rows: &[SiteRow], pattern: &str, json: bool) -> Result<ExitCode> {
    let wanted = Pattern::new(pattern);
    let fitting: Vec<&SiteRow> = rows.iter().filter(|row| wanted.matches(&row.name)).collect();
    if fitting.is_empty() {
        let hint = "`sdviz inspect --sites` lists them all; `*` is one part of a name, `**` any number";
        return Err(Error::invalid(format!("no site fits `{pattern}`"), hint).into());
    }
    if json {
        let list: Vec<Value> =
            fitting.iter().map(|row| json!({ "name": row.name, "shape": row.symbolic, "dtype": row.dtype })).collect();
        report::print(serde_json::to_string_pretty(&list)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = report::table(&["site", "shape", "dtype"]);
    for row in fitting {
        table.add_row([&row.name, &row.symbolic, &row.dtype]);
    }
    report::print_table(&table);
    Ok(ExitCode::SUCCESS)
}

fn output<'a>(outputs: &'a HashMap<String, String>, site: &str) -> &'a str {
    outputs.get(site).map_or("", String::as_str)
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

fn add_rows(table: &mut comfy_table::Table, node: &Node, site: &str, outputs: &HashMap<String, String>, depth: usize) {
    if depth == 0 {
        return;
    }
    let level = site.split('.').count();
    for (Natural(_, name), child) in &node.children {
        let site = format!("{site}.{name}");
        let (indented, parameters) = (format!("{}{name}", "  ".repeat(level)), report::thousands(child.parameters));
        table.add_row([&indented, &parameters, &child.tensors.to_string(), "", output(outputs, &site), ""]);
        add_rows(table, child, &site, outputs, depth - 1);
    }
}

fn as_json(node: &Node, site: &str, outputs: &HashMap<String, String>, depth: usize) -> Value {
    let mut value = json!({ "parameters": node.parameters, "tensors": node.tensors });
    if let Some(shape) = outputs.get(site) {
        value["output"] = json!(shape);
    }
    if depth > 0 && !node.children.is_empty() {
        let child = |(Natural(_, name), child): (&Natural, &Node)| {
            (name.clone(), as_json(child, &format!("{site}.{name}"), outputs, depth - 1))
        };
        value["children"] = node.children.iter().map(child).collect();
    }
    value
}
