//! Reading a journal, even while another process writes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::run_store::{HistoryQuery, HistoryRows, JournalError, JournalReader, RunMeta};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::database::{RecordTime, checksum, damaged, open_existing, torn_pages};
use super::failure::LocalError;
use super::lock::{HeldLock, lock};

/// Queries of events after a number.
pub(super) const EVENTS: &str = "SELECT node, seq, crc, json FROM event WHERE seq > ?1 ORDER BY seq";
const RUN_EVENTS: &str =
    "SELECT node, seq, crc, json FROM event WHERE node IS NULL AND seq > ?1 ORDER BY seq";

/// Reads the journal of a run directory, even while a run writes it.
pub(super) struct SqliteReader {
    connection: Connection,
    path: PathBuf,
    /// Keeps writers out while the connection, which is dropped before, moves the log of an ended run.
    closing: Option<(RecordTime, HeldLock)>,
}

impl SqliteReader {
    /// Opens the journal of a run directory for reading.
    pub(super) fn open(dir: &Path) -> Result<Self, LocalError> {
        let held = lock(dir).ok();
        if held.is_some() {
            torn_pages(dir)?;
        }
        let path = dir.join("run.db");
        let connection = open_existing(&path)?;
        // Reading must not move anything while the run goes on, and of a killed one only `resume`, which checks it first.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000;")?;
        if let Some(held) = held {
            held.check_mark(&connection, &path)?;
        }
        Ok(Self { connection, path, closing: None })
    }

    /// Prepares to move the log of an ended run into the database when the connection closes. Its own process could not,
    /// because this reader was there: the log would stay for good, and the database alone would not be the journal.
    /// Whatever stands against it, a writer, damage or a disk that takes no writes, leaves the log as it is.
    fn move_log(&self) -> Option<(RecordTime, HeldLock)> {
        let dir = self.path.parent()?;
        let held = lock(dir).ok()?;
        if !self.has_ended()
            || torn_pages(dir).ok()? > 0
            || held.check_mark(&self.connection, &self.path).is_err()
        {
            return None;
        }
        let recorded = RecordTime::of(dir);
        self.connection.busy_timeout(Duration::from_millis(200)).ok()?;
        // Works beside another reader, too, who may keep the empty log.
        let moved =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if moved.ok()? == 0 {
            // The last connection removes the log.
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).ok()?;
        }
        Some((recorded, held))
    }

    /// Whether the last process that worked on the run has ended it.
    fn has_ended(&self) -> bool {
        let last = "SELECT node, seq, crc, json FROM event WHERE node IS NULL ORDER BY seq DESC LIMIT 1";
        let event = self.connection.query_row(last, [], |row| Ok(read_event(&self.path, row)));
        matches!(event, Ok(Ok((_, Recorded { event: Event::RunEnded { .. }, .. }))))
    }

    fn read_meta(&self) -> Result<RunMeta, LocalError> {
        let value = |key: &str| {
            self.connection
                .query_row("SELECT value FROM run WHERE key = ?1", [key], |row| row.get::<_, String>(0))
                .map_err(|error| damaged(&self.path, error))
        };
        Ok(RunMeta { plan_digest: value("plan_sha256")?, config: value("config")?, ..RunMeta::default() })
    }

    /// Hands over the events of a query of node, number, checksum and text. Returns the number of the last one, or
    /// `after` if there is none.
    pub(super) fn for_each_event(
        &self,
        query: &str,
        after: u64,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, LocalError> {
        let mut select = self.connection.prepare(query).map_err(|error| damaged(&self.path, error))?;
        let mut rows = select.query([after])?;
        let mut last = after;
        while let Some(row) = rows.next().map_err(|error| damaged(&self.path, error))? {
            let (seq, recorded) = read_event(&self.path, row)?;
            last = seq;
            hear(&recorded);
        }
        Ok(last)
    }

    fn query_histories(&self) -> Result<SqliteHistories<'_>, LocalError> {
        // Without an index SQLite sorts in a temporary file: cheaper, once, than an index that every append pays for.
        let select = self
            .connection
            .prepare("SELECT node, seq, crc, json FROM event WHERE node IS NOT NULL ORDER BY node, seq")?;
        Ok(SqliteHistories { select, path: &self.path })
    }
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        self.closing = self.move_log();
    }
}

impl JournalReader for SqliteReader {
    fn meta(&self) -> Result<RunMeta, JournalError> {
        Ok(self.read_meta()?)
    }

    fn events_after(&self, after: u64, hear: &mut dyn FnMut(&Recorded)) -> Result<u64, JournalError> {
        Ok(self.for_each_event(EVENTS, after, hear)?)
    }

    fn some_events_after(
        &self,
        after: u64,
        most: usize,
        hear: &mut dyn FnMut(&Recorded),
    ) -> Result<u64, JournalError> {
        Ok(self.for_each_event(&format!("{EVENTS} LIMIT {most}"), after, hear)?)
    }

    fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut events = Vec::new();
        self.for_each_event(RUN_EVENTS, 0, &mut |recorded| events.push(recorded.clone()))?;
        Ok(events)
    }

    fn histories(&self) -> Result<Box<dyn HistoryQuery + '_>, JournalError> {
        Ok(Box::new(self.query_histories()?))
    }
}

/// Reads a row of node, number, checksum and text. A row that differs from what was written is damage; one that is as it
/// was written, and cannot be read, is of a newer version. The error says which event it is.
fn read_event(path: &Path, row: &rusqlite::Row<'_>) -> Result<(u64, Recorded), LocalError> {
    let seq: u64 = row.get(1)?;
    let damaged =
        |detail: String| LocalError::Damaged { path: path.into(), detail: format!("event {seq}: {detail}") };
    let node = row.get::<_, Option<u32>>(0).map_err(|error| damaged(error.to_string()))?;
    let crc: i64 = row.get(2)?;
    let json = row.get_ref(3)?.as_str().map_err(|error| damaged(error.to_string()))?;
    if crc != i64::from(checksum(node.map(NodeIndex), json)) {
        return Err(damaged("its checksum does not fit".into()));
    }
    // Its checksum fits: it is as it was written.
    let recorded = Recorded::from_json(json.as_bytes()).map_err(|error| LocalError::NewerEvent {
        path: path.into(),
        seq,
        detail: error.to_string(),
    })?;
    Ok((seq, recorded))
}

/// The histories of all nodes that have one, in plan order, one in memory at a time.
struct SqliteHistories<'reader> {
    select: rusqlite::Statement<'reader>,
    path: &'reader Path,
}

impl HistoryQuery for SqliteHistories<'_> {
    fn rows(&mut self) -> Result<HistoryRows<'_>, JournalError> {
        let path = self.path;
        let mut rows = self.select.query([]).map_err(LocalError::from)?;
        let mut next_node: Option<(NodeIndex, NodeHistory)> = None;
        let mut ended = false;
        Ok(Box::new(std::iter::from_fn(move || {
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
                        return Some(Err(error.into()));
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
        })))
    }
}

fn read_row(path: &Path, row: &rusqlite::Row<'_>) -> Result<(NodeIndex, Recorded), LocalError> {
    Ok((NodeIndex(row.get(0)?), read_event(path, row)?.1))
}
