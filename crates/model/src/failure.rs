//! Why a call did not work, in the terms the engine acts on.
//!
//! The class says what may be done next. Status, code and message are stored verbatim for the reader of the manifest.
//! A message never contains the query of a URL.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What may be done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The request was never sent: no connection, no name, no TLS. It may be sent again as it is.
    NotSent,
    /// The service refused it because it is busy. Send it again later, and slow down the whole account.
    Throttled,
    /// A passing failure of a call that changes nothing. Send it again later.
    Transient,
    /// The node or pool is in a passing state (booting, say). Look at the node again, then send it again.
    Wait,
    /// Like [`Wait`](Self::Wait), but with little hope: try once or twice more at most.
    WaitBriefly,
    /// The node or its pool no longer exists. Never send it again.
    Gone,
    /// The credential is refused; no other call to this account will succeed.
    Auth,
    /// The request is wrong in a way that every other request of the run shares.
    Config,
    /// The answer to an upload call was lost: it may have been accepted. Never send it again without checking.
    InDoubt,
    /// Refused for a reason that concerns this call only. Do not send it again.
    Refused,
}

impl FailureClass {
    /// Whether the same call may succeed later with nothing changed on our side: a read may be retried after a delay.
    /// (An upload call is retried by the rules of the executor, which also knows the node's state.)
    #[must_use]
    pub fn is_passing(self) -> bool {
        match self {
            Self::NotSent | Self::Throttled | Self::Transient => true,
            Self::Wait
            | Self::WaitBriefly
            | Self::Gone
            | Self::Auth
            | Self::Config
            | Self::InDoubt
            | Self::Refused => false,
        }
    }
}

/// Why a call did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What may be done next.
    pub class: FailureClass,
    /// HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The service's error code, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<str>>,
    /// One line for a person, without secrets.
    pub message: Box<str>,
    /// The service's id of the request, if it answered with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// How long the service asked to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether the whole pool is gone, and not only the node. This matters to the pool's other nodes in the same run
    /// only, so it is not stored: no journal and no `--events` line has it.
    #[serde(skip)]
    pub pool_is_gone: bool,
}

impl Failure {
    /// A failure without an answer from the service.
    pub fn new(class: FailureClass, message: impl Into<Box<str>>) -> Self {
        Self {
            class,
            status: None,
            code: None,
            message: message.into(),
            request_id: None,
            retry_after_ms: None,
            pool_is_gone: false,
        }
    }

    /// How long the service asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

impl fmt::Display for Failure {
    /// `403 AuthenticationFailed: the message`; parts that are unknown are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => write!(f, "{status} {code}: {}", self.message),
            (Some(status), None) => write!(f, "{status}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_pool_is_gone_is_not_stored_and_older_failures_are_read() {
        let failure = Failure {
            code: Some("PoolNotFound".into()),
            pool_is_gone: true,
            ..Failure::new(FailureClass::Gone, "no such pool")
        };
        let stored = serde_json::to_string(&failure).expect("a failure can be written");
        assert_eq!(stored, r#"{"class":"gone","code":"PoolNotFound","message":"no such pool"}"#);
        let read: Failure = serde_json::from_str(&stored).expect("a failure can be read");
        assert_eq!(read, Failure { pool_is_gone: false, ..failure });
    }
}
