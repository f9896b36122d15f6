//! Shared Key: signs a request with the account's key.
//!
//! The layout of the text to sign follows the two signers that Microsoft ships, which differ from the documentation:
//! the newline is before each query parameter, and there is none at the end.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use fleetlogs_model::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderValue;
use sha2::Sha256;

use crate::account_key::{BASE64, InvalidKey, key_bytes};

/// Length of a SHA-256 in Base64.
const SIGNATURE_LENGTH: usize = 44;

/// A Batch account's name and key, ready to sign.
#[derive(Clone)]
pub struct SharedKey {
    account: Box<str>,
    /// Initialized with the key; every signature begins with a copy of it.
    keyed: Hmac<Sha256>,
}

/// The text is not an account key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSharedKey {
    /// The key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The name of an account consists of letters and digits.
    #[error("the name of a Batch account must consist of letters and digits")]
    AccountName,
}

/// The parts of a request that are signed.
pub(crate) struct SignedParts<'a> {
    /// In upper case.
    pub(crate) method: &'a str,
    /// Length of the body; none for a request without one.
    pub(crate) content_length: Option<usize>,
    /// Exactly the header's value; empty without a body.
    pub(crate) content_type: &'a str,
    /// Exactly the header's value.
    pub(crate) ocp_date: &'a str,
    /// As sent, percent-encoded.
    pub(crate) path: &'a str,
    /// From [`canonical_query`].
    pub(crate) query: &'a [u8],
}

impl SharedKey {
    /// Takes the name of an account and one of its keys, in Base64.
    pub fn new(account: &str, key: &Secret) -> Result<Self, InvalidSharedKey> {
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidSharedKey::AccountName);
        }
        let key = key_bytes(key.expose())?;
        let keyed = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Ok(Self { account: account.into(), keyed })
    }

    /// The value of the `authorization` header; it is hidden in debug output.
    pub(crate) fn authorization(&self, request: &SignedParts<'_>) -> HeaderValue {
        const HEAD: &str = "SharedKey ";
        let mut value = String::with_capacity(HEAD.len() + self.account.len() + 1 + SIGNATURE_LENGTH);
        value.push_str(HEAD);
        value.push_str(&self.account);
        value.push(':');
        BASE64.encode_string(self.signature(request), &mut value);
        let mut value = HeaderValue::try_from(value).expect("a name of letters and digits, and Base64");
        value.set_sensitive(true);
        value
    }

    /// Feeds the hash piece by piece, so that the string-to-sign is never assembled.
    fn signature(&self, request: &SignedParts<'_>) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(request.method.as_bytes());
        // Content-Encoding, Content-Language: never sent.
        mac.update(b"\n\n\n");
        if let Some(length) = request.content_length {
            let mut digits = [0; 20];
            mac.update(decimal(length, &mut digits));
        }
        // Content-MD5: never sent.
        mac.update(b"\n\n");
        mac.update(request.content_type.as_bytes());
        // Date (replaced by ocp-date), four conditions and Range: never sent.
        mac.update(b"\n\n\n\n\n\n\nocp-date:");
        mac.update(request.ocp_date.as_bytes());
        mac.update(b"\n/");
        mac.update(self.account.as_bytes());
        mac.update(request.path.as_bytes());
        mac.update(request.query);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({}, <redacted>)", self.account)
    }
}

/// A query in the form that is signed: parameters by lower-case name, sorted, with decoded values.
///
/// A `+` stays a `+`. Whether the service decodes it as a space is unknown; no link with one was ever seen.
pub(crate) fn canonical_query(query: &str) -> Vec<u8> {
    let mut params: Vec<(String, Cow<'_, [u8]>)> = query
        .split('&')
        .filter(|param| !param.is_empty())
        .map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            let name = percent_decode_str(name).decode_utf8_lossy().to_lowercase();
            (name, percent_decode_str(value).into())
        })
        .collect();
    params.sort_by(|left, right| left.0.cmp(&right.0));
    let mut canonical = Vec::with_capacity(query.len() + params.len());
    for (name, value) in &params {
        canonical.push(b'\n');
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        canonical.extend_from_slice(value);
    }
    canonical
}

/// A number in decimal, without an allocation.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key bytes are `0123456789abcdef` twice: plainly not a real key.
    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn sign(key: &SharedKey, request: &SignedParts<'_>) -> String {
        key.authorization(request).to_str().unwrap().to_owned()
    }

    fn key() -> SharedKey {
        SharedKey::new("myaccount", &Secret::new(KEY.into())).unwrap()
    }

    #[test]
    fn a_list_is_signed_like_the_worked_example() {
        let request = SignedParts {
            method: "GET",
            content_length: None,
            content_type: "",
            ocp_date: "Wed, 01 Jan 2025 12:00:00 GMT",
            path: "/pools/pool1/nodes",
            query: &canonical_query("api-version=2024-07-01.20.0&maxresults=1000&$select=id,state"),
        };
        assert_eq!(
            sign(&key(), &request),
            "SharedKey myaccount:C0uk/SkqK0/XAVnBdvb327lHfHobOqO/8z6z45OPICo="
        );
    }

    #[test]
    fn an_upload_is_signed_like_the_worked_example() {
        let request = SignedParts {
            method: "POST",
            content_length: Some(169),
            content_type: "application/json; odata=minimalmetadata",
            ocp_date: "Wed, 01 Jan 2025 12:00:00 GMT",
            path: "/pools/pool1/nodes/tvmps_0123_d/uploadbatchservicelogs",
            query: &canonical_query("api-version=2024-07-01.20.0&timeout=30"),
        };
        assert_eq!(
            sign(&key(), &request),
            "SharedKey myaccount:U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4="
        );
    }

    /// Batch Explorer's own test signs lower-case verbs; therefore its GETs have `0` as length. No client sends such
    /// a request; the vectors check the rest of the layout.
    #[test]
    fn the_published_vectors_match() {
        let key = SharedKey::new("testaccount", &Secret::new("somekey=".into())).unwrap();
        let vectors = [
            ("get", 0, "", "/", "", "JicngYEjSUNCXiXY9NCLQnOX9lQsaKXEamO4aL+UNjY="),
            ("get", 0, "", "/", "api-version=2018-08-01", "d6XpT6+i15AMviEHZJxmSvH6KMkrHwI/k9+z+xmJxPc="),
            ("post", 13, "", "/pools", "", "GgI/PPSZVqHRx3U4A+QbkXY0FdMv/2bUzxfBI5c2x+s="),
        ];
        for (method, length, content_type, path, query, expected) in vectors {
            let request = SignedParts {
                method,
                content_length: Some(length),
                content_type,
                ocp_date: "Fri, 05 Oct 2018 09:05:06 GMT",
                path,
                query: &canonical_query(query),
            };
            assert_eq!(
                sign(&key, &request),
                format!("SharedKey testaccount:{expected}"),
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn a_skip_token_is_signed_decoded_and_parameters_are_sorted_by_lower_case_name() {
        let query = canonical_query("maxResults=1&api-version=v&$skiptoken=WATV2:a/^m%5E%3D0:1$1");
        assert_eq!(query, b"\n$skiptoken:WATV2:a/^m^=0:1$1\napi-version:v\nmaxresults:1");
    }

    #[test]
    fn neither_key_nor_signature_shows_in_debug_output() {
        let request = SignedParts {
            method: "GET",
            content_length: None,
            content_type: "",
            ocp_date: "",
            path: "/",
            query: b"",
        };
        assert_eq!(format!("{:?}", key().authorization(&request)), "Sensitive");
        assert_eq!(format!("{:?}", key()), "SharedKey(myaccount, <redacted>)");
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let refused = |account, text: &str| SharedKey::new(account, &Secret::new(text.into())).unwrap_err();
        assert_eq!(refused("contoso", "hunter2!"), InvalidSharedKey::Key(InvalidKey::NotBase64));
        assert_eq!(refused("contoso", " "), InvalidSharedKey::Key(InvalidKey::Empty));
        assert_eq!(refused("contoso\n", KEY), InvalidSharedKey::AccountName);
    }
}
