//! What the engine needs from outside: [`BatchService`] and [`LogStore`].

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
    /// The items of this page, in the service's order. May be empty even if the page is not the last.
    pub items: Vec<T>,
    /// The link to the next page; absent on the last page.
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
    /// Whether a resize that removes nodes is under way.
    pub shrinking: bool,
    /// Its current number of nodes, dedicated and Spot together, as far as the service reports it.
    pub current_nodes: u32,
    /// Node agent SKU (for example `batch.node.ubuntu 22.04`), if the service says.
    pub os: Option<String>,
    /// Size of its VMs (for example `standard_d4s_v5`), if the service says.
    pub vm_size: Option<String>,
    /// `steady`, `resizing` or `stopping`, if the service says.
    pub allocation_state: Option<String>,
    /// Its metadata: names and values.
    pub metadata: Vec<(String, String)>,
    /// Its target number of nodes, dedicated and Spot together, if the service reports it.
    pub target_nodes: Option<u32>,
    /// The errors that stopped the last resize.
    pub resize_errors: Vec<NodeError>,
}

impl Pool {
    /// A pool of which only the id is known.
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

/// A node as the service lists it. Everything except the id may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// When it entered its state.
    pub state_since: Option<OffsetDateTime>,
    /// When it was allocated: together with the id, this distinguishes a node from a later one with the same id.
    pub allocation_time: Option<OffsetDateTime>,
    /// When it last booted; absent on nodes that have not booted yet.
    pub last_boot_time: Option<OffsetDateTime>,
    /// What else the service reports about it.
    pub facts: NodeFacts,
    /// The last tasks that ran on it, ten at most.
    pub recent_tasks: Vec<RecentTask>,
}

impl Node {
    /// A node of which only the id is known.
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

    /// A node of which only the id and the state are known.
    #[must_use]
    pub fn in_state(id: NodeId, state: NodeState) -> Self {
        Self { facts: NodeFacts { state: Some(state), ..NodeFacts::default() }, ..Self::bare(id) }
    }
}

/// A task of a job, or one of the subtasks of a multi-instance task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id; for a subtask, that of its task.
    pub id: String,
    /// Pool and node that it ran on last; none if it has not run.
    pub ran_on: Option<(PoolId, NodeId)>,
    /// When it started there.
    pub started: Option<OffsetDateTime>,
    /// When it ended there.
    pub ended: Option<OffsetDateTime>,
    /// The number of nodes it runs on; above 1 it has subtasks.
    pub instances: u32,
}

/// An order for logs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UploadOrder {
    /// The time range of the logs.
    pub window: Window,
    /// Where the node writes them, and its authorization.
    pub access: Arc<WriteAccess>,
}

/// The service accepted an upload call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// `virtualDirectoryName`, verbatim.
    pub directory: Box<str>,
    /// `numberOfFilesUploaded`: how many files the node *will* upload; none if the answer did not give a number.
    pub files: Option<u32>,
    /// The service's id of the request.
    pub request_id: Option<Box<str>>,
}

/// One Batch account. Every call has a time limit: its own, or the one that it is given.
pub trait BatchService: Send + Sync + 'static {
    /// A page of pools; the first page if `page` is none.
    fn list_pools(&self, page: Option<&PageLink>)
    -> impl Future<Output = Result<Page<Pool>, Failure>> + Send;

    /// A page of the nodes of a pool; the first page if `page` is none.
    fn list_nodes(
        &self,
        pool: &PoolId,
        page: Option<&PageLink>,
    ) -> impl Future<Output = Result<Page<Node>, Failure>> + Send;

    /// A page of the nodes of a pool that are in one of these states; the first page if `page` is none. Pages may be
    /// empty, and may contain other nodes: the caller must check the state of each. The nodes need only the members
    /// by which they can be selected.
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

    /// A page of the tasks of a job; the first page if `page` is none.
    fn list_tasks(
        &self,
        job: &str,
        page: Option<&PageLink>,
    ) -> impl Future<Output = Result<Page<Task>, Failure>> + Send {
        let _ = (job, page);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this service has no jobs")))
    }

    /// The subtasks of a multi-instance task, except its first instance.
    fn list_subtasks(
        &self,
        job: &str,
        task: &str,
    ) -> impl Future<Output = Result<Vec<Task>, Failure>> + Send {
        let _ = (job, task);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this service has no jobs")))
    }

    /// Calls a node to upload its logs. Sent at most once: no layer below may send it again.
    ///
    /// `time_limit` covers the whole call, from connecting to the last byte of the answer.
    fn upload_logs(
        &self,
        pool: &PoolId,
        node: &NodeId,
        order: &UploadOrder,
        client_request_id: Uuid,
        time_limit: Duration,
    ) -> impl Future<Output = Result<Accepted, Failure>> + Send;

    /// What the service's clock shows now: the date of its last answer, carried on by a clock that does not jump. None
    /// before the first answer, and after this machine's clock was set until the next answer.
    fn time(&self) -> Option<OffsetDateTime> {
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

/// One page of a listing of blobs: at most 5,000.
#[derive(Clone, Debug, Default)]
pub struct BlobPage {
    /// The blobs, in lexical order of their names.
    pub blobs: Vec<Blob>,
    /// The service's marker of the next page; absent on the last page.
    pub next: Option<String>,
    /// Storage's clock when it answered, to the second: what the times of the blobs are compared with.
    pub date: Option<OffsetDateTime>,
}

/// A blob with everything that a listing reports about it, for callers that look at few blobs, or once.
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
    /// Its version (`ETag`), without quotes.
    pub etag: Option<Box<str>>,
    /// MD5 of its content in Base64. Storage has none for a blob that was put together from blocks.
    pub content_md5: Option<Box<str>>,
}

/// One page of a listing with details: at most 5,000 blobs.
#[derive(Clone, Debug, Default)]
pub struct DetailsPage {
    /// The blobs, in the service's order: those of one directory are adjacent.
    pub blobs: Vec<BlobDetails>,
    /// The service's marker of the next page; absent on the last page.
    pub next: Option<String>,
}

/// The container of the logs. Every call has a time limit of its own.
pub trait LogStore: Send + Sync + 'static {
    /// A page of the blobs whose names start with `prefix`, from `marker` on.
    fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> impl Future<Output = Result<BlobPage, Failure>> + Send;

    /// The same, with everything that the service reports about each blob.
    fn list_details(
        &self,
        prefix: &str,
        marker: Option<&str>,
    ) -> impl Future<Output = Result<DetailsPage, Failure>> + Send {
        let _ = (prefix, marker);
        std::future::ready(Err(Failure::new(FailureClass::Refused, "this store tells no details")))
    }

    /// A part of a blob: `length` bytes from `offset` on, or fewer at its end.
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
