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
    /// Whether its last process put the end on record, or none has to come.
    pub has_ended: bool,
    /// Why its last process stopped early.
    pub stopped: Option<(Box<str>, Option<StopCause>)>,
}

impl PartitionStanding {
    /// Whether no worker has anything left to do with it, if so many of its nodes are outstanding.
    #[must_use]
    pub fn is_over(&self, outstanding: u64) -> bool {
        let cause = self.stopped.as_ref().and_then(|(_, cause)| *cause);
        self.is_planned && self.has_ended && (outstanding == 0 || !cause.is_some_and(is_handed_on))
    }

    /// Where it stands, if so many of its nodes are outstanding, and this process has it or had it last.
    #[must_use]
    pub fn state(&self, outstanding: u64, holder: Option<&RunHolder>) -> PartitionState {
        match holder.map(|holder| holder.state) {
            _ if !self.is_planned => PartitionState::NotPlanned,
            Some(HolderState::AtWork) => PartitionState::AtWork,
            _ if self.is_over(outstanding) => match self.stopped {
                Some(_) if outstanding > 0 => PartitionState::GivenUp,
                Some(_) | None => PartitionState::Done,
            },
            // An end on record is that of a worker that handed it back.
            Some(HolderState::Silent) if !self.has_ended => PartitionState::Silent,
            Some(HolderState::Silent | HolderState::Left) | None => PartitionState::Waiting,
        }
    }
}

/// Whether a worker that stopped a partition for this cause leaves its message in the queue, so that another one goes on.
#[must_use]
pub fn is_handed_on(cause: StopCause) -> bool {
    match cause {
        StopCause::Signal
        | StopCause::OwnershipLost
        | StopCause::TenureEnded
        | StopCause::Journal
        | StopCause::LittleRoom => true,
        StopCause::RunDeadline
        | StopCause::SasEnds
        | StopCause::BudgetSpent
        | StopCause::ContainerGone
        | StopCause::Schedule
        | StopCause::Other => false,
    }
}
