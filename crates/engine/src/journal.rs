//! The journal: what happened in a run, on disk before it counts.
//!
//! `run.db` is SQLite in WAL mode with `synchronous=FULL`: what was appended survives the loss of power. A second
//! process is kept out by `run.lock`, which the kernel releases when its holder dies; SQLite alone would let two
//! writers in. Events are stored as JSON text, one row each, so `sqlite3 run.db` can be asked while a run is live.
//! Why SQLite: docs/design/journal.md.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::plan::Plan;
use rusqlite::{Connection, OpenFlags, params};

/// Version of the tables and of the events in them.
const FORMAT: i64 = 1;

/// Marks the file as a fleetlogs journal in its header: "flog".
const APPLICATION_ID: i64 = 0x666c_6f67;

/// Pages of the write-ahead log before SQLite moves them into the database: about 16 MB.
const CHECKPOINT_PAGES: i64 = 4000;

const TABLES: &str = "
    CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE node (id INTEGER PRIMARY KEY, account TEXT NOT NULL, pool TEXT NOT NULL, node TEXT NOT NULL) STRICT;
    CREATE TABLE event (seq INTEGER PRIMARY KEY, node INTEGER, json TEXT NOT NULL) STRICT;
    CREATE VIEW node_event AS
        SELECT event.seq, json ->> 'at' AS at, account, pool, node.node, json ->> 'event' AS event, json
        FROM event JOIN node ON node.id = event.node;
";

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process works on the run.
    #[error("another process works on this run (it holds `{0}`)")]
    Busy(PathBuf),
    /// The file is not a journal, or one of another version.
    #[error("`{path}` has journal format {found}, and this fleetlogs reads format {FORMAT}")]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format number.
        found: i64,
    },
    /// The plan beside the journal is not the one the journal was begun with.
    #[error("plan.json is not the plan this journal was begun with")]
    OtherPlan,
    /// The file system cannot hold a write-ahead log (network file systems often cannot).
    #[error(
        "`{path}` cannot use a write-ahead log (SQLite chose `{mode}`); choose a directory on a local disk"
    )]
    NoWal {
        /// The database.
        path: PathBuf,
        /// What SQLite chose instead.
        mode: String,
    },
    /// SQLite failed.
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored event cannot be read.
    #[error("journal: an event cannot be read: {0}")]
    Event(#[from] serde_json::Error),
    /// The file system failed.
    #[error("journal: {0}")]
    Io(#[from] io::Error),
}

/// Where events are made durable.
pub trait Journal: Send + 'static {
    /// Makes a group of events durable, all or none. After an error nothing more may be appended.
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError>;
}

/// The journal of a run on this machine.
pub struct SqliteJournal {
    connection: Connection,
    json: String,
    /// Held for as long as the journal is open.
    _lock: File,
}

impl SqliteJournal {
    /// Begins the journal of a plan in a run directory. `plan_digest` ties the two together.
    pub fn create(dir: &Path, plan: &Plan, plan_digest: &str) -> Result<Self, JournalError> {
        let lock = lock(dir)?;
        let path = dir.join("run.db");
        let mut connection = Connection::open(&path)?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(JournalError::NoWal { path, mode });
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};
             PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
        ))?;
        let begin = connection.transaction()?;
        begin.execute_batch(TABLES)?;
        let mut set = begin.prepare("INSERT INTO run (key, value) VALUES (?1, ?2)")?;
        set.execute(params!["run_id", plan.run_id.as_str()])?;
        set.execute(params!["plan_sha256", plan_digest])?;
        drop(set);
        let mut node = begin.prepare("INSERT INTO node (id, account, pool, node) VALUES (?1, ?2, ?3, ?4)")?;
        for (index, planned) in plan.indexed() {
            node.execute(params![
                index.0,
                planned.account.as_str(),
                planned.pool.as_str(),
                planned.node.as_str()
            ])?;
        }
        drop(node);
        begin.commit()?;
        // The directory entries of the new files must be durable, too.
        File::open(dir)?.sync_all()?;
        Ok(Self { connection, json: String::new(), _lock: lock })
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError> {
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO event (node, json) VALUES (?1, ?2)")?;
            for event in events {
                let mut bytes = std::mem::take(&mut self.json).into_bytes();
                bytes.clear();
                serde_json::to_writer(&mut bytes, event)?;
                self.json = String::from_utf8(bytes).expect("JSON is UTF-8");
                insert.execute(params![event.node.map(|node| node.0), self.json])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("run.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy(path)),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Reads a journal, also while a run writes it.
pub struct JournalReader {
    connection: Connection,
}

impl JournalReader {
    /// Opens the journal of a run directory for reading.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("run.db");
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        if found != FORMAT || application != APPLICATION_ID {
            return Err(JournalError::Format { path, found });
        }
        connection.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000;")?;
        Ok(Self { connection })
    }

    /// Refuses a plan that is not the one the journal was begun with.
    pub fn check_plan(&self, plan_digest: &str) -> Result<(), JournalError> {
        let stored: String =
            self.connection
                .query_row("SELECT value FROM run WHERE key = 'plan_sha256'", [], |row| row.get(0))?;
        if stored == plan_digest { Ok(()) } else { Err(JournalError::OtherPlan) }
    }

    /// Hands every event over, in order.
    pub fn for_each_event(&self, mut hear: impl FnMut(&Recorded)) -> Result<(), JournalError> {
        let mut select = self.connection.prepare("SELECT json FROM event ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            hear(&serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
        }
        Ok(())
    }

    /// The events that are about no node, in order.
    pub fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut select = self.connection.prepare("SELECT json FROM event WHERE node IS NULL ORDER BY seq")?;
        let mut rows = select.query([])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
        }
        Ok(events)
    }

    /// Prepares reading the histories of all nodes that have one.
    pub fn histories(&self) -> Result<Histories<'_>, JournalError> {
        // Without an index SQLite sorts in a temporary file: cheaper, once, than an index that every append pays.
        let select = self
            .connection
            .prepare("SELECT node, json FROM event WHERE node IS NOT NULL ORDER BY node, seq")?;
        Ok(Histories { select })
    }
}

/// The histories of all nodes that have one, in plan order, one in memory at a time.
pub struct Histories<'reader> {
    select: rusqlite::Statement<'reader>,
}

impl Histories<'_> {
    /// Runs the query.
    pub fn rows(
        &mut self,
    ) -> Result<impl Iterator<Item = Result<(NodeIndex, NodeHistory), JournalError>>, JournalError> {
        let mut rows = self.select.query([])?;
        let mut next_node: Option<(NodeIndex, NodeHistory)> = None;
        let mut ended = false;
        Ok(std::iter::from_fn(move || {
            while !ended {
                let event = match rows.next() {
                    Ok(Some(row)) => read_row(row),
                    Ok(None) => {
                        ended = true;
                        break;
                    }
                    Err(error) => Err(error.into()),
                };
                let (node, event) = match event {
                    Ok(event) => event,
                    Err(error) => {
                        ended = true;
                        return Some(Err(error));
                    }
                };
                match &mut next_node {
                    Some((current, history)) if *current == node => history.apply(&event),
                    _ => {
                        let mut history = NodeHistory::default();
                        history.apply(&event);
                        if let Some(done) = next_node.replace((node, history)) {
                            return Some(Ok(done));
                        }
                    }
                }
            }
            next_node.take().map(Ok)
        }))
    }
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<(NodeIndex, Recorded), JournalError> {
    let json = row.get_ref(1)?;
    Ok((NodeIndex(row.get(0)?), serde_json::from_str(json.as_str().map_err(rusqlite::Error::from)?)?))
}

/// What a run's own events say about it as a whole.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// When the first process began to work on it.
    pub started_at: Option<time::OffsetDateTime>,
    /// When the last process ended in order.
    pub ended_at: Option<time::OffsetDateTime>,
    /// Time of the last event about the run as a whole.
    pub last_at: Option<time::OffsetDateTime>,
    /// Why it stopped before its end.
    pub stopped: Option<String>,
    /// Whether it stopped for a reason after which it can go on.
    pub interrupted: bool,
    /// Whether arrival was looked at.
    pub verification: bool,
    /// List calls that verification took.
    pub list_calls: u64,
}

impl RunRecord {
    /// Folds the events that are about no node.
    #[must_use]
    pub fn of(events: &[Recorded]) -> Self {
        let mut record = Self::default();
        for recorded in events {
            record.last_at = Some(recorded.at);
            match &recorded.event {
                Event::RunStarted { verification, .. } => {
                    record.started_at.get_or_insert(recorded.at);
                    record.verification = *verification;
                    record.stopped = None;
                    record.interrupted = false;
                    record.ended_at = None;
                }
                Event::RunDraining { reason, resumable } => {
                    record.stopped = Some(reason.to_string());
                    record.interrupted = *resumable;
                }
                Event::RunEnded { list_calls } => {
                    record.ended_at = Some(recorded.at);
                    record.list_calls += list_calls;
                }
                _ => {}
            }
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ledger::NodeStatus;
    use uuid::Uuid;

    use super::*;
    use crate::testing::{NOW, plan_of};

    fn recorded(node: u32, event: Event) -> Recorded {
        Recorded { at: NOW, node: Some(NodeIndex(node)), event }
    }

    fn requested(node: u32) -> Recorded {
        recorded(node, Event::UploadRequested { attempt: 1, client_request_id: Uuid::nil() })
    }

    #[test]
    fn histories_come_in_plan_order_whatever_the_order_of_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::create(dir.path(), &plan_of(3), "digest").unwrap();
        let accepted =
            Event::UploadAccepted { attempt: 1, directory: "d".into(), files: 2, request_id: None };
        journal.append(&[requested(2), requested(0)]).unwrap();
        journal.append(&[recorded(2, accepted)]).unwrap();

        let reader = JournalReader::open(dir.path()).unwrap();
        let mut query = reader.histories().unwrap();
        let statuses: Vec<_> = query
            .rows()
            .unwrap()
            .map(|row| row.map(|(node, history)| (node.0, history.status)).unwrap())
            .collect();

        assert_eq!(statuses, [(0, NodeStatus::Requested), (2, NodeStatus::Accepted)]);
    }

    #[test]
    fn a_second_process_is_kept_out_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let first = SqliteJournal::create(dir.path(), &plan_of(1), "digest").unwrap();
        assert!(matches!(lock(dir.path()), Err(JournalError::Busy(_))));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn other_formats_and_other_plans_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::create(dir.path(), &plan_of(1), "digest").unwrap();
        let reader = JournalReader::open(dir.path()).unwrap();
        assert!(reader.check_plan("digest").is_ok());
        assert!(matches!(reader.check_plan("other"), Err(JournalError::OtherPlan)));
        journal.connection.execute_batch("PRAGMA user_version=9").unwrap();
        assert!(matches!(JournalReader::open(dir.path()), Err(JournalError::Format { found: 9, .. })));
    }

    #[test]
    fn commits_are_synchronous() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::create(dir.path(), &plan_of(1), "digest").unwrap();
        let full: i64 = journal.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!(full, 2);
    }
}
