//! `/sdapi/v1/…`: AUTOMATIC1111's interface, as far as its clients need it: webuiapi, Open WebUI, SillyTavern, LibreChat.
//!
//! `ask` reads their requests, `draw` answers those that make pictures, `lists` the rest.

mod ask;
mod draw;
mod lists;

pub use draw::make;

use super::desk::Desk;
use super::refusal::Refusal;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Its routes.
pub fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new()
        .routes(routes!(draw::txt2img))
        .routes(routes!(draw::img2img))
        .routes(routes!(draw::progress))
        .routes(routes!(draw::interrupt))
        .routes(routes!(draw::skip))
        .routes(routes!(lists::options, lists::set_options))
        .routes(routes!(lists::samplers))
        .routes(routes!(lists::schedulers))
        .routes(routes!(lists::models))
        .routes(routes!(lists::upscalers))
        .routes(routes!(lists::latent_upscale_modes))
        .routes(routes!(lists::png_info))
        .routes(routes!(lists::scripts))
        .routes(routes!(lists::embeddings))
        .routes(routes!(lists::flags))
        .routes(routes!(lists::memory))
        .routes(routes!(lists::refresh))
        .routes(routes!(lists::vaes))
        .routes(routes!(lists::modules))
        .routes(routes!(lists::loras))
        .routes(routes!(lists::hypernetworks))
        .routes(routes!(lists::face_restorers))
        .routes(routes!(lists::realesrgan_models))
        .routes(routes!(lists::prompt_styles))
}

/// A refusal in the web UI's form.
#[derive(Debug)]
pub struct Failure(Refusal);

impl Failure {
    /// With this status.
    fn new(status: StatusCode, text: impl Into<String>) -> Failure {
        Failure(Refusal::without_hint(status, text))
    }
}

impl<E: Into<Refusal>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(Refusal { status, error, hint, .. }) = self;
        let detail = hint.map_or(error.clone(), |hint| format!("{error} ({hint})"));
        let name = status.canonical_reason().unwrap_or("Error");
        (status, Json(json!({ "error": name, "detail": detail, "body": "", "errors": detail }))).into_response()
    }
}
