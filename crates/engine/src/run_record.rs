//! What the journal says of a run as a whole.

use std::collections::{BTreeSet, HashSet};

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::ids::{AccountName, NodeId, NodeRef, PoolId};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::stop_cause::{StopCause, Unverified};

/// What a run's own events say about it as a whole.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// When the first process began to work on it.
    pub started_at: Option<time::OffsetDateTime>,
    /// When the last process ended properly.
    pub ended_at: Option<time::OffsetDateTime>,
    /// Time of the last event about the run as a whole.
    pub last_at: Option<time::OffsetDateTime>,
    /// Why it stopped before its end.
    pub stopped: Option<String>,
    /// How it ended, if it stopped for a reason after which it can be resumed.
    pub cut_short: Option<RunOutcome>,
    /// Whether an account was given up.
    pub account_stopped: bool,
    /// The kind of the reason why it stopped.
    pub stop_cause: Option<StopCause>,
    /// Whether arrival was verified.
    pub verification: bool,
    /// Why not, if it was not.
    pub unverified: Option<Unverified>,
    /// Whether the fleet ended with its process.
    pub is_simulated: bool,
    /// List calls that verification took.
    pub list_calls: u64,
    /// Pools whose nodes were looked at again when every call was answered.
    pub seen_again: HashSet<(AccountName, PoolId)>,
    /// Nodes that were not there when the plan was made, by account, pool and id.
    pub appeared: BTreeSet<NodeRef>,
}

impl RunRecord {
    /// Folds the events that are about no node.
    #[must_use]
    pub fn of(events: &[Recorded]) -> Self {
        let mut record = Self::default();
        for recorded in events {
            record.last_at = Some(recorded.at);
            match &recorded.event {
                Event::RunStarted { verification, unverified, simulated, .. } => {
                    record.started_at.get_or_insert(recorded.at);
                    record.verification = *verification;
                    record.unverified = *unverified;
                    record.is_simulated = *simulated;
                    record.stopped = None;
                    record.stop_cause = None;
                    record.account_stopped = false;
                    record.cut_short = None;
                    record.ended_at = None;
                }
                Event::RunDraining { reason, outcome, cause } => {
                    record.stopped = Some(reason.to_string());
                    record.cut_short = *outcome;
                    record.stop_cause = *cause;
                }
                // A request that the account refuses as wrong will not be accepted after a resume either.
                Event::AccountStopped { cause, .. } => {
                    record.account_stopped |= cause.class != FailureClass::Config;
                }
                Event::RunEnded { list_calls } => {
                    record.ended_at = Some(recorded.at);
                    record.list_calls = record.list_calls.saturating_add(*list_calls);
                }
                Event::PoolSeenAgain { account, pool } => {
                    record.seen_again.insert((account.clone(), pool.clone()));
                }
                Event::NodesAppeared { account, pool, nodes } => {
                    let at = |node: &NodeId| NodeRef {
                        account: account.clone(),
                        pool: pool.clone(),
                        node: node.clone(),
                    };
                    record.appeared.extend(nodes.iter().map(at));
                }
                // These concern single nodes or the pace, not the run as a whole.
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
                | Event::OrderFollowed { .. }
                | Event::UploadFailed { .. }
                | Event::FilesVerified { .. }
                | Event::FilesAdopted { .. }
                | Event::FilesIncomplete { .. }
                | Event::AccountThrottled { .. } => {}
            }
        }
        record
    }
}
