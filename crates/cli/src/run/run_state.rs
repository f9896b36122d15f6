//! Where a run stands.

use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_report::RunFacts;
use serde::Serialize;

/// Whether a process works on the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RunState {
    /// A process holds the lock of the run.
    Running,
    /// The run is shared out and not over, and no worker is at work right now.
    Waiting,
    /// The run has ended, and nothing is outstanding.
    Ended,
    /// The run stopped early, for a recorded reason; it can be resumed.
    Stopped,
    /// The last process was killed; the run can be resumed.
    Interrupted,
}

impl RunState {
    /// The state of a run that no process works on.
    pub(crate) fn of_ended(facts: &RunFacts) -> Self {
        match facts.outcome {
            RunOutcome::Interrupted if facts.is_killed => Self::Interrupted,
            RunOutcome::Interrupted | RunOutcome::BudgetSpent => Self::Stopped,
            RunOutcome::Complete | RunOutcome::Partial | RunOutcome::NothingCollected => Self::Ended,
        }
    }
}
