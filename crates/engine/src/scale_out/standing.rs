//! How a partition stands, by its journal and by who has it.

use fleetlogs_model::ids::AccountName;
use fleetlogs_model::partition_state::PartitionState;
use fleetlogs_model::run_store::{HolderState, JournalError, JournalErrorKind, RunHolder, RunStore};
use fleetlogs_model::stop_cause::StopCause;

use crate::resume::Replay;
use crate::run_record::RunRecord;

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

/// Whether no worker has anything left to do with a partition. It need not be planned yet.
///
/// # Errors
/// Its record cannot be read.
pub async fn is_over(partition: &dyn RunStore) -> Result<bool, JournalError> {
    let plan = match partition.plan().await {
        Ok(stored) => stored.plan,
        Err(error) if is_unplanned(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let journal = partition.read().await?;
    let events = journal.run_events()?;
    let record = RunRecord::of(&events);
    if events.is_empty() && plan.nodes.is_empty() {
        // No worker has to come.
        return Ok(true);
    }
    if record.ended_at.is_none() || !record.stop_cause.is_some_and(is_handed_on) {
        return Ok(record.ended_at.is_some());
    }
    let mut replay = Replay::new(&plan);
    journal.events_after(0, &mut |recorded| replay.apply(recorded))?;
    Ok(replay.finish(&plan, &[]).1.is_empty())
}

/// Whether a partition has no plan yet.
pub(super) fn is_unplanned(error: &JournalError) -> bool {
    matches!(error.kind, JournalErrorKind::NoPlan | JournalErrorKind::Missing)
}
