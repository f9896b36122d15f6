//! Shared Key of storage: the text to sign. It has other headers than with Batch, and repeats the account.

use hyper::Method;
use hyper::header::HeaderMap;
use time::{Duration, OffsetDateTime};

use super::errors::BlobError;
use super::sas::Keys;
use crate::clock::parse_rfc1123;
use crate::http::Query;

/// How far the clock of the signer may be off.
const SKEW: Duration = Duration::minutes(15);

/// Checks the value of an Authorization header that begins with `SharedKey `.
pub(super) fn check(
    value: &str,
    keys: &Keys,
    (method, path, query): (&Method, &str, &Query),
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<(), BlobError> {
    let refused = |detail: &str| Err(BlobError::authentication(detail));
    let Some((account, signature)) = value.strip_prefix("SharedKey ").and_then(|rest| rest.split_once(':'))
    else {
        return refused("The Authorization header is not SharedKey account:signature.");
    };
    if account != keys.account {
        return refused("The Authorization header names another account.");
    }
    let date = header(headers, "x-ms-date").or_else(|| header(headers, "date")).and_then(parse_rfc1123);
    match date {
        None => return refused("Neither x-ms-date nor Date holds a date."),
        Some(date) if (date - now).abs() > SKEW => {
            return refused("Request date header too old or too far in the future.");
        }
        Some(_) => {}
    }
    let text = string_to_sign(method, headers, account, path, query);
    if keys.key.verify(&text, signature) {
        return Ok(());
    }
    refused(&format!(
        "The MAC signature found in the HTTP request is not the same as any computed signature. \
                      Server used following string to sign: '{}'.",
        text.replace('\n', "\\n")
    ))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn string_to_sign(method: &Method, headers: &HeaderMap, account: &str, path: &str, query: &Query) -> String {
    let mut text = method.as_str().to_owned();
    for name in [
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "date",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range",
    ] {
        let value = header(headers, name).unwrap_or("");
        let unsigned = (name == "content-length" && value == "0")
            || (name == "date" && headers.contains_key("x-ms-date"));
        text.push('\n');
        text.push_str(if unsigned { "" } else { value });
    }
    text.push('\n');
    let mut own: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-")).collect();
    own.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in own {
        text.push_str(name.as_str());
        text.push(':');
        text.push_str(value.to_str().unwrap_or("").trim());
        text.push('\n');
    }
    text.push('/');
    text.push_str(account);
    text.push_str(path);
    for (name, value) in query.sorted() {
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
    use hyper::header::HeaderValue;

    /// The example of the documentation, for its account and container.
    #[test]
    fn the_documented_example_has_its_text() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-date", HeaderValue::from_static("Fri, 26 Jun 2015 23:39:12 GMT"));
        headers.insert("x-ms-version", HeaderValue::from_static("2015-02-21"));
        headers.insert("content-length", HeaderValue::from_static("0"));
        let query = Query::parse("restype=container&comp=metadata&timeout=20");
        assert_eq!(
            string_to_sign(&Method::GET, &headers, "myaccount", "/mycontainer", &query),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }
}
