//! The token service: Entra tokens for the simulated accounts, issued in the way App Service issues them to a managed
//! identity.
//!
//! A token is opaque to its holder. It contains resource and expiry under an HMAC, so the service need not remember
//! it.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hyper::StatusCode;
use time::OffsetDateTime;

use crate::signing_key::SigningKey;

/// A service that accepts tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Batch,
    Storage,
    Management,
}

impl Audience {
    /// The resource that a client names to get a token for this service.
    fn name(self) -> &'static str {
        match self {
            Self::Batch => "https://batch.core.windows.net/",
            Self::Storage => "https://storage.azure.com/",
            Self::Management => "https://management.azure.com/",
        }
    }

    /// Batch requires the slash at the end; the other services accept the resource with or without it.
    fn is(self, resource: &str) -> bool {
        resource == self.name() || (self != Self::Batch && Some(resource) == self.name().strip_suffix('/'))
    }
}

/// Issues and checks tokens.
pub(crate) struct TokenService {
    key: SigningKey,
    lifetime: Duration,
}

/// Why a token is refused, in the service's words where a recording shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadToken(pub(crate) String);

impl TokenService {
    pub(crate) fn new(key: SigningKey, lifetime: Duration) -> Self {
        Self { key, lifetime }
    }

    /// The answer to `GET /_sim/identity`.
    pub(crate) fn answer(
        &self,
        has_identity_header: bool,
        resource: Option<&str>,
        has_api_version: bool,
        now: OffsetDateTime,
    ) -> (StatusCode, serde_json::Value) {
        let refuse = |what: &str| {
            let message = serde_json::json!({ "statusCode": 400, "message": what });
            (StatusCode::BAD_REQUEST, message)
        };
        if !has_identity_header {
            return refuse("X-IDENTITY-HEADER is missing");
        }
        if !has_api_version {
            return refuse("api-version is missing");
        }
        let Some(resource) = resource.filter(|resource| !resource.is_empty()) else {
            return refuse("resource is missing");
        };
        let expires = now.unix_timestamp() + i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let answer = serde_json::json!({
            "access_token": self.issue(resource, expires),
            "expires_on": expires.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        });
        (StatusCode::OK, answer)
    }

    fn issue(&self, resource: &str, expires: i64) -> String {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(format!("{expires} {resource}"));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(&payload));
        format!("simulated.{payload}.{signature}")
    }

    /// Whether `token` authenticates its holder to `audience` at `now`.
    pub(crate) fn check(&self, token: &str, audience: Audience, now: OffsetDateTime) -> Result<(), BadToken> {
        let (resource, expires) = self
            .read(token)
            .ok_or_else(|| BadToken("The specified authentication token is invalid.".to_owned()))?;
        if !audience.is(&resource) {
            let name = audience.name();
            return Err(BadToken(format!(
                "The specified authentication token was obtained for another audience: '{resource}'. It must match \
                 '{name}', including the forward slash."
            )));
        }
        if now.unix_timestamp() >= expires {
            return Err(BadToken("The specified authentication token has expired.".to_owned()));
        }
        Ok(())
    }

    /// Whether this service issued `token`, for any audience.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        self.read(token).is_some()
    }

    /// Whether `token` was issued for `audience`, even if it has expired.
    pub(crate) fn is_for(&self, token: &str, audience: Audience) -> bool {
        self.read(token).is_some_and(|(resource, _)| audience.is(&resource))
    }

    fn read(&self, token: &str) -> Option<(String, i64)> {
        let (payload, signature) = token.strip_prefix("simulated.")?.split_once('.')?;
        let signature = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        if !self.key.verify(payload, &signature) {
            return None;
        }
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let (expires, resource) = text.split_once(' ')?;
        Some((resource.to_owned(), expires.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2025-01-01 12:00:00 UTC);

    fn service() -> TokenService {
        TokenService::new(
            SigningKey::new(b"not a secret").expect("any length is a key"),
            Duration::from_secs(60),
        )
    }

    fn token(resource: &str) -> String {
        let (status, answer) = service().answer(true, Some(resource), true, NOON);
        assert_eq!(status, StatusCode::OK);
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    #[test]
    fn a_token_opens_exactly_its_audience_until_it_expires() {
        let token = token("https://batch.core.windows.net/");

        assert_eq!(service().check(&token, Audience::Batch, NOON), Ok(()));
        assert!(service().check(&token, Audience::Storage, NOON).is_err());
        assert!(service().check(&token, Audience::Batch, NOON + Duration::from_secs(60)).is_err());
        assert!(service().check(&format!("{token}x"), Audience::Batch, NOON).is_err());
    }

    #[test]
    fn without_the_slash_it_is_another_audience_for_batch_and_the_same_for_storage() {
        for resource in ["https://storage.azure.com/", "https://storage.azure.com"] {
            assert_eq!(service().check(&token(resource), Audience::Storage, NOON), Ok(()), "{resource}");
        }
        let error = service().check(&token("https://batch.core.windows.net"), Audience::Batch, NOON);

        assert!(error.expect_err("refused").0.contains("including the forward slash"));
    }
}
