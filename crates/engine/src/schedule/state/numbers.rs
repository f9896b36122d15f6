//! Numbers of the state for the daemon's metrics.

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::outcome::RunOutcome;
use rusqlite::Connection;
use time::OffsetDateTime;

use super::error::StateError;
use super::stored_time::stored_time;

/// The state in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Runs that wait in the queue.
    pub queued: u64,
    /// Runs that were lost with their machine, as far as they are remembered.
    pub lost: u64,
    /// Every snapshot with a run that has ended.
    pub last: Vec<LastRuns>,
}

/// When runs of a snapshot last ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRuns {
    /// Which snapshot.
    pub snapshot: SnapshotName,
    /// The end of the newest run, however it ended.
    pub ended_at: OffsetDateTime,
    /// The end of the newest complete run, if there is one.
    pub complete_at: Option<OffsetDateTime>,
}

/// Reads them from the state.
pub fn numbers(state: &Connection) -> Result<Numbers, StateError> {
    let count = |status: &str| {
        state.query_row("SELECT count(*) FROM run WHERE status = ?1", [status], |row| row.get(0))
    };
    let (queued, lost) = (count("queued")?, count("lost")?);
    let mut rows = state.prepare_cached(
        "SELECT snapshot, max(ended_at), max(CASE WHEN outcome = ?1 THEN ended_at END) FROM run
         WHERE status = 'ended' AND outcome IS NOT NULL AND ended_at IS NOT NULL GROUP BY snapshot ORDER BY snapshot",
    )?;
    let mut rows = rows.query([RunOutcome::Complete.as_str()])?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next()? {
        let (snapshot, ended_at): (String, String) = (row.get(0)?, row.get(1)?);
        let complete_at: Option<String> = row.get(2)?;
        ended.push(LastRuns {
            snapshot: SnapshotName::new(snapshot),
            ended_at: stored_time(&ended_at)?,
            complete_at: complete_at.as_deref().map(stored_time).transpose()?,
        });
    }
    Ok(Numbers { queued, lost, last: ended })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::schedule::state::Store;

    #[tokio::test]
    async fn the_last_runs_are_those_that_ended_last() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("schedule.db"), None).unwrap();
        let rows = [
            ("nightly", "ended", Some("complete"), Some("2026-11-20T02:20:00.000Z")),
            ("nightly", "ended", Some("complete"), Some("2026-11-21T02:20:00.000Z")),
            ("nightly", "ended", Some("partial"), Some("2026-11-22T02:20:00.000Z")),
            // No run came of it.
            ("nightly", "ended", None, Some("2026-11-23T02:20:00.000Z")),
            ("nightly", "queued", None, None),
            ("nightly", "lost", None, Some("2026-11-23T02:30:00.000Z")),
            ("spot", "ended", Some("nothing-collected"), Some("2026-11-22T02:30:00.000Z")),
        ];
        store
            .change(|state| {
                for row in rows {
                    state.execute(
                        "INSERT INTO run (snapshot, cause, due, begins_at, status, outcome, ended_at)
                         VALUES (?1, 'cron', '', '', ?2, ?3, ?4)",
                        row,
                    )?;
                }
                Ok(())
            })
            .await
            .unwrap();

        let found = store.read(numbers).await.unwrap();

        let of = |snapshot, ended_at, complete_at| LastRuns {
            snapshot: SnapshotName::new(snapshot),
            ended_at,
            complete_at,
        };
        let nightly = of("nightly", datetime!(2026-11-22 02:20 UTC), Some(datetime!(2026-11-21 02:20 UTC)));
        let spot = of("spot", datetime!(2026-11-22 02:30 UTC), None);
        assert_eq!(found, Numbers { queued: 1, lost: 1, last: vec![nightly, spot] });
    }
}
