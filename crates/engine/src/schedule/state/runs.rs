//! The queue of runs, and its history.
//!
//! A row is `queued` first, `started` when its lane is free, and `ended` when its run ended; or it is `skipped`,
//! `missed` or `lost`, with the reason. Only the scheduler changes the status of rows; others may add rows.

use std::path::{Path, PathBuf};

use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction, params};
use time::OffsetDateTime;

use super::error::StateError;
use super::stored_time::stored_time;
use crate::schedule::decide::due_at;
use crate::schedule::job::{JobEnd, JobId};
use crate::schedule::rule::Lane;

/// The status of a row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for its time, or for its lane.
    Queued,
    /// Its run is in progress, or was when the process ended.
    Started,
    /// Its run has ended, however.
    Ended,
    /// It was not started: an earlier run was in progress or waited, or the config no longer names its snapshot.
    Skipped,
    /// Its time passed while no scheduler was running, and no run of its own catches up.
    Missed,
    /// Another machine started it, and how it ended is unknown here.
    Lost,
}

impl Status {
    const ALL: [Self; 6] =
        [Self::Queued, Self::Started, Self::Ended, Self::Skipped, Self::Missed, Self::Lost];

    /// The name used in every table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Lost => "lost",
        }
    }
}

/// A row of the queue.
#[derive(Clone, Debug)]
pub struct PastRun {
    /// The row.
    pub id: JobId,
    /// Which snapshot, why and when.
    pub snapshot: SnapshotRef,
    /// When it is to start: `due` with the delay of its timetable.
    pub begins_at: OffsetDateTime,
    /// Its status.
    pub status: Status,
    /// The machine that started it.
    pub machine: Option<String>,
    /// Its run, once the plan is frozen.
    pub run_id: Option<RunId>,
    /// Where its run is: a directory on that machine, or the URL of its record in Blob storage, which every machine
    /// reaches.
    pub dir: Option<PathBuf>,
    /// When it was started.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended, or was skipped, missed or lost.
    pub ended_at: Option<OffsetDateTime>,
    /// How its run ended; none if there was no run.
    pub outcome: Option<RunOutcome>,
    /// The exit code that `fleetlogs run` would have ended with.
    pub exit_code: Option<u8>,
    /// Why there was no run, or why it ended early: for people.
    pub reason: Option<String>,
    /// When retention removed its directory.
    pub removed_at: Option<OffsetDateTime>,
}

impl PastRun {
    /// Whether every machine can resume it, because its record is on no machine's disk.
    #[must_use]
    pub fn is_within_reach(&self) -> bool {
        self.dir.as_deref().is_some_and(is_url)
    }

    /// How messages and reasons name it.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.run_id {
            Some(run) => format!("the run {run}"),
            None => due_at(self.snapshot.due),
        }
    }
}

const COLUMNS: &str =
    "id, snapshot, cause, due, begins_at, status, machine, run_id, dir, started_at, ended_at, outcome,
    exit_code, reason, removed_at";

/// Queues a run, to be started at a time or as soon after it as its lane is free.
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

/// Starts the next run of a lane: of the runs whose time has come, and whose snapshot has no run in progress, the one
/// that has waited longest. Runs that catch up come after those that are on time.
pub fn take_next(
    state: &Transaction<'_>,
    lane: Lane,
    machine: &str,
    now: OffsetDateTime,
) -> Result<Option<PastRun>, StateError> {
    let Some(next) = next_to_start(state, lane, now)? else { return Ok(None) };
    start_row(state, next.id, machine, now)?;
    find_row(state, next.id)
}

/// The run that [`take_next`] would start.
pub fn next_to_start(
    state: &Connection,
    lane: Lane,
    now: OffsetDateTime,
) -> Result<Option<PastRun>, StateError> {
    let tail = format!(
        "WHERE status = 'queued' AND begins_at <= ?1 AND {} AND NOT EXISTS (
            SELECT 1 FROM run AS other WHERE other.status = 'started' AND other.snapshot = run.snapshot
        ) ORDER BY cause = 'catch-up', begins_at, id LIMIT 1",
        of_lane(lane),
    );
    first(state, &tail, [timestamp::text(now)])
}

/// Records that a machine starts a row.
pub fn start_row(
    state: &Transaction<'_>,
    JobId(job): JobId,
    machine: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    state.execute(
        "UPDATE run SET status = 'started', machine = ?2, started_at = ?3 WHERE id = ?1",
        params![job, machine, timestamp::text(now)],
    )?;
    Ok(())
}

/// Whether the place of a run is the URL of its record.
#[must_use]
pub fn is_url(place: &Path) -> bool {
    place.to_str().is_some_and(|place| place.starts_with("https://") || place.starts_with("http://"))
}

/// Records that another machine works on a started row from now on.
pub fn hand_over(state: &Transaction<'_>, JobId(job): JobId, machine: &str) -> Result<(), StateError> {
    state.execute("UPDATE run SET machine = ?2 WHERE id = ?1", params![job, machine])?;
    Ok(())
}

/// Records the run of a job and where it is: it is about to send its first upload.
pub fn record_begin(
    state: &Transaction<'_>,
    JobId(job): JobId,
    run: &RunId,
    dir: &Path,
) -> Result<(), StateError> {
    let dir = dir.to_string_lossy();
    state.execute("UPDATE run SET run_id = ?2, dir = ?3 WHERE id = ?1", params![job, run.as_str(), dir])?;
    Ok(())
}

/// Records how a job ended.
pub fn record_end(
    state: &Transaction<'_>,
    JobId(job): JobId,
    ended: &JobEnd,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    state.execute(
        "UPDATE run SET status = 'ended', outcome = ?2, exit_code = ?3, reason = ?4, ended_at = ?5
         WHERE id = ?1",
        params![
            job,
            ended.outcome.map(RunOutcome::as_str),
            ended.exit_code,
            ended.reason,
            timestamp::text(now)
        ],
    )?;
    Ok(())
}

/// Closes a row that gets no run, or whose run is lost.
pub fn close_row(
    state: &Transaction<'_>,
    JobId(job): JobId,
    status: Status,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), StateError> {
    state.execute(
        "UPDATE run SET status = ?2, reason = ?3, ended_at = ?4 WHERE id = ?1",
        params![job, status.as_str(), reason, timestamp::text(now)],
    )?;
    Ok(())
}

/// Records that retention removed the directories of runs.
pub fn record_removed(
    state: &Transaction<'_>,
    runs: &[RunId],
    now: OffsetDateTime,
) -> Result<(), StateError> {
    for run in runs {
        state.execute(
            "UPDATE run SET removed_at = ?2 WHERE run_id = ?1",
            params![run.as_str(), timestamp::text(now)],
        )?;
    }
    Ok(())
}

/// Forgets the oldest rows of a snapshot: a shared state is sent whole with each change. Rows whose run directory still
/// exists stay, and so does the last run that collected everything.
pub fn forget_rows(state: &Transaction<'_>, snapshot: &SnapshotName, kept: u32) -> Result<(), StateError> {
    let old = "SELECT id FROM run WHERE snapshot = ?1 AND status NOT IN ('queued', 'started')
        AND (run_id IS NULL OR removed_at IS NOT NULL)
        AND id <= (SELECT id FROM run WHERE snapshot = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
        AND id IS NOT (SELECT max(id) FROM run WHERE snapshot = ?1 AND outcome = 'complete')";
    for of in ["occurrence", "alert"] {
        let unlink = format!("UPDATE {of} SET run = NULL WHERE run IN ({old})");
        state.execute(&unlink, params![snapshot.as_str(), kept])?;
    }
    state.execute(&format!("DELETE FROM run WHERE id IN ({old})"), params![snapshot.as_str(), kept])?;
    Ok(())
}

/// Puts a started row back into the queue: nothing was sent for it yet.
pub fn put_back(state: &Transaction<'_>, JobId(job): JobId) -> Result<(), StateError> {
    state.execute(
        "UPDATE run SET status = 'queued', machine = NULL, started_at = NULL WHERE id = ?1",
        params![job],
    )?;
    Ok(())
}

/// One row.
pub fn find_row(state: &Connection, JobId(job): JobId) -> Result<Option<PastRun>, StateError> {
    first(state, "WHERE id = ?1", params![job])
}

/// All started rows, the earliest first.
pub fn started_rows(state: &Connection) -> Result<Vec<PastRun>, StateError> {
    select(state, "WHERE status = 'started' ORDER BY started_at, id", [])
}

/// All queued rows, in the order in which they are to start.
pub fn queued_rows(state: &Connection) -> Result<Vec<PastRun>, StateError> {
    select(state, "WHERE status = 'queued' ORDER BY begins_at, id", [])
}

/// The first start time in the queue after a moment.
pub fn next_time(state: &Connection, after: OffsetDateTime) -> Result<Option<OffsetDateTime>, StateError> {
    let next: Option<String> = state.query_row(
        "SELECT min(begins_at) FROM run WHERE status = 'queued' AND begins_at > ?1",
        [timestamp::text(after)],
        |row| row.get(0),
    )?;
    next.as_deref().map(stored_time).transpose()
}

/// The last run of a snapshot that ended, or was lost.
pub fn last_ended(state: &Connection, snapshot: &SnapshotName) -> Result<Option<PastRun>, StateError> {
    let tail = "WHERE snapshot = ?1 AND status IN ('ended', 'lost') ORDER BY ended_at DESC, id DESC LIMIT 1";
    first(state, tail, [snapshot.as_str()])
}

/// The last run of a snapshot that collected everything.
pub fn last_complete(state: &Connection, snapshot: &SnapshotName) -> Result<Option<PastRun>, StateError> {
    let tail = "WHERE snapshot = ?1 AND outcome = 'complete' ORDER BY ended_at DESC, id DESC LIMIT 1";
    first(state, tail, [snapshot.as_str()])
}

/// The rows of a snapshot, the latest due first; at most `most`, if given.
pub fn past_rows(
    state: &Connection,
    snapshot: &SnapshotName,
    most: Option<u32>,
) -> Result<Vec<PastRun>, StateError> {
    // SQLite takes a negative limit as none.
    let most = most.map_or(-1, i64::from);
    select(state, "WHERE snapshot = ?1 ORDER BY due DESC, id DESC LIMIT ?2", params![snapshot.as_str(), most])
}

/// Up to when the times of a snapshot have been queued, skipped or missed; none before its first start.
pub fn considered(state: &Connection, snapshot: &SnapshotName) -> Result<Option<OffsetDateTime>, StateError> {
    let until: Option<String> = state
        .prepare_cached("SELECT until FROM considered WHERE snapshot = ?1")?
        .query_row([snapshot.as_str()], |row| row.get(0))
        .optional()?;
    until.as_deref().map(stored_time).transpose()
}

/// The times of a snapshot up to a moment have been queued, skipped or missed.
pub fn set_considered(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    until: OffsetDateTime,
) -> Result<(), StateError> {
    state.execute(
        "INSERT INTO considered (snapshot, until) VALUES (?1, ?2)
         ON CONFLICT (snapshot) DO UPDATE SET until = excluded.until",
        params![snapshot.as_str(), timestamp::text(until)],
    )?;
    Ok(())
}

/// Moves the start of a snapshot's queued runs forward to a moment, if it is later.
pub fn bring_forward(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    to: OffsetDateTime,
) -> Result<(), StateError> {
    state.execute(
        "UPDATE run SET begins_at = ?2 WHERE snapshot = ?1 AND status = 'queued' AND begins_at > ?2",
        params![snapshot.as_str(), timestamp::text(to)],
    )?;
    Ok(())
}

/// The condition for rows of a lane; see [`Lane::of`].
fn of_lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Regular => "cause NOT IN ('state', 'alert')",
        Lane::Capture => "cause IN ('state', 'alert')",
    }
}

fn first(state: &Connection, tail: &str, params: impl Params) -> Result<Option<PastRun>, StateError> {
    Ok(select(state, tail, params)?.into_iter().next())
}

fn select(state: &Connection, tail: &str, params: impl Params) -> Result<Vec<PastRun>, StateError> {
    let mut statement = state.prepare_cached(&format!("SELECT {COLUMNS} FROM run {tail}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(past_run(row)?);
    }
    Ok(found)
}

fn past_run(row: &Row<'_>) -> Result<PastRun, StateError> {
    let time = |column| -> Result<_, StateError> {
        row.get::<_, Option<String>>(column)?.as_deref().map(stored_time).transpose()
    };
    let (cause, status): (String, String) = (row.get("cause")?, row.get("status")?);
    let (run_id, outcome): (Option<String>, Option<String>) = (row.get("run_id")?, row.get("outcome")?);
    Ok(PastRun {
        id: JobId(row.get("id")?),
        snapshot: SnapshotRef {
            name: SnapshotName::new(row.get::<_, String>("snapshot")?),
            trigger: Trigger::of(&cause).ok_or(StateError::Text(cause))?,
            due: stored_time(&row.get::<_, String>("due")?)?,
        },
        begins_at: stored_time(&row.get::<_, String>("begins_at")?)?,
        status: status_of(status)?,
        machine: row.get("machine")?,
        run_id: run_id.map(|id| id.parse().map_err(|_| StateError::Text(id))).transpose()?,
        dir: row.get::<_, Option<String>>("dir")?.map(PathBuf::from),
        started_at: time("started_at")?,
        ended_at: time("ended_at")?,
        outcome: outcome.map(outcome_of).transpose()?,
        exit_code: row.get("exit_code")?,
        reason: row.get("reason")?,
        removed_at: time("removed_at")?,
    })
}

fn status_of(name: String) -> Result<Status, StateError> {
    Status::ALL.into_iter().find(|status| status.as_str() == name).ok_or(StateError::Text(name))
}

fn outcome_of(name: String) -> Result<RunOutcome, StateError> {
    RunOutcome::ALL.into_iter().find(|outcome| outcome.as_str() == name).ok_or(StateError::Text(name))
}
