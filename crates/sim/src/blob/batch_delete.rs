//! Blob Batch: up to 256 deletions in one request, each with its own authorization and its own answer.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use uuid::Uuid;

use super::errors::BlobError;
use super::routes::BlobService;
use super::sas::{Resource, Sas};
use super::store::Authority;
use crate::http::{Query, ReplyBody, decode, read_body};

/// The largest body of such a request.
const LARGEST_BATCH: usize = 4 << 20;
const MOST: usize = 256;

impl BlobService {
    /// Serves a batch for one container, or for any container of the account.
    pub(super) async fn batch(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        (authority, from): (Authority<'_>, IpAddr),
        container: Option<&str>,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let resource = container.map_or(Resource::Service, Resource::Container);
        self.world.store.authorize(authority, resource, &['d'])?;
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let boundary = kind.strip_prefix("multipart/mixed").and_then(|rest| rest.split_once("boundary="));
        let (_, boundary) = boundary.ok_or(BlobError::bad_header())?;
        let body = read_body(body, LARGEST_BATCH).await.ok_or(BlobError::too_large())?;
        let text = std::str::from_utf8(&body).map_err(|_| BlobError::bad_input())?;
        let delimiter = format!("--{}", boundary.trim_matches('"'));
        let parts: Vec<&str> =
            text.split(&delimiter).skip(1).take_while(|part| !part.starts_with("--")).collect();
        if parts.is_empty() || parts.len() > MOST {
            return Err(BlobError::bad_input());
        }
        let answers = format!("batchresponse_{}", Uuid::new_v4());
        let mut out = String::new();
        for part in parts {
            let (about, request) = part.trim_start().split_once("\r\n\r\n").ok_or(BlobError::bad_input())?;
            let id = about.lines().find_map(|line| line.strip_prefix("Content-ID: ")).unwrap_or("0");
            let answer = match self.delete_one(request, from, container) {
                Ok(()) => "HTTP/1.1 202 Accepted\r\n\r\n".to_owned(),
                Err(error) => {
                    let BlobError { status, code, message, .. } = error;
                    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
                    format!(
                        "HTTP/1.1 {status}\r\nx-ms-error-code: {code}\r\nContent-Length: {}\r\nContent-Type: \
                         application/xml\r\n\r\n{body}",
                        body.len()
                    )
                }
            };
            let written = write!(
                out,
                "--{answers}\r\nContent-Type: application/http\r\nContent-ID: {}\r\n\r\n{answer}\r\n",
                id.trim()
            );
            debug_assert!(written.is_ok(), "writing to a String does not fail");
        }
        let mut response = Response::new(ReplyBody::sized(format!("{out}--{answers}--\r\n")));
        *response.status_mut() = StatusCode::ACCEPTED;
        if let Ok(kind) = HeaderValue::try_from(format!("multipart/mixed; boundary={answers}")) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }

    /// One `DELETE /{container}/{blob}` with its headers; the account may be in front.
    fn delete_one(&self, request: &str, from: IpAddr, only: Option<&str>) -> Result<(), BlobError> {
        let store = &self.world.store;
        let mut lines = request.lines();
        let line = lines.next().unwrap_or("");
        let url = line.strip_prefix("DELETE ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        let url = url.ok_or(BlobError::bad_input())?;
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = Query::parse(query);
        let headers: HeaderMap = lines
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?)))
            .collect();
        let sas = Sas::find(&query);
        let authority = match &sas {
            Some(sas) => Authority::Sas(sas, from),
            None => self.credential(&Method::DELETE, path, &query, &headers)?,
        };
        let account = format!("/{}/", store.keys.account);
        let rest = path.strip_prefix(&account).or_else(|| path.strip_prefix('/')).unwrap_or(path);
        let (container, blob) = rest.split_once('/').ok_or(BlobError::no_resource())?;
        let (container, blob) = (decode(container), decode(blob));
        if only.is_some_and(|only| only != container) {
            return Err(BlobError::bad_input());
        }
        store.delete(authority, &container, &blob)?;
        store.ledger.probes_deleted.fetch_add(1, Relaxed);
        Ok(())
    }
}
