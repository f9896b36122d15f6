//! Reading a journal, also one that another process writes.

use std::path::{Path, PathBuf};

use fleetlogs_model::event::Recorded;
use fleetlogs_model::history::NodeHistory;
use fleetlogs_model::ids::NodeIndex;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{JournalError, RunMeta, checksum, damaged, lock, open_existing, torn_pages};

/// Reads a journal, also while a run writes it.
pub struct JournalReader {
    connection: Connection,
    path: PathBuf,
}

impl JournalReader {
    /// Opens the journal of a run directory for reading.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let held = lock(dir).ok();
        if held.is_some() {
            torn_pages(dir)?;
        }
        let path = dir.join("run.db");
        let connection = open_existing(&path)?;
        // Reading must not move anything about: it is for those who go on with the run, and they look before they do.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA query_only=ON; PRAGMA busy_timeout=5000;")?;
        if let Some(held) = held {
            held.check_mark(&connection, &path)?;
        }
        Ok(Self { connection, path })
    }

    /// What is kept with the journal.
    pub fn meta(&self) -> Result<RunMeta, JournalError> {
        let value = |key: &str| {
            self.connection
                .query_row("SELECT value FROM run WHERE key = ?1", [key], |row| row.get::<_, String>(0))
                .map_err(|error| damaged(&self.path, error))
        };
        Ok(RunMeta { plan_digest: value("plan_sha256")?, config: value("config")? })
    }

    /// Refuses a plan that is not the one the journal was begun with.
    pub fn check_plan(&self, plan_digest: &str) -> Result<(), JournalError> {
        if self.meta()?.plan_digest == plan_digest { Ok(()) } else { Err(JournalError::OtherPlan) }
    }

    /// Hands every event after a sequence number over, in order, and returns the last number.
    pub fn for_each_event(&self, after: i64, mut hear: impl FnMut(&Recorded)) -> Result<i64, JournalError> {
        let mut select = self
            .connection
            .prepare("SELECT node, seq, crc, json FROM event WHERE seq > ?1 ORDER BY seq")
            .map_err(|error| damaged(&self.path, error))?;
        let mut rows = select.query([after])?;
        let mut last = after;
        while let Some(row) = rows.next().map_err(|error| damaged(&self.path, error))? {
            let (seq, recorded) = event(&self.path, row)?;
            last = seq;
            hear(&recorded);
        }
        Ok(last)
    }

    /// The events that are about no node, in order.
    pub fn run_events(&self) -> Result<Vec<Recorded>, JournalError> {
        let mut select = self
            .connection
            .prepare("SELECT node, seq, crc, json FROM event WHERE node IS NULL ORDER BY seq")?;
        let mut rows = select.query([])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(|error| damaged(&self.path, error))? {
            events.push(event(&self.path, row)?.1);
        }
        Ok(events)
    }

    /// Prepares reading the histories of all nodes that have one.
    pub fn histories(&self) -> Result<Histories<'_>, JournalError> {
        // Without an index SQLite sorts in a temporary file: cheaper, once, than an index that every append pays.
        let select = self
            .connection
            .prepare("SELECT node, seq, crc, json FROM event WHERE node IS NOT NULL ORDER BY node, seq")?;
        Ok(Histories { select, path: &self.path })
    }
}

/// Reads a row of node, number, checksum and text; one that is not as it was written is damage, and is told with its
/// place.
fn event(path: &Path, row: &rusqlite::Row<'_>) -> Result<(i64, Recorded), JournalError> {
    let seq: i64 = row.get(1)?;
    let damaged = |detail: String| JournalError::Damaged {
        path: path.into(),
        detail: format!("event {seq}: {detail}"),
    };
    let node = row.get::<_, Option<u32>>(0).map_err(|error| damaged(error.to_string()))?;
    let crc: i64 = row.get(2)?;
    let json = row.get_ref(3)?.as_str().map_err(|error| damaged(error.to_string()))?;
    if crc != i64::from(checksum(node.map(NodeIndex), json)) {
        return Err(damaged("its checksum does not fit".into()));
    }
    Ok((seq, serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?))
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
    Ok((NodeIndex(row.get(0)?), event(path, row)?.1))
}
