//! The journal: what happened in a run, on disk before it counts.
//!
//! `run.db` is SQLite in WAL mode with `synchronous=FULL`: what was appended survives the loss of power. A second
//! process is kept out by `run.lock`, which the kernel releases when its holder dies; SQLite alone would let two
//! writers in. Events are stored as JSON text, one row each, so `sqlite3 run.db` can be asked while a run is live; each row has a checksum.
//! Why SQLite: docs/design/journal.md.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleetlogs_model::event::Recorded;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::plan::Plan;
use rusqlite::{Connection, OpenFlags, params};

pub use self::reader::{Histories, JournalReader};
use crate::disk;
use crate::wal::{self, Tail};

mod reader;

/// Version of the tables and of the events in them.
const FORMAT: i64 = 2;

/// Marks the file as a fleetlogs journal in its header: "flog".
const APPLICATION_ID: i64 = 0x666c_6f67;

/// Pages of the write-ahead log before SQLite moves them into the database: about 256 MB, the events of some 200,000
/// nodes. While it does, nothing can be put on record and so nothing is sent; most runs end before that.
const CHECKPOINT_PAGES: i64 = 65_536;

/// Room that the disk must have for calls to be sent, whatever the size of the plan.
const ROOM: u64 = 1 << 20;

/// The same for each node of the plan: what may still have to be put on record about it, and its share of the reports.
const ROOM_PER_NODE: u64 = 2048;

/// Between two looks at the room on the disk.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

/// How long another process may hold the lock before it is called busy: `status` takes it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

const TABLES: &str = "
    CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE node (id INTEGER PRIMARY KEY, account TEXT NOT NULL, pool TEXT NOT NULL, node TEXT NOT NULL) STRICT;
    CREATE TABLE event (seq INTEGER PRIMARY KEY, node INTEGER, crc INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
    CREATE VIEW node_event AS
        SELECT event.seq, json ->> 'at' AS at, account, pool, node.node, json ->> 'event' AS event, json
        FROM event JOIN node ON node.id = event.node;
";

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process works on the run.
    #[error("another process works on this run ({}it holds `{path}`)", holder.map(|id| format!("process {id}; ")).unwrap_or_default())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// The other process, where it said.
        holder: Option<u32>,
    },
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
    /// The directory is a copy of another.
    #[error("`{0}` is a copy of a run directory, and the original may still be at work")]
    Copied(PathBuf),
    /// A file of the run cannot be used.
    #[error("`{0}`: {1}")]
    File(PathBuf, io::Error),
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
    /// The run directory is on another machine's disk.
    #[error(
        "`{dir}` is on a network file system ({kind}), where a journal is not safe; choose a directory on a local disk"
    )]
    Network {
        /// The run directory.
        dir: PathBuf,
        /// What kind.
        kind: &'static str,
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

impl JournalError {
    /// What a person can do about a journal that cannot be written any more.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(DiskFull) => "make room on its disk, then resume",
                Some(ReadOnly | SystemIoFailure | CannotOpen) => {
                    "its disk is read-only or fails: mend that, or copy the run directory to another disk; then resume"
                }
                _ => "mend its disk, then resume",
            },
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                "make room on its disk, then resume"
            }
            _ => "mend its disk, then resume",
        }
    }
}

/// Too little room to go on: what was sent could no longer be put on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LittleRoom {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that are kept for what is in flight and for the reports.
    pub needed: u64,
}

/// Where events are made durable.
pub trait Journal: Send + 'static {
    /// Makes a group of events durable, all or none. After an error nothing more may be appended.
    fn append(&mut self, events: &[Recorded]) -> Result<(), JournalError>;

    /// Whether the disk is about to be full. Asked after every group.
    fn little_room(&mut self) -> Option<LittleRoom> {
        None
    }
}

/// The journal of a run on this machine.
pub struct SqliteJournal {
    connection: Connection,
    json: Vec<u8>,
    dir: PathBuf,
    /// Bytes that must stay free.
    needed: u64,
    /// When the room on the disk was last looked at.
    looked: Option<Instant>,
    /// Held for as long as the journal is open.
    lock: Held,
    /// Number of the last event.
    last: u64,
}

impl SqliteJournal {
    /// Begins the journal of a plan in a run directory. `facts` are kept with it: what a later process must know.
    pub fn create(dir: &Path, plan: &Plan, facts: &RunMeta) -> Result<Self, JournalError> {
        local(dir)?;
        let lock = take_lock(dir)?;
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
        set.execute(params!["file", file_number(&path)?])?;
        drop(set);
        let mut node = begin.prepare("INSERT INTO node (id, account, pool, node) VALUES (?1, ?2, ?3, ?4)")?;
        for (index, planned) in plan.indexed() {
            node.execute(params![index.0, planned.account().as_str(), planned.pool().as_str(), planned.id])?;
        }
        drop(node);
        begin.commit()?;
        // The directory entries of the new files must be durable, too.
        File::open(dir)?.sync_all()?;
        Ok(Self::over(connection, dir, plan.nodes.len() as u64, lock, 0))
    }

    /// Opens the journal of an earlier process to go on with it. What that process did not finish writing is dropped,
    /// as it was never promised; damage elsewhere is refused.
    ///
    /// A copy of a run directory is refused unless `accept_copy`: the original may still be at work.
    pub fn open(dir: &Path, accept_copy: bool) -> Result<Self, JournalError> {
        local(dir)?;
        let mut lock = take_lock(dir)?;
        let path = dir.join("run.db");
        let torn = torn_pages(dir)?;
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
                return Err(JournalError::Copied(dir.into()));
            }
            connection.execute("UPDATE run SET value = ?1 WHERE key = 'file'", [here])?;
        }
        lock.note(last)?;
        Ok(Self::over(connection, dir, nodes, lock, last))
    }

    fn over(connection: Connection, dir: &Path, nodes: u64, lock: Held, last: u64) -> Self {
        let needed = ROOM + nodes * ROOM_PER_NODE;
        Self { connection, json: Vec::new(), dir: dir.into(), needed, looked: None, lock, last }
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

/// How many pages of an unfinished commit the log ends with. Refuses a damaged one before SQLite sees it, which would
/// drop everything from the first bad frame on. To be asked only while no process writes.
fn torn_pages(dir: &Path) -> Result<u64, JournalError> {
    let path = dir.join("run.db-wal");
    match wal::tail(&path)? {
        Tail::Whole => Ok(0),
        Tail::Torn(pages) => Ok(pages),
        Tail::Damaged(frame) => {
            let detail = match frame {
                0 => "the header of the write-ahead log does not check out".to_owned(),
                frame => format!("frame {frame} does not check out, and finished commits follow it"),
            };
            Err(JournalError::Damaged { path, detail })
        }
    }
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
    if (found, application) == (0, 0) {
        let detail = "it is empty, or not a journal".into();
        return Err(JournalError::Damaged { path: path.into(), detail });
    }
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

    fn little_room(&mut self) -> Option<LittleRoom> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_FOR_ROOM) {
            return None;
        }
        self.looked = Some(Instant::now());
        let free = disk::free(&self.dir)?;
        (free < self.needed).then_some(LittleRoom { free, needed: self.needed })
    }
}

/// Checksum of an event's row: SQLite keeps none, and would hand out a flipped bit as it is.
fn checksum(node: Option<NodeIndex>, json: &str) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&node.map_or(-1, |node| i64::from(node.0)).to_le_bytes());
    sum.update(json.as_bytes());
    sum.finalize()
}

/// Refuses a directory on a network file system, even where SQLite would grant a write-ahead log there: its index is
/// shared memory, which does not reach from one machine to another.
fn local(dir: &Path) -> Result<(), JournalError> {
    match disk::network_file_system(dir) {
        None => Ok(()),
        Some(kind) => Err(JournalError::Network { dir: dir.into(), kind }),
    }
}

/// The lock of a run, held. It also says how many events are on record: SQLite forgets what a lost log held.
struct Held {
    file: File,
    /// The directory is locked as well: whoever removes the lock's file does not get past it.
    _dir: Option<File>,
    /// Events that were on record when it was taken.
    mark: u64,
}

impl Held {
    /// Refuses a journal that has lost events. Returns the number of the last one.
    fn check_mark(&self, connection: &Connection, path: &Path) -> Result<u64, JournalError> {
        let last = connection
            .query_row("SELECT coalesce(max(seq), 0) FROM event", [], |row| row.get(0))
            .map_err(|error| damaged(path, error))?;
        if last < self.mark {
            let detail = format!(
                "{} events were on record, and {last} are there: its write-ahead log was lost or cut",
                self.mark
            );
            return Err(JournalError::Damaged { path: path.into(), detail });
        }
        Ok(last)
    }

    /// Notes who holds the lock, and how many events are on record.
    fn note(&mut self, events: u64) -> Result<(), JournalError> {
        let line = format!("{:<10} {events:<20}\n", std::process::id());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Takes the lock of a run for this process, and says so in it.
fn take_lock(dir: &Path) -> Result<Held, JournalError> {
    let since = Instant::now();
    let mut held = loop {
        match lock(dir) {
            Err(JournalError::Busy { .. }) if since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other?,
        }
    };
    held.note(held.mark)?;
    Ok(held)
}

fn lock(dir: &Path) -> Result<Held, JournalError> {
    let path = dir.join("run.lock");
    let file = private_file(&path).map_err(|error| JournalError::File(path.clone(), error))?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut words = text.split_whitespace();
    let holder = words.next().and_then(|word| word.parse().ok());
    let mark = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let locked_dir = if cfg!(unix) { Some(File::open(dir)?) } else { None };
    for file in [Some(&file), locked_dir.as_ref()].into_iter().flatten() {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { path, holder }),
            Err(TryLockError::Error(error)) => return Err(JournalError::File(path, error)),
        }
    }
    Ok(Held { file, _dir: locked_dir, mark })
}

/// Tells a file from its copy.
#[cfg(unix)]
fn file_number(path: &Path) -> io::Result<String> {
    Ok(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path)?).to_string())
}

#[cfg(not(unix))]
fn file_number(_: &Path) -> io::Result<String> {
    Ok(String::new())
}

/// Keeps every other process from working on a run, for as long as it lives.
pub struct Hold {
    _held: Held,
}

/// Holds a run, without working on its journal. Refuses one that a process works on right now.
pub fn hold(dir: &Path) -> Result<Hold, JournalError> {
    lock(dir).map(|held| Hold { _held: held })
}

/// Refuses a run that a process works on right now.
pub fn check_free(dir: &Path) -> Result<(), JournalError> {
    lock(dir).map(|_released_at_once| ())
}

/// Whether a process works on the run right now.
pub fn is_held(dir: &Path) -> Result<bool, JournalError> {
    match check_free(dir) {
        Ok(()) => Ok(false),
        Err(JournalError::Busy { .. }) => Ok(true),
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

#[cfg(test)]
mod tests;
