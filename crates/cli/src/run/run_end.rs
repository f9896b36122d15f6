//! How a run ended: for notifications and metrics.

use std::path::PathBuf;
use std::time::Duration;

use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::outcome::{OutcomeCounts, RunOutcome};
use fleetlogs_model::snapshot::SnapshotRef;
use time::OffsetDateTime;

/// The end of a run that is recorded and reported.
#[derive(Clone, Debug)]
pub(crate) struct RunEnd {
    pub(crate) run_id: RunId,
    /// The run directory; absolute.
    pub(crate) dir: PathBuf,
    /// None for a run started by hand.
    pub(crate) snapshot: Option<SnapshotRef>,
    pub(crate) outcome: RunOutcome,
    /// Why it ended early, if it did.
    pub(crate) reason: Option<String>,
    pub(crate) started_at: OffsetDateTime,
    pub(crate) ended_at: OffsetDateTime,
    /// Nodes by outcome.
    pub(crate) counts: OutcomeCounts,
    /// Throttled calls of each account.
    pub(crate) throttled: Vec<(AccountName, u64)>,
    /// One sentence for people.
    pub(crate) summary: String,
    /// What `--json` prints.
    pub(crate) document: serde_json::Value,
}

impl RunEnd {
    /// How long the run took, from the start of its first process to the end of its last.
    pub(crate) fn took(&self) -> Duration {
        (self.ended_at - self.started_at).try_into().unwrap_or_default()
    }
}
