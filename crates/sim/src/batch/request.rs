//! A parsed request that has not been carried out yet.

use std::sync::atomic::Ordering::Relaxed;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use time::OffsetDateTime;
use uuid::Uuid;

use super::errors::BatchError;
use super::versions;
use crate::http::{AfterAnswer, Query};
use crate::world::{Account, World};

/// Everything that a handler needs, except the body.
pub(super) struct Call<'a> {
    pub(super) world: &'a World,
    pub(super) account: &'a Account,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) uri: &'a Uri,
    pub(super) query: Query,
    pub(super) request_id: Uuid,
    /// When the call arrived, on a clock that is right.
    pub(super) received_at: OffsetDateTime,
    /// Time since the simulator started.
    pub(super) now: std::time::Duration,
    /// For bytes behind the answer.
    pub(super) after: AfterAnswer,
}

impl Call<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The wall clock of this account, which may be wrong.
    pub(super) fn date(&self) -> OffsetDateTime {
        let uploads = self.account.ledger.upload_calls.load(Relaxed);
        self.world.clock.service_date(&self.account.clock, self.now, Some(uploads))
    }

    /// Scheme, host and port, as the client wrote them.
    pub(super) fn base(&self) -> String {
        let host =
            self.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("127.0.0.1");
        format!("http://{host}")
    }

    pub(super) fn client_request_id(&self) -> Option<&str> {
        // The current JavaScript client uses another name.
        self.header("client-request-id").or_else(|| self.header("x-ms-client-request-id"))
    }

    /// The client's request id, if the client asked to have it returned.
    pub(super) fn echo(&self) -> Option<HeaderValue> {
        let asked =
            self.header("return-client-request-id").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if asked { self.headers.get("client-request-id").cloned() } else { None }
    }

    /// Checks the query parameters that all operations share. Unknown ones are ignored, as in a recording.
    pub(super) fn check_query(&self) -> Result<(), BatchError> {
        let Some(version) = self.query.get("api-version") else {
            let message = "A query parameter that's mandatory for this request is not specified.";
            return Err(BatchError::bad_request("MissingRequiredQueryParameter", message)
                .with("QueryParameterName", "api-version"));
        };
        if !versions::is_known(version) {
            let message = "The specified api version is not supported.";
            return Err(
                BatchError::bad_request("UnsupportedRequestVersion", message).with("ApiVersion", version)
            );
        }
        if let Some(timeout) = self.query.get("timeout")
            && timeout.parse::<u32>().is_err()
        {
            return Err(BatchError::query_value("timeout", timeout, "The value must be a number of seconds"));
        }
        Ok(())
    }
}
