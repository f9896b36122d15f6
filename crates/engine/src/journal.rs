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
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use rusqlite::{Connection, OpenFlags, params};

use crate::wal;

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
    /// There is no journal.
    #[error("there is no journal `{0}`")]
    Missing(PathBuf),
    /// The file was changed by something that is not SQLite. Nothing is written to it.
    #[error("the journal `{path}` is damaged: {detail}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says, or where the event stands that cannot be read.
        detail: String,
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
    /// An event cannot be written as JSON. A defect.
    #[error("journal: an event cannot be written: {0}")]
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
    /// Begins the journal of a plan in a run directory. `facts` are kept with it: what a later process must know.
    pub fn create(dir: &Path, plan: &Plan, facts: &RunMeta) -> Result<Self, JournalError> {
        let lock = lock(dir)?;
        let path = dir.join("run.db");
        // SQLite gives its log the same permissions.
        private_file(&path)?;
        let mut connection = Connection::open(&path)?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(JournalError::NoWal { path, mode });
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

    /// Opens the journal of an earlier process to go on with it. What that process did not finish writing is dropped,
    /// as it was never promised; damage elsewhere is refused.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let lock = lock(dir)?;
        let path = dir.join("run.db");
        let torn = wal::torn_frames(&dir.join("run.db-wal")).unwrap_or(0);
        let connection = open_existing(&path)?;
        let checked: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| damaged(&path, error))?;
        if checked != "ok" {
            return Err(JournalError::Damaged { path, detail: checked });
        }
        if torn > 0 {
            tracing::warn!(
                pages = torn,
                "the last commit of the journal was not finished when its process ended; it is dropped, and the calls \
                 it was about are looked up"
            );
        }
        prepare(&connection)?;
        Ok(Self { connection, json: String::new(), _lock: lock })
    }
}

/// What is kept with a journal beside events and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMeta {
    /// SHA-256 of plan.json, in hex; ties plan and journal together.
    pub plan_digest: String,
    /// Path of the config that the run was begun with.
    pub config: String,
}

fn prepare(connection: &Connection) -> Result<(), JournalError> {
    connection.execute_batch(&format!(
        "PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
    ))?;
    Ok(())
}

/// Opens a database that must be a journal of this format.
fn open_existing(path: &Path) -> Result<Connection, JournalError> {
    if !path.is_file() {
        return Err(JournalError::Missing(path.into()));
    }
    // A log in write-ahead form cannot be read without write access to its index.
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let pragma = |name: &str| {
        let number = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        number.map_err(|error| damaged(path, error))
    };
    let (found, application) = (pragma("user_version")?, pragma("application_id")?);
    if found != FORMAT || application != APPLICATION_ID {
        return Err(JournalError::Format { path: path.into(), found });
    }
    Ok(connection)
}

/// Tells a damaged file from other failures of SQLite.
fn damaged(path: &Path, error: rusqlite::Error) -> JournalError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            JournalError::Damaged { path: path.into(), detail: error.to_string() }
        }
        _ => error.into(),
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
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy(path)),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Whether a process works on the run right now.
pub fn is_held(dir: &Path) -> Result<bool, JournalError> {
    match lock(dir) {
        Ok(_released_at_once) => Ok(false),
        Err(JournalError::Busy(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens a file that only its owner can read; makes it if it is not there.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Reads a journal, also while a run writes it.
pub struct JournalReader {
    connection: Connection,
    path: PathBuf,
}

impl JournalReader {
    /// Opens the journal of a run directory for reading.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("run.db");
        let connection = open_existing(&path)?;
        connection.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000;")?;
        Ok(Self { connection, path })
    }

    /// What is kept with the journal.
    pub fn meta(&self) -> Result<RunMeta, JournalError> {
        let value = |key: &str| {
            self.connection
                .query_row("SELECT value FROM run WHERE key = ?1", [key], |row| row.get::<_, String>(0))
        };
        Ok(RunMeta { plan_digest: value("plan_sha256")?, config: value("config")? })
    }

    /// Refuses a plan that is not the one the journal was begun with.
    pub fn check_plan(&self, plan_digest: &str) -> Result<(), JournalError> {
        if self.meta()?.plan_digest == plan_digest { Ok(()) } else { Err(JournalError::OtherPlan) }
    }

    /// Hands every event after a sequence number over, in order, and returns the last number.
    pub fn for_each_event(&self, after: i64, mut hear: impl FnMut(&Recorded)) -> Result<i64, JournalError> {
        let mut select =
            self.connection.prepare("SELECT seq, json FROM event WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = select.query([after])?;
        let mut last = after;
        while let Some(row) = rows.next().map_err(|error| damaged(&self.path, error))? {
            last = row.get(0)?;
            hear(&event(&self.path, last, row.get_ref(1)?)?);
        }
        Ok(last)
    }

    /// The events that are about no node, in order.
    pub fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut select =
            self.connection.prepare("SELECT seq, json FROM event WHERE node IS NULL ORDER BY seq")?;
        let mut rows = select.query([])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(|error| damaged(&self.path, error))? {
            events.push(event(&self.path, row.get(0)?, row.get_ref(1)?)?);
        }
        Ok(events)
    }

    /// Prepares reading the histories of all nodes that have one.
    pub fn histories(&self) -> Result<Histories<'_>, JournalError> {
        // Without an index SQLite sorts in a temporary file: cheaper, once, than an index that every append pays.
        let select = self
            .connection
            .prepare("SELECT node, seq, json FROM event WHERE node IS NOT NULL ORDER BY node, seq")?;
        Ok(Histories { select, path: &self.path })
    }
}

/// Reads an event; one that cannot be read is damage, and is told with its place.
fn event(path: &Path, seq: i64, json: rusqlite::types::ValueRef<'_>) -> Result<Recorded, JournalError> {
    let damaged = |detail: String| JournalError::Damaged {
        path: path.into(),
        detail: format!("event {seq}: {detail}"),
    };
    let text = json.as_str().map_err(|error| damaged(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| damaged(error.to_string()))
}

/// The histories of all nodes that have one, in plan order, one in memory at a time.
pub struct Histories<'reader> {
    select: rusqlite::Statement<'reader>,
    path: &'reader Path,
}

impl Histories<'_> {
    /// Runs the query.
    pub fn rows(
        &mut self,
    ) -> Result<impl Iterator<Item = Result<(NodeIndex, NodeHistory), JournalError>>, JournalError> {
        let path = self.path;
        let mut rows = self.select.query([])?;
        let mut next_node: Option<(NodeIndex, NodeHistory)> = None;
        let mut ended = false;
        Ok(std::iter::from_fn(move || {
            while !ended {
                let read = match rows.next() {
                    Ok(Some(row)) => read_row(path, row),
                    Ok(None) => {
                        ended = true;
                        break;
                    }
                    Err(error) => Err(damaged(path, error)),
                };
                let (node, event) = match read {
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

fn read_row(path: &Path, row: &rusqlite::Row<'_>) -> Result<(NodeIndex, Recorded), JournalError> {
    Ok((NodeIndex(row.get(0)?), event(path, row.get(1)?, row.get_ref(2)?)?))
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
    /// How it ended, where it stopped for a reason after which it can go on.
    pub cut_short: Option<RunOutcome>,
    /// Whether an account was given up.
    pub account_stopped: bool,
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
                    record.account_stopped = false;
                    record.cut_short = None;
                    record.ended_at = None;
                }
                Event::RunDraining { reason, outcome } => {
                    record.stopped = Some(reason.to_string());
                    record.cut_short = *outcome;
                }
                // A request that the account refuses as it is will not be taken when the run goes on.
                Event::AccountStopped { cause, .. } => {
                    record.account_stopped |= cause.class != FailureClass::Config;
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

    fn meta() -> RunMeta {
        RunMeta { plan_digest: "digest".into(), config: "fleetlogs.toml".into() }
    }

    fn requested(node: u32) -> Recorded {
        recorded(node, Event::UploadRequested { attempt: 1, client_request_id: Uuid::nil() })
    }

    #[test]
    fn histories_come_in_plan_order_whatever_the_order_of_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::create(dir.path(), &plan_of(3), &meta()).unwrap();
        let accepted =
            Event::UploadAccepted { attempt: 1, directory: "d".into(), files: Some(2), request_id: None };
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
        let first = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        assert!(matches!(lock(dir.path()), Err(JournalError::Busy(_))));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn other_formats_and_other_plans_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        let reader = JournalReader::open(dir.path()).unwrap();
        assert!(reader.check_plan("digest").is_ok());
        assert!(matches!(reader.check_plan("other"), Err(JournalError::OtherPlan)));
        journal.connection.execute_batch("PRAGMA user_version=9").unwrap();
        assert!(matches!(JournalReader::open(dir.path()), Err(JournalError::Format { found: 9, .. })));
    }

    #[test]
    fn commits_are_synchronous() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        let full: i64 = journal.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
        assert_eq!(full, 2);
    }

    fn count(dir: &Path) -> Result<usize, JournalError> {
        let mut count = 0;
        JournalReader::open(dir)?.for_each_event(0, |_| count += 1)?;
        Ok(count)
    }

    #[test]
    fn a_torn_tail_is_dropped_and_everything_before_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        for _ in 0..20 {
            journal.append(&[requested(0)]).unwrap();
        }
        // As a killed process leaves it: no checkpoint, and the last commit only half on disk.
        let copy = tempfile::tempdir().unwrap();
        for name in ["run.db", "run.db-wal"] {
            std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let wal = copy.path().join("run.db-wal");
        let length = std::fs::metadata(&wal).unwrap().len();
        OpenOptions::new().write(true).open(&wal).unwrap().set_len(length - 100).unwrap();
        assert_eq!(wal::torn_frames(&wal).unwrap(), 1);

        let mut reopened = SqliteJournal::open(copy.path()).unwrap();
        assert_eq!(count(copy.path()).unwrap(), 19);
        reopened.append(&[requested(0)]).unwrap();
        assert_eq!(count(copy.path()).unwrap(), 20);
    }

    #[test]
    fn damage_in_the_middle_is_refused_and_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        for _ in 0..2000 {
            journal.append(&[requested(0)]).unwrap();
        }
        drop(journal);
        let path = dir.path().join("run.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let refused =
            SqliteJournal::open(dir.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("is damaged"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn an_event_that_cannot_be_read_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = SqliteJournal::create(dir.path(), &plan_of(1), &meta()).unwrap();
        journal.append(&[requested(0), requested(0)]).unwrap();
        journal.connection.execute("UPDATE event SET json = '{}' WHERE seq = 2", []).unwrap();
        let refused = count(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("event 2"), "{refused}");
    }

    #[test]
    fn a_directory_without_a_journal_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(SqliteJournal::open(dir.path()), Err(JournalError::Missing(_))));
        std::fs::write(dir.path().join("run.db"), "this is not a database, but long enough to look at")
            .unwrap();
        assert!(matches!(SqliteJournal::open(dir.path()), Err(JournalError::Damaged { .. })));
    }
}
