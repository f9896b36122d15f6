//! How a partition stands, by its journal and by who has it.

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::partition_state::PartitionState;
use fleetlogs_model::run_store::{HolderState, RunHolder};
use fleetlogs_model::stop_cause::StopCause;

/// A partition as far as its journal was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStanding {
    /// Its account.
    pub name: AccountName,
    /// Whether it has a plan.
    pub is_planned: bool,
    /// Whether no process has to work on it any more.
    pub is_over: bool,
    /// Why its last process stopped early.
    pub stopped: Option<(Box<str>, Option<StopCause>)>,
}

impl PartitionStanding {
    /// Where it stands, if this process has it, or had it last.
    #[must_use]
    pub fn state(&self, holder: Option<&RunHolder>) -> PartitionState {
        match holder.map(|holder| holder.state) {
            _ if !self.is_planned => PartitionState::NotPlanned,
            Some(HolderState::AtWork) => PartitionState::AtWork,
            _ if self.is_over && self.stopped.is_some() => PartitionState::GivenUp,
            _ if self.is_over => PartitionState::Done,
            Some(HolderState::Silent) => PartitionState::Silent,
            Some(HolderState::Left) | None => PartitionState::Waiting,
        }
    }
}

/// Whether a partition that stopped early waits for another worker: its last one stopped for a reason of its own, and
/// handed it back. What holds for every worker is on record, and the partition is over.
pub(super) fn waits_again(cause: Option<StopCause>) -> bool {
    match cause {
        Some(
            StopCause::Signal
            | StopCause::OwnershipLost
            | StopCause::TenureEnded
            | StopCause::Journal
            | StopCause::LittleRoom,
        ) => true,
        Some(
            StopCause::RunDeadline
            | StopCause::SasEnds
            | StopCause::BudgetSpent
            | StopCause::ContainerGone
            | StopCause::Schedule
            | StopCause::Other,
        )
        | None => false,
    }
}
