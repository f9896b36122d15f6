//! What the scenario makes fail.

use std::time::Duration;

use serde::Deserialize;

use super::values::{RetryAfter, Span};

/// `[[account.fault]]`: a share of the calls fails in one way.
///
/// If several faults match a call, the first one in the file applies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    #[serde(default)]
    pub(crate) on: Operation,
    pub(crate) kind: FaultKind,
    #[serde(default = "every_call")]
    pub(crate) share: f64,
    /// For `throttle` and `server-busy`, and every other kind that answers with an error.
    pub(crate) retry_after: Option<RetryAfter>,
    /// For `code` and `plain-message`.
    pub(crate) status: Option<u16>,
    /// For `code`: a Batch error code.
    pub(crate) code: Option<String>,
    /// For `slow` (how long the answer takes to arrive) and `silent` (how long nothing is sent).
    #[serde(default = "two_seconds")]
    pub(crate) delay: Span,
    /// For kinds whose answer leaves it open: whether the upload is carried out.
    pub(crate) accepted: Option<bool>,
    /// The fault starts at this time…
    pub(crate) from: Option<Span>,
    /// …and ends at this time, counted from the start of the simulator.
    pub(crate) until: Option<Span>,
    /// Only calls that name this pool.
    pub(crate) pool: Option<String>,
    /// Only the first calls for each node, this many (or for each path, for calls that name no node).
    pub(crate) first: Option<u32>,
}

/// Which calls a fault applies to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    #[default]
    Upload,
    ListPools,
    GetPool,
    ListNodes,
    GetNode,
    NodeCounts,
    Any,
    ListJobs,
    GetJob,
    ListTasks,
    GetTask,
    ListSubtasks,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// 429 `TooManyRequests`.
    Throttle,
    /// 503 `ServerBusy`.
    ServerBusy,
    /// 500 `InternalError`.
    InternalError,
    /// The upload is accepted and its files come, but the answer is 500 `OperationTimedOut`.
    TimeoutAccepted,
    /// 500 `OperationTimedOut`, and nothing was accepted.
    TimeoutRefused,
    /// The connection is dropped, and nothing was accepted.
    DropBefore,
    /// The upload is accepted, then the connection is dropped without an answer.
    DropAfter,
    /// A good answer, sent one byte at a time over `delay`.
    Slow,
    /// A good answer whose body breaks off; the upload was accepted.
    Truncated,
    /// 200 with an HTML page, as from a login portal; not accepted.
    NonJson,
    /// 502 with an HTML page; not accepted.
    BadGateway,
    /// The error given by `status` and `code`.
    Code,
    /// A list page whose nextLink leads to itself.
    NextLinkLoop,
    /// A list page whose nextLink leads to another port.
    NextLinkElsewhere,
    /// 200 without a body; the upload was accepted.
    EmptyBody,
    /// An error whose message is a plain string, as some proxies write it.
    PlainMessage,
    /// No answer at all for `delay`, then the connection is dropped; not accepted.
    Silent,
}

/// `[[account.arrival_fault]]`: for a share of the uploads, the files do not arrive as promised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArrivalFault {
    pub(crate) kind: ArrivalFaultKind,
    #[serde(default = "every_call")]
    pub(crate) share: f64,
    /// For `late` (how much later) and `rewrite` (how long until the blob is written again).
    #[serde(default = "twenty_seconds")]
    pub(crate) delay: Span,
    /// Only uploads of nodes of this pool.
    pub(crate) pool: Option<String>,
}

/// How files fail to arrive.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ArrivalFaultKind {
    /// No file ever arrives.
    Never,
    /// One file fewer than promised arrives.
    Short,
    /// All files arrive, but `delay` later.
    Late,
    /// All files arrive, and files of another writer elsewhere in the container.
    Foreign,
    /// All files arrive, first with half their length, and `delay` later whole.
    Rewrite,
}

/// `[[storage.read_fault]]`: reading a blob fails.
///
/// If several faults match a read, the first one in the file applies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFault {
    pub(crate) kind: ReadFaultKind,
    /// Only the first reads of each blob, this many.
    #[serde(default = "one_time")]
    pub(crate) first: u32,
    /// Only blobs whose name ends with this text.
    #[serde(default)]
    pub(crate) suffix: String,
}

/// How reading a blob fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReadFaultKind {
    /// Half of the requested bytes, then the connection breaks.
    Truncated,
    /// The same, and the blob is overwritten with a version that is some bytes longer.
    Grows,
    /// One byte is wrong.
    Corrupt,
    /// 503 `ServerBusy`.
    ServerBusy,
}

fn one_time() -> u32 {
    1
}

fn every_call() -> f64 {
    1.0
}

fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}

fn twenty_seconds() -> Span {
    Span(Duration::from_secs(20))
}
