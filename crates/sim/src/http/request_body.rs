//! Reading the body of a request.

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};

/// Reads a whole request body; none if it is longer than `limit` or breaks off.
pub(crate) async fn read_body(body: Incoming, limit: usize) -> Option<Bytes> {
    Some(Limited::new(body, limit).collect().await.ok()?.to_bytes())
}
