//! What a web UI's clients ask before they draw: models, samplers, options, and lists that are empty here.

use super::Failure;
use super::ask::is_ours;
use crate::record::hires::Upscaler;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use crate::serve::api::blocking;
use crate::serve::body::{self, LARGE, SMALL, Sent};
use crate::serve::desk::Desk;
use crate::serve::guard::Caller;
use crate::serve::refusal::Refusal;
use crate::trace::parameters::PictureSettings;
use crate::trace::texts::{PARAMETERS, Texts};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

type Answer = Result<Json<Value>, Failure>;

fn model_name(desk: &Desk) -> &str {
    desk.model.as_ref().map_or("none", |model| &model.name)
}

/// The options that a client may read.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "other clients",
    responses((status = 200, description = "an object", body = serde_json::Value)))]
pub async fn options(State(desk): State<Arc<Desk>>, _: Caller) -> Json<Value> {
    Json(json!({
        "sd_model_checkpoint": model_name(&desk), "sd_checkpoint_hash": "", "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1, "samples_format": "png", "grid_save": false, "samples_save": true,
        "randn_source": "CPU", "live_previews_enable": true, "show_progress_every_n_steps": 1,
    }))
}

/// Takes any options and forgets them: one visitor's are not everybody's. A model that is not here is refused.
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "other clients", request_body = serde_json::Value, responses(
    (status = 200, description = "`null`", body = serde_json::Value), (status = 422, description = "there is no such model")))]
pub async fn set_options(State(desk): State<Arc<Desk>>, _: Caller, sent: Sent<Map<String, Value>, SMALL>) -> Answer {
    let wished = sent.value.get("sd_model_checkpoint").and_then(Value::as_str).unwrap_or_default();
    let ours = desk.model.as_ref().is_some_and(|model| is_ours(wished, model));
    if !wished.is_empty() && !ours {
        let message = format!("this server has the model `{}`, not `{wished}`", model_name(&desk));
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    Ok(Json(Value::Null))
}

/// The samplers.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "other clients",
    responses((status = 200, description = "a list", body = serde_json::Value)))]
pub async fn samplers(_: Caller) -> Json<Value> {
    SchedulerKind::all()
        .map(|kind| json!({ "name": kind.a1111_name(), "aliases": [kind.name()], "options": {} }))
        .collect::<Value>()
        .into()
}

/// The schedules of noise levels. Which goes with which sampler, the sampler decides.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "other clients",
    responses((status = 200, description = "a list", body = serde_json::Value)))]
pub async fn schedulers(_: Caller) -> Json<Value> {
    let about = |name: &str, label: &str| json!({ "name": name, "label": label, "aliases": null, "default_rho": -1.0, "need_inner_model": false });
    let own = [about("automatic", "Automatic"), about("uniform", "Uniform")];
    own.into_iter().chain(Sigmas::ALL.map(|sigmas| about(sigmas.name(), sigmas.a1111_name()))).collect::<Value>().into()
}

/// The model.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "other clients",
    responses((status = 200, description = "a list", body = serde_json::Value)))]
pub async fn models(State(desk): State<Arc<Desk>>, _: Caller) -> Json<Value> {
    let about = |name: &String| json!({ "title": name, "model_name": name, "hash": null, "sha256": null, "filename": name, "config": null });
    desk.model.iter().map(|model| about(&model.name)).collect::<Value>().into()
}

/// What can enlarge pictures.
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "other clients",
    responses((status = 200, description = "a list that begins with `None`", body = serde_json::Value)))]
pub async fn upscalers(_: Caller) -> Json<Value> {
    let about =
        |name: &str| json!({ "name": name, "model_name": null, "model_path": null, "model_url": null, "scale": 4 });
    Json(json!([about("None"), about(Upscaler::Lanczos.a1111_name())]))
}

/// What can enlarge latents.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "other clients",
    responses((status = 200, description = "a list", body = serde_json::Value)))]
pub async fn latent_upscale_modes(_: Caller) -> Json<Value> {
    Json(json!([{ "name": Upscaler::Latent.a1111_name() }]))
}

/// How a picture was made, as it says itself.
#[utoipa::path(post, path = "/sdapi/v1/png-info", tag = "other clients", request_body = serde_json::Value, responses(
    (status = 200, description = "`info`, `items`, `parameters`", body = serde_json::Value),
    (status = 422, description = "it is no picture"), (status = 503, description = "many large pictures are being sent")))]
pub async fn png_info(_: Caller, sent: Sent<Map<String, Value>, LARGE>) -> Answer {
    let told = blocking(move || {
        let Sent { value, place: _place } = sent;
        Ok(told(value.get("image").and_then(Value::as_str).unwrap_or_default()))
    });
    told.await?.map(Json)
}

fn told(image: &str) -> Result<Value, Failure> {
    let bytes = body::picture(image)?;
    let texts = Texts::of(&bytes, Path::new("picture")).map_err(Refusal::from)?;
    let text = texts.get(PARAMETERS).unwrap_or_default();
    let parameters = if text.is_empty() { Map::new() } else { PictureSettings::parse(text).parameters };
    Ok(
        json!({ "info": text, "items": if text.is_empty() { json!({}) } else { json!({ PARAMETERS: text }) }, "parameters": parameters }),
    )
}

/// No scripts.
#[utoipa::path(get, path = "/sdapi/v1/scripts", tag = "other clients",
    responses((status = 200, description = "two empty lists", body = serde_json::Value)))]
pub async fn scripts(_: Caller) -> Json<Value> {
    Json(json!({ "txt2img": [], "img2img": [] }))
}

/// No embeddings.
#[utoipa::path(get, path = "/sdapi/v1/embeddings", tag = "other clients",
    responses((status = 200, description = "two empty objects", body = serde_json::Value)))]
pub async fn embeddings(_: Caller) -> Json<Value> {
    Json(json!({ "loaded": {}, "skipped": {} }))
}

/// No flags.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "other clients",
    responses((status = 200, description = "an empty object", body = serde_json::Value)))]
pub async fn flags(_: Caller) -> Json<Value> {
    Json(json!({}))
}

/// Nothing of the machine's memory.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "other clients",
    responses((status = 200, description = "two empty objects", body = serde_json::Value)))]
pub async fn memory(_: Caller) -> Json<Value> {
    Json(json!({ "ram": {}, "cuda": {} }))
}

/// Nothing to look for anew.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "other clients",
    responses((status = 200, description = "`null`", body = serde_json::Value)))]
pub async fn refresh(_: Caller) -> Json<Value> {
    Json(Value::Null)
}

/// Lists that are empty here.
macro_rules! empty {
    ($($name:ident $path:literal $about:literal)*) => {$(
        #[doc = $about]
        #[utoipa::path(get, path = $path, tag = "other clients",
            responses((status = 200, description = "an empty list", body = serde_json::Value)))]
        pub async fn $name(_: Caller) -> Json<Value> {
            Json(json!([]))
        }
    )*};
}

empty! {
    vaes "/sdapi/v1/sd-vae" "No other autoencoders."
    modules "/sdapi/v1/sd-modules" "No modules."
    loras "/sdapi/v1/loras" "No LoRAs to choose from."
    hypernetworks "/sdapi/v1/hypernetworks" "No hypernetworks."
    face_restorers "/sdapi/v1/face-restorers" "No face restorers."
    realesrgan_models "/sdapi/v1/realesrgan-models" "No such models."
    prompt_styles "/sdapi/v1/prompt-styles" "No styles."
}
