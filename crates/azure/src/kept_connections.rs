//! Whether calls to an account may use a connection that an earlier call used.
//!
//! On such a connection there may be bytes that were sent before the call: a second answer to the call before it, say.
//! The HTTP library takes them for the answer to the next call if they are there when that call begins. The service
//! is asked to echo the id of each request, which shows whose answer one is. So a kept connection is used only while
//! the account echoes; every other call gets a connection of its own, on which nothing can be left over.
//!
//! What an echo is taken for:
//!
//! | echo | on a kept connection | on a new connection |
//! | --- | --- | --- |
//! | ours | our answer | our answer |
//! | another id | lost; no connection of this account is kept any more | the same |
//! | none, with a 200 | lost | our answer; no connection is kept until an answer has an echo again |
//! | none, with an error | our answer, since gateways and proxies do not know the id; no connection is kept as before | the same |

use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::header::{HeaderMap, HeaderName};
use uuid::Uuid;

pub(crate) const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

/// The connection that a request was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It may have served another request before.
    Kept,
    /// It serves this request only.
    New,
}

/// No answer yet, or the last one had no echo.
const SILENT: u8 = 0;
const ECHOES: u8 = 1;
/// An answer had the id of another request. Final.
const CONFUSED: u8 = 2;

/// What is known of an account's echo.
#[derive(Default)]
pub(crate) struct KeptConnections(AtomicU8);

impl KeptConnections {
    /// The connection to use for the next request.
    pub(crate) fn next(&self) -> Connection {
        if self.0.load(Ordering::Relaxed) == ECHOES { Connection::Kept } else { Connection::New }
    }

    /// Judges the head of an answer; the error says why it is not the answer to this request.
    pub(crate) fn judge(
        &self,
        sent_on: Connection,
        id: Uuid,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<(), &'static str> {
        let mut echoes = headers.get_all(CLIENT_REQUEST_ID).iter().peekable();
        let answered = echoes.peek().is_some();
        // Braces and letter case do not change a GUID.
        let ours = |echo: &reqwest::header::HeaderValue| {
            echo.to_str().is_ok_and(|text| Uuid::try_parse(text.trim()).is_ok_and(|echo| echo == id))
        };
        if answered && !echoes.all(ours) {
            self.0.store(CONFUSED, Ordering::Relaxed);
            return Err("the answer has the `client-request-id` of another call");
        }
        let seen = if answered { ECHOES } else { SILENT };
        // Not from `CONFUSED`.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| (known != CONFUSED).then_some(seen));
        if !answered && status == 200 && sent_on == Connection::Kept {
            return Err(
                "the answer on a kept connection has no `client-request-id`, though earlier ones had",
            );
        }
        Ok(())
    }
}
