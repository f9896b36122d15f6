//! The ledger: what really happened, whatever the program under test says about it.
//!
//! Counting must not slow down what is counted: totals are atomics, and the records of nodes are spread over many
//! small locks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

const SHARDS: usize = 64;

/// What happened to one account.
#[derive(Debug)]
pub(crate) struct AccountLedger {
    pub(crate) list_calls: AtomicU64,
    pub(crate) get_calls: AtomicU64,
    pub(crate) upload_calls: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
    in_flight: AtomicU64,
    highest_concurrency: AtomicU64,
    rate: Mutex<RateWindow>,
    nodes: Vec<Mutex<HashMap<NodeKey, NodeRecord>>>,
}

/// A node by its places: pool in the account, node in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeKey {
    pub(crate) pool: u16,
    pub(crate) place: u32,
}

/// What happened to one node.
#[derive(Debug, Default)]
pub(crate) struct NodeRecord {
    pub(crate) received: u64,
    pub(crate) directories: Vec<DirectoryRecord>,
}

/// One accepted upload. Its name is not kept, as it follows from the node and the request id.
#[derive(Debug)]
pub(crate) struct DirectoryRecord {
    pub(crate) request_id: Uuid,
    pub(crate) client_request_id: Option<String>,
    pub(crate) files_promised: u32,
    pub(crate) files_written: u32,
    pub(crate) bytes: u64,
    pub(crate) accepted_at: i64,
    /// When the call came in, on the clock that storage goes by.
    pub(crate) received_at: OffsetDateTime,
    pub(crate) access: AccessKind,
    pub(crate) sas_expires_at: Option<OffsetDateTime>,
}

/// By what the node of an upload may write to the container.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AccessKind {
    /// The SAS in the container URL.
    Sas,
    /// An identity of the pool.
    Identity,
    /// Nothing: the URL is of some other server, and has no query.
    None,
}

/// The times of the calls of the last second.
#[derive(Debug, Default)]
struct RateWindow {
    calls: VecDeque<Duration>,
    highest: usize,
}

/// Counts a call as being in flight for as long as it lives.
pub(crate) struct InFlight(Arc<AccountLedger>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl AccountLedger {
    pub(crate) fn new() -> Self {
        Self {
            list_calls: AtomicU64::new(0),
            get_calls: AtomicU64::new(0),
            upload_calls: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            unauthorized: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            highest_concurrency: AtomicU64::new(0),
            rate: Mutex::default(),
            nodes: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// An upload call has come in.
    pub(crate) fn upload_call(self: &Arc<Self>, now: Duration) -> InFlight {
        self.upload_calls.fetch_add(1, Relaxed);
        let in_flight = self.in_flight.fetch_add(1, Relaxed) + 1;
        self.highest_concurrency.fetch_max(in_flight, Relaxed);
        let mut rate = self.rate.lock();
        rate.calls.push_back(now);
        while rate.calls.front().is_some_and(|first| *first + Duration::from_secs(1) <= now) {
            rate.calls.pop_front();
        }
        rate.highest = rate.highest.max(rate.calls.len());
        InFlight(Arc::clone(self))
    }

    /// Looks at the record of a node, making it if this is its first call.
    pub(crate) fn node<T>(&self, key: NodeKey, act: impl FnOnce(&mut NodeRecord) -> T) -> T {
        let shard = (key.place as usize ^ usize::from(key.pool)) % SHARDS;
        act(self.nodes[shard].lock().entry(key).or_default())
    }

    pub(crate) fn snapshot(&self, name: &str) -> AccountEntry {
        AccountEntry {
            name: name.to_owned(),
            list_calls: self.list_calls.load(Relaxed),
            get_calls: self.get_calls.load(Relaxed),
            upload_calls: self.upload_calls.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            highest_rate: self.rate.lock().highest as u64,
            highest_concurrency: self.highest_concurrency.load(Relaxed),
            unauthorized: self.unauthorized.load(Relaxed),
        }
    }

    /// Calls `entry` for every node that was called, in the order of pools and places.
    pub(crate) fn each_node(&self, mut entry: impl FnMut(NodeKey, &NodeRecord)) {
        let mut keys: Vec<NodeKey> =
            self.nodes.iter().flat_map(|shard| shard.lock().keys().copied().collect::<Vec<_>>()).collect();
        keys.sort_unstable();
        for key in keys {
            self.node(key, |record| entry(key, record));
        }
    }
}

/// What happened to the storage account.
#[derive(Debug, Default)]
pub(crate) struct StorageLedger {
    pub(crate) list_calls: AtomicU64,
    pub(crate) blob_reads: AtomicU64,
    pub(crate) put_calls: AtomicU64,
    pub(crate) put_failures: AtomicU64,
    pub(crate) credentials_leaked: AtomicU64,
    pub(crate) probes_written: AtomicU64,
    pub(crate) probes_deleted: AtomicU64,
    pub(crate) containers_created: AtomicU64,
    pub(crate) delegation_keys: AtomicU64,
}

/// The whole ledger at one moment: schema `fleetlogs.sim-ledger/v1`.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerSnapshot {
    /// `fleetlogs.sim-ledger/v1`.
    pub schema: &'static str,
    /// One entry per Batch account.
    pub accounts: Vec<AccountEntry>,
    /// One entry per node that received an upload call.
    pub nodes: Vec<NodeEntry>,
    /// One entry per node that has left its pool for good, whether it was called or not.
    pub left: Vec<LeftEntry>,
    /// The storage account.
    pub storage: StorageEntry,
}

/// Totals of one Batch account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountEntry {
    /// Account name.
    pub name: String,
    /// Pages of pools, nodes, node counts, jobs, tasks and subtasks asked for.
    pub list_calls: u64,
    /// Single pools, nodes, jobs and tasks asked for.
    pub get_calls: u64,
    /// Upload calls that came in, whatever became of them.
    pub upload_calls: u64,
    /// Upload calls that made a directory.
    pub accepted: u64,
    /// Calls answered 429 or 503.
    pub throttled: u64,
    /// Most upload calls that came in within one second.
    pub highest_rate: u64,
    /// Most upload calls that were in flight at once.
    pub highest_concurrency: u64,
    /// Calls refused for want of a good credential.
    pub unauthorized: u64,
}

/// What happened to one node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeEntry {
    /// Account name.
    pub account: String,
    /// Pool id.
    pub pool: String,
    /// Node id.
    pub node: String,
    /// Upload calls that came in.
    pub received: u64,
    /// Upload calls that made a directory.
    pub accepted: u64,
    /// When it left its pool for good: RFC 3339, UTC, with milliseconds. None while it is there.
    pub left_at: Option<String>,
    /// The directories, in the order they were made.
    pub directories: Vec<DirectoryEntry>,
}

/// A node that has left its pool for good, or whose pool has vanished.
#[derive(Clone, Debug, Serialize)]
pub struct LeftEntry {
    /// Account name.
    pub account: String,
    /// Pool id.
    pub pool: String,
    /// Node id.
    pub node: String,
    /// RFC 3339, UTC, with milliseconds.
    pub left_at: String,
}

/// One accepted upload.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryEntry {
    /// The `virtualDirectoryName` that was (or would have been) answered.
    pub name: String,
    /// The service's id of the call.
    pub request_id: String,
    /// The caller's id of the call.
    pub client_request_id: Option<String>,
    /// `numberOfFilesUploaded`.
    pub files_promised: u32,
    /// Files that have arrived in the container so far.
    pub files_written: u32,
    /// Their size together.
    pub bytes: u64,
    /// Unix time in milliseconds.
    pub accepted_at: i64,
    /// When the call came in: RFC 3339, UTC, with milliseconds.
    pub received_at: String,
    /// By what the node may write to the container.
    pub access: AccessKind,
    /// When the SAS ends, and with it the key it was signed with: RFC 3339, UTC. None without a SAS, and for one whose
    /// end is in a stored access policy. The SAS itself is not kept.
    pub sas_expires_at: Option<String>,
}

/// Totals of the storage account.
#[derive(Clone, Debug, Serialize)]
pub struct StorageEntry {
    /// Pages of blobs asked for.
    pub list_calls: u64,
    /// Calls that read a blob, or a part of one.
    pub blob_reads: u64,
    /// Blobs that somebody tried to write, over HTTP or as a simulated node.
    pub put_calls: u64,
    /// Those that were refused or failed.
    pub put_failures: u64,
    /// Blobs in all containers.
    pub blobs: u64,
    /// Requests that carried a credential that is not for storage, as after a nextLink that leads elsewhere.
    pub credentials_leaked: u64,
    /// Blobs written over HTTP, and so by nobody of the simulated nodes. Part of `put_calls`.
    pub probes_written: u64,
    /// Blobs deleted over HTTP.
    pub probes_deleted: u64,
    /// Containers made over HTTP.
    pub containers_created: u64,
    /// User delegation keys handed out.
    pub delegation_keys: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_of_any_one_second() {
        let ledger = Arc::new(AccountLedger::new());
        for millis in [0, 900, 1_100, 1_200, 1_800, 5_000] {
            drop(ledger.upload_call(Duration::from_millis(millis)));
        }

        let entry = ledger.snapshot("contoso");

        assert_eq!((entry.upload_calls, entry.highest_rate, entry.highest_concurrency), (6, 4, 1));
    }
}
