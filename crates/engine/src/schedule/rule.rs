//! When the runs of a snapshot start, as the config means it.

use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::Trigger;

use super::timetable::Timetable;

/// When a snapshot runs, as the config means it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The snapshot.
    pub name: SnapshotName,
    /// Its timetable; none if only states, alerts or `--once` start its runs.
    pub timetable: Option<Timetable>,
    /// What happens when its time comes while an earlier run of it is in progress or waits.
    pub overlap: Overlap,
    /// What happens to times that passed while no scheduler was running.
    pub catch_up: CatchUp,
    /// Times that passed longer ago than this are not caught up.
    pub catch_up_within: Duration,
}

/// What happens when the time of a snapshot comes while an earlier run of it is in progress or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// That time is skipped, and recorded as skipped.
    Skip,
    /// One run waits until the earlier one has ended; further times are skipped while one waits.
    Queue,
}

/// What happens to times that passed while no scheduler was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are recorded as missed.
    No,
    /// One run catches up for all of them.
    Once,
    /// Each gets a run of its own, oldest first.
    Each,
}

/// Runs of one lane follow one another. Both lanes share the budget of each Batch account in fixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Runs by timetable, and those that `--once` requests.
    Regular,
    /// Runs requested by nodes in a bad state or by alerts: they cannot wait until a long run ends.
    Capture,
}

impl Lane {
    /// The lane of a trigger.
    #[must_use]
    pub fn of(trigger: Trigger) -> Self {
        match trigger {
            Trigger::Cron | Trigger::CatchUp | Trigger::Once => Self::Regular,
            Trigger::State | Trigger::Alert => Self::Capture,
        }
    }
}
