//! Joins the plans of the partitions to that of the run.

use std::io;

use fleetlogs_model::hex::hex;
use fleetlogs_model::plan::{Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, PlannedNodes};
use fleetlogs_model::run_store::{JournalError, JournalErrorKind, StoredPlan};
use sha2::{Digest as _, Sha256};

use crate::node_spool::node_spool;

/// The plan of a run in the making.
pub(super) struct Joining {
    plan: Plan,
    digest: PlanDigests,
}

/// Stands for the digest of a plan that is not there yet.
pub(super) const UNPLANNED: &str = "unplanned";

/// What ties the plans of the partitions to their journals: one hash over theirs.
#[derive(Default)]
pub(super) struct PlanDigests(Sha256);

impl PlanDigests {
    pub(super) fn add(&mut self, digest: &str) {
        self.0.update(digest);
        self.0.update("\n");
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

impl Joining {
    /// Begins with what the partitions have in common.
    pub(super) fn new(seed: &StoredPlan) -> Self {
        let (mut digest, nodes) = (PlanDigests::default(), PlannedNodes::spooled(node_spool()));
        digest.add(&seed.digest);
        let plan = Plan { nodes, ..seed.plan.head() };
        Self { plan, digest }
    }

    /// Adds a partition that has no plan yet: an account that is not listed, with the reason.
    pub(super) fn add_unplanned(&mut self, account: PlannedAccount) -> Result<(), JournalError> {
        self.digest.add(UNPLANNED);
        self.refuse_twice(&account)?;
        self.plan.accounts.push(account);
        Ok(())
    }

    fn refuse_twice(&self, account: &PlannedAccount) -> Result<(), JournalError> {
        if self.plan.account_index(&account.name).is_none() {
            return Ok(());
        }
        let what = format!("account `{}` is in two partitions of run {}", account.name, self.plan.run_id);
        Err(JournalError::new(JournalErrorKind::NoPlan, what))
    }

    /// Adds the plan of the next partition.
    pub(super) fn add(&mut self, stored: StoredPlan) -> Result<(), JournalError> {
        self.digest.add(&stored.digest);
        let part = stored.plan;
        if part.run_id != self.plan.run_id {
            let what = format!("a partition of run {} has the plan of run {}", self.plan.run_id, part.run_id);
            return Err(JournalError::new(JournalErrorKind::OtherPlan, what));
        }
        part.accounts.iter().try_for_each(|account| self.refuse_twice(account))?;
        let whole = &mut self.plan;
        push_nodes(&mut whole.nodes, &part).map_err(|error| unspooled(&error))?;
        // Nodes with a time range of their own move the start of their plan's.
        whole.window.start = whole.window.start.min(part.window.start);
        whole.window.end = whole.window.end.max(part.window.end);
        whole.accounts.extend(part.accounts);
        whole.pools.extend(part.pools);
        whole.left_out.extend(part.left_out);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<StoredPlan, JournalError> {
        let mut plan = self.plan;
        if plan.accounts.is_empty() {
            return Err(JournalError::new(JournalErrorKind::NoPlan, "the run has no partition"));
        }
        plan.nodes.shrink();
        Ok(StoredPlan { plan, digest: self.digest.finish() })
    }
}

fn push_nodes(nodes: &mut PlannedNodes, part: &Plan) -> io::Result<()> {
    // The text of a node knows less about its pool than the plan does.
    for (at, node) in part.nodes.iter().zip(part.nodes.details()) {
        nodes.push(&PlannedNode { place: at.place.clone(), ..node? })?;
    }
    Ok(())
}

fn unspooled(error: &io::Error) -> JournalError {
    JournalError::new(
        JournalErrorKind::Failed,
        format!("the plan cannot be kept in a temporary file: {error}"),
    )
}
