//! Shared Key of storage: signs a request with the account's key. Its layout differs from that of Batch (see
//! `shared_key.rs`): other headers are signed, and the resource repeats the account.

use percent_encoding::percent_decode_str;
use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, IF_UNMODIFIED_SINCE};
use time::OffsetDateTime;
use url::Url;

use crate::http_date;
use crate::request::API_VERSION;
use crate::request::{Request, VERSION};
use crate::sas::SigningKey;

const DATE: HeaderName = HeaderName::from_static("x-ms-date");

/// The request, signed at a time of the service's clock. Storage refuses it a quarter of an hour later.
pub(crate) fn sign_request(
    request: &Request<'_>,
    http: &reqwest::Client,
    key: &SigningKey,
    account: &str,
    now: OffsetDateTime,
) -> RequestBuilder {
    let date = http_date::format(now);
    let signature = key.sign(&string_to_sign(request, account, &date));
    let mut authorization = HeaderValue::try_from(format!("SharedKey {account}:{signature}"))
        .expect("an account's name and Base64 are ASCII");
    authorization.set_sensitive(true);
    request.builder(http).header(DATE, date).header(AUTHORIZATION, authorization)
}

/// Verb, eleven headers, the headers that begin with `x-ms-`, and the resource with its query.
fn string_to_sign(request: &Request<'_>, account: &str, date: &str) -> String {
    let header = |wanted: HeaderName| {
        request.headers.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value)
    };
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let standard = [
        request.method.as_str(),
        "", // Content-Encoding
        "", // Content-Language
        &length,
        "", // Content-MD5
        header(CONTENT_TYPE),
        "", // Date: x-ms-date stands for it
        "", // If-Modified-Since
        "", // If-Match
        "", // If-None-Match
        header(IF_UNMODIFIED_SINCE),
        "", // Range
    ];
    let mut own: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    own.retain(|(name, _)| name.starts_with("x-ms-"));
    let (named_date, named_version) = (DATE, VERSION);
    own.extend([(named_date.as_str(), date), (named_version.as_str(), API_VERSION)]);
    own.sort_unstable();
    let own: Vec<_> = own.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    format!("{}\n{}/{account}{}", standard.join("\n"), own.concat(), signed_resource(&request.url))
}

/// The path as sent, and the query by lower-case name, decoded.
fn signed_resource(url: &Url) -> String {
    let mut params: Vec<(String, String)> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            (name.to_lowercase(), percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
        .collect();
    params.sort_unstable();
    let params: Vec<_> = params.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
    format!("{}{}", url.path(), params.concat())
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use time::macros::datetime;

    use super::*;
    use crate::http::http_client;

    #[test]
    fn what_is_signed_has_the_layout_of_the_documentation() {
        let public = HeaderName::from_static("x-ms-blob-public-access");
        let request = Request {
            method: Method::PUT,
            url: Url::parse("http://127.0.0.1:10000/acct/logs?restype=container&comp=acl").unwrap(),
            headers: &[
                (CONTENT_TYPE, "application/xml"),
                (public, "blob"),
                (IF_UNMODIFIED_SINCE, "Wed, 01 Jan 2025 12:00:00 GMT"),
            ],
            body: "<a/>".to_owned(),
        };
        assert_eq!(
            string_to_sign(&request, "acct", "Thu, 02 Jan 2025 12:00:00 GMT"),
            format!(
                "PUT\n\n\n4\n\napplication/xml\n\n\n\n\nWed, 01 Jan 2025 12:00:00 GMT\n\n\
                 x-ms-blob-public-access:blob\nx-ms-date:Thu, 02 Jan 2025 12:00:00 GMT\nx-ms-version:{API_VERSION}\n\
                 /acct/acct/logs\ncomp:acl\nrestype:container"
            )
        );
    }

    #[test]
    fn no_length_is_signed_of_an_empty_body_and_neither_key_nor_signature_shows() {
        let url = Url::parse("https://acct.blob.core.windows.net/logs?restype=container&comp=acl").unwrap();
        let request = Request { method: Method::GET, url, headers: &[], body: String::new() };
        let text = string_to_sign(&request, "acct", "DATE");
        assert!(text.starts_with("GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:DATE\n"), "{text}");
        assert!(text.ends_with("\n/acct/logs\ncomp:acl\nrestype:container"), "{text}");
        let key = SigningKey::from_base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let now = datetime!(2025-01-02 12:00:00 UTC);
        let signed = sign_request(&request, &http_client(1).unwrap(), &key, "acct", now).build().unwrap();
        assert_eq!(format!("{:?}", signed.headers()[AUTHORIZATION]), "Sensitive");
    }
}
