//! The HTTP side of the Blob service: what a request is for, how it is authorized, and the form of errors.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use time::OffsetDateTime;
use uuid::Uuid;

use super::errors::BlobError;
use super::sas::Sas;
use super::shared_key;
use super::store::Authority;
use super::xml::escape;
use crate::clock::rfc1123;
use crate::echo::{credential, echo, signature};
use crate::http::{Answer, Peer, Query, ReplyBody, Service, decode};
use crate::identity::Audience;
use crate::scenario::{StorageFault, StorageFaultKind, StorageOperation};
use crate::world::World;

/// The first version that accepts tokens; a request that names no version counts as older.
const FIRST_WITH_TOKENS: &str = "2017-11-09";

/// Answers the port of the storage account.
pub(crate) struct BlobService {
    pub(crate) world: Arc<World>,
}

/// The resource of a request: `/{account}[/{container}[/{blob}]]`.
enum RequestPath {
    Service,
    Container(String),
    Blob(String, String),
}

impl RequestPath {
    fn parse(path: &str, account: &str) -> Option<Self> {
        let rest = path.strip_prefix('/')?.strip_prefix(account)?;
        if matches!(rest, "" | "/") {
            return Some(Self::Service);
        }
        let own = |text: &str| decode(text).into_owned();
        match rest.strip_prefix('/')?.split_once('/') {
            _ if rest.starts_with("//") => None,
            None | Some((_, "")) => Some(Self::Container(own(rest.trim_matches('/')))),
            Some((container, blob)) => Some(Self::Blob(own(container), own(blob))),
        }
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
            Err(error) => self.error_response(&error, &request_id),
        };
        let headers = response.headers_mut();
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            headers.insert("x-ms-request-id", request_id);
        }
        headers.insert("x-ms-version", HeaderValue::from_static("2022-11-02"));
        headers
            .insert(header::SERVER, HeaderValue::from_static("Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"));
        if let Ok(date) = HeaderValue::try_from(rfc1123(self.world.store.now())) {
            headers.insert(header::DATE, date);
        }
        Ok(response)
    }
}

impl BlobService {
    async fn route(&self, request: Request<Incoming>) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        let (parts, body) = request.into_parts();
        self.notice_credentials(&parts.headers);
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let target =
            RequestPath::parse(parts.uri.path(), &store.keys.account).ok_or(BlobError::no_resource())?;
        let sas = Sas::find(&query);
        let from = parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| *address);
        let authority = match &sas {
            Some(sas) => Authority::Sas(sas, from),
            None => self.credential(&parts.method, parts.uri.path(), &query, &parts.headers)?,
        };
        let (method, headers) = (&parts.method, &parts.headers);
        let fault = self.fault(&target, method, &query);
        if let Some(fault) = &fault {
            go_wrong(fault, &parts.uri, headers).await?;
        }
        let batch = *method == Method::POST && query.get("comp") == Some("batch");
        match target {
            RequestPath::Service if batch => self.batch(headers, body, (authority, from), None).await,
            RequestPath::Container(name) if batch => {
                self.batch(headers, body, (authority, from), Some(&name)).await
            }
            RequestPath::Service => self.service(method, headers, body, authority, &query).await,
            RequestPath::Container(name) if query.get("comp") == Some("acl") => {
                self.acl(method, headers, body, authority, &name).await
            }
            RequestPath::Container(name) => {
                self.container(method, headers, authority, (&name, fault.as_ref()), &query)
            }
            RequestPath::Blob(container, blob) => match query.get("comp") {
                Some("block" | "blocklist") => {
                    self.blocks(method, headers, body, authority, (&container, &blob), &query).await
                }
                Some(_) => Err(BlobError::bad_query()),
                None => {
                    let mut response =
                        self.blob(method, headers, body, authority, (&container, &blob)).await?;
                    if let Some(sas) = sas.as_ref().filter(|_| matches!(*method, Method::GET | Method::HEAD))
                    {
                        sas.give_headers(response.headers_mut());
                    }
                    Ok(response)
                }
            },
        }
    }

    /// The fault that applies to the request, if any.
    fn fault(&self, target: &RequestPath, method: &Method, query: &Query) -> Option<StorageFault> {
        let (operation, name) = match (target, method) {
            (RequestPath::Container(_), &Method::GET) if query.get("comp") == Some("list") => {
                (StorageOperation::List, query.get("prefix").unwrap_or(""))
            }
            (RequestPath::Blob(_, name), &Method::GET | &Method::HEAD) => {
                (StorageOperation::Read, name.as_str())
            }
            (RequestPath::Blob(_, name), &Method::PUT) => (StorageOperation::Write, name.as_str()),
            _ => return None,
        };
        self.world.store.strike(operation, name)
    }

    /// Counts credentials that are not for storage: a client sent one to the wrong port.
    fn notice_credentials(&self, headers: &HeaderMap) {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return };
        let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let foreign = match token {
            Some(token) => !self.world.tokens.is_for(token.trim(), Audience::Storage),
            None => match value.to_str().ok().and_then(|text| text.strip_prefix("SharedKey ")) {
                Some(rest) => !rest.starts_with(&format!("{}:", self.world.store.keys.account)),
                None => false,
            },
        };
        if foreign {
            self.world.store.ledger.credentials_leaked.fetch_add(1, Relaxed);
        }
    }

    /// The authority that the Authorization header gives.
    pub(super) fn credential(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Authority<'static>, BlobError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Authority::None) };
        let text = value.to_str().unwrap_or("");
        let Some(token) = text.strip_prefix("Bearer ") else {
            let now = self.world.store.now();
            shared_key::check(text, &self.world.store.keys, (method, path, query), headers, now)?;
            return Ok(Authority::Key);
        };
        if version(headers).is_none_or(|version| version < FIRST_WITH_TOKENS) {
            let detail = "Authentication scheme Bearer is not supported in this version.";
            return Err(BlobError::authentication(detail));
        }
        let checked = self.world.tokens.check(token.trim(), Audience::Storage, OffsetDateTime::now_utc());
        checked.map_err(|bad| BlobError::bad_token(&bad.0))?;
        Ok(Authority::Token)
    }

    fn error_response(&self, error: &BlobError, request_id: &str) -> Response<ReplyBody> {
        let mut response = error_response(error, request_id, self.world.store.now());
        if error.status == StatusCode::UNAUTHORIZED {
            let how = format!(
                "Bearer authorization_uri=https://login.microsoftonline.com/{}/oauth2/authorize \
                 resource_id=https://storage.azure.com",
                self.world.store.keys.delegated.tenant
            );
            if let Ok(how) = HeaderValue::try_from(how) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
            }
        }
        response
    }
}

/// Fails the request, if that is what the fault is about.
async fn go_wrong(fault: &StorageFault, uri: &Uri, headers: &HeaderMap) -> Result<(), BlobError> {
    match fault.kind {
        StorageFaultKind::ServerBusy => Err(BlobError::busy()),
        StorageFaultKind::Silent => {
            tokio::time::sleep(fault.delay.0).await;
            Err(BlobError::busy())
        }
        StorageFaultKind::Echo => {
            let mut secrets: Vec<String> = signature(&uri.to_string()).into_iter().collect();
            secrets.push(uri.to_string());
            let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            secrets.extend(authorization.map(|text| credential(text).to_owned()));
            Err(BlobError::echo(echo(&secrets, fault.spelling)))
        }
        StorageFaultKind::Twice
        | StorageFaultKind::Unordered
        | StorageFaultKind::MarkerTurn
        | StorageFaultKind::MarkerNew
        | StorageFaultKind::Times => Ok(()),
    }
}

/// The storage version that a request names, if it has the form of a version.
pub(super) fn version(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("x-ms-version")?.to_str().ok()?;
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    is_date.then_some(text)
}

pub(super) fn empty(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::sized(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn error_response(error: &BlobError, request_id: &str, now: OffsetDateTime) -> Response<ReplyBody> {
    let mut xml = String::from("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>");
    xml.push_str(error.code);
    xml.push_str("</Code><Message>");
    escape(&mut xml, &error.message);
    xml.push_str("\nRequestId:");
    xml.push_str(request_id);
    xml.push_str("\nTime:");
    xml.push_str(&crate::clock::batch_time(now));
    xml.push_str("</Message>");
    if let Some(detail) = &error.detail {
        xml.push_str("<AuthenticationErrorDetail>");
        escape(&mut xml, detail);
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
