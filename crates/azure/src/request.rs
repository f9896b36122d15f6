//! One request, sent once: for calls to storage and Azure Resource Manager that do not use the SDK.

use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use reqwest::header::{CONTENT_LENGTH, HeaderName};
use reqwest::{Method, RequestBuilder};
use tokio::time::Instant;
use url::Url;

use crate::answer::{Answer, SMALL};
use crate::classify::{Call, no_answer};

/// The newest version that Azurite 3.35 supports. The SDK's own default is newer, and an emulator answers it with a
/// 400; nothing here needs a newer one.
pub(crate) const API_VERSION: &str = "2025-11-05";

pub(crate) const VERSION: HeaderName = HeaderName::from_static("x-ms-version");

/// For one call in total: the token, a second attempt, and the answer.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A request without its credential.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// In addition to version and length.
    pub(crate) headers: &'a [(HeaderName, &'a str)],
    pub(crate) body: String,
}

impl Request<'_> {
    pub(crate) fn builder(&self, http: &reqwest::Client) -> RequestBuilder {
        let mut builder = http
            .request(self.method.clone(), self.url.clone())
            .header(VERSION, API_VERSION)
            // Storage requires it even for an empty body.
            .header(CONTENT_LENGTH, self.body.len())
            .body(self.body.clone());
        for (name, value) in self.headers {
            builder = builder.header(name, *value);
        }
        builder
    }
}

/// Sends a request once and reads the answer, whatever its status.
pub(crate) async fn exchange(
    builder: RequestBuilder,
    url: &Url,
    deadline: Instant,
) -> Result<Answer, Failure> {
    exchange_up_to(SMALL, builder, url, deadline).await
}

/// The same, for a good answer of up to `limit` bytes.
pub(crate) async fn exchange_up_to(
    limit: usize,
    builder: RequestBuilder,
    url: &Url,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::new(FailureClass::NotSent, "no time was left to send the request"));
    }
    let sent_at = Instant::now();
    let response = builder.timeout(left).send().await.map_err(|error| no_answer(Call::Read, &error))?;
    let answer = Answer::read(response, limit).await;
    tracing::debug!(
        path = url.path(),
        status = answer.status,
        elapsed_ms = sent_at.elapsed().as_millis(),
        "storage answered"
    );
    Ok(answer)
}
