//! What a request is answered that gets nothing: a status, why, and the way out, as JSON.

use crate::error::Error;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// Which refusal it is, for programs and for a page in another language.
    pub code: &'static str,
    /// Why.
    pub error: String,
    /// The way out.
    pub hint: Option<String>,
}

/// A refusal as it is sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// Which refusal it is, whatever its words: `invalid`, `not_found`, `no_code`, `wrong_code`, `too_many_codes`,
    /// `read_only`, `not_yours`, `too_many_waiting`, `queue_full`, `many_large`, `ends`, `picture_unreadable`,
    /// `picture_too_large`, `too_large`, `too_slow`, `broken_off`, `not_json`, `other_name` or `broken`.
    code: &'static str,
    /// Why.
    error: String,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Refusal {
    /// One with a way out.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { hint: Some(hint.into()), ..Refusal::without_hint(status, error) }
    }

    /// One without.
    pub fn without_hint(status: StatusCode, error: impl Into<String>) -> Refusal {
        Refusal { status, code: code_of(status), error: error.into(), hint: None }
    }

    /// The same, where its status does not say which it is.
    #[must_use]
    pub fn coded(self, code: &'static str) -> Refusal {
        Refusal { code, ..self }
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Refusal {
        Refusal::without_hint(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }
}

/// The code of a refusal that has none of its own.
fn code_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "broken_off",
        StatusCode::UNAUTHORIZED => "no_code",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::REQUEST_TIMEOUT => "too_slow",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "not_json",
        StatusCode::MISDIRECTED_REQUEST => "other_name",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        _ => "broken",
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let status = match &error {
            Error::Invalid { .. } | Error::Unknown { .. } | Error::Unsupported { .. } | Error::BadFile { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Error::NotRecorded { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let hint = error.hint();
        // Paths of this machine are nobody's business.
        let text = match &error {
            Error::BadFile { kind, reason, .. } => format!("this is not a valid {kind}: {reason}"),
            Error::Io { action, source, .. } => format!("cannot {action} a file: {source}"),
            _ => error.to_string(),
        };
        Refusal { hint, ..Refusal::without_hint(status, text) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Refused { code: self.code, error: self.error, hint: self.hint })).into_response()
    }
}
