//! The queue of runs, and its past.

use std::path::Path;

use fleetlogs_model::ids::RunId;
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::timestamp;
use rusqlite::{Transaction, params};
use time::OffsetDateTime;

use super::StateError;

/// A row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// Puts a run into the queue, to be begun at a time or as soon as its lane is free after it.
pub fn enqueue(
    state: &Transaction<'_>,
    SnapshotRef { name, trigger, due }: &SnapshotRef,
    begins_at: OffsetDateTime,
) -> Result<JobId, StateError> {
    state.execute(
        "INSERT INTO run (snapshot, cause, due, begins_at, status) VALUES (?1, ?2, ?3, ?4, 'queued')",
        params![name.as_str(), trigger.as_str(), timestamp::text(*due), timestamp::text(begins_at)],
    )?;
    Ok(JobId(state.last_insert_rowid()))
}

/// The run of a job has its plan and its directory, and is about to send its first upload.
pub fn begun(state: &Transaction<'_>, JobId(job): JobId, run: &RunId, dir: &Path) -> Result<(), StateError> {
    let dir = dir.to_string_lossy();
    state.execute("UPDATE run SET run_id = ?2, dir = ?3 WHERE id = ?1", params![job, run.as_str(), dir])?;
    Ok(())
}
