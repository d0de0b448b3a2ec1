//! `/v1/images/generations`, as OpenAI's clients call it.

use super::a1111::make;
use super::api::{blocking, queue};
use super::asked::Asked;
use super::body::{SMALL, Sent};
use super::desk::Desk;
use super::guard::Caller;
use super::refusal::Refusal;
use super::summary::State as RunState;
use crate::record::schema;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// What OpenAI's clients ask for. The model and other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Generation {
    /// What to draw.
    prompt: String,
    /// How many pictures.
    #[serde(default)]
    n: Option<usize>,
    /// `WIDTHxHEIGHT`, or `auto` for the model's own.
    #[serde(default)]
    size: Option<String>,
    /// `b64_json` or `url`.
    #[serde(default)]
    response_format: Option<String>,
}

/// The pictures.
#[derive(Debug, Serialize, ToSchema)]
pub struct Generated {
    created: u64,
    data: Vec<Image>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Draws pictures, and answers when they are done.
#[utoipa::path(post, path = "/v1/images/generations", tag = "other clients", request_body = Generation, responses(
    (status = 200, body = Generated), (status = 422, description = "it cannot be made", body = serde_json::Value),
    (status = 500, description = "the run failed", body = serde_json::Value)))]
pub async fn generations(
    State(desk): State<Arc<Desk>>,
    caller: Caller,
    headers: HeaderMap,
    sent: Sent<Generation, SMALL>,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match generate(desk, caller, &sent.value, host).await {
        Ok(generated) => Json(generated).into_response(),
        Err(refusal) => {
            let message = refusal.hint.map_or(refusal.error.clone(), |hint| format!("{} ({hint})", refusal.error));
            let kind = if refusal.status.is_server_error() { "server_error" } else { "invalid_request_error" };
            let error = json!({ "message": message, "type": kind, "param": null, "code": null });
            (refusal.status, Json(json!({ "error": error }))).into_response()
        }
    }
}

async fn generate(desk: Arc<Desk>, caller: Caller, sent: &Generation, host: &str) -> Result<Generated, Refusal> {
    let (width, height) = size(sent.size.as_deref())?.unzip();
    let asked = Asked { prompt: sent.prompt.clone(), pictures: sent.n, width, height, ..Asked::default() };
    let (at, who) = (desk.clone(), caller.clone());
    let queued = blocking(move || queue(&at, &who, &asked)).await?;
    let made = make(&desk, &caller, &queued.id).await?;
    if made.state != RunState::Complete {
        let why = made.failure.unwrap_or_else(|| "the run was cancelled".into());
        return Err(Refusal::without_hint(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    let as_address = sent.response_format.as_deref() == Some("url");
    let image = |batch: usize| {
        if as_address {
            let url = format!("http://{host}/api/runs/{}/final?batch={batch}", made.id);
            return Ok(Image { b64_json: None, url: Some(url) });
        }
        let png = desk.run_file(&made.id, &schema::final_file(batch)).ok_or_else(|| Refusal::not_found("picture"))?;
        Ok(Image { b64_json: Some(BASE64_STANDARD.encode(png)), url: None })
    };
    let data = (0..made.pictures).map(image).collect::<Result<_, Refusal>>()?;
    Ok(Generated { created: made.asked_unix, data })
}

/// `512x768`; none for `auto`.
fn size(text: Option<&str>) -> Result<Option<(usize, usize)>, Refusal> {
    let Some(text) = text.filter(|text| *text != "auto") else { return Ok(None) };
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed.map(Some).ok_or_else(|| {
        let message = format!("a size of `{text}`");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message, "write `512x512`, or `auto`")
    })
}
