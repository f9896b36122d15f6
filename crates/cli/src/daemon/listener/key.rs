//! The secret that authenticates a sender of alerts.

use fleetlogs_model::secret::Secret;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The secret, as a digest. Digests have one length, so a comparison takes the same time whatever a sender tries.
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose().as_bytes()).into())
    }

    /// Whether a request has the secret: as `Authorization: Bearer SECRET`, or as `code=SECRET` in the query, because
    /// action groups cannot set headers.
    pub(super) fn is_known(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes().to_vec())
        });
        // A `+` stays a plus: it occurs in Base64, and senders forget to encode it.
        let code = || {
            let mut pairs = query?.split('&');
            pairs.find_map(|pair| Some(percent_decode_str(pair.strip_prefix("code=")?).collect()))
        };
        bearer.or_else(code).is_some_and(|given| self.is(&given))
    }

    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_taken_from_header_or_query() {
        let key = Key::new(&Secret::new("not+a/secret=".into()));
        let known = |authorization: Option<&'static str>, query| {
            let mut headers = HeaderMap::new();
            headers.extend(authorization.map(|value| (AUTHORIZATION, value.parse().unwrap())));
            key.is_known(&headers, query)
        };
        assert!(known(Some("Bearer not+a/secret="), None));
        assert!(known(Some("bearer  not+a/secret="), None));
        assert!(known(None, Some("code=not+a/secret=")));
        assert!(known(None, Some("a=b&code=not%2Ba%2Fsecret%3D")));
        assert!(!known(None, None));
        assert!(!known(None, Some("code=")));
        assert!(!known(None, Some("code=not+a/secret")));
        assert!(!known(None, Some("xcode=not+a/secret=")));
        assert!(!known(Some("Basic not+a/secret="), None));
        // What stands in the header counts.
        assert!(!known(Some("Bearer wrong"), Some("code=not+a/secret=")));
    }
}
