//! Where each snapshot stands at a moment: for `--list`, and for monitoring.

use fleetlogs_model::ids::SnapshotName;
use rusqlite::Connection;
use time::OffsetDateTime;

use super::rule::Rule;
use super::state::StateError;
use super::state::runs::{self, PastRun};
use super::timetable::Tick;

/// A snapshot at a moment.
#[derive(Clone, Debug)]
pub struct SnapshotView {
    /// Its name.
    pub name: SnapshotName,
    /// Its next time; none if it has no timetable.
    pub next: Option<Tick>,
    /// The run that is in progress.
    pub running: Option<PastRun>,
    /// The first run that waits.
    pub waiting: Option<PastRun>,
    /// The last run that ended, or was lost.
    pub last: Option<PastRun>,
    /// The last run that collected everything.
    pub last_good: Option<PastRun>,
}

/// Every snapshot of the config, in its order.
pub fn overview(
    state: &Connection,
    rules: &[Rule],
    now: OffsetDateTime,
) -> Result<Vec<SnapshotView>, StateError> {
    let (started, queued) = (runs::started_rows(state)?, runs::queued_rows(state)?);
    let of =
        |rows: &[PastRun], name: &SnapshotName| rows.iter().find(|row| row.snapshot.name == *name).cloned();
    let view = |rule: &Rule| {
        Ok(SnapshotView {
            name: rule.name.clone(),
            next: next(rule, runs::considered(state, &rule.name)?, now),
            running: of(&started, &rule.name),
            waiting: of(&queued, &rule.name),
            last: runs::last_ended(state, &rule.name)?,
            last_good: runs::last_complete(state, &rule.name)?,
        })
    };
    rules.iter().map(view).collect()
}

/// The next time that is still to come. A time that is due and waits for its delay comes first, unless it was
/// considered.
fn next(rule: &Rule, until: Option<OffsetDateTime>, now: OffsetDateTime) -> Option<Tick> {
    let timetable = rule.timetable.as_ref()?;
    let waits_for_its_delay = timetable
        .before(now)
        .filter(|tick| tick.begins_at > now && until.is_some_and(|until| tick.due > until));
    waits_for_its_delay.or_else(|| timetable.after(until.map_or(now, |until| until.max(now))))
}
