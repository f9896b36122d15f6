//! The ledger: what really happened, whatever the program under test reports.
//!
//! Counting must not slow down the calls that are counted: totals are atomics, and the records of nodes are spread
//! over many small locks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

const SHARDS: usize = 64;

/// A call that arrives this long after a `Retry-After` was sent may have been under way already.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(50);

/// What happened to one account.
#[derive(Debug)]
pub(crate) struct AccountLedger {
    pub(crate) list_calls: AtomicU64,
    pub(crate) get_calls: AtomicU64,
    pub(crate) upload_calls: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
    calls_in_pause: AtomicU64,
    early_repeats: AtomicU64,
    pause: Mutex<Pause>,
    /// How long after a `Retry-After` calls may arrive that were sent before it was read.
    round_trip: Duration,
    in_flight: AtomicU64,
    highest_concurrency: AtomicU64,
    rate: Mutex<RateWindow>,
    nodes: Vec<Mutex<HashMap<NodeKey, NodeRecord>>>,
}

/// A node by position: its pool in the account, and the node in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeKey {
    pub(crate) pool: u16,
    pub(crate) place: u32,
}

/// What happened to one node.
#[derive(Debug, Default)]
pub(crate) struct NodeRecord {
    pub(crate) received: u64,
    /// Until when the last `Retry-After` asked the node's caller to wait.
    wait_until: Duration,
    pub(crate) directories: Vec<DirectoryRecord>,
}

/// One accepted upload. Its name is not stored, because it follows from the node and the request id.
#[derive(Debug)]
pub(crate) struct DirectoryRecord {
    pub(crate) request_id: Uuid,
    pub(crate) client_request_id: Option<String>,
    pub(crate) files_promised: u32,
    pub(crate) files_written: u32,
    pub(crate) bytes: u64,
    pub(crate) accepted_at: i64,
    /// When the call arrived, on the clock that storage uses.
    pub(crate) received_at: OffsetDateTime,
    pub(crate) access: AccessKind,
    pub(crate) sas_expires_at: Option<OffsetDateTime>,
}

/// What authorizes the node of an upload to write to the container.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AccessKind {
    /// The SAS in the container URL.
    Sas,
    /// An identity of the pool.
    Identity,
    /// Nothing: the URL names another server and has no query.
    None,
}

/// The times of the calls in the last second.
#[derive(Debug, Default)]
struct RateWindow {
    calls: VecDeque<Duration>,
    highest: usize,
}

/// The time in which a `Retry-After`, or several that overlap, asks for silence.
#[derive(Debug, Default)]
struct Pause {
    from: Duration,
    until: Duration,
}

/// Counts a call as in flight until it is dropped.
pub(crate) struct InFlight {
    ledger: Arc<AccountLedger>,
    node: Option<NodeKey>,
}

impl InFlight {
    /// The call was answered with a `Retry-After`.
    pub(crate) fn asked_to_wait(&self, now: Duration, wait: Duration) {
        let until = now + wait;
        if let Some(node) = self.node {
            self.ledger.node(node, |record| record.wait_until = until);
        }
        let mut pause = self.ledger.pause.lock();
        if now >= pause.until {
            pause.from = now;
        }
        pause.until = pause.until.max(until);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.ledger.in_flight.fetch_sub(1, Relaxed);
    }
}

impl AccountLedger {
    /// `latency` is the longest that the account adds to a call.
    pub(crate) fn new(latency: Duration) -> Self {
        Self {
            list_calls: AtomicU64::new(0),
            get_calls: AtomicU64::new(0),
            upload_calls: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            unauthorized: AtomicU64::new(0),
            calls_in_pause: AtomicU64::new(0),
            early_repeats: AtomicU64::new(0),
            pause: Mutex::default(),
            round_trip: latency.max(LEAST_ROUND_TRIP),
            in_flight: AtomicU64::new(0),
            highest_concurrency: AtomicU64::new(0),
            rate: Mutex::default(),
            nodes: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Records an upload call that has arrived, and names the node if there ever was one of that name.
    pub(crate) fn upload_call(self: &Arc<Self>, now: Duration, node: Option<NodeKey>) -> InFlight {
        self.upload_calls.fetch_add(1, Relaxed);
        if let Some(node) = node {
            let is_early = self.node(node, |record| {
                record.received += 1;
                now < record.wait_until
            });
            self.early_repeats.fetch_add(u64::from(is_early), Relaxed);
        }
        let is_in_pause = {
            let pause = self.pause.lock();
            now > pause.from + self.round_trip && now < pause.until
        };
        self.calls_in_pause.fetch_add(u64::from(is_in_pause), Relaxed);
        let in_flight = self.in_flight.fetch_add(1, Relaxed) + 1;
        self.highest_concurrency.fetch_max(in_flight, Relaxed);
        let mut rate = self.rate.lock();
        rate.calls.push_back(now);
        while rate.calls.front().is_some_and(|first| *first + Duration::from_secs(1) <= now) {
            rate.calls.pop_front();
        }
        rate.highest = rate.highest.max(rate.calls.len());
        InFlight { ledger: Arc::clone(self), node }
    }

    /// Runs `act` on the record of a node, and creates the record on the node's first call.
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
            calls_in_pause: self.calls_in_pause.load(Relaxed),
            early_repeats: self.early_repeats.load(Relaxed),
            highest_rate: self.rate.lock().highest as u64,
            highest_concurrency: self.highest_concurrency.load(Relaxed),
            unauthorized: self.unauthorized.load(Relaxed),
        }
    }

    /// Calls `entry` for every node that received a call, in the order of pools and nodes.
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

/// The whole ledger at one moment; the schema is `fleetlogs.sim-ledger/v1`.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerSnapshot {
    /// `fleetlogs.sim-ledger/v1`.
    pub schema: &'static str,
    /// One entry per Batch account.
    pub accounts: Vec<AccountEntry>,
    /// One entry per node that received an upload call.
    pub nodes: Vec<NodeEntry>,
    /// One entry per node that has left its pool for good, with or without a call.
    pub left: Vec<LeftEntry>,
    /// The storage account.
    pub storage: StorageEntry,
}

/// Totals of one Batch account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountEntry {
    /// Account name.
    pub name: String,
    /// Requests for a page of pools, nodes, node counts, jobs, tasks or subtasks.
    pub list_calls: u64,
    /// Requests for a single pool, node, job or task.
    pub get_calls: u64,
    /// Upload calls that arrived, whatever the answer.
    pub upload_calls: u64,
    /// Upload calls that created a directory.
    pub accepted: u64,
    /// Calls answered 429 or 503.
    pub throttled: u64,
    /// Upload calls that arrived while a `Retry-After` of an upload asked for silence, and more than a round trip after
    /// it was sent.
    pub calls_in_pause: u64,
    /// Upload calls for a node that arrived before the `Retry-After` of the last answer about that node was over.
    pub early_repeats: u64,
    /// Highest number of upload calls that arrived within one second.
    pub highest_rate: u64,
    /// Highest number of upload calls in flight at the same time.
    pub highest_concurrency: u64,
    /// Calls refused because the credential was missing or wrong.
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
    /// Upload calls that arrived.
    pub received: u64,
    /// Upload calls that created a directory.
    pub accepted: u64,
    /// When the node left its pool for good: RFC 3339, UTC, with milliseconds. None while the node is there.
    pub left_at: Option<String>,
    /// The directories, in the order of their creation.
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
    /// The `virtualDirectoryName` in the answer, or in the answer that was lost.
    pub name: String,
    /// The service's id of the call.
    pub request_id: String,
    /// The caller's id of the call.
    pub client_request_id: Option<String>,
    /// `numberOfFilesUploaded`.
    pub files_promised: u32,
    /// Files that have arrived in the container so far.
    pub files_written: u32,
    /// Their total size.
    pub bytes: u64,
    /// Unix time in milliseconds.
    pub accepted_at: i64,
    /// When the call arrived: RFC 3339, UTC, with milliseconds.
    pub received_at: String,
    /// What authorizes the node to write to the container.
    pub access: AccessKind,
    /// When the SAS expires, or its user delegation key if that is earlier: RFC 3339, UTC. None without a SAS, and
    /// for a SAS whose expiry is in a stored access policy. The SAS itself is not stored.
    pub sas_expires_at: Option<String>,
}

/// Totals of the storage account.
#[derive(Clone, Debug, Serialize)]
pub struct StorageEntry {
    /// Requests for a page of blobs.
    pub list_calls: u64,
    /// Calls that read a blob or a part of one.
    pub blob_reads: u64,
    /// Attempts to write a blob, over HTTP or by a simulated node.
    pub put_calls: u64,
    /// Attempts that were refused or failed.
    pub put_failures: u64,
    /// Blobs in all containers.
    pub blobs: u64,
    /// Requests with a credential that is not for storage, for example after a nextLink to another server.
    pub credentials_leaked: u64,
    /// Blobs written over HTTP, and therefore not by a simulated node. Part of `put_calls`.
    pub probes_written: u64,
    /// Blobs deleted over HTTP.
    pub probes_deleted: u64,
    /// Containers created over HTTP.
    pub containers_created: u64,
    /// User delegation keys issued.
    pub delegation_keys: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_of_any_one_second() {
        let ledger = Arc::new(AccountLedger::new(Duration::ZERO));
        for millis in [0, 900, 1_100, 1_200, 1_800, 5_000] {
            drop(ledger.upload_call(Duration::from_millis(millis), None));
        }

        let entry = ledger.snapshot("contoso");

        assert_eq!((entry.upload_calls, entry.highest_rate, entry.highest_concurrency), (6, 4, 1));
    }

    #[test]
    fn calls_in_a_pause_count_for_the_account_and_for_their_node() {
        let ledger = Arc::new(AccountLedger::new(Duration::from_millis(100)));
        let call = |millis, place| {
            ledger.upload_call(Duration::from_millis(millis), Some(NodeKey { pool: 0, place }))
        };
        let counts = || {
            let entry = ledger.snapshot("contoso");
            (entry.calls_in_pause, entry.early_repeats)
        };

        call(0, 0).asked_to_wait(Duration::from_millis(200), Duration::from_secs(1));
        // Under way before the answer could be read; asked to wait as well, which makes the pause longer.
        call(290, 1).asked_to_wait(Duration::from_millis(390), Duration::from_secs(1));
        assert_eq!(counts(), (0, 0));

        drop(call(400, 2));
        assert_eq!(counts(), (1, 0));
        // The account's pause is not over; that of the node is.
        drop(call(1_250, 0));
        assert_eq!(counts(), (2, 0));
        drop(call(1_380, 1));
        assert_eq!(counts(), (3, 1));
        drop(call(1_390, 1));
        assert_eq!(counts(), (3, 1));
    }
}
