//! All routes, with what describes them, and what every request passes on its way to one.

use super::desk::Desk;
use super::refusal::Refusal;
use super::{a1111, api, events, guard, openai, page};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::{Json, Router};
use std::sync::Arc;
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the document says of the interface as a whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "sdviz serve",
    description = "Runs of Stable Diffusion, made one after the other and watched while they are made. A visitor is known \
                   by the cookie that the page or `/join` gives. Where a join code is asked for, programs send it as the \
                   password of HTTP Basic. Refusals are JSON with `code`, `error` and mostly `hint`."
))]
struct About;

/// The description of all routes, and the routes.
fn described() -> (Router<Arc<Desk>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(About::openapi())
        .routes(routes!(page::page))
        .routes(routes!(page::script))
        .routes(routes!(page::style))
        .routes(routes!(page::join))
        .routes(routes!(page::join_picture))
        .routes(routes!(document))
        .routes(routes!(api::capabilities))
        .routes(routes!(api::runs, api::submit))
        .routes(routes!(api::run))
        .routes(routes!(api::cancel))
        .routes(routes!(api::record))
        .routes(routes!(api::tensor))
        .routes(routes!(api::word_maps))
        .routes(routes!(api::head_maps))
        .routes(routes!(api::step_picture))
        .routes(routes!(api::final_picture))
        .routes(routes!(events::events))
        .routes(routes!(openai::generations))
        .merge(a1111::routes())
        .split_for_parts()
}

/// This description.
#[utoipa::path(get, path = "/api/openapi.json", tag = "page",
    responses((status = 200, description = "OpenAPI", body = serde_json::Value)))]
async fn document(State(_): State<Arc<Desk>>) -> Json<utoipa::openapi::OpenApi> {
    Json(described().1)
}

/// The service behind the door.
pub fn app(desk: Arc<Desk>) -> Router {
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let nothing = || async { Refusal::not_found("page").into_response() };
    // What comes last is passed first.
    described()
        .0
        .fallback(nothing)
        .layer(from_fn_with_state(desk.clone(), guard::identify))
        .layer(CsrfLayer::new())
        .layer(from_fn_with_state(desk.clone(), guard::check_host))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "no-referrer"))
        .layer(header("cross-origin-resource-policy", "same-origin"))
        .layer(header("content-security-policy", "default-src 'none'; frame-ancestors 'none'"))
        .layer(header("cache-control", "no-store"))
        .with_state(desk)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn everything_is_described() {
        let document = serde_json::to_value(described().1).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{method} {path} has no summary");
                assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            }
        }
    }
}
