//! Facts about a run as a whole. Every report needs them, so this file stands below all reports.

use std::collections::{BTreeSet, HashSet};

use fleetlogs_model::ids::{AccountName, NodeRef, PoolId};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::stop_cause::{StopCause, Unverified};
use time::OffsetDateTime;

/// Facts about the run as a whole that are neither in the plan nor in the ledger.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "single facts, as the journal has them")]
pub struct RunFacts {
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it ended early, if it did. Becomes the reason of every node that was not called.
    pub reason: Option<String>,
    /// The kind of that reason. Journals of earlier versions do not tell.
    pub stop_cause: Option<StopCause>,
    /// Whether its last process ended without a word: it was killed.
    pub is_killed: bool,
    /// Whether its last process put the end on record. A run that is shared out is over when all its partitions are.
    pub is_over: bool,
    /// When its first process started.
    pub started_at: OffsetDateTime,
    /// When its last one ended.
    pub ended_at: OffsetDateTime,
    /// Whether arrival of the files was checked.
    pub verification: bool,
    /// Why not, if it was not. Journals of earlier versions do not tell.
    pub unverified: Option<Unverified>,
    /// Whether the fleet was simulated and ended with its process, so that no command can resume the run.
    pub is_simulated: bool,
    /// List calls made for that.
    pub list_calls: u64,
    /// Pools whose nodes were listed again after the last call was answered.
    pub seen_again: HashSet<(AccountName, PoolId)>,
    /// Nodes that did not exist when the plan was made.
    pub appeared: BTreeSet<NodeRef>,
}

impl RunFacts {
    /// Whether the nodes of a pool were listed again after the last call.
    pub(crate) fn seen_again(&self, account: &AccountName, pool: &PoolId) -> bool {
        self.seen_again.contains(&(account.clone(), pool.clone()))
    }
}
