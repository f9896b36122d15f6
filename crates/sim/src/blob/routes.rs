//! The HTTP side of the Blob service: Put, Get, Head and Delete Blob, and List Blobs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use time::OffsetDateTime;
use uuid::Uuid;

use super::content::Content;
use super::errors::BlobError;
use super::listing;
use super::sas::Sas;
use super::store::{Authority, Blob, Condition};
use crate::clock::{parse_rfc1123, rfc1123};
use crate::http::{Answer, Query, ReplyBody, Service, decode, read_body};
use crate::world::World;

/// Larger than any log, small enough not to hurt the machine.
const LARGEST_BLOB: usize = 256 << 20;

/// Answers the port of the storage account.
pub(crate) struct BlobService {
    pub(crate) world: Arc<World>,
}

/// Where a request is aimed at: `/{account}/{container}[/{blob}]`.
struct Target {
    container: String,
    blob: Option<String>,
}

impl Target {
    fn parse(path: &str, account: &str) -> Option<Self> {
        let rest = path.strip_prefix('/')?.strip_prefix(account)?.strip_prefix('/')?;
        let (container, blob) = rest.split_once('/').map_or((rest, None), |(c, b)| (c, Some(b)));
        let blob = blob.filter(|blob| !blob.is_empty()).map(|blob| decode(blob).into_owned());
        (!container.is_empty()).then(|| Self { container: decode(container).into_owned(), blob })
    }
}

impl Service for BlobService {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if let Some(answer) = crate::control::answer(&self.world, &request) {
            return Ok(answer);
        }
        let request_id = Uuid::new_v4().to_string();
        let mut response = match self.route(request).await {
            Ok(response) => response,
            Err(error) => error_response(&error, &request_id),
        };
        let headers = response.headers_mut();
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            headers.insert("x-ms-request-id", request_id);
        }
        headers.insert("x-ms-version", HeaderValue::from_static("2022-11-02"));
        headers
            .insert(header::SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"));
        Ok(response)
    }
}

impl BlobService {
    async fn route(&self, request: Request<Incoming>) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        let (parts, body) = request.into_parts();
        let authorization = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if authorization
            .is_some_and(|value| value.starts_with(b"SharedKey ") || value.starts_with(b"Bearer "))
        {
            // The only credentials about are those for Batch: somebody carried one to a foreign port.
            store.ledger.credentials_leaked.fetch_add(1, Relaxed);
        }
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let target = Target::parse(parts.uri.path(), &store.account).ok_or(BlobError::no_resource())?;
        let sas = Sas::find(&query);
        let authority = match (&sas, authorization) {
            (Some(sas), _) => Authority::Sas(sas),
            (None, Some(_)) => Authority::Header,
            (None, None) => Authority::None,
        };
        let Target { container, blob } = target;
        let Some(blob) = blob else {
            return self.container(&parts.method, authority, &container, &query);
        };
        if query.get("comp").is_some() {
            return Err(BlobError::bad_query());
        }
        match parts.method {
            Method::PUT => {
                let type_is_good = parts.headers.get("x-ms-blob-type").map(|value| value == "BlockBlob");
                let allowed = store.authorize(authority, &container, Some(&blob), &['w', 'c']);
                match (allowed, type_is_good) {
                    (Err(_), _) | (Ok(()), Some(true)) => {}
                    (Ok(()), None) => return Err(BlobError::missing_header()),
                    (Ok(()), Some(false)) => return Err(BlobError::bad_header()),
                }
                let condition = condition(&parts.headers)?;
                let content_type = parts
                    .headers
                    .get("x-ms-blob-content-type")
                    .or_else(|| parts.headers.get(header::CONTENT_TYPE))
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("application/octet-stream");
                let content = read_body(body, LARGEST_BLOB).await.ok_or(BlobError::too_large())?;
                let content_type = Arc::from(content_type);
                let blob = store.put(
                    authority,
                    &container,
                    &blob,
                    Content::Sent(content),
                    content_type,
                    condition,
                )?;
                let mut response = empty(StatusCode::CREATED);
                describe(response.headers_mut(), &blob, "content-md5");
                Ok(response)
            }
            Method::GET | Method::HEAD => {
                let blob = store.get(authority, &container, &blob)?;
                read(&blob, &parts.headers, parts.method == Method::HEAD)
            }
            Method::DELETE => {
                store.delete(authority, &container, &blob)?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(BlobError::bad_verb()),
        }
    }

    fn container(
        &self,
        method: &Method,
        authority: Authority<'_>,
        container: &str,
        query: &Query,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        let lists = query.get("comp") == Some("list") && query.get("restype") == Some("container");
        if *method != Method::GET || !lists {
            // A service SAS cannot look at the container itself, nor make or delete it.
            store.authorize(authority, container, None, &[])?;
            return Err(BlobError::bad_verb());
        }
        store.ledger.list_calls.fetch_add(1, Relaxed);
        store.authorize(authority, container, None, &['l'])?;
        let endpoint = self.world.ready().storage.endpoint.as_str();
        let xml = listing::list(store, endpoint, query)?;
        let mut response = Response::new(ReplyBody::chunked(xml));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        Ok(response)
    }
}

fn condition(headers: &HeaderMap) -> Result<Condition, BlobError> {
    if headers.contains_key(header::IF_MATCH) {
        return Err(BlobError::condition_not_met());
    }
    match headers.get(header::IF_NONE_MATCH) {
        None => Ok(Condition::None),
        Some(value) if value == "*" => Ok(Condition::Absent),
        Some(_) => Err(BlobError::bad_header()),
    }
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::sized(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// `ETag`, Last-Modified and the MD5 under the given name.
fn describe(headers: &mut HeaderMap, blob: &Blob, md5_name: &'static str) {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("etag", &blob.etag());
    put("last-modified", &rfc1123(blob.modified));
    if let Some(md5) = blob.md5 {
        put(md5_name, &BASE64_STANDARD.encode(md5));
    }
}

fn read(blob: &Blob, request: &HeaderMap, head: bool) -> Result<Response<ReplyBody>, BlobError> {
    if unchanged_since(blob, request) {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    let range = request.get("x-ms-range").or_else(|| request.get(header::RANGE));
    let range = match range.and_then(|value| value.to_str().ok()) {
        Some(text) if !head => Some(parse_range(text, blob.content.len()).ok_or(BlobError::bad_range())?),
        _ => None,
    };
    let bytes = if head { Bytes::new() } else { blob.content.bytes() };
    let mut response = match range {
        None => Response::new(ReplyBody::sized(bytes)),
        Some((first, last)) => {
            let mut response = Response::new(ReplyBody::sized(bytes.slice(first..=last)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response
        }
    };
    let headers = response.headers_mut();
    describe(headers, blob, if range.is_some() { "x-ms-blob-content-md5" } else { "content-md5" });
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
    if head {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(blob.content.len()));
    }
    if let Ok(value) = HeaderValue::from_str(&blob.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&rfc1123(blob.created)) {
        headers.insert("x-ms-creation-time", value);
    }
    if let Some((first, last)) = range
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{}", blob.content.len()))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

fn unchanged_since(blob: &Blob, request: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| request.get(name).and_then(|value| value.to_str().ok());
    let since = text(header::IF_MODIFIED_SINCE).and_then(parse_rfc1123);
    // Header dates have whole seconds only.
    let modified = blob.modified.replace_nanosecond(0).unwrap_or(blob.modified);
    text(header::IF_NONE_MATCH) == Some(&blob.etag())
        || since.is_some_and(|since: OffsetDateTime| modified <= since)
}

/// `bytes=a-b` or `bytes=a-` as first and last byte.
fn parse_range(text: &str, length: u64) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if first >= length || last < first {
        return None;
    }
    Some((usize::try_from(first).ok()?, usize::try_from(last.min(length - 1)).ok()?))
}

fn error_response(error: &BlobError, request_id: &str) -> Response<ReplyBody> {
    let mut xml = String::from("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>");
    xml.push_str(error.code);
    xml.push_str("</Code><Message>");
    listing::escape(&mut xml, error.message);
    xml.push_str("\nRequestId:");
    xml.push_str(request_id);
    xml.push_str("\nTime:");
    xml.push_str(&crate::clock::batch_time(OffsetDateTime::now_utc()));
    xml.push_str("</Message>");
    if let Some(detail) = &error.detail {
        xml.push_str("<AuthenticationErrorDetail>");
        listing::escape(&mut xml, detail);
        xml.push_str("</AuthenticationErrorDetail>");
    }
    xml.push_str("</Error>");
    let mut response = Response::new(ReplyBody::sized(xml));
    *response.status_mut() = error.status;
    let headers = response.headers_mut();
    headers.insert("x-ms-error-code", HeaderValue::from_static(error.code));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}
