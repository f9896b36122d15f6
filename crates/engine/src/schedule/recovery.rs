//! What an earlier process left behind: rows that it put into the queue or began, and did not end.

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use rusqlite::Transaction;
use time::OffsetDateTime;
use tracing::info;

use super::rule::{CatchUp, Rule};
use super::state::StateError;
use super::state::runs::{self, PastRun, Status};
use super::state::{alerts, occurrences};

/// Looks after what is left of all snapshots. Returns the runs that this machine has to take up again.
///
/// - A run that this machine began is taken up again.
/// - A run that another machine began is lost: its directory is there. One by an alert, or by a timetable that is caught up
///   with, is put into the queue anew.
/// - A row that was started and has no directory goes back into the queue: nothing was sent.
/// - A row of the queue whose snapshot the config does not name any more is skipped.
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
            let reason = "the config does not name this snapshot any more";
            info!("{} is skipped: {reason}", row.title());
            runs::close_row(state, row.id, Status::Skipped, reason, now)?;
        }
    }
    Ok(begun)
}

/// The same of one snapshot, before a person or another scheduler has it run once more. What such an earlier request left
/// that was not begun is skipped: the new one takes its place.
pub(super) fn recover_snapshot(
    state: &Transaction<'_>,
    snapshot: &SnapshotName,
    machine: &str,
    now: OffsetDateTime,
) -> Result<Vec<PastRun>, StateError> {
    let mut begun = Vec::new();
    for row in runs::started_rows(state)?.into_iter().filter(|row| row.snapshot.name == *snapshot) {
        // The run that is asked for now stands for those by timetable.
        begun.extend(recover_row(state, row, &[], machine, now)?);
    }
    for row in runs::queued_rows(state)? {
        if row.snapshot.name == *snapshot && row.snapshot.trigger == Trigger::Once {
            runs::close_row(state, row.id, Status::Skipped, "it was asked for again before it began", now)?;
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
        info!("{} was not begun by the process before: it waits again", row.title());
        runs::put_back(state, row.id)?;
        return Ok(None);
    }
    if row.machine.as_deref() == Some(machine) {
        return Ok(Some(row));
    }
    let other = row.machine.as_deref().unwrap_or("another machine");
    let reason = format!("{other} began it, and its run directory is there");
    info!("{} is lost: {reason}", row.title());
    runs::close_row(state, row.id, Status::Lost, &reason, now)?;
    occurrences::release(state, row.id)?;
    let again = match row.snapshot.trigger {
        // Who sent it was told that a run will begin, and does not send it again.
        Trigger::Alert => Some(Trigger::Alert),
        Trigger::Cron | Trigger::CatchUp => rules
            .iter()
            .find(|rule| rule.name == row.snapshot.name)
            .filter(|rule| rule.catch_up != CatchUp::No && now - row.snapshot.due <= rule.catch_up_within)
            .map(|_| Trigger::CatchUp),
        // The watcher has seen to its nodes; who asked for it is gone with that machine.
        Trigger::State | Trigger::Once => None,
    };
    if let Some(trigger) = again {
        let anew = SnapshotRef { trigger, ..row.snapshot };
        let id = runs::enqueue(state, &anew, now)?;
        alerts::hand_on(state, row.id, id)?;
    }
    Ok(None)
}
