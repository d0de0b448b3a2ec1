//! What a picture was made with, as fields for other programs: their names are those of diffusers' pipelines.
//!
//! Enters: a run's record. Leaves: names and values, in one order and of one type each, whichever run they are of.

use crate::error::Result;
use crate::record::edits::PlannedEdit;
use crate::record::plan::Quantity;
use crate::record::schema::RunRecord;
use crate::trace::reader::Run;
use ndarray::Axis;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The settings of picture `batch`. Those that few runs have are there only where they were asked for.
pub fn settings(record: &RunRecord, batch: usize) -> Map<String, Value> {
    let plan = &record.plan;
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| drop(fields.insert(name.into(), value));
    add("prompt", json!(plan.prompt));
    add("negative_prompt", json!(plan.negative_prompt));
    add("seed", seed(plan.seed.wrapping_add(batch as u64)));
    add("guidance_scale", json!(plan.guidance_scale));
    add("num_inference_steps", json!(plan.steps));
    add("scheduler", json!(plan.scheduler));
    add("model", json!(model(&record.model.id)));
    let mut perhaps = |name: &str, there: bool, value: Value| {
        if there {
            add(name, value);
        }
    };
    perhaps("eta", plan.eta != 0.0, json!(plan.eta));
    perhaps("sigmas", plan.sigmas.is_some(), json!(plan.sigmas.map(|sigmas| sigmas.to_string())));
    perhaps("guidance_rescale", plan.guidance_rescale != 0.0, json!(plan.guidance_rescale));
    perhaps("rescale_betas_zero_snr", plan.zero_terminal_snr, json!(true));
    perhaps("clip_skip", plan.clip_skip != 1, json!(plan.clip_skip));
    perhaps("prompt_syntax", !plan.prompt_syntax.is_plain(), json!(plan.prompt_syntax.to_string()));
    perhaps("strength", plan.strength.is_some(), json!(plan.strength));
    perhaps("hires_scale", plan.hires.is_some(), json!(plan.hires.map(|hires| hires.scale)));
    perhaps("edits", !plan.edits.is_empty(), json!(PlannedEdit::as_text(&plan.edits)));
    let loras: Vec<String> = record.model.loras.iter().map(|lora| format!("{}:{}", lora.name(), lora.weight)).collect();
    perhaps("loras", !loras.is_empty(), json!(loras.join(", ")));
    fields
}

/// A seed as a number; one that the integers of Arrow and of JavaScript cannot hold, as a text.
fn seed(seed: u64) -> Value {
    if i64::try_from(seed).is_ok() { json!(seed) } else { json!(seed.to_string()) }
}

/// What names the model: `owner/name` and `pocket` as they are, of a path the last part, for it is of one machine only.
fn model(id: &str) -> String {
    let path = Path::new(id);
    let is_name = path.is_relative() && path.components().count() <= 2 && !id.starts_with('.');
    match path.file_name() {
        Some(name) if !is_name => name.to_string_lossy().into_owned(),
        _ => id.into(),
    }
}

/// How many pictures of the batch there is something of: those that were asked for, unless a damaged record says more than was
/// made.
///
/// # Errors
/// When a step cannot be read.
pub fn batch_items(run: &Run) -> Result<usize> {
    let asked = run.record().plan.batch_size.max(1);
    if let Some(&step) = run.steps()?.first() {
        for what in Quantity::ALL {
            if let Some(all) = run.tensors(step, what)? {
                return Ok(asked.min(all.len_of(Axis(0))));
            }
        }
    }
    let pictured = |batch: &usize| {
        let steps = |what| run.pictured_steps(what, *batch).is_ok_and(|steps| !steps.is_empty());
        Quantity::PICTURED.into_iter().any(steps) || run.final_file(*batch).is_ok_and(|file| file.is_some())
    };
    Ok(1 + (1..asked).take_while(pictured).count())
}

/// The steps of which there is a decoded picture.
///
/// # Errors
/// When they cannot be listed.
pub fn pictured_steps(run: &Run, batch: usize) -> Result<BTreeSet<usize>> {
    let mut steps = BTreeSet::new();
    for what in Quantity::PICTURED {
        steps.extend(run.pictured_steps(what, batch)?);
    }
    Ok(steps)
}

/// Width and height of a PNG, from its head.
pub fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().ok()?;
    Some((reader.info().width, reader.info().height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_not_handed_on() {
        let names =
            ["pocket", "CompVis/stable-diffusion-v1-4", "/home/me/models/mine", "../mine", "a/b/mine"].map(model);
        assert_eq!(names, ["pocket", "CompVis/stable-diffusion-v1-4", "mine", "mine", "mine"]);
    }

    #[test]
    fn a_seed_beyond_64_bits_with_a_sign_is_a_text() {
        assert_eq!(seed(7), json!(7));
        assert_eq!(seed(u64::MAX), json!("18446744073709551615"));
    }
}
