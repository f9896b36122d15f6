//! Alerts that arrived, and the runs that they started.
//!
//! Senders repeat what they think was lost, so an alert is identified by its id, the time it fired and its snapshot.
//! Several alerts of one incident arrive close together: they share one run, as long as it waits.

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};
use fleetlogs_model::timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use time::{Duration, OffsetDateTime};

use super::error::StateError;
use super::runs::enqueue;
use crate::schedule::job::JobId;

/// How long an alert is remembered. No sender repeats one for that long: Azure Monitor gives up after minutes.
const REMEMBERED: Duration = Duration::days(30);

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertReceipt {
    /// A run was put into the queue for it.
    New(JobId),
    /// It joined a run that another alert requested and that still waits.
    Joined(JobId),
    /// It was taken before, with this run; none if the queue has forgotten the run.
    Known(Option<JobId>),
}

/// Records an alert, and queues a run for it unless one waits. Forgets old alerts.
pub fn take_alert(
    state: &Transaction<'_>,
    id: &str,
    fired_at: OffsetDateTime,
    snapshot: &SnapshotName,
    now: OffsetDateTime,
) -> Result<AlertReceipt, StateError> {
    state.execute("DELETE FROM alert WHERE seen_at < ?1", [timestamp::text(now - REMEMBERED)])?;
    let fired_at = timestamp::text(fired_at);
    let known = state
        .query_row(
            "SELECT run FROM alert WHERE id = ?1 AND fired_at = ?2 AND snapshot = ?3",
            params![id, fired_at, snapshot.as_str()],
            |row| row.get::<_, Option<i64>>(0),
        )
        .optional()?;
    if let Some(run) = known {
        return Ok(AlertReceipt::Known(run.map(JobId)));
    }
    let (taken, JobId(run)) = if let Some(run) = waiting(state, snapshot)? {
        (AlertReceipt::Joined(run), run)
    } else {
        let begun = SnapshotRef { name: snapshot.clone(), trigger: Trigger::Alert, due: now };
        let run = enqueue(state, &begun, now)?;
        (AlertReceipt::New(run), run)
    };
    state.execute(
        "INSERT INTO alert (id, fired_at, snapshot, seen_at, run) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, fired_at, snapshot.as_str(), timestamp::text(now), run],
    )?;
    Ok(taken)
}

/// The run of a snapshot that an alert queued and that has not started.
fn waiting(state: &Transaction<'_>, snapshot: &SnapshotName) -> Result<Option<JobId>, StateError> {
    let run = state
        .query_row(
            "SELECT id FROM run WHERE snapshot = ?1 AND cause = ?2 AND status = 'queued' ORDER BY id LIMIT 1",
            params![snapshot.as_str(), Trigger::Alert.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(run.map(JobId))
}

/// Moves the alerts of a lost run to another run.
pub fn hand_on(state: &Transaction<'_>, JobId(from): JobId, JobId(to): JobId) -> Result<(), StateError> {
    state.execute("UPDATE alert SET run = ?2 WHERE run = ?1", [from, to])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::schedule::state::Store;

    const NOON: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("schedule.db"), None).unwrap();
        (dir, store)
    }

    async fn alert(store: &Store, id: &str, snapshot: &str, now: OffsetDateTime) -> AlertReceipt {
        let snapshot = SnapshotName::new(snapshot);
        store.change(|state| take_alert(state, id, NOON, &snapshot, now)).await.unwrap()
    }

    async fn count(store: &Store, sql: &str) -> u64 {
        store.read(|state| Ok(state.query_row(sql, [], |row| row.get(0))?)).await.unwrap()
    }

    #[tokio::test]
    async fn a_repeated_alert_is_taken_once_for_each_snapshot() {
        let (_dir, store) = store();
        let first = alert(&store, "a", "nightly", NOON).await;
        assert_eq!(first, AlertReceipt::New(JobId(1)));
        let later = NOON + Duration::hours(1);
        store.change(|state| Ok(state.execute("UPDATE run SET status = 'ended'", [])?)).await.unwrap();
        assert_eq!(alert(&store, "a", "nightly", later).await, AlertReceipt::Known(Some(JobId(1))));
        assert_eq!(alert(&store, "a", "incident", later).await, AlertReceipt::New(JobId(2)));
        assert_eq!(count(&store, "SELECT count(*) FROM run").await, 2);
    }

    #[tokio::test]
    async fn alerts_join_a_run_that_waits_and_no_other() {
        let (_dir, store) = store();
        let timed = SnapshotRef { name: SnapshotName::new("nightly"), trigger: Trigger::Cron, due: NOON };
        store.change(|state| enqueue(state, &timed, NOON)).await.unwrap();
        assert_eq!(alert(&store, "a", "nightly", NOON).await, AlertReceipt::New(JobId(2)));
        assert_eq!(alert(&store, "b", "nightly", NOON).await, AlertReceipt::Joined(JobId(2)));
        store
            .change(|state| Ok(state.execute("UPDATE run SET status = 'started' WHERE id = 2", [])?))
            .await
            .unwrap();
        assert_eq!(alert(&store, "c", "nightly", NOON).await, AlertReceipt::New(JobId(3)));
    }

    #[tokio::test]
    async fn alerts_of_long_ago_are_forgotten() {
        let (_dir, store) = store();
        alert(&store, "a", "nightly", NOON).await;
        alert(&store, "b", "nightly", NOON + Duration::days(30)).await;
        assert_eq!(count(&store, "SELECT count(*) FROM alert").await, 2);
        alert(&store, "c", "nightly", NOON + Duration::days(31)).await;
        assert_eq!(count(&store, "SELECT count(*) FROM alert WHERE id = 'a'").await, 0);
        assert_eq!(count(&store, "SELECT count(*) FROM alert").await, 2);
    }
}
