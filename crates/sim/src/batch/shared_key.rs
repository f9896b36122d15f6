//! Shared Key of Batch: the text to sign.

use hyper::HeaderMap;

/// The text to sign: verb, eleven headers, the `ocp-` headers, and the resource with its query, sorted.
pub(super) fn string_to_sign(
    verb: &str,
    headers: &HeaderMap,
    account: &str,
    path: &str,
    query: &[(&str, &str)],
) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut text = String::with_capacity(512);
    text.push_str(verb);
    for name in ["content-encoding", "content-language", "content-length", "content-md5", "content-type"] {
        text.push('\n');
        text.push_str(header(name));
    }
    text.push('\n');
    if !headers.contains_key("ocp-date") {
        text.push_str(header("date"));
    }
    for name in ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"] {
        text.push('\n');
        text.push_str(header(name));
    }
    text.push('\n');
    let mut ocp: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().starts_with("ocp-")).collect();
    ocp.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in ocp {
        text.push_str(name.as_str());
        text.push(':');
        text.push_str(value.to_str().unwrap_or("").trim());
        text.push('\n');
    }
    text.push('/');
    text.push_str(account);
    text.push_str(path);
    for (name, value) in query {
        text.push('\n');
        text.push_str(name);
        text.push(':');
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Query;
    use crate::signing_key::SigningKey;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn demo_key() -> SigningKey {
        SigningKey::new(b"0123456789abcdef0123456789abcdef").expect("any length is a key")
    }

    #[test]
    fn the_worked_get_has_the_text_and_signature_of_the_reference() {
        let headers =
            headers(&[("ocp-date", "Wed, 01 Jan 2025 12:00:00 GMT"), ("accept", "application/json")]);
        let query = Query::parse("api-version=2024-07-01.20.0&maxresults=1000&$select=id,state");

        let text = string_to_sign("GET", &headers, "myaccount", "/pools/pool1/nodes", &query.sorted());

        assert_eq!(
            text,
            "GET\n\n\n\n\n\n\n\n\n\n\n\nocp-date:Wed, 01 Jan 2025 12:00:00 GMT\n/myaccount/pools/pool1/nodes\n\
             $select:id,state\napi-version:2024-07-01.20.0\nmaxresults:1000"
        );
        assert_eq!(demo_key().sign(&text), "C0uk/SkqK0/XAVnBdvb327lHfHobOqO/8z6z45OPICo=");
    }

    #[test]
    fn the_worked_post_has_the_signature_of_the_reference() {
        let headers = headers(&[
            ("ocp-date", "Wed, 01 Jan 2025 12:00:00 GMT"),
            ("content-length", "169"),
            ("content-type", "application/json; odata=minimalmetadata"),
        ]);
        let query = Query::parse("api-version=2024-07-01.20.0&timeout=30");
        let path = "/pools/pool1/nodes/tvmps_0123_d/uploadbatchservicelogs";

        let text = string_to_sign("POST", &headers, "myaccount", path, &query.sorted());

        assert_eq!(demo_key().sign(&text), "U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4=");
        assert!(demo_key().verify(&text, "U3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4="));
        assert!(!demo_key().verify(&text, "V3fMjMlgLHo/As1rxpbNRANd/PZca3/eckuVKasf6B4="));
    }

    #[test]
    fn the_published_vectors_come_out_the_same() {
        // They sign verbs in lower case; therefore a GET has a length of 0.
        // The bytes of the key text `somekey=`, whose last bits a strict Base64 decoder refuses.
        let key = SigningKey::new(b"\xb2\x89\x9e\x91\xec").expect("any length is a key");
        let date = ("ocp-date", "Fri, 05 Oct 2018 09:05:06 GMT");
        for (verb, length, path, query, signature) in [
            ("get", "0", "/", "", "JicngYEjSUNCXiXY9NCLQnOX9lQsaKXEamO4aL+UNjY="),
            ("get", "0", "/", "api-version=2018-08-01", "d6XpT6+i15AMviEHZJxmSvH6KMkrHwI/k9+z+xmJxPc="),
            ("post", "13", "/pools", "", "GgI/PPSZVqHRx3U4A+QbkXY0FdMv/2bUzxfBI5c2x+s="),
        ] {
            let text = string_to_sign(
                verb,
                &headers(&[date, ("content-length", length)]),
                "testaccount",
                path,
                &Query::parse(query).sorted(),
            );

            assert_eq!(key.sign(&text), signature, "{verb} {path}");
        }
    }

    #[test]
    fn without_ocp_date_the_date_is_signed_in_its_own_line() {
        let headers = headers(&[("date", "Wed, 01 Jan 2025 12:00:00 GMT")]);

        let text = string_to_sign("GET", &headers, "a", "/pools", &[]);

        assert_eq!(text, "GET\n\n\n\n\n\nWed, 01 Jan 2025 12:00:00 GMT\n\n\n\n\n\n/a/pools");
    }
}
