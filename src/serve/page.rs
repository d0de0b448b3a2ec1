//! The page, and how one comes in: the same bundle as a report's, with addresses in the place of data.

use super::body::{SMALL, Sent};
use super::desk::Desk;
use super::guard::{Caller, Peer, cookie, set_cookie, try_code};
use super::refusal::{Refusal, Refused};
use super::visitor::Role;
use crate::export::report::{PAGE_SCRIPT, PAGE_STYLE};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use qrcode::{Color, QrCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::OnceLock;
use utoipa::ToSchema;

/// What the page may do: run the server's own script, speak with the server, show its pictures.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Script and style change with the program, and their addresses with them.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Names this program's bundle in addresses.
fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let hash = Sha256::new().chain_update(PAGE_SCRIPT).chain_update(PAGE_STYLE).finalize();
        hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    })
}

/// The page.
#[utoipa::path(get, path = "/", tag = "page", responses((status = 200, description = "the page", content_type = "text/html")))]
pub async fn page(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let version = version();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>sdviz</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"/page.css?{version}\">\n</head>\n<body>\n\
         <div id=\"page\"><noscript>This page needs its script; scripts are off here.</noscript></div>\n\
         <script type=\"application/json\" id=\"server\">{{\"api\":\"/api\"}}</script>\n\
         <script src=\"/page.js?{version}\"></script>\n</body>\n</html>\n"
    );
    let known = cookie(&headers, desk.settings.port).is_some_and(|token| desk.door.role(token).is_some());
    let given = match desk.door.is_open() && !known {
        true => Some((header::SET_COOKIE, set_cookie(&desk.door.admit(Role::Host)?, desk.settings.port))),
        false => None,
    };
    let own = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((own, AppendHeaders(given), html).into_response())
}

/// The page's script.
#[utoipa::path(get, path = "/page.js", tag = "page",
    responses((status = 200, description = "the page's script", content_type = "text/javascript")))]
pub async fn script() -> Response {
    bundle("text/javascript; charset=utf-8", PAGE_SCRIPT)
}

/// The page's style sheet.
#[utoipa::path(get, path = "/page.css", tag = "page",
    responses((status = 200, description = "the page's style sheet", content_type = "text/css")))]
pub async fn style() -> Response {
    bundle("text/css; charset=utf-8", PAGE_STYLE)
}

fn bundle(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FOREVER)], text).into_response()
}

/// A code.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Join {
    /// As it was told.
    #[serde(default)]
    code: String,
}

/// What a code gave.
#[derive(Debug, Serialize, ToSchema)]
pub struct Joined {
    /// `guest`, or `host` for the lecturer.
    role: String,
}

/// Opens the door: the answer's cookie is what comes in by from then on.
#[utoipa::path(post, path = "/join", tag = "page", request_body = Join, responses(
    (status = 200, body = Joined), (status = 401, body = Refused, description = "not the code"),
    (status = 429, body = Refused, description = "too many wrong codes")))]
pub async fn join(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    sent: Sent<Join, SMALL>,
) -> Result<Response, Refusal> {
    let role = try_code(&desk, &sent.value.code, peer.address).await?;
    let token = desk.door.admit(role)?;
    let given = set_cookie(&token, desk.settings.port);
    Ok(([(header::SET_COOKIE, given)], Json(Joined { role: role_name(role).into() })).into_response())
}

/// A role in JSON.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Guest => "guest",
        Role::Host => "host",
    }
}

/// The QR code by which others join, as SVG.
#[utoipa::path(get, path = "/api/join.svg", tag = "page", responses(
    (status = 200, description = "the QR code", content_type = "image/svg+xml"),
    (status = 404, body = Refused, description = "the door is open: there is no code")))]
pub async fn join_picture(State(desk): State<Arc<Desk>>, _: Caller) -> Result<Response, Refusal> {
    let codes = desk.door.codes().ok_or_else(|| Refusal::not_found("code"))?;
    let address = desk.address(Some(&codes.join));
    let code = QrCode::new(address).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no QR code: {error}"), "type the address")
    })?;
    let kind = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, svg(&code)).into_response())
}

/// A QR code as a picture, with the four modules of white around it that readers need.
fn svg(code: &QrCode) -> String {
    const QUIET: usize = 4;
    let (width, colours) = (code.width(), code.to_colors());
    let dark = colours.iter().enumerate().filter(|(_, colour)| **colour == Color::Dark);
    let path: String =
        dark.map(|(place, _)| format!("M{} {}h1v1h-1z", place % width + QUIET, place / width + QUIET)).collect();
    let side = width + 2 * QUIET;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
    )
}
