//! `sdviz metadata`: how a picture was made, as it says itself.

use crate::cli::args::MetadataArgs;
use crate::cli::report;
use crate::trace::parameters::PictureSettings;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

/// Prints the settings.
pub fn run(args: &MetadataArgs) -> Result<ExitCode> {
    let settings = PictureSettings::read(&args.picture)?;
    if args.json {
        report::print(serde_json::to_string_pretty(&settings)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = report::table(&["setting", "value"]);
    let json = serde_json::to_value(&settings)?;
    for (name, value) in json.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            // 5 and not 5.0.
            Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
            other => other.to_string(),
        };
        if !["parameters", "source", "cpu_noise"].contains(&name.as_str()) && !text.is_empty() {
            table.add_row([name.replace('_', " "), text]);
        }
    }
    report::print_table(&table);
    let known = ["Steps", "Sampler", "CFG scale", "Seed", "Size", "Model", "Eta", "Clip skip", "Prompt syntax"];
    let others: Vec<String> = settings
        .parameters
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default()))
        .collect();
    if !others.is_empty() {
        report::print(format!("\nit also says: {}", others.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}
