//! Reads the answer to an HTTP request, up to a maximum size.

use std::ops::ControlFlow;

use fleetlogs_model::failure::{Failure, FailureClass};
use reqwest::Response;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use time::OffsetDateTime;
use tokio::time::Instant;
use url::Url;

use crate::large_pages::{FREE, LargePage, LargePages};
use crate::{http_date, redact};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Error bodies and answers to upload calls are a few hundred bytes; an answer longer than this does not come from
/// the service.
pub(crate) const SMALL: usize = 1 << 20;

/// The same for upload calls, of which hundreds are in flight. The page of a gateway has some ten kilobytes.
pub(crate) const UPLOAD: usize = 64 << 10;

/// A page of 1,000 nodes is about one megabyte, and ten if each lists its last tasks with their errors.
pub(crate) const PAGE: usize = 24 << 20;

/// Nothing is waited for any longer than a day, whatever the service asks.
pub(crate) const LONGEST_WAIT_MS: u64 = 24 * 3600 * 1000;

/// Memory reserved in advance because of a `content-length` alone.
const TRUSTED_LENGTH: usize = 1 << 20;

/// Reads a body while it arrives.
pub(crate) trait BodyReader: Send {
    /// Reads on. Breaks if it needs nothing that follows.
    fn read_on(&mut self, text: &[u8]) -> ControlFlow<()>;
}

/// An answer of the service, read to its end if that was possible.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Empty if another read it.
    pub(crate) body: Result<Vec<u8>, UnreadBody>,
    #[expect(dead_code, reason = "held until the body is dropped")]
    pub(crate) turn: Option<LargePage>,
}

/// Why there is a status but no complete body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadBody {
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
    #[error("too many large answers came at once")]
    NoTurn,
}

impl Answer {
    /// Reads an answer: the body of a 200 up to `limit`, any other body up to [`SMALL`] at most.
    pub(crate) async fn read(response: Response, limit: usize) -> Self {
        Self::read_in_turn(response, limit, None, None).await
    }

    /// The same for what may be a page of a list; a large one waits for its turn until the deadline. The body of a 200
    /// goes to its reader, if it has one.
    pub(crate) async fn read_in_turn(
        mut response: Response,
        limit: usize,
        pages: Option<(&LargePages, Instant)>,
        reader: Option<&mut (dyn BodyReader + '_)>,
    ) -> Self {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let limit = if status == 200 { limit } else { SMALL.min(limit) };
        let mut turn = None;
        let reader = reader.filter(|_| status == 200);
        let body = read_body(response, limit, pages, reader, &mut turn).await;
        Self { status, headers, body, turn }
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The service's id of the request.
    pub(crate) fn request_id(&self) -> Option<Box<str>> {
        self.header(&REQUEST_ID).map(|id| redact::one_line(id, 200).into())
    }

    /// The service's clock when it answered.
    pub(crate) fn date(&self) -> Option<OffsetDateTime> {
        http_date::parse(self.header(&DATE)?)
    }

    /// How long the service asks to wait, in milliseconds. A date is compared with the answer's own `date`, so a
    /// wrong clock on this machine does no harm.
    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        let text = self.header(&RETRY_AFTER)?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(seconds.saturating_mul(1000).min(LONGEST_WAIT_MS));
        }
        let wait = http_date::parse(text)? - self.date().unwrap_or_else(OffsetDateTime::now_utc);
        Some(u64::try_from(wait.whole_milliseconds()).unwrap_or(0).min(LONGEST_WAIT_MS))
    }

    /// The target of a redirect, without its query.
    pub(crate) fn redirect_target(&self) -> Option<String> {
        let location = self.header(&LOCATION)?;
        let shown = match Url::parse(location) {
            Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
            Err(_) => location.split('?').next().unwrap_or_default().to_owned(),
        };
        Some(redact::one_line(&shown, 200))
    }

    /// The body; without one, a failure with the status and the request id.
    pub(crate) fn whole_body(&self, class_if_broken: FailureClass) -> Result<&[u8], Failure> {
        match &self.body {
            Ok(body) => Ok(body),
            Err(why) => {
                // An answer that is too long would be too long again.
                let class = match (why, class_if_broken) {
                    (UnreadBody::TooLong(_), FailureClass::Transient) => FailureClass::Refused,
                    (_, class) => class,
                };
                Err(self.failure(class, why.to_string()))
            }
        }
    }

    /// A failure with the status and the request id of this answer.
    pub(crate) fn failure(&self, class: FailureClass, message: impl Into<Box<str>>) -> Failure {
        Failure {
            status: Some(self.status),
            request_id: self.request_id(),
            retry_after_ms: self.retry_after_ms(),
            ..Failure::new(class, message)
        }
    }
}

async fn read_body(
    mut response: Response,
    limit: usize,
    pages: Option<(&LargePages, Instant)>,
    mut reader: Option<&mut (dyn BodyReader + '_)>,
    turn: &mut Option<LargePage>,
) -> Result<Vec<u8>, UnreadBody> {
    let announced =
        response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(UnreadBody::TooLong(limit));
    }
    let mut body = Vec::new();
    if reader.is_none() {
        body.reserve_exact(announced.min(TRUSTED_LENGTH));
    }
    let mut length = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if length + chunk.len() > limit => return Err(UnreadBody::TooLong(limit)),
            Ok(Some(chunk)) => {
                length += chunk.len();
                if let Some((pages, deadline)) = pages
                    && turn.is_none()
                    && length > FREE
                {
                    *turn = Some(pages.turn(deadline).await.ok_or(UnreadBody::NoTurn)?);
                }
                match &mut reader {
                    Some(reader) => {
                        if reader.read_on(&chunk).is_break() {
                            return Ok(body);
                        }
                    }
                    None => body.extend_from_slice(&chunk),
                }
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(UnreadBody::BrokeOff(redact::error_chain(&error))),
        }
    }
}
