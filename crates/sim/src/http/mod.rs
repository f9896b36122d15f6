//! HTTP for a server that must be able to behave badly.

mod body;
mod query;
mod server;

pub(crate) use body::ReplyBody;
pub(crate) use query::{Query, decode};
pub(crate) use server::{Answer, HangUp, Peer, Service, bind, serve};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};

/// Reads a whole request body, or none if it is longer than `limit` or broken off.
pub(crate) async fn read_body(body: Incoming, limit: usize) -> Option<Bytes> {
    Some(Limited::new(body, limit).collect().await.ok()?.to_bytes())
}
