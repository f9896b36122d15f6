//! Notification by a POST to a webhook, signed as <https://www.standardwebhooks.com> specifies.
//!
//! Everyone who knows the URL can post there, so only its host is ever shown.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_azure::error_chain;
use fleetlogs_engine::clock::Clock;
use fleetlogs_model::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use sha2::Sha256;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::message::Message;
use crate::config::signing_key;

/// The most attempts.
const ATTEMPTS: u32 = 3;

/// The pause before the second attempt; the pause before the third is twice as long.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest pause that a receiver can ask for, in seconds; `timeout` is shorter.
const LONGEST_PAUSE: u64 = 24 * 3600;

/// The host of a webhook, for messages.
pub(super) fn host(url: &Secret) -> String {
    let url = Url::parse(url.expose()).ok();
    url.as_ref().and_then(Url::host_str).unwrap_or("?").to_owned()
}

/// Sends a message, with retries, within this time.
pub(super) async fn post(
    url: &Secret,
    key: Option<&Secret>,
    message: &Message,
    within: Duration,
) -> Result<(), String> {
    let client = fleetlogs_azure::http_client(1).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + within;
    let mut backoff = BACKOFF.min(within / 10);
    let mut attempt = 1;
    loop {
        // One that hangs leaves time for the others.
        let limit = deadline.min(Instant::now() + within / ATTEMPTS);
        let refused = match timeout_at(limit, send(&client, url, key, message)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
            Err(_) => FailedAttempt { why: "it did not answer in time".into(), again: Some(Duration::ZERO) },
        };
        let pause = refused.again.map(|pause| pause.max(backoff));
        match pause.filter(|pause| attempt < ATTEMPTS && Instant::now() + *pause < deadline) {
            Some(pause) => sleep(pause).await,
            None => return Err(format!("{} (attempts: {attempt})", refused.why)),
        }
        backoff *= 2;
        attempt += 1;
    }
}

/// A failed attempt.
struct FailedAttempt {
    why: String,
    /// How long to wait at least before another; none where another is of no use.
    again: Option<Duration>,
}

async fn send(
    client: &reqwest::Client,
    url: &Secret,
    key: Option<&Secret>,
    message: &Message,
) -> Result<(), FailedAttempt> {
    let now = Clock::System.now().unix_timestamp();
    let mut request = client
        .post(url.expose())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", now)
        .body(message.body.clone());
    if let Some(key) = key.and_then(signing_key) {
        request = request.header("webhook-signature", signature(&key, message, now));
    }
    let answer = request
        .send()
        .await
        .map_err(|error| FailedAttempt { why: error_chain(&error), again: Some(Duration::ZERO) })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    let pause = answer.headers().get(RETRY_AFTER).and_then(|pause| pause.to_str().ok()?.parse::<u64>().ok());
    Err(FailedAttempt {
        why: format!("it answered {}", status.as_u16()),
        again: passing.then(|| Duration::from_secs(pause.unwrap_or(0).min(LONGEST_PAUSE))),
    })
}

fn signature(key: &[u8], Message { id, body }: &Message, timestamp: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // Computed with Python's hmac, for the key `not a secret at all`.
        let key = signing_key(&Secret::new("whsec_bm90IGEgc2VjcmV0IGF0IGFsbA==".into())).unwrap();
        let message = Message { id: "msg_1".into(), body: br#"{"test":1}"#.to_vec() };
        assert_eq!(
            signature(&key, &message, 1_614_265_330),
            "v1,JwI/hqUV2jNgIs6AXpY6cx97Q2zPEAqmhCNjvG+78E8="
        );
    }

    #[test]
    fn of_a_url_only_the_host_is_shown() {
        let url = Secret::new("https://user:pw@hooks.example:8443/services/T0/SECRET?code=SECRET".into());
        assert_eq!(host(&url), "hooks.example");
    }
}
