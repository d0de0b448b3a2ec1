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
    /// Why.
    pub error: String,
    /// The way out.
    pub hint: Option<String>,
}

/// A refusal as it is sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// Why.
    error: String,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Refusal {
    /// One with a way out.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { status, error: error.into(), hint: Some(hint.into()) }
    }

    /// There is no such thing.
    pub fn not_found(what: &str) -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, error: format!("there is no such {what}"), hint: None }
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
        Refusal { status, error: text, hint }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Refused { error: self.error, hint: self.hint })).into_response()
    }
}
