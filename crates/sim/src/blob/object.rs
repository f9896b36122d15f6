//! Put, Get, Head and Delete Blob.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use time::OffsetDateTime;

use super::blocks;
use super::container::Blob;
use super::content::Content;
use super::errors::BlobError;
use super::routes::{BlobService, empty};
use super::sas::Resource;
use super::store::{Authority, Condition};
use crate::clock::{parse_rfc1123, rfc1123};
use crate::http::{Query, ReplyBody, read_body};
use crate::scenario::{ReadFault, ReadFaultKind};

/// Larger than any log, and small enough for the machine's memory.
const LARGEST_BLOB: usize = 256 << 20;

impl BlobService {
    /// Serves a request for the blob `name`.
    pub(super) async fn blob(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Incoming,
        authority: Authority<'_>,
        (container, name): (&str, &str),
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        match *method {
            Method::PUT => self.put(headers, body, authority, (container, name)).await,
            Method::GET | Method::HEAD => {
                let blob = store.get(authority, container, name)?;
                if *method == Method::HEAD {
                    return read_blob(&blob, headers, true);
                }
                store.ledger.blob_reads.fetch_add(1, Relaxed);
                let fault = store.read_faults.strike(container, name);
                let kind = fault.as_ref().map(|fault| fault.kind);
                if kind == Some(ReadFaultKind::ServerBusy) {
                    return Err(BlobError::busy());
                }
                let response = read_blob(&blob, headers, false)?;
                if kind == Some(ReadFaultKind::Grows) {
                    store.lengthen(container, name)?;
                }
                Ok(apply_read_fault(response, fault.as_ref()))
            }
            Method::DELETE => {
                store.delete(authority, container, name)?;
                store.ledger.probes_deleted.fetch_add(1, Relaxed);
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(BlobError::bad_verb()),
        }
    }

    /// Serves a request for the blocks of a blob.
    pub(super) async fn blocks(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Incoming,
        authority: Authority<'_>,
        of: (&str, &str),
        query: &Query,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        match (method, query.get("comp")) {
            (&Method::PUT, Some("block")) => {
                store.authorize(authority, Resource::Blob(of.0, of.1), &['w', 'c'])?;
                store.container(of.0)?;
                let content = read_body(body, LARGEST_BLOB).await.ok_or(BlobError::too_large())?;
                store.blocks.put(of, query.get("blockid").unwrap_or(""), content)?;
                Ok(empty(StatusCode::CREATED))
            }
            (&Method::PUT, _) => {
                store.authorize(authority, Resource::Blob(of.0, of.1), &['w', 'c'])?;
                let condition = read_condition(headers)?;
                let list = read_body(body, blocks::LARGEST_LIST).await.ok_or(BlobError::too_large())?;
                let content = Content::Joined(store.blocks.commit(of, &list)?);
                let content_type = Arc::from(content_type(headers));
                let blob = store.put(authority, of.0, of.1, content, content_type, condition)?;
                store.ledger.probes_written.fetch_add(1, Relaxed);
                let mut response = empty(StatusCode::CREATED);
                describe_blob(response.headers_mut(), &blob, "content-md5");
                Ok(response)
            }
            (&Method::GET, Some("blocklist")) => {
                store.authorize(authority, Resource::Blob(of.0, of.1), &['r'])?;
                let kind = query.get("blocklisttype").unwrap_or("committed");
                let list = store.blocks.list(of, kind).ok_or(BlobError::no_blob())?;
                let mut response = Response::new(ReplyBody::sized(list));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                Ok(response)
            }
            _ => Err(BlobError::bad_verb()),
        }
    }

    async fn put(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        authority: Authority<'_>,
        (container, name): (&str, &str),
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        let type_is_good = headers.get("x-ms-blob-type").map(|value| value == "BlockBlob");
        let allowed = store.authorize(authority, Resource::Blob(container, name), &['w', 'c']);
        match (allowed, type_is_good) {
            (Err(_), _) | (Ok(()), Some(true)) => {}
            (Ok(()), None) => return Err(BlobError::missing_header()),
            (Ok(()), Some(false)) => return Err(BlobError::bad_header()),
        }
        let condition = read_condition(headers)?;
        let content = read_body(body, LARGEST_BLOB).await.ok_or(BlobError::too_large())?;
        let content_type = Arc::from(content_type(headers));
        let blob = store.put(authority, container, name, Content::Sent(content), content_type, condition)?;
        store.blocks.forget((container, name));
        store.ledger.probes_written.fetch_add(1, Relaxed);
        let mut response = empty(StatusCode::CREATED);
        describe_blob(response.headers_mut(), &blob, "content-md5");
        Ok(response)
    }
}

/// The type that a blob is to have.
fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get("x-ms-blob-content-type")
        .or_else(|| headers.get(header::CONTENT_TYPE))
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/octet-stream")
}

fn read_condition(headers: &HeaderMap) -> Result<Condition, BlobError> {
    if headers.contains_key(header::IF_MATCH) {
        return Err(BlobError::condition_not_met());
    }
    match headers.get(header::IF_NONE_MATCH) {
        None => Ok(Condition::None),
        Some(value) if value == "*" => Ok(Condition::Absent),
        Some(_) => Err(BlobError::bad_header()),
    }
}

/// `ETag`, Last-Modified, and the MD5 under the given header name.
fn describe_blob(headers: &mut HeaderMap, blob: &Blob, md5_name: &'static str) {
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

/// Applies a fault to a good answer.
fn apply_read_fault(response: Response<ReplyBody>, fault: Option<&ReadFault>) -> Response<ReplyBody> {
    let Some(fault) = fault else { return response };
    match fault.kind {
        ReadFaultKind::Truncated | ReadFaultKind::Grows | ReadFaultKind::Stalls => {
            let length = response.body().size_hint().exact();
            let mut response = response.map(ReplyBody::into_broken_off);
            if fault.kind == ReadFaultKind::Stalls {
                response = response.map(|body| body.stalling_for(fault.delay.0));
            }
            // The intended length is known: it was sent before the connection broke.
            if let Some(length) = length {
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            response
        }
        ReadFaultKind::Trickle => {
            let length = response.body().size_hint().exact();
            let mut response = response.map(|body| body.into_trickle(fault.delay.0));
            if let Some(length) = length {
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            response
        }
        ReadFaultKind::Corrupt => response.map(ReplyBody::into_corrupt),
        ReadFaultKind::ServerBusy => response,
    }
}

fn read_blob(blob: &Blob, request: &HeaderMap, head: bool) -> Result<Response<ReplyBody>, BlobError> {
    let wanted = request.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    if wanted.is_some_and(|etag| etag != "*" && etag != blob.etag()) {
        return Err(BlobError::condition_not_met());
    }
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
    describe_blob(headers, blob, if range.is_some() { "x-ms-blob-content-md5" } else { "content-md5" });
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
    // Dates in headers have whole seconds only.
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
