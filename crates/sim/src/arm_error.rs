//! Errors in the form of Azure Resource Manager.

use hyper::StatusCode;
use serde_json::{Value, json};

/// HTTP status, error code and message.
pub(crate) struct ArmError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ArmError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// `what` does not exist.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", format!("The {what} was not found."))
    }

    /// A resource of the same name already exists.
    pub(crate) fn conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}
