//! Snapshots: runs that a schedule, a node state or an alert starts, and the name of such a run.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::SnapshotName;

/// What started a run of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its scheduled time came.
    Cron,
    /// Its scheduled time passed while no process could start it.
    CatchUp,
    /// Nodes entered a watched state.
    State,
    /// An alert arrived.
    Alert,
    /// A person, or another scheduler, started it with `--once`.
    Once,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cron, Self::CatchUp, Self::State, Self::Alert, Self::Once];

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

    /// The trigger with a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == name)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The snapshot of a run. The plan and the manifest contain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The snapshot's name in the config.
    pub name: SnapshotName,
    /// What started the run.
    pub trigger: Trigger,
    /// When it was due: its scheduled time, or the time when the trigger was seen.
    #[serde(with = "crate::timestamp")]
    pub due: OffsetDateTime,
}
