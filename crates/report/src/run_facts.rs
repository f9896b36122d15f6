//! What is true of a run as a whole. Every report needs it, so it stands below all of them.

use std::collections::{BTreeSet, HashSet};

use fleetlogs_model::ids::{AccountName, NodeRef, PoolId};
use fleetlogs_model::outcome::RunOutcome;
use time::OffsetDateTime;

/// What is true of the run as a whole, beyond plan and ledger.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it ended early, if it did. Becomes the reason of every node that was not called.
    pub reason: Option<String>,
    /// Whether its last process ended without a word: it was killed.
    pub is_killed: bool,
    /// When its first process began to work.
    pub started_at: OffsetDateTime,
    /// When its last one ended.
    pub ended_at: OffsetDateTime,
    /// Whether arrival of the files was looked at.
    pub verification: bool,
    /// List calls that this took.
    pub list_calls: u64,
    /// Pools whose nodes were looked at again when every call was answered.
    pub seen_again: HashSet<(AccountName, PoolId)>,
    /// Nodes that were not there when the plan was made.
    pub appeared: BTreeSet<NodeRef>,
}

impl RunFacts {
    /// Whether the nodes of a pool were looked at again.
    pub(crate) fn seen_again(&self, account: &AccountName, pool: &PoolId) -> bool {
        self.seen_again.contains(&(account.clone(), pool.clone()))
    }
}
