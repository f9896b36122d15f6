//! The claims of a token, for people who want to know whose it is and what it is for.
//!
//! Nothing is verified here, and nothing may be decided by it: judging a token is up to the service.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use time::OffsetDateTime;

use crate::redact::one_line;

/// Longest claim kept, in characters.
const LONGEST_CLAIM: usize = 200;

/// Claims of a token, not verified. A token that is not a JWT has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// The resource it was issued for (`aud`).
    pub audience: Option<String>,
    /// The directory that issued it (`tid`).
    pub tenant: Option<String>,
    /// The object id of its identity, to which roles are assigned (`oid`).
    pub object_id: Option<String>,
    /// When it expires, according to the answer that contained it.
    pub expires_at: OffsetDateTime,
}

impl TokenClaims {
    /// Reads the payload of a token.
    pub(crate) fn read(token: &str, expires_at: OffsetDateTime) -> Self {
        let payload = jwt_payload(token);
        let claim = |name: &str| Some(one_line(payload.as_ref()?.get(name)?.as_str()?, LONGEST_CLAIM));
        Self { audience: claim("aud"), tenant: claim("tid"), object_id: claim("oid"), expires_at }
    }
}

/// The middle part of a JWT's three parts.
fn jwt_payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use time::macros::datetime;

    use super::*;

    /// A token with this payload.
    pub(crate) fn token_with(payload: &str) -> String {
        format!("eyJhbGciOiJSUzI1NiJ9.{}.SIGNATURE", BASE64_URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn an_opaque_or_odd_token_tells_nothing_but_its_end() {
        let expires_at = datetime!(2026-11-22 12:00:00 UTC);
        let nothing = TokenClaims { audience: None, tenant: None, object_id: None, expires_at };
        for token in ["", "opaque", "a.b.c", "a.%%%.c", &token_with("[]"), &token_with(r#"{"aud":7}"#)] {
            assert_eq!(TokenClaims::read(token, expires_at), nothing, "{token}");
        }
    }

    #[test]
    fn claims_are_read_one_by_one() {
        let claims = TokenClaims::read(
            &token_with(r#"{"aud":["x"],"tid":"t\n-1","oid":"o"}"#),
            datetime!(2026-11-22 12:00:00 UTC),
        );
        assert_eq!(claims.audience, None);
        assert_eq!(claims.tenant.as_deref(), Some("t -1"));
        assert_eq!(claims.object_id.as_deref(), Some("o"));
    }
}
