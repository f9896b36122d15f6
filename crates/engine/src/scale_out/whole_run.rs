//! What the processes that worked on partitions recorded about "the run", told as if one process had worked on it.
//!
//! Such events mean the whole run to whoever folds them: that it started gives every account a new chance, that it
//! ended is its end. So of the starts, only the first is handed over, and those that take something back; of the ends,
//! only the last, which leaves no partition at work. The reasons for stopping early are told together.

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::stop_cause::StopCause;
use time::OffsetDateTime;

use super::standing::PartitionStanding;

/// How many partitions that stopped early are named with their reason.
const NAMED: usize = 3;

/// A fold over the merged events of all partitions, which says which of them, and what instead, are those of the run.
#[derive(Clone)]
pub(super) struct WholeRun {
    partitions: Vec<PartitionFold>,
    is_started: bool,
    is_over: bool,
    /// Of processes that ended, as far as no end of the run has told them.
    list_calls: u64,
}

#[derive(Clone)]
struct PartitionFold {
    name: AccountName,
    /// Whether nothing remains to be done by a process: none has to come, or the last one ended.
    is_over: bool,
    /// What its last process said about the account's pace, and that nothing more is sent.
    standing: Vec<Recorded>,
    /// Why its last process stopped early.
    stopped: Option<Stopped>,
}

#[derive(Clone)]
struct Stopped {
    reason: Box<str>,
    outcome: Option<RunOutcome>,
    cause: Option<StopCause>,
}

impl WholeRun {
    /// How the partitions stand now.
    pub(super) fn standings(&self) -> impl Iterator<Item = PartitionStanding> {
        self.partitions.iter().map(|part| PartitionStanding {
            name: part.name.clone(),
            is_planned: true,
            has_ended: part.is_over,
            stopped: part.stopped.as_ref().map(|stopped| (stopped.reason.clone(), stopped.cause)),
        })
    }

    /// Nothing has happened yet. Of each partition: its name, and whether it has nodes, so that a process has to come.
    pub(super) fn new<'a>(partitions: impl Iterator<Item = (&'a AccountName, bool)>) -> Self {
        let fresh = |(name, has_nodes): (&AccountName, bool)| PartitionFold {
            name: name.clone(),
            is_over: !has_nodes,
            standing: vec![],
            stopped: None,
        };
        Self { partitions: partitions.map(fresh).collect(), is_started: false, is_over: false, list_calls: 0 }
    }

    /// Takes the next event of a partition, and hands over what it is for the run.
    pub(super) fn take(&mut self, partition: usize, recorded: &Recorded, hear: &mut dyn FnMut(&Recorded)) {
        if recorded.node.is_some() {
            return hear(recorded);
        }
        match &recorded.event {
            Event::RunStarted { .. } => self.start(partition, recorded, hear),
            Event::AccountThrottled { account, .. } => {
                let is_older = |event: &Event| matches!(event, Event::AccountThrottled { account: of, .. } if of == account);
                self.stand(partition, recorded, is_older);
                hear(recorded);
            }
            Event::AccountStopped { account, .. } => {
                let is_older = |event: &Event| matches!(event, Event::AccountStopped { account: of, .. } if of == account);
                self.stand(partition, recorded, is_older);
                hear(recorded);
            }
            Event::RunDraining { reason, outcome, cause } => {
                let stopped = Stopped { reason: reason.clone(), outcome: *outcome, cause: *cause };
                self.partitions[partition].stopped = Some(stopped);
                hear(&self.draining(recorded.at));
            }
            Event::RunEnded { list_calls } => {
                self.partitions[partition].is_over = true;
                self.list_calls = self.list_calls.saturating_add(*list_calls);
                if self.partitions.iter().all(|partition| partition.is_over) {
                    self.is_over = true;
                    let list_calls = std::mem::take(&mut self.list_calls);
                    hear(&Recorded { at: recorded.at, node: None, event: Event::RunEnded { list_calls } });
                }
            }
            Event::UploadRequested { .. }
            | Event::UploadCancelled { .. }
            | Event::UploadAccepted { .. }
            | Event::UploadWillRetry { .. }
            | Event::UploadInDoubt { .. }
            | Event::UploadAbsent { .. }
            | Event::UploadAdopted { .. }
            | Event::DirectoriesFound { .. }
            | Event::IdentityChanged { .. }
            | Event::NodeSeenAgain { .. }
            | Event::PoolSeenAgain { .. }
            | Event::NodesAppeared { .. }
            | Event::OrderFollowed { .. }
            | Event::UploadFailed { .. }
            | Event::FilesVerified { .. }
            | Event::FilesAdopted { .. }
            | Event::FilesIncomplete { .. } => hear(recorded),
        }
    }

    fn stand(&mut self, partition: usize, recorded: &Recorded, is_older: impl Fn(&Event) -> bool) {
        let standing = &mut self.partitions[partition].standing;
        standing.retain(|earlier| !is_older(&earlier.event));
        standing.push(recorded.clone());
    }

    /// A process began to work on a partition, which takes back what an earlier one said of it.
    fn start(&mut self, partition: usize, recorded: &Recorded, hear: &mut dyn FnMut(&Recorded)) {
        let part = &mut self.partitions[partition];
        let takes_back = !part.standing.is_empty() || part.stopped.is_some();
        part.standing.clear();
        part.stopped = None;
        part.is_over = false;
        if self.is_started && !self.is_over && !takes_back {
            return;
        }
        (self.is_started, self.is_over) = (true, false);
        hear(recorded);
        // What is said of the others still holds.
        self.partitions.iter().flat_map(|partition| &partition.standing).for_each(&mut *hear);
        if self.partitions.iter().any(|partition| partition.stopped.is_some()) {
            hear(&self.draining(recorded.at));
        }
    }

    /// Why the partitions that stopped early did.
    fn draining(&self, at: OffsetDateTime) -> Recorded {
        let stopped = || {
            let named =
                |part: &'_ PartitionFold| part.stopped.clone().map(|stopped| (part.name.clone(), stopped));
            self.partitions.iter().filter_map(named)
        };
        let count = stopped().count();
        let mut reasons: Vec<_> =
            stopped().take(NAMED).map(|(name, stopped)| format!("{name}: {}", stopped.reason)).collect();
        if count > NAMED {
            reasons.push(format!("and {} more", count - NAMED));
        }
        let reason = match count {
            1 => format!("partition {}", reasons.concat()),
            _ => format!(
                "{count} of {} partitions stopped early: {}",
                self.partitions.len(),
                reasons.join("; ")
            ),
        };
        let outcomes: Vec<_> = stopped().filter_map(|(_, stopped)| stopped.outcome).collect();
        let outcome =
            outcomes.iter().find(|outcome| **outcome == RunOutcome::Interrupted).or(outcomes.first());
        let first = stopped().next().and_then(|(_, stopped)| stopped.cause);
        let cause = first.filter(|first| stopped().all(|(_, stopped)| stopped.cause == Some(*first)));
        let event = Event::RunDraining { reason: reason.into(), outcome: outcome.copied(), cause };
        Recorded { at, node: None, event }
    }
}
