//! The journal: what happened in a run, on disk before it counts.
//!
//! `run.db` is SQLite in WAL mode with `synchronous=FULL`: what was appended survives the loss of power. A second
//! process is kept out by `run.lock`, which the kernel releases when its holder dies; SQLite alone would let two
//! writers in. Events are stored as JSON text, one row each, so `sqlite3 run.db` can be asked while a run is live; each
//! row has a checksum.
//! Why SQLite: docs/design/journal.md.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleetlogs_model::event::Recorded;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{Journal, JournalError, LittleRoom, RunMeta};
use rusqlite::{Connection, params};

use super::database::{APPLICATION_ID, FORMAT, RecordTime, checksum, damaged, open_existing, torn_pages};
use super::disk;
use super::failure::LocalError;
use super::lock::{HeldLock, private_file, take_lock};

/// Pages of the write-ahead log before SQLite moves them into the database: about 256 MB, the events of some 200,000
/// nodes. While it does, nothing can be recorded, and so nothing is sent; most runs end before that.
const CHECKPOINT_PAGES: i64 = 65_536;

/// Room that the disk must have for calls to be sent, whatever the size of the plan.
const ROOM: u64 = 1 << 20;

/// The same for each node of the plan: what may still have to be recorded about it, and its share of the reports.
const ROOM_PER_NODE: u64 = 2048;

/// Between two looks at the room on the disk.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

pub(super) const TABLES: &str = "
    CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE node (id INTEGER PRIMARY KEY, account TEXT NOT NULL, pool TEXT NOT NULL, node TEXT NOT NULL) STRICT;
    CREATE TABLE event (seq INTEGER PRIMARY KEY, node INTEGER, crc INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
    CREATE VIEW node_event AS
        SELECT event.seq, json ->> 'at' AS at, account, pool, node.node, json ->> 'event' AS event, json
        FROM event JOIN node ON node.id = event.node;
";

/// The journal of a run on this machine.
pub(super) struct SqliteJournal {
    pub(super) connection: Connection,
    /// Dropped after the connection, which moves the log.
    recorded: Option<RecordTime>,
    json: Vec<u8>,
    dir: PathBuf,
    /// Bytes that must stay free.
    needed: u64,
    /// When the room on the disk was last looked at.
    looked: Option<Instant>,
    /// Held for as long as the journal is open.
    lock: HeldLock,
    /// Number of the last event.
    last: u64,
}

impl SqliteJournal {
    /// Begins the journal of a plan in a run directory. `facts` are kept with it: what a later process must know.
    pub(super) fn create(dir: &Path, plan: &Plan, facts: &RunMeta) -> Result<Self, LocalError> {
        local(dir)?;
        let lock = take_lock(dir)?;
        let path = dir.join("run.db");
        // SQLite gives its log the same permissions.
        private_file(&path).map_err(|error| LocalError::File(path.clone(), error))?;
        let mut connection = Connection::open(&path)?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(LocalError::NoWal { path, mode });
        }
        connection.execute_batch(&format!(
            "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
        ))?;
        prepare(&connection)?;
        let begin = connection.transaction()?;
        begin.execute_batch(TABLES)?;
        let mut set = begin.prepare("INSERT INTO run (key, value) VALUES (?1, ?2)")?;
        set.execute(params!["run_id", plan.run_id.as_str()])?;
        set.execute(params!["plan_sha256", facts.plan_digest])?;
        set.execute(params!["config", facts.config])?;
        set.execute(params!["file", file_number(&path)?])?;
        drop(set);
        let mut node = begin.prepare("INSERT INTO node (id, account, pool, node) VALUES (?1, ?2, ?3, ?4)")?;
        for (index, planned) in plan.indexed() {
            let (account, pool) = (planned.account().as_str(), planned.pool().as_str());
            node.execute(params![index.0, account, pool, &*planned.id()])?;
        }
        drop(node);
        begin.commit()?;
        // The directory entries of the new files must be durable, too.
        File::open(dir)?.sync_all()?;
        Ok(Self::over(connection, dir, plan.nodes.len() as u64, lock, 0))
    }

    /// Opens the journal of an earlier process to resume its run. What that process did not finish writing is dropped,
    /// as it was never promised; damage elsewhere is refused.
    ///
    /// A copy of a run directory is refused unless `accept_copy`: the original may still be at work.
    pub(super) fn open(dir: &Path, accept_copy: bool) -> Result<Self, LocalError> {
        local(dir)?;
        let mut lock = take_lock(dir)?;
        let path = dir.join("run.db");
        let torn = torn_pages(dir)?;
        let connection = open_existing(&path)?;
        let checked: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| damaged(&path, error))?;
        if checked != "ok" {
            return Err(LocalError::Damaged { path, detail: checked });
        }
        if torn > 0 {
            tracing::warn!(
                pages = torn,
                "the last commit of the journal was not finished when its process ended; it is dropped, and the calls \
                 it was about are looked up"
            );
        }
        prepare(&connection)?;
        let number = |query: &str| {
            connection.query_row(query, [], |row| row.get::<_, u64>(0)).map_err(|error| damaged(&path, error))
        };
        let last = lock.check_mark(&connection, &path)?;
        let nodes = number("SELECT count(*) FROM node")?;
        let here = file_number(&path)?;
        let there: String =
            connection.query_row("SELECT value FROM run WHERE key = 'file'", [], |row| row.get(0))?;
        if here != there {
            if !accept_copy {
                return Err(LocalError::Copied(dir.into()));
            }
            connection.execute("UPDATE run SET value = ?1 WHERE key = 'file'", [here])?;
        }
        lock.note(last)?;
        Ok(Self::over(connection, dir, nodes, lock, last))
    }

    fn over(connection: Connection, dir: &Path, nodes: u64, lock: HeldLock, last: u64) -> Self {
        let needed = ROOM + nodes * ROOM_PER_NODE;
        Self {
            connection,
            recorded: None,
            json: Vec::new(),
            dir: dir.into(),
            needed,
            looked: None,
            lock,
            last,
        }
    }
}

fn prepare(connection: &Connection) -> Result<(), LocalError> {
    connection.execute_batch(&format!(
        "PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
    ))?;
    Ok(())
}

impl SqliteJournal {
    fn commit(&mut self, events: &[Recorded]) -> Result<(), LocalError> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO event (node, crc, json) VALUES (?1, ?2, ?3)")?;
            for event in events {
                self.json.clear();
                serde_json::to_writer(&mut self.json, event)?;
                let json = std::str::from_utf8(&self.json).expect("JSON is UTF-8");
                insert.execute(params![event.node.map(|node| node.0), checksum(event.node, json), json])?;
            }
        }
        transaction.commit()?;
        self.last += events.len() as u64;
        // After the commit is durable, so that it never says more than there is.
        self.lock.note(self.last)?;
        Ok(())
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.recorded = Some(RecordTime::of(&self.dir));
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        Ok(self.commit(events)?)
    }

    fn little_room(&mut self) -> Option<LittleRoom> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_FOR_ROOM) {
            return None;
        }
        self.looked = Some(Instant::now());
        let free = disk::free(&self.dir)?;
        (free < self.needed).then_some(LittleRoom { free, needed: self.needed })
    }
}

/// Refuses a directory on a network file system, even where SQLite would grant a write-ahead log there: its index is
/// shared memory, which does not reach from one machine to another.
fn local(dir: &Path) -> Result<(), LocalError> {
    match disk::network_file_system(dir) {
        None => Ok(()),
        Some(kind) => Err(LocalError::Network { dir: dir.into(), kind }),
    }
}

/// Tells a file from its copy.
#[cfg(unix)]
fn file_number(path: &Path) -> std::io::Result<String> {
    Ok(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path)?).to_string())
}

#[cfg(not(unix))]
fn file_number(_: &Path) -> std::io::Result<String> {
    Ok(String::new())
}
