//! What the engine asks of the outside: [`BatchService`] and [`LogStore`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::access::WriteAccess;
use crate::failure::{Failure, FailureClass};
use crate::ids::{NodeId, PoolId};
use crate::node_facts::NodeFacts;
pub use crate::node_facts::{NodeError, NodeState, RecentTask, StartTaskResult};
use crate::window::Window;

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items of this page, in the service's order. May be empty on a page that is not the last.
    pub items: Vec<T>,
    /// Where the next page is; absent on the last page.
    pub next: Option<PageLink>,
}

/// The service's own link to the next page, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageLink(pub String);

/// A pool as the service lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether a resize is under way that takes nodes away.
    pub shrinking: bool,
    /// Nodes it has now, dedicated and Spot together, as far as the service says.
    pub current_nodes: u32,
    /// Node agent SKU (for example `batch.node.ubuntu 22.04`), if the service says.
    pub os: Option<String>,
    /// Size of its VMs (for example `standard_d4s_v5`), if the service says.
    pub vm_size: Option<String>,
    /// `steady`, `resizing` or `stopping`, if the service says.
    pub allocation_state: Option<String>,
    /// What its makers wrote on it: names and values.
    pub metadata: Vec<(String, String)>,
    /// Nodes it is meant to have, dedicated and Spot together, if the service says.
    pub target_nodes: Option<u32>,
    /// What kept the last resize from its target.
    pub resize_errors: Vec<NodeError>,
}

impl Pool {
    /// A pool of which nothing but its id is known.
    #[must_use]
    pub fn bare(id: PoolId) -> Self {
        Self {
            id,
            deleting: false,
            shrinking: false,
            current_nodes: 0,
            os: None,
            vm_size: None,
            allocation_state: None,
            metadata: vec![],
            target_nodes: None,
            resize_errors: vec![],
        }
    }
}

/// A node as the service lists it. All but the id may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Since when it is in its state.
    pub state_since: Option<OffsetDateTime>,
    /// When it was allocated: with the id, what tells one node from a later one of the same id.
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted; absent on nodes that have not yet.
    pub last_boot_time: Option<OffsetDateTime>,
    /// What else the service says of it.
    pub facts: NodeFacts,
    /// The last tasks that ran on it, ten at most.
    pub recent_tasks: Vec<RecentTask>,
}

impl Node {
    /// A node of which nothing but its id is known.
    #[must_use]
    pub fn bare(id: NodeId) -> Self {
        Self {
            id,
            state_since: None,
            allocation_time: None,
            last_boot_time: None,
            facts: NodeFacts::default(),
            recent_tasks: vec![],
        }
    }

    /// A node of which nothing but its id and its state is known.
    #[must_use]
    pub fn in_state(id: NodeId, state: NodeState) -> Self {
        Self { facts: NodeFacts { state: Some(state), ..NodeFacts::default() }, ..Self::bare(id) }
    }
}

/// A task of a job, or one of the subtasks of a multi-instance task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id; of a subtask that of its task.
    pub id: String,
    /// Pool and node that it ran on last; none if it has not run.
    pub ran_on: Option<(PoolId, NodeId)>,
    /// When it started there.
    pub started: Option<OffsetDateTime>,
    /// When it ended there.
    pub ended: Option<OffsetDateTime>,
    /// On how many nodes it runs; above 1 it has subtasks.
    pub instances: u32,
}

/// What a node is asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UploadOrder {
    /// Which time range of logs.
    pub window: Window,
    /// Where the node sends them, and what lets it.
    pub access: Arc<WriteAccess>,
}

/// The service took an upload call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `virtualDirectoryName`, verbatim.
    pub directory: Box<str>,
    /// `numberOfFilesUploaded`: how many files the node *will* send; none if the answer did not say it in a number.
    pub files: Option<u32>,
    /// The service's id of the request.
    pub request_id: Option<Box<str>>,
}

/// One Batch account. Every call ends within a bound: its own, or the one it is given.
pub trait BatchService: Send + Sync + 'static {
    /// A page of pools; the first where `page` is none.
    fn list_pools(&self, page: Option<&PageLink>)
    -> impl Future<Output = Result<Page<Pool>, Failure>> + Send;

    /// A page of the nodes of a pool; the first where `page` is none.
    fn list_nodes(
        &self,
        pool: &PoolId,
        page: Option<&PageLink>,
    ) -> impl Future<Output = Result<Page<Node>, Failure>> + Send;

    /// A page of those nodes of a pool that are in one of these states; the first where `page` is none. Pages may be
    /// empty, and may hold other nodes: whoever asks looks at the state of each. Of a node no more need be told than what it
    /// can be chosen by.
    fn list_nodes_in(
        &self,
        pool: &PoolId,
        states: &[NodeState],
        page: Option<&PageLink>,
    ) -> impl Future<Output = Result<Page<Node>, Failure>> + Send {
        let _ = states;
        self.list_nodes(pool, page)
    }

    /// One node as it is now.
    fn get_node(&self, pool: &PoolId, node: &NodeId) -> impl Future<Output = Result<Node, Failure>> + Send;

    /// A page of the tasks of a job; the first where `page` is none.
    fn list_tasks(
        &self,
        job: &str,
        page: Option<&PageLink>,
    ) -> impl Future<Output = Result<Page<Task>, Failure>> + Send {
        let _ = (job, page);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this service has no jobs")))
    }

    /// The subtasks of a multi-instance task, but for its first instance.
    fn list_subtasks(
        &self,
        job: &str,
        task: &str,
    ) -> impl Future<Output = Result<Vec<Task>, Failure>> + Send {
        let _ = (job, task);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this service has no jobs")))
    }

    /// Asks a node to upload its logs. Sent at most once: no layer below may send it again.
    ///
    /// `time_limit` bounds the whole call, from connecting to the last byte of the answer.
    fn upload_logs(
        &self,
        pool: &PoolId,
        node: &NodeId,
        order: &UploadOrder,
        client_request_id: Uuid,
        time_limit: Duration,
    ) -> impl Future<Output = Result<Accepted, Failure>> + Send;

    /// How far the service's clock is ahead of ours, as its last answer told; none before the first answer.
    fn clock_offset(&self) -> Option<time::Duration> {
        None
    }
}

/// A blob as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Full name in the container.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was created, to the second.
    pub created_at: Option<OffsetDateTime>,
}

/// One page of a listing of blobs: 5,000 at most.
#[derive(Clone, Debug, Default)]
pub struct BlobPage {
    /// The blobs, in lexical order of their names.
    pub blobs: Vec<Blob>,
    /// The service's marker of the next page; absent on the last page.
    pub next: Option<String>,
}

/// A blob with all that a listing tells of it, for those who look at few of them, or once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobDetails {
    /// Full name in the container.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was created, to the second.
    pub created_at: Option<OffsetDateTime>,
    /// When it was last written, to the second.
    pub last_modified: Option<OffsetDateTime>,
    /// What its versions are told apart by, without quotes.
    pub etag: Option<Box<str>>,
    /// MD5 of its content in Base64. Storage has none of a blob that was put together from blocks.
    pub content_md5: Option<Box<str>>,
}

/// One page of a listing with details: 5,000 blobs at most.
#[derive(Clone, Debug, Default)]
pub struct DetailsPage {
    /// The blobs, in the service's order: those of one directory come together.
    pub blobs: Vec<BlobDetails>,
    /// The service's marker of the next page; absent on the last page.
    pub next: Option<String>,
}

/// The container that the logs arrive in. Every call ends within a bound of its own.
pub trait LogStore: Send + Sync + 'static {
    /// A page of the blobs whose names start with `prefix`, from `marker` on.
    fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> impl Future<Output = Result<BlobPage, Failure>> + Send;

    /// The same, with all that the service tells of each blob.
    fn list_details(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> impl Future<Output = Result<DetailsPage, Failure>> + Send {
        let _ = (prefix, marker);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this store tells no details")))
    }

    /// A part of a blob: `length` bytes from `offset` on, fewer where it ends before.
    fn read_range(
        &self,
        name: &str,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send {
        let _ = (name, offset, length);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this store cannot be read")))
    }
}
