//! Snapshots: runs that a schedule, a state of nodes or an alert begins, and what such a run is called.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::SnapshotName;

/// What began a run of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its time came.
    Cron,
    /// Its time came while nothing was there to begin it.
    CatchUp,
    /// Nodes entered a state that is watched for.
    State,
    /// An alert arrived.
    Alert,
    /// A person, or another scheduler, asked for it with `--once`.
    Once,
}

impl Trigger {
    /// The name used in every file and table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::CatchUp => "catch-up",
            Self::State => "state",
            Self::Alert => "alert",
            Self::Once => "once",
        }
    }

    /// The trigger of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Cron, Self::CatchUp, Self::State, Self::Alert, Self::Once]
            .into_iter()
            .find(|trigger| trigger.as_str() == name)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which snapshot a run is of. Stands in its plan and its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The snapshot, as the config names it.
    pub name: SnapshotName,
    /// What began the run.
    pub trigger: Trigger,
    /// When it was due: the time of its timetable, or when the trigger was seen.
    #[serde(with = "crate::timestamp")]
    pub due: OffsetDateTime,
}
