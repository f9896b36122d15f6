//! Snapshots: which run is to begin next, when, and what came of those before.
//!
//! Whatever asks for a run puts it on record as a row of the queue ([`state::runs`]): a timetable, nodes that entered a
//! state, an alert. The scheduler takes rows from there, one at a time for each [`Lane`], and has a [`Runner`] run them.
//! Every decision is in the state before it is acted on, so that a process that is killed leaves nothing undone and
//! nothing to be done twice. Design and reasons: docs/design/schedule.md.

pub mod decide;
pub mod overview;
pub mod ownership;
mod recovery;
pub mod scheduler;
pub mod state;
pub mod timetable;
pub mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetlogs_model::ids::SnapshotName;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::snapshot::{SnapshotRef, Trigger};

pub use self::scheduler::Scheduler;
pub use self::timetable::Timetable;

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

/// A run that is on record, and is to be run now.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its row in the state.
    pub id: state::JobId,
    /// Which snapshot, why and when.
    pub snapshot: SnapshotRef,
    /// Its run directory, where an earlier process began it on this machine and did not end it.
    pub begun: Option<PathBuf>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How its run ended; none where no run came of it.
    pub outcome: Option<RunOutcome>,
    /// The exit code that `fleetlogs run` would have ended with.
    pub exit_code: u8,
    /// Why no run came of it, or why the run ended early: for people, one line, no secret.
    pub reason: Option<String>,
    /// Whether the run is to be taken up again by the next process: this one was told to end.
    pub interrupted: bool,
}

/// Runs jobs: plans, executes, verifies, reports.
pub trait Runner: Send + Sync + 'static {
    /// Runs a job to its end, or until it is told to stop. Calls `begun` once, after the plan is frozen and before the
    /// first upload is sent; if that fails, the run must not begin.
    fn run(&self, job: Job, begun: Begun) -> impl Future<Output = Ended> + Send;
}

/// What is put on record when a run begins.
#[derive(Clone, Debug)]
pub struct Begun {
    store: state::Store,
    job: state::JobId,
}

impl Begun {
    /// A job's.
    #[must_use]
    pub fn new(store: state::Store, job: state::JobId) -> Self {
        Self { store, job }
    }

    /// Puts the run of a plan and its directory on record, durably. Its series begins with it, if it has not begun.
    pub async fn record(&self, plan: &Plan, dir: &Path) -> Result<(), state::StateError> {
        self.store
            .change(|state| {
                state::coverage::begin(state, plan)?;
                state::runs::begun(state, self.job, &plan.run_id, dir)
            })
            .await
    }
}
