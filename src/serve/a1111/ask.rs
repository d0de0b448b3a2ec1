//! A web UI's request as one of ours. Its clients send every field always: what cannot be done is named in the answer's
//! `warnings` instead of being refused, unless nothing of what was meant would be left.
//!
//! Enters: JSON. Leaves: [`Wanted`].

use super::Failure;
use crate::files::pictures;
use crate::record::hires::Upscaler;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use crate::serve::asked::{Asked, AskedHires};
use crate::serve::body;
use crate::serve::settings::Model;
use crate::trace::metadata::png_bytes;
use crate::trace::samplers::Sampler;
use crate::viz::pixels;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::DynamicImage;
use image::imageops::FilterType;
use serde_json::{Map, Value};
use std::path::Path;

/// What a web UI's client wants.
#[derive(Debug)]
pub struct Wanted {
    /// The run.
    pub asked: Asked,
    /// The sampler, as it named it.
    pub sampler: String,
    /// Pictures at once, and how often: the run makes as many as both together.
    pub batch_size: usize,
    /// Whether the pictures come back in the answer.
    pub sends_images: bool,
    /// What cannot be done.
    pub warnings: Vec<String>,
}

/// The fields of a request. One that is missing or null has its default.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// A whole number from 0 up; others are refused.
    fn whole(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let number = value.as_u64().or(value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
        let refusal = || Failure::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{name}` is not a whole number"));
        number.map(|number| Some(number as usize)).ok_or_else(refusal)
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn object(&self, name: &str) -> Fields<'a> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        Fields(self.0.get(name).and_then(Value::as_object).unwrap_or(&NONE))
    }

    fn list(&self, name: &str) -> &'a [Value] {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Reads a request for pictures from words.
///
/// # Errors
/// For a sampler or model that is not here, a script, or a number that is none.
pub fn from_words(request: &Map<String, Value>, model: &Model) -> Result<Wanted, Failure> {
    let fields = Fields(request);
    let mut wanted = common(&fields, model)?;
    if fields.is("enable_hr") {
        wanted.asked.hires = Some(second_pass(&fields, &mut wanted.warnings)?);
    }
    Ok(wanted)
}

/// Reads a request for pictures from a picture.
///
/// # Errors
/// As [`from_words`]; also when there is no picture, or it cannot be used.
pub fn from_picture(request: &Map<String, Value>, model: &Model) -> Result<Wanted, Failure> {
    let fields = Fields(request);
    let mut wanted = common(&fields, model)?;
    let images = fields.list("init_images");
    let Some(image) = images.first().and_then(Value::as_str) else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "Init image not found"));
    };
    let mut warn = |text: &str| wanted.warnings.push(text.into());
    if images.len() > 1 {
        warn("only the first of `init_images` is used");
    }
    let bytes = body::picture(image)?;
    let asked = &mut wanted.asked;
    asked.init_image = Some(BASE64_STANDARD.encode(&bytes));
    asked.strength = Some(fields.number("denoising_strength").unwrap_or(0.75));
    asked.resize = Some(
        match fields.whole("resize_mode")?.unwrap_or(0) {
            1 => "crop",
            2 => "pad",
            _ => "stretch",
        }
        .into(),
    );
    let mask = fields.text("mask");
    if !mask.is_empty() {
        let inverted = fields.number("inpainting_mask_invert").is_some_and(|invert| invert != 0.0);
        asked.mask = Some(mask_for(&opened(&bytes)?, mask, inverted)?);
        // As a web UI does: what is black in the mask comes back as it was.
        asked.paste = true;
        if fields.number("mask_blur").or(fields.number("mask_blur_x")).is_some_and(|blur| blur > 0.0) {
            warn("`mask_blur`: the mask's edge is sharp here");
        }
        if fields.number("inpainting_fill").is_some_and(|fill| fill != 1.0) {
            warn("`inpainting_fill`: what is masked begins as the picture has it, noised");
        }
        if fields.is("inpaint_full_res") {
            warn("`inpaint_full_res`: the whole picture is drawn, not the masked part alone");
        }
    }
    Ok(wanted)
}

/// What both kinds of request have.
fn common(fields: &Fields, model: &Model) -> Result<Wanted, Failure> {
    let mut warnings = vec![];
    let overrides = fields.object("override_settings");
    let wished = overrides.text("sd_model_checkpoint");
    if !wished.is_empty() && !is_ours(wished, model) {
        let message = format!("this server has the model `{}`, not `{wished}`", model.name);
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    if !fields.text("script_name").is_empty() {
        return Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("Script '{}' not found", fields.text("script_name")),
        ));
    }
    warnings
        .extend(fields.object("alwayson_scripts").0.keys().map(|script| format!("there is no script `{script}` here")));
    for (name, ignored) in [
        ("restore_faces", fields.is("restore_faces")),
        ("tiling", fields.is("tiling")),
        ("styles", !fields.list("styles").is_empty()),
        ("subseed_strength", fields.number("subseed_strength").is_some_and(|share| share > 0.0)),
        ("refiner_checkpoint", !fields.text("refiner_checkpoint").is_empty()),
    ] {
        if ignored {
            warnings.push(format!("`{name}` is passed over"));
        }
    }
    let (sampler, kind, sigmas) = sampler(fields, &mut warnings)?;
    let eta = fields.number("eta").filter(|eta| kind.takes_eta() && (0.0..=1.0).contains(eta));
    let batch_size = fields.whole("batch_size")?.unwrap_or(1);
    let pictures = batch_size.saturating_mul(fields.whole("n_iter")?.unwrap_or(1));
    let clip_skip = overrides.whole("CLIP_stop_at_last_layers")?.or(fields.whole("clip_skip")?);
    let asked = Asked {
        prompt: fields.text("prompt").into(),
        negative_prompt: fields.text("negative_prompt").into(),
        // Nothing has no brackets.
        prompt_syntax: (!fields.text("prompt").trim().is_empty()).then(|| "a1111".into()),
        clip_skip: clip_skip.filter(|layer| *layer > 0),
        seed: fields.number("seed").map(|seed| seed as i64).filter(|seed| *seed >= 0),
        steps: Some(fields.whole("steps")?.unwrap_or(50)),
        guidance_scale: Some(fields.number("cfg_scale").unwrap_or(7.0)),
        width: fields.whole("width")?,
        height: fields.whole("height")?,
        scheduler: Some(kind.name().into()),
        eta,
        sigmas: sigmas.map(|sigmas| sigmas.to_string()),
        pictures: Some(pictures),
        ..Asked::default()
    };
    let sends_images = fields.0.get("send_images").and_then(Value::as_bool).unwrap_or(true);
    Ok(Wanted { asked, sampler, batch_size, sends_images, warnings })
}

/// Whether a checkpoint's name is that of this server's model, as the list of models or the web UI's titles write it.
pub fn is_ours(wished: &str, model: &Model) -> bool {
    [&model.name, &model.id].iter().any(|own| own.eq_ignore_ascii_case(wished))
}

/// The sampler, by its name, or where there is none by what older clients call its index.
fn sampler(fields: &Fields, warnings: &mut Vec<String>) -> Result<(String, SchedulerKind, Option<Sigmas>), Failure> {
    let named = [fields.text("sampler_name"), fields.text("sampler_index")].into_iter().find(|name| !name.is_empty());
    let (named, schedule) = (named.unwrap_or("Euler"), fields.text("scheduler"));
    let mut found = Sampler::find(named, Some(schedule));
    // Clients send the schedule that was chosen last, and the web UI's DDIM does not look at it.
    if found.scheduler.is_none() && SchedulerKind::parse(named).is_ok_and(|kind| !kind.takes_sigmas()) {
        warnings.push(format!("`scheduler`: `{named}` has its own noise levels, `{schedule}` is passed over"));
        found = Sampler::find(named, None);
    }
    let kind = found.scheduler.as_deref().and_then(|name| SchedulerKind::parse(name).ok());
    let kind = kind.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Sampler not found"))?;
    Ok((kind.a1111_name().into(), kind, found.sigmas))
}

fn second_pass(fields: &Fields, warnings: &mut Vec<String>) -> Result<AskedHires, Failure> {
    let name = fields.text("hr_upscaler");
    let known = Upscaler::ALL.into_iter().find(|known| known.a1111_name().eq_ignore_ascii_case(name));
    if known.is_none() && !name.is_empty() {
        warnings.push(format!("`hr_upscaler`: there is no `{name}` here, `Latent` stands in for it"));
    }
    if fields.number("hr_resize_x").is_some_and(|side| side > 0.0) {
        warnings.push("`hr_resize_x`: the picture is enlarged by `hr_scale`".into());
    }
    Ok(AskedHires {
        scale: Some(fields.number("hr_scale").unwrap_or(2.0)),
        strength: Some(fields.number("denoising_strength").unwrap_or(0.7)),
        upscaler: known.map(|known| known.to_string()),
        steps: fields.whole("hr_second_pass_steps")?.filter(|steps| *steps > 0),
    })
}

fn opened(bytes: &[u8]) -> Result<DynamicImage, Failure> {
    Ok(pictures::decode(Path::new("picture"), bytes, "input picture")?)
}

/// A mask of the picture's size, in base64.
fn mask_for(picture: &DynamicImage, mask: &str, inverted: bool) -> Result<String, Failure> {
    let mut mask = opened(&body::picture(mask)?)?;
    if inverted {
        mask.invert();
    }
    let mut mask = mask.to_rgb8();
    if mask.dimensions() != (picture.width(), picture.height()) {
        mask = pixels::resized(&mask, (picture.width(), picture.height()), FilterType::Triangle);
    }
    Ok(BASE64_STANDARD.encode(png_bytes(&mask)?))
}
