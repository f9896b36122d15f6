//! What the scenario makes fail.

use std::time::Duration;

use serde::Deserialize;

use super::values::{Between, Count, RetryAfter, Size, Span};

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
    /// The text of the error, for every kind that answers with one.
    pub(crate) message: Option<String>,
    /// For `flood`: how large the answer becomes. For `next-link-turn` and `next-link-new`: how long the links are.
    pub(crate) size: Option<Size>,
    /// For `flood`: what grows.
    #[serde(default)]
    pub(crate) part: FloodPart,
    /// For `directory`: what the answer names instead of the directory of the call.
    pub(crate) directory: Option<DirectoryForm>,
    /// For `promise`: the number of files that the answer promises.
    pub(crate) files: Option<u64>,
    /// For `echo`: where the echo is.
    #[serde(default)]
    pub(crate) into: EchoPlace,
    /// For `echo`: how it is spelled; in every way if left out.
    pub(crate) spelling: Option<Spelling>,
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
    /// Only calls that name a node at one of these positions in its pool.
    pub(crate) nodes: Option<Between<Count>>,
}

/// What a `flood` makes large.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FloodPart {
    /// A list page has more and more items that are nothing but an id.
    #[default]
    Items,
    /// The last item of a list page has more and more errors.
    Errors,
    /// The link of a list page grows.
    Link,
    /// The directory in the answer to an upload grows.
    Directory,
}

/// A directory that is not the one of the call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirectoryForm {
    /// The first segment: the account.
    Account,
    /// The first two segments: the pool.
    Pool,
    /// Without the last segment: the node.
    Node,
    /// The first directory that a node of this pool was given.
    First,
    /// The same without its last segment.
    FirstNode,
    /// Well-formed, of the next node in the pool, and never given to it.
    NextNode,
}

/// Where the service repeats what it was sent.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EchoPlace {
    /// In the text of an error.
    #[default]
    Error,
    /// In a good answer: in the directory of an upload; in the errors, versions and start task results of nodes; in
    /// the resize errors of pools.
    Answer,
    /// In the Location of a redirect.
    Redirect,
}

/// How an echo is spelled.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spelling {
    /// As it is.
    Plain,
    /// Percent-encoded.
    Encoded,
    /// Percent-encoded, and the result once more.
    EncodedTwice,
    /// Without `=` at its end.
    Unpadded,
    /// With `-` and `_` for `+` and `/`, without `=`.
    Base64Url,
    /// The Base64 of it.
    Base64,
    /// In hexadecimal digits.
    Hex,
    /// With the escapes of JSON: `\u002B`.
    Json,
    /// With the escapes of HTML: `&#43;`.
    Html,
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
    /// A good answer, and in the same write another one, to a call that has not come yet.
    EarlyAnswer,
    /// A good answer of which one part is `size` bytes long.
    Flood,
    /// After the last page of a list, empty pages whose links lead to each other in turn.
    NextLinkTurn,
    /// After the last page of a list, empty pages without end; each link is a new one.
    NextLinkNew,
    /// A good answer to an upload that names another directory.
    Directory,
    /// A good answer to an upload that promises `files` files.
    Promise,
    /// The secrets that the account was sent come back.
    Echo,
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
    /// Only nodes at these positions in their pool.
    pub(crate) nodes: Option<Between<Count>>,
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
    /// For `trickle` and `stalls`.
    #[serde(default = "two_seconds")]
    pub(crate) delay: Span,
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
    /// All bytes, one at a time over `delay`.
    Trickle,
    /// Half of the bytes, then nothing for `delay`, then the connection breaks.
    Stalls,
}

/// `[[storage.fault]]`: a request to storage fails, or a listing is not what it should be.
///
/// If several faults match a request, the first one in the file applies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StorageFault {
    #[serde(default)]
    pub(crate) on: StorageOperation,
    pub(crate) kind: StorageFaultKind,
    /// This many first requests of the operation are spared.
    #[serde(default)]
    pub(crate) skip: u32,
    /// After them, only this many.
    pub(crate) first: Option<u32>,
    /// The fault starts at this time…
    pub(crate) from: Option<Span>,
    /// …and ends at this time, counted from the start of the simulator.
    pub(crate) until: Option<Span>,
    /// Only requests whose prefix, or name of a blob, contains this text.
    #[serde(default)]
    pub(crate) name: String,
    /// For `silent`.
    #[serde(default = "two_seconds")]
    pub(crate) delay: Span,
    /// For `times`.
    pub(crate) text: Option<String>,
    /// For `echo`: how it is spelled; in every way if left out.
    pub(crate) spelling: Option<Spelling>,
}

/// Which requests a fault of storage applies to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StorageOperation {
    /// Listing blobs.
    #[default]
    List,
    /// Reading a blob.
    Read,
    /// Writing a blob over HTTP.
    Write,
}

/// How a request to storage fails.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StorageFaultKind {
    /// 503 `ServerBusy`.
    ServerBusy,
    /// No answer for `delay`, then 503.
    Silent,
    /// 403, and the message repeats the URL and the headers of the request.
    Echo,
    /// Every blob is in the page twice.
    Twice,
    /// The page is in reverse order.
    Unordered,
    /// After the last page, empty pages whose markers lead to each other in turn.
    MarkerTurn,
    /// After the last page, empty pages without end; each marker is a new one.
    MarkerNew,
    /// `text` stands for both times of every blob.
    Times,
}

impl StorageFaultKind {
    pub(crate) fn is_of_lists(self) -> bool {
        match self {
            Self::ServerBusy | Self::Silent | Self::Echo => false,
            Self::Twice | Self::Unordered | Self::MarkerTurn | Self::MarkerNew | Self::Times => true,
        }
    }

    pub(crate) fn needs_text(self) -> bool {
        self == Self::Times
    }
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
