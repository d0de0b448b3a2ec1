//! What a picture says about its making: the A1111 `parameters` text and our own JSON, as PNG text chunks.

use crate::error::{Error, Result};
use crate::record::edits::PlannedEdit;
use crate::record::plan::Quantity;
use crate::record::schema::RunRecord;
use crate::scheduler::SchedulerKind;
use image::RgbImage;
use serde_json::{Value, json};
use std::path::Path;

/// The `parameters` text of AUTOMATIC1111's web UI for the batch's picture `batch`. `RNG: CPU` is said because a reader
/// takes its absence for a GPU's numbers.
pub fn parameters(record: &RunRecord, batch: usize) -> String {
    let plan = &record.plan;
    let mut text = format!("{}\n", plan.prompt);
    if !plan.negative_prompt.is_empty() {
        text += &format!("Negative prompt: {}\n", plan.negative_prompt);
    }
    let sampler =
        SchedulerKind::parse(&plan.scheduler).map_or(plan.scheduler.clone(), |kind| kind.a1111_name().to_string());
    let unet = record.model.components.iter().find(|c| c.name == "unet");
    let hash = unet.and_then(|c| c.sha256.get(..10)).unwrap_or_default();
    let mut pairs = vec![
        ("Steps", plan.steps.to_string()),
        ("Sampler", sampler),
        ("Schedule type", plan.sigmas.map_or(String::new(), |sigmas| sigmas.a1111_name().into())),
        ("CFG scale", plan.guidance_scale.to_string()),
        ("Seed", plan.seed.wrapping_add(batch as u64).to_string()),
        ("Size", format!("{}x{}", plan.width, plan.height)),
        ("Model hash", hash.to_string()),
        ("Model", quoted(&model_name(&record.model.id))),
    ];
    if plan.clip_skip != 1 {
        pairs.push(("Clip skip", plan.clip_skip.to_string()));
    }
    if !plan.prompt_syntax.is_plain() {
        pairs.push(("Prompt syntax", plan.prompt_syntax.to_string()));
    }
    if let Some(strength) = plan.strength {
        pairs.push(("Denoising strength", strength.to_string()));
    }
    if let Some(hires) = plan.hires {
        pairs.push(("Denoising strength", hires.strength.to_string()));
        pairs.push(("Hires upscale", hires.scale.to_string()));
        pairs.push(("Hires steps", hires.steps.to_string()));
        pairs.push(("Hires upscaler", hires.upscaler.a1111_name().into()));
    }
    // Web UIs name the autoencoder only where it is not the model's own.
    if let Some((vae, name)) = record.model.components.iter().find_map(|c| Some((c, c.from.as_ref()?))) {
        pairs.push(("VAE hash", vae.sha256.get(..10).unwrap_or_default().to_string()));
        pairs.push(("VAE", quoted(&model_name(name))));
    }
    if !record.model.loras.is_empty() {
        let each: Vec<String> = record.model.loras.iter().map(|l| format!("{}:{}", l.name(), l.weight)).collect();
        pairs.push(("Lora", quoted(&each.join(", "))));
    }
    let names: Vec<&str> = record.model.embeddings.iter().map(|e| e.name.as_str()).collect();
    pairs.push(("Embeddings", quoted(&names.join(", "))));
    if plan.eta != 0.0 {
        pairs.push(("Eta", plan.eta.to_string()));
    }
    if plan.zero_terminal_snr {
        pairs.push(("Noise Schedule", "Zero Terminal SNR".into()));
    }
    if plan.guidance_rescale != 0.0 {
        pairs.push(("Guidance rescale", plan.guidance_rescale.to_string()));
    }
    pairs.push(("Edits", quoted(&PlannedEdit::as_text(&plan.edits))));
    pairs.push(("RNG", "CPU".into()));
    pairs.push(("Version", format!("sdviz {}", record.sdviz_version)));
    let pairs = pairs.iter().filter(|(_, v)| !v.is_empty());
    text + &pairs.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}

/// A model's short name: the last part of a path.
fn model_name(id: &str) -> String {
    Path::new(id).file_name().map_or(id.into(), |n| n.to_string_lossy().into_owned())
}

/// A1111's rule: a value that holds a comma, a colon or a line break is written as a JSON string.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { json!(value).to_string() } else { value.to_string() }
}

/// Our own JSON: plan, model and tokens.
fn own_json(record: &RunRecord, batch: usize) -> Value {
    json!({
        "sdviz": record.sdviz_version, "batch_item": batch, "plan": record.plan, "model": record.model.without_paths(),
        "tokens": record.tokens, "environment": record.environment,
    })
}

/// A PNG of the picture with both chunks: `parameters`, and `sdviz` with plan, model and tokens as JSON.
///
/// # Errors
/// When the PNG encoder refuses the picture.
pub fn png_with_metadata(picture: &RgbImage, record: &RunRecord, batch: usize) -> Result<Vec<u8>> {
    png_with_texts(picture, parameters(record, batch), &own_json(record, batch))
}

/// The same for the decoded picture of a step: both chunks also say which step it is, and what of it was decoded.
///
/// # Errors
/// As [`png_with_metadata`].
pub fn step_png(
    picture: &RgbImage,
    record: &RunRecord,
    batch: usize,
    (step, what): (usize, Quantity),
) -> Result<Vec<u8>> {
    let mut record = record.clone();
    // The weights' hashes may become known while the run goes on: a step's bytes shall not depend on when.
    record.model.components.iter_mut().for_each(|component| component.sha256.clear());
    let mut text = format!("{}, Step: {step}, Decoded: {what}", parameters(&record, batch));
    let mut own = own_json(&record, batch);
    own["step"] = json!(step);
    own["decoded"] = json!(what);
    if let Some(preview) = record.previewed(step, what) {
        text += &format!(", Preview decoder: {}", quoted(&model_name(&preview.name)));
        own["preview_decoder"] = json!(preview.name);
    }
    png_with_texts(picture, text, &own)
}

fn png_with_texts(picture: &RgbImage, parameters: String, own: &Value) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let failed =
        |e: png::EncodingError| Error::invalid(format!("cannot encode the picture as PNG: {e}"), "report this");
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    for (keyword, text) in [("parameters", parameters), ("sdviz", own.to_string())] {
        // tEXt holds Latin-1 only, and old readers know only tEXt: iTXt where it must be.
        let latin = text.chars().all(|c| (c as u32) < 256);
        let added = match latin {
            true => encoder.add_text_chunk(keyword.into(), text),
            false => encoder.add_itxt_chunk(keyword.into(), text),
        };
        added.map_err(failed)?;
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(picture.as_raw()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// A plain PNG.
///
/// # Errors
/// When the PNG encoder refuses the picture.
pub fn png_bytes(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(vec![]);
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| Error::invalid(format!("cannot encode the picture as PNG: {e}"), "report this"))?;
    Ok(bytes.into_inner())
}
