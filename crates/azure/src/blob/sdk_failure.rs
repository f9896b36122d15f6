//! What an error of the SDK means.

use std::error::Error;

use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use fleetlogs_model::failure::{Failure, FailureClass};

use crate::answer::LONGEST_WAIT_MS;
use crate::redact::error_chain;
use crate::storage_error::StorageRefusal;

/// What the SDK's error means for a call that may be repeated.
pub(crate) fn sdk_failure(error: &azure_core::Error) -> Failure {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else {
        let class = match error.kind() {
            ErrorKind::Connection => FailureClass::NotSent,
            // The connection broke off, or its XML did.
            ErrorKind::Io | ErrorKind::DataConversion => FailureClass::Transient,
            _ => FailureClass::Refused,
        };
        return Failure::new(class, error_chain(error as &(dyn Error + 'static)));
    };
    let headers = raw_response.as_ref().map(|response| response.headers());
    let refusal = StorageRefusal {
        status: u16::from(*status),
        code: headers.and_then(|headers| header(headers, "x-ms-error-code")).or(error_code.as_deref()),
        request_id: headers.and_then(|headers| header(headers, "x-ms-request-id")),
        retry_after_ms: headers
            .and_then(|headers| header(headers, "retry-after")?.trim().parse::<u64>().ok())
            .map(|seconds| seconds.saturating_mul(1000).min(LONGEST_WAIT_MS)),
        body: raw_response.as_ref().map(|response| response.body().as_ref()),
    };
    refusal.failure()
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}
