//! What an earlier process left behind: rows that it queued or started, and did not end.

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use rusqlite::Transaction;
use time::OffsetDateTime;
use tracing::info;

use super::rule::{CatchUp, Rule};
use super::state::StateError;
use super::state::runs::{self, PastRun, Status};
use super::state::{alerts, occurrences};

/// Settles what is left of all snapshots. Returns the runs that this machine resumes.
///
/// - A run that this machine started is resumed, and so is one of another machine whose record is in Blob storage.
/// - A run that another machine started on its disk is lost: that machine has its directory. If an alert requested it, or a
///   timetable that catches up, it is queued again.
/// - A row that was started and has no directory goes back into the queue: nothing was sent.
/// - A queued row is skipped if the config no longer names its snapshot.
pub(super) fn recover_all(
    state: &Transaction<'_>,
    rules: &[Rule],
    machine: &str,
    now: OffsetDateTime,
) -> Result<Vec<PastRun>, StateError> {
    let mut begun = Vec::new();
    for row in runs::started_rows(state)? {
        begun.extend(recover_row(state, row, rules, machine, now)?);
    }
    for row in runs::queued_rows(state)? {
        if !rules.iter().any(|rule| rule.name == row.snapshot.name) {
            let reason = "the config no longer names this snapshot";
            info!("{} is skipped: {reason}", row.title());
            runs::close_row(state, row.id, Status::Skipped, reason, now)?;
        }
    }
    Ok(begun)
}

/// The same for one snapshot, before `--once` runs it. Earlier `--once` requests that did not start are skipped: the
/// new one replaces them.
pub(super) fn recover_snapshot(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    machine: &str,
    now: OffsetDateTime,
) -> Result<Vec<PastRun>, StateError> {
    let mut begun = Vec::new();
    for row in runs::started_rows(state)?.into_iter().filter(|row| row.snapshot.name == *snapshot) {
        // The requested run replaces those by timetable.
        begun.extend(recover_row(state, row, &[], machine, now)?);
    }
    for row in runs::queued_rows(state)? {
        if row.snapshot.name == *snapshot && row.snapshot.trigger == Trigger::Once {
            runs::close_row(state, row.id, Status::Skipped, "it was requested again before it started", now)?;
        }
    }
    Ok(begun)
}

fn recover_row(
    state: &Transaction<'_>,
    row: PastRun,
    rules: &[Rule],
    machine: &str,
    now: OffsetDateTime,
) -> Result<Option<PastRun>, StateError> {
    if row.dir.is_none() {
        info!("{} was not started by the earlier process; it waits again", row.title());
        runs::put_back(state, row.id)?;
        return Ok(None);
    }
    if row.machine.as_deref() == Some(machine) {
        return Ok(Some(row));
    }
    if row.is_within_reach() {
        let other = row.machine.as_deref().unwrap_or("another machine");
        info!(
            "{} was started by {other}, and its journal is in Blob storage; this machine resumes it",
            row.title()
        );
        runs::hand_over(state, row.id, machine)?;
        return Ok(Some(row));
    }
    let other = row.machine.as_deref().unwrap_or("another machine");
    let reason = format!("{other} started it and has its run directory");
    info!("{} is lost: {reason}", row.title());
    runs::close_row(state, row.id, Status::Lost, &reason, now)?;
    occurrences::release(state, row.id)?;
    let again = match row.snapshot.trigger {
        // The sender was told that a run will start, and does not send the alert again.
        Trigger::Alert => Some(Trigger::Alert),
        Trigger::Cron | Trigger::CatchUp => rules
            .iter()
            .find(|rule| rule.name == row.snapshot.name)
            .filter(|rule| rule.catch_up != CatchUp::No && now - row.snapshot.due <= rule.catch_up_within)
            .map(|_| Trigger::CatchUp),
        // The watcher takes care of the nodes; the caller of `--once` is gone with that machine.
        Trigger::State | Trigger::Once => None,
    };
    if let Some(trigger) = again {
        let anew = SnapshotRef { trigger, ..row.snapshot };
        let id = runs::enqueue(state, &anew, now)?;
        alerts::hand_on(state, row.id, id)?;
    }
    Ok(None)
}
