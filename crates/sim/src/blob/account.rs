//! Requests for the account as a whole and for a container as such.

use std::sync::atomic::Ordering::Relaxed;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::acl;
use super::container::Container;
use super::errors::BlobError;
use super::listing;
use super::routes::{BlobService, empty, version};
use super::sas::Resource;
use super::store::Authority;
use crate::clock::{parse_rfc1123, rfc1123};
use crate::http::{Query, ReplyBody, read_body};
use crate::scenario::StorageFault;

/// Larger than any document that gives the start and expiry of a key.
const LARGEST_KEY_INFO: usize = 64 << 10;
/// The first version with user delegation keys.
const FIRST_WITH_DELEGATION: &str = "2018-11-09";

impl BlobService {
    /// Get User Delegation Key and List Containers.
    pub(super) async fn service(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Incoming,
        authority: Authority<'_>,
        query: &Query,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        match (method, query.get("restype"), query.get("comp")) {
            (&Method::POST, Some("service"), Some("userdelegationkey")) => {
                let Authority::Token = authority else {
                    let detail = "A user delegation key is handed out to the owner of a token only.";
                    return Err(BlobError::authentication(detail));
                };
                let version = version(headers)
                    .filter(|version| *version >= FIRST_WITH_DELEGATION)
                    .ok_or(BlobError::bad_header())?;
                let body = read_body(body, LARGEST_KEY_INFO).await.ok_or(BlobError::too_large())?;
                let key = store.keys.delegated.issue(&body, version, store.now())?;
                store.ledger.delegation_keys.fetch_add(1, Relaxed);
                Ok(xml_response(key))
            }
            (&Method::GET, None, Some("list")) => {
                store.authorize(authority, Resource::Service, &['l'])?;
                let endpoint = self.world.ready().storage.endpoint.as_str();
                Ok(xml_response(listing::list_containers(&store.containers(), endpoint, query)))
            }
            _ => {
                store.authorize(authority, Resource::Service, &[])?;
                Err(BlobError::bad_verb())
            }
        }
    }

    /// Get and Set Container ACL.
    pub(super) async fn acl(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Incoming,
        authority: Authority<'_>,
        name: &str,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        store.authorize_acl(authority, name)?;
        let container = store.container(name)?;
        let mut response = match *method {
            Method::GET | Method::HEAD => xml_response(container.acl().to_xml()),
            Method::PUT => {
                let body = read_body(body, acl::LARGEST).await.ok_or(BlobError::too_large())?;
                container.acl_mut().replace(&body, headers, store.policy_delay, store.now())?;
                empty(StatusCode::OK)
            }
            _ => return Err(BlobError::bad_verb()),
        };
        add_dates(response.headers_mut(), &container);
        Ok(response)
    }

    /// List Blobs, and Create, Get Properties of and Delete Container.
    pub(super) fn container(
        &self,
        method: &Method,
        headers: &HeaderMap,
        authority: Authority<'_>,
        (name, fault): (&str, Option<&StorageFault>),
        query: &Query,
    ) -> Result<Response<ReplyBody>, BlobError> {
        let store = &self.world.store;
        let resource = Resource::Container(name);
        match (method, query.get("restype"), query.get("comp")) {
            (&Method::GET, Some("container"), Some("list")) => {
                store.ledger.list_calls.fetch_add(1, Relaxed);
                store.authorize(authority, resource, &['l'])?;
                let endpoint = self.world.ready().storage.endpoint.as_str();
                let container = store.container(name)?;
                Ok(xml_response(listing::list_blobs(&container, (name, endpoint), query, fault)?))
            }
            (&Method::PUT, Some("container"), None) => {
                if headers.contains_key("x-ms-blob-public-access") {
                    return Err(BlobError::anonymous());
                }
                let container = store.create(authority, name, metadata(headers))?;
                Ok(describe_container(StatusCode::CREATED, &container))
            }
            (&Method::GET | &Method::HEAD, Some("container"), None) => {
                store.authorize(authority, resource, &['r'])?;
                // A SAS for one container cannot read the properties of the container itself.
                if let Authority::Sas(sas, _) = authority
                    && !sas.is_for_account()
                {
                    return Err(BlobError::permission_mismatch());
                }
                let container = store.container(name)?;
                let mut response = describe_container(StatusCode::OK, &container);
                for (name, value) in &container.metadata {
                    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
                    {
                        response.headers_mut().insert(name, value);
                    }
                }
                Ok(response)
            }
            (&Method::DELETE, Some("container"), None) => {
                let since = headers
                    .get(header::IF_UNMODIFIED_SINCE)
                    .map(|date| date.to_str().ok().and_then(parse_rfc1123).ok_or(BlobError::bad_header()));
                store.remove(authority, name, since.transpose()?)?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => {
                store.authorize(authority, resource, &[])?;
                Err(BlobError::bad_verb())
            }
        }
    }
}

/// The metadata that the client sends for a container.
fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-meta-"));
    own.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

fn xml_response(text: String) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::chunked(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn describe_container(status: StatusCode, container: &Container) -> Response<ReplyBody> {
    let mut response = empty(status);
    add_dates(response.headers_mut(), container);
    response
}

/// When the container was last changed, including its policies.
fn add_dates(headers: &mut HeaderMap, container: &Container) {
    let modified = container.acl().modified;
    let etag = format!("\"0x8DC{:012X}\"", modified.unix_timestamp());
    if let (Ok(etag), Ok(modified)) = (HeaderValue::try_from(etag), HeaderValue::try_from(rfc1123(modified)))
    {
        headers.insert(header::ETAG, etag);
        headers.insert(header::LAST_MODIFIED, modified);
    }
}
