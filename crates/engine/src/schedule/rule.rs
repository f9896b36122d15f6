//! How the runs of a snapshot are to begin, as the config means it.

use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::snapshot::Trigger;

use super::timetable::Timetable;

/// How a snapshot is to be run, as the config means it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which snapshot.
    pub name: SnapshotName,
    /// When; none for one that only states, alerts or `--once` begin.
    pub timetable: Option<Timetable>,
    /// What happens when its time comes while an earlier run of it goes on, or waits.
    pub overlap: Overlap,
    /// What happens to times that passed while nothing was there to begin its runs.
    pub catch_up: CatchUp,
    /// Times that passed longer ago than this are not caught up with.
    pub catch_up_within: Duration,
}

/// What happens when the time of a snapshot comes while an earlier run of it goes on, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// That time is skipped, and put on record as skipped.
    Skip,
    /// One run waits until the earlier one has ended; further times are skipped while one waits.
    Queue,
}

/// What happens to times that passed while nothing was there to begin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// They are put on record as missed.
    No,
    /// One run makes up for all of them.
    Once,
    /// Each is made up for by a run of its own, oldest first.
    Each,
}

/// Runs of one lane go one after another. Both lanes share the budget of each Batch account by fixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Runs by timetable, and those that `--once` asks for.
    Regular,
    /// Runs that nodes in a bad state, or alerts, ask for: they cannot wait until a long run ends.
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
