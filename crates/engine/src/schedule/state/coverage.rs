//! What the runs of a series verified: up to when for each node, and what runs covered whose directories were removed.
//!
//! A node is identified by account, pool, id and allocation time; the time is empty text if the service does not report
//! it.

use std::collections::BTreeMap;

use fleetlogs_model::ids::{NodeIndex, SnapshotName};
use fleetlogs_model::ledger::Ledger;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::planned::PlannedNode;
use fleetlogs_model::timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use time::OffsetDateTime;

use super::error::StateError;
use super::stored_time::stored_time;
use crate::window::VerifiedUntil;

/// Reads what planning needs of a series.
pub fn read(state: &Connection, snapshot: &SnapshotName) -> Result<VerifiedUntil, StateError> {
    let mut reached = VerifiedUntil::since(series_began(state, snapshot)?);
    let mut rows = state
        .prepare_cached("SELECT account, pool, node, allocated, until FROM reached WHERE snapshot = ?1")?;
    let mut rows = rows.query([snapshot.as_str()])?;
    while let Some(row) = rows.next()? {
        let text = |at| row.get_ref(at).and_then(|value| Ok(value.as_str()?));
        let at = (text(0)?, text(1)?, text(2)?);
        reached.insert(at, allocation(text(3)?)?, stored_time(text(4)?)?);
    }
    Ok(reached)
}

/// When a series began: the start of its first window. None before its first run.
pub fn series_began(
    state: &Connection,
    snapshot: &SnapshotName,
) -> Result<Option<OffsetDateTime>, StateError> {
    let began: Option<String> = state
        .query_row("SELECT began FROM series WHERE snapshot = ?1", [snapshot.as_str()], |row| row.get(0))
        .optional()?;
    began.as_deref().map(stored_time).transpose()
}

/// Starts the series of a plan, if it has not begun. Call it as soon as a run's plan is frozen: if the run is lost, the
/// next one goes back to where this one began. A run by hand belongs to no series.
pub fn begin_series(state: &Transaction<'_>, plan: &Plan) -> Result<(), StateError> {
    if let Some(snapshot) = &plan.snapshot {
        state.execute(
            "INSERT INTO series (snapshot, began) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![snapshot.name.as_str(), timestamp::text(plan.window.start)],
        )?;
    }
    Ok(())
}

/// Records up to when a run verified its nodes. It may be repeated, also after a later run: no node goes back. A run by
/// hand belongs to no series.
pub fn record(state: &Transaction<'_>, plan: &Plan, ledger: &Ledger) -> Result<(), StateError> {
    begin_series(state, plan)?;
    let Some(snapshot) = &plan.snapshot else { return Ok(()) };
    let mut raise = state.prepare_cached(
        "INSERT INTO reached (snapshot, account, pool, node, allocated, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET until = excluded.until WHERE excluded.until > until",
    )?;
    for_each_answered(plan, ledger, |node, outcome| {
        if outcome == Outcome::Verified {
            let until = node.window.as_deref().unwrap_or(&plan.window).end;
            raise.execute(params![
                snapshot.name.as_str(),
                node.account().as_str(),
                node.pool().as_str(),
                node.node.as_str(),
                allocated(node),
                timestamp::text(until),
            ])?;
        }
        Ok(())
    })
}

/// Keeps what a run covered whose directory is about to be removed. It may be repeated. A run by hand belongs to no
/// series.
pub fn fold(state: &Transaction<'_>, plan: &Plan, ledger: &Ledger) -> Result<(), StateError> {
    let Some(snapshot) = &plan.snapshot else { return Ok(()) };
    for_each_answered(plan, ledger, |node, outcome| {
        let window = node.window.as_deref().unwrap_or(&plan.window);
        let of = [
            snapshot.name.as_str(),
            node.account().as_str(),
            node.pool().as_str(),
            node.node.as_str(),
            &allocated(node),
            outcome.as_str(),
        ];
        merge(state, of, timestamp::text(window.start), timestamp::text(window.end))
    })
}

/// Adds a stretch of time to those of a node, and merges those that it touches.
fn merge(
    state: &Transaction<'_>,
    [snapshot, account, pool, node, allocated, outcome]: [&str; 6],
    start: String,
    until: String,
) -> Result<(), StateError> {
    let touched =
        "FROM folded WHERE snapshot = ?1 AND account = ?2 AND pool = ?3 AND node = ?4 AND allocated = ?5
         AND outcome = ?6 AND start <= ?8 AND until >= ?7";
    let of = params![snapshot, account, pool, node, allocated, outcome, start, until];
    let (least, most): (Option<String>, Option<String>) = state
        .prepare_cached(&format!("SELECT min(start), max(until) {touched}"))?
        .query_row(of, |row| Ok((row.get(0)?, row.get(1)?)))?;
    state.prepare_cached(&format!("DELETE {touched}"))?.execute(of)?;
    let start = least.filter(|least| *least < start).unwrap_or(start);
    let until = most.filter(|most| *most > until).unwrap_or(until);
    state
        .prepare_cached(
            "INSERT INTO folded (snapshot, account, pool, node, allocated, outcome, start, until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![snapshot, account, pool, node, allocated, outcome, start, until])?;
    Ok(())
}

/// Forgets nodes of which nothing was verified since a time. If such a node still exists, it counts as new to its
/// series.
pub fn forget(state: &Transaction<'_>, before: OffsetDateTime) -> Result<(), StateError> {
    let before = timestamp::text(before);
    state.execute("DELETE FROM reached WHERE until < ?1", [&before])?;
    state.execute(
        "DELETE FROM folded WHERE NOT EXISTS (SELECT 1 FROM folded AS later WHERE later.snapshot = folded.snapshot
         AND later.account = folded.account AND later.pool = folded.pool AND later.node = folded.node
         AND later.allocated = folded.allocated AND later.until >= ?1)",
        [&before],
    )?;
    Ok(())
}

/// The runs of a snapshot that were started and not removed since: their directories must be somewhere. Each with
/// whether it is over: it ended, or was lost with its machine.
pub fn begun_runs(state: &Connection, snapshot: &SnapshotName) -> Result<BTreeMap<String, bool>, StateError> {
    let mut rows = state.prepare_cached(
        "SELECT run_id, status IN ('ended', 'lost') FROM run
         WHERE snapshot = ?1 AND run_id IS NOT NULL AND removed_at IS NULL",
    )?;
    let runs = rows.query_map([snapshot.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(runs.collect::<Result<_, _>>()?)
}

/// What a removed run covered for a node.
#[derive(Clone, Copy, Debug)]
pub struct RemovedCoverage<'row> {
    /// The Batch account.
    pub account: &'row str,
    /// The pool.
    pub pool: &'row str,
    /// The node.
    pub node: &'row str,
    /// When it was allocated, if the service said.
    pub allocated: Option<OffsetDateTime>,
    /// [`Outcome::Verified`] or [`Outcome::Empty`].
    pub outcome: Outcome,
    /// Start of the stretch.
    pub start: OffsetDateTime,
    /// End of the stretch.
    pub until: OffsetDateTime,
}

/// Hands over what removed runs of a series covered, row by row.
pub fn for_each_folded(
    state: &Connection,
    snapshot: &SnapshotName,
    mut each: impl FnMut(RemovedCoverage<'_>),
) -> Result<(), StateError> {
    let mut rows = state.prepare_cached(
        "SELECT account, pool, node, allocated, outcome, start, until FROM folded WHERE snapshot = ?1",
    )?;
    let mut rows = rows.query([snapshot.as_str()])?;
    while let Some(row) = rows.next()? {
        let text = |at| row.get_ref(at).and_then(|value| Ok(value.as_str()?));
        let outcome = if text(4)? == Outcome::Empty.as_str() { Outcome::Empty } else { Outcome::Verified };
        each(RemovedCoverage {
            account: text(0)?,
            pool: text(1)?,
            node: text(2)?,
            allocated: allocation(text(3)?)?,
            outcome,
            start: stored_time(text(5)?)?,
            until: stored_time(text(6)?)?,
        });
    }
    Ok(())
}

/// Hands over the nodes whose files are verified, and those that promised none.
fn for_each_answered(
    plan: &Plan,
    ledger: &Ledger,
    mut each: impl FnMut(&PlannedNode, Outcome) -> Result<(), StateError>,
) -> Result<(), StateError> {
    for (index, node) in (0..).map(NodeIndex).zip(plan.nodes.details()) {
        let outcome = ledger.status(index).outcome();
        // Files from before a reboot or replacement prove nothing, so the next window goes back.
        if matches!(outcome, Outcome::Verified | Outcome::Empty) && !ledger.is_another(index) {
            each(&node.map_err(StateError::Plan)?, outcome)?;
        }
    }
    Ok(())
}

fn allocated(node: &PlannedNode) -> String {
    node.evidence.allocation_time.map(timestamp::text).unwrap_or_default()
}

fn allocation(text: &str) -> Result<Option<OffsetDateTime>, StateError> {
    if text.is_empty() { Ok(None) } else { stored_time(text).map(Some) }
}

#[cfg(test)]
mod tests;
