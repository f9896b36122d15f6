//! Turns an error of storage, with its status, code and XML, into a [`Failure`].

use fleetlogs_model::failure::{Failure, FailureClass};
use reqwest::header::HeaderName;

use crate::answer::Answer;
use crate::error_body::{joined, without_trailer};
use crate::redact::{LONGEST, one_line};

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// Longest code or request id kept, in characters.
const LONGEST_ID: usize = 200;

/// The parts of an answer that say why storage refuses.
#[derive(Default)]
pub(crate) struct StorageRefusal<'a> {
    pub(crate) status: u16,
    pub(crate) code: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) retry_after_ms: Option<u64>,
    /// None if it could not be read.
    pub(crate) body: Option<&'a [u8]>,
}

impl StorageRefusal<'_> {
    /// What it means for a call that can be sent again.
    pub(crate) fn failure(&self) -> Failure {
        // The SDK puts the status here if the service sent no code.
        let code = self.code.filter(|code| !code.starts_with(|c: char| c.is_ascii_digit()));
        let said = self.body.map_or_else(|| NO_REASON.to_owned(), error_text);
        Failure {
            status: Some(self.status),
            code: code.map(|code| one_line(code, LONGEST_ID).into()),
            request_id: self.request_id.map(|id| one_line(id, LONGEST_ID).into()),
            retry_after_ms: self.retry_after_ms,
            ..Failure::new(storage_class(self.status, code), said)
        }
    }
}

/// The failure of an answer with an unexpected status.
pub(crate) fn storage_refusal(answer: &Answer) -> Failure {
    let refusal = StorageRefusal {
        status: answer.status,
        code: storage_code(answer),
        request_id: answer.header(&REQUEST_ID),
        retry_after_ms: answer.retry_after_ms(),
        body: answer.body.as_deref().ok(),
    };
    refusal.failure()
}

/// The code of an answer.
pub(crate) fn storage_code(answer: &Answer) -> Option<&str> {
    answer.header(&ERROR_CODE)
}

/// Whether storage refuses because the lease is not ours, by its code, or by its status if a proxy removed the code.
pub(crate) fn lease_is_lost(status: u16, code: Option<&str>) -> bool {
    match code {
        Some(code) => matches!(
            code,
            "LeaseIdMismatchWithBlobOperation"
                | "LeaseIdMismatchWithLeaseOperation"
                | "LeaseNotPresentWithBlobOperation"
                | "LeaseNotPresentWithLeaseOperation"
                | "LeaseLost"
                | "LeaseIdMissing"
                | "LeaseAlreadyBroken"
                | "LeaseAlreadyPresent"
                | "LeaseIsBrokenAndCannotBeRenewed"
                | "LeaseIsBreakingAndCannotBeChanged"
        ),
        None => matches!(status, 409 | 412),
    }
}

const NO_REASON: &str = "storage gives no reason";

fn storage_class(status: u16, code: Option<&str>) -> FailureClass {
    match status {
        429 | 503 => FailureClass::Throttled,
        408 | 500.. => FailureClass::Transient,
        401 | 403 => FailureClass::Auth,
        404 if code == Some("ContainerNotFound") => FailureClass::Gone,
        409 if code == Some("ContainerBeingDeleted") => FailureClass::Gone,
        300..=399 | 404 | 409 => FailureClass::Refused,
        _ => FailureClass::Config,
    }
}

/// The text of an error, from its XML: the message, and the detail that distinguishes one wrong SAS from another.
fn error_text(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(&body[..body.len().min(16 << 10)]);
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let said = element("Message");
    let detail = element("AuthenticationErrorDetail");
    match (said.as_deref().map(without_trailer), detail) {
        // The message is the same for every wrong SAS, and long.
        (Some(said), Some(detail)) => one_line(&joined([detail.trim(), said].into_iter()), LONGEST),
        (Some(said), None) => one_line(said, LONGEST),
        (None, _) if body.trim().is_empty() => NO_REASON.to_owned(),
        (None, _) => format!("the answer is not an error of storage: {}", one_line(&body, 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_it_says_and_no_signature() {
        let refusal = StorageRefusal {
            status: 403,
            code: Some("AuthenticationFailed"),
            request_id: Some("r-9"),
            retry_after_ms: Some(3000),
            body: Some(
                b"\xEF\xBB\xBF<Error><Message>No.\nRequestId:r-9\nTime:2026</Message>\
                  <AuthenticationErrorDetail>sig=TOPSECRET &amp; more</AuthenticationErrorDetail></Error>",
            ),
        };
        let failure = refusal.failure();
        assert_eq!(failure.class, FailureClass::Auth);
        assert_eq!(failure.to_string(), "403 AuthenticationFailed: sig=<redacted> & more; No.");
        assert_eq!((failure.request_id.as_deref(), failure.retry_after_ms), (Some("r-9"), Some(3000)));
    }

    #[test]
    fn a_status_in_place_of_a_code_is_no_code() {
        let failure =
            StorageRefusal { status: 503, code: Some("503"), ..StorageRefusal::default() }.failure();
        assert_eq!(failure.to_string(), "503: storage gives no reason");
        assert_eq!(failure.class, FailureClass::Throttled);
    }
}
